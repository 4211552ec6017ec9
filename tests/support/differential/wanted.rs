//! Differences that are wanted in every case where they occur.

use super::Answer;

/// Whether the answers are the same, but for what is wanted.
pub(super) fn agree(libwrap: &Answer, tcpw: &Answer) -> bool {
    let tcpw = Answer { uid: None, gid: None, signal: None, ..tcpw.clone() };
    let libwrap = Answer {
        warnings: libwrap.warnings.iter().filter(|line| !is_stale(line)).cloned().collect(),
        ..libwrap.clone()
    };
    libwrap == tcpw
}

/// nice(2) returns the new value: libwrap takes a negative one for a failure, and tells of
/// the error that some earlier call left behind.
fn is_stale(line: &str) -> bool {
    line.starts_with("warning: hosts.") && line.contains(": nice(-")
}
