//! Event to one line; one file per sink.
