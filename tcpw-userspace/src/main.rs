//! The `tcpw` binary.
fn main() {}
