//! The configuration of xinetd, inetd, systemd's sockets, and services(5).

use std::net::SocketAddr;

use tcpw_userspace::listeners::{inetd, services, socket_unit::SocketUnit, xinetd};

/// Any text as any of these files.
pub fn superservers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (entries, diagnostics) = xinetd::parse(&text);
    let lines = text.lines().count();
    for diagnostic in diagnostics {
        assert!((1..=lines).contains(&diagnostic.line), "line {} of {lines}", diagnostic.line);
    }
    for service in xinetd::services(entries) {
        assert!(!service.names().is_empty());
        let _ = service.is_tcp();
    }
    for service in inetd::parse(&text) {
        let [name, daemon] = service.names();
        let _ = services::port(&text, name, "tcp");
        assert!(!daemon.contains('/'), "{daemon:?} is a path");
    }
    let mut unit = SocketUnit::parse("x", [text.as_ref(), text.as_ref()]);
    unit.add_service([text.as_ref()]);
    let _ = (unit.service(), unit.listens_at(SocketAddr::from(([127, 0, 0, 1], 22)), true));
    assert!(unit.names().contains(&"x"));
}
