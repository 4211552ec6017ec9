//! Start, reload, stop: the only room that knows them all.
