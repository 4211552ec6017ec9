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

// Without the library: its rooms that do no I/O, by themselves, under its name. The fuzzer's build
// is then one of seconds, and it watches their branches and no others.
#[cfg(not(feature = "whole"))]
extern crate self as tcpw_userspace;

#[cfg(not(feature = "whole"))]
#[path = "../../../tcpw-userspace/src/evaluate/mod.rs"]
pub mod evaluate;

#[cfg(not(feature = "whole"))]
#[path = "../../../tcpw-userspace/src/format/mod.rs"]
pub mod format;

#[cfg(not(feature = "whole"))]
#[path = "../../../tcpw-userspace/src/names.rs"]
pub mod names;

#[cfg(not(feature = "whole"))]
#[path = "../../../tcpw-userspace/src/parse/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other rooms of the library use what is not used here")]
pub mod parse;

#[cfg(not(feature = "whole"))]
pub mod listeners;
