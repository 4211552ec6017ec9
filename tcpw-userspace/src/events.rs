//! Ring buffer bytes to events.
