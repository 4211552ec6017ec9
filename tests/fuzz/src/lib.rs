//! What any bytes must not do to tcpw's parsers: panic, hang, or change their meaning on the way.
//!
//! In: bytes. Out: nothing; a function panics if they broke something. The fuzzer calls these
//! (`cargo xtask fuzz`), and so does the test that replays what it once found.

mod lookup;
mod superservers;
mod tables;

pub use superservers::superservers;
pub use tables::{changed_meaning, fmt, options, pattern_files, tables};

/// A target of the fuzzer.
pub type Target = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: [(&str, Target); 5] = [
    ("fmt", fmt),
    ("options", options),
    ("pattern_files", pattern_files),
    ("superservers", superservers),
    ("tables", tables),
];
