//! A port between daemon and clients: `sshd:22: 192.0.2.1`.

use super::{Cut, Mistake};
use crate::parse::{
    advice::{Code, Finding, quote},
    list::tokens,
};

/// The daemons that are usually found at a port.
const USUAL: &[(&[u8], &[u16])] = &[
    (b"sshd", &[22, 2222]),
    (b"vsftpd", &[20, 21]),
    (b"proftpd", &[20, 21]),
    (b"pure-ftpd", &[20, 21]),
    (b"in.ftpd", &[20, 21]),
    (b"in.telnetd", &[23]),
    (b"sendmail", &[25, 465, 587]),
    (b"exim", &[25, 465, 587]),
    (b"exim4", &[25, 465, 587]),
    (b"rpcbind", &[111]),
    (b"portmap", &[111]),
    (b"slapd", &[389, 636]),
    (b"rsync", &[873]),
    (b"httpd", &[80, 443]),
    (b"apache2", &[80, 443]),
    (b"nginx", &[80, 443]),
];

pub(super) fn port(cut: &Cut<'_>) -> Option<Mistake> {
    let first = cut.fields.first().filter(|field| field.option.is_err())?;
    let number = cut.clients().trim_ascii();
    let port: u16 = std::str::from_utf8(number).ok()?.parse().ok().filter(|port| *port > 0)?;
    let text = cut.text();
    let daemons = &text[..cut.colons[0]];
    let rest = text.get(first.span.start..)?.trim_ascii();
    let mut names = tokens(daemons, 0).map(|(_, name)| name);
    let is_all = daemons.trim_ascii().eq_ignore_ascii_case(b"ALL");
    let is_usual = names.all(|name| {
        USUAL.iter().any(|(known, ports)| known.eq_ignore_ascii_case(name) && ports.contains(&port))
    });
    let finding = Finding::new(
        Code::E064,
        format!("{} stands where the clients should: it looks like a port", quote(number)),
        "\"daemon: clients\", or \"port: clients\"",
        "the clients are taken for an option, which does not exist: the rule matches nobody",
    );
    Some(cut.whole(if is_all {
        finding.replace([number, b": ", rest].concat())
    } else if is_usual {
        finding.replace([daemons.trim_ascii(), b": ", rest].concat())
    } else {
        finding
    }))
}
