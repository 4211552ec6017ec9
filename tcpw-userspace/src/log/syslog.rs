//! Lines to the syslog daemon.
//!
//! Source: RFC 3164.

use super::{LogEntry, datagrams::AsDatagram, line::Renderer};

/// Where it listens.
pub(super) const SOCKET: &str = "/dev/log";

impl AsDatagram for LogEntry {
    fn push_datagram(&self, renderer: &mut Renderer, out: &mut Vec<u8>) {
        renderer.datagram(self, out);
    }
}
