//! Colons of other notations: a port between daemon and clients, `sshd:22: 192.0.2.1`, a mask, a URL.

use std::net::Ipv4Addr;

use super::{Cut, Mistake, apart};
use crate::parse::{
    advice::{
        Code, Finding,
        follows::{infinitive, refused},
        quote, shown,
    },
    list::{split_at, tokens},
    rule::TableKind,
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
    if let Some(mistake) = mask(cut).or_else(|| url(cut)) {
        return Some(mistake);
    }
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
    // An option, and no client, behind the number.
    if rest.is_empty() || matches!(first.text.to_ascii_lowercase().as_slice(), b"allow" | b"deny") {
        return None;
    }
    let clients = rest.split(|byte| *byte == b':').next().unwrap_or(rest).trim_ascii_end();
    let clients = if rest.starts_with(b"[") { rest } else { clients };
    let finding = Finding::new(
        Code::E064,
        format!(
            "a port cannot stand between daemon and clients, only in the place of the daemon: {}",
            quote(number)
        ),
        "\"daemon: clients\", or \"port: clients\"",
        format!("this rule matches no client: it does not {} {}", infinitive(cut.kind), shown(clients)),
    );
    Some(cut.whole(if is_all {
        finding.replace([number, b": ", rest].concat())
    } else if is_usual {
        finding.replace([daemons.trim_ascii(), b": ", rest].concat())
    } else {
        finding
    }))
}

/// `10.0.0.0:255.0.0.0`: a colon between a network and its mask.
fn mask(cut: &Cut<'_>) -> Option<Mistake> {
    let first = cut.fields.first().filter(|field| field.option.is_err())?;
    let (at, address) = tokens(cut.clients(), cut.colons[0] + 1).last()?;
    let net: Ipv4Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
    let bits = apart::dotted_bits(&first.text).filter(|bits| *bits > 0)?;
    let text = cut.text();
    let end = first.span.end.min(text.len());
    let network = apart::network_of(net, bits);
    let message = format!("{}: between a network and its mask stands \"/\"", quote(&text[at..end]));
    let consequence = match cut.kind {
        TableKind::Allow => {
            "only the network's own address matches, and it is refused instead of allowed".to_owned()
        }
        TableKind::Deny => {
            "only the network's own address matches: the other clients of the network are not refused by this rule"
                .to_owned()
        }
    };
    let finding = Finding::new(Code::E064, message, "network/mask", consequence);
    Some(cut.whole(finding.replace([&text[..at], network.as_bytes(), &text[end..]].concat())))
}

/// `https://host/`: its colon begins an option.
fn url(cut: &Cut<'_>) -> Option<Mistake> {
    cut.fields.first().filter(|field| field.option.is_err() && field.text.starts_with(b"//"))?;
    let (at, scheme) = tokens(cut.clients(), cut.colons[0] + 1).last()?;
    if !scheme.iter().all(u8::is_ascii_alphanumeric) || at + scheme.len() != cut.colons[1] {
        return None;
    }
    let text = cut.text();
    let words = text.get(at..)?;
    let end = at + words.iter().position(u8::is_ascii_whitespace).unwrap_or(words.len());
    let message =
        format!("{} is a URL: a client is named by its address or name alone", quote(&text[at..end]));
    let consequence = format!("its colon begins an option that does not exist: {}", refused(cut.kind));
    let finding = Finding::new(Code::E064, message, "an address, a network or a name", consequence);
    let host = text[at..end].strip_suffix(b"/").unwrap_or(&text[at..end]);
    let host = &host[host.iter().position(|byte| *byte == b'/').unwrap_or_default()..];
    let host = host.strip_prefix(b"//").filter(|host| !host.iter().any(|byte| b"/?#@".contains(byte)));
    let is_alone = |host: &&[u8]| split_at(host, b':').is_none();
    Some(cut.whole(match host.filter(is_alone) {
        Some(host) => finding.replace([&text[..at], host, &text[end..]].concat()),
        None => finding,
    }))
}
