//! Tokens to patterns.
//!
//! Invariant: the order of the tests is libwrap's; it decides what a token is.
//! Source: tcp_wrappers 7.6.q `hosts_access.c` `server_match`, `client_match`,
//! `host_match`, `string_match`, `masked_match`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    net::Ipv6Addr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    list::split_at,
    number,
    rule::{ClientPattern, Daemon, DaemonPattern, HostPattern, PatternFile, Span, TextPattern},
    text::FileText,
};

/// The interfaces that zones name, as far as the texts tell of them.
pub(super) struct Interfaces<'a> {
    files: &'a BTreeMap<PathBuf, FileText>,
    asked: BTreeSet<PathBuf>,
}

impl<'a> Interfaces<'a> {
    pub(super) fn new(files: &'a BTreeMap<PathBuf, FileText>) -> Self {
        Self { files, asked: BTreeSet::new() }
    }

    /// The same files, to try out another text.
    pub(super) fn again(&self) -> Self {
        Self::new(self.files)
    }

    /// Whether there is such an interface; taken for granted until it was looked up.
    fn exists(&mut self, name: &[u8]) -> bool {
        let path = Path::new("/sys/class/net").join(OsStr::from_bytes(name));
        let exists = self.files.get(&path) != Some(&FileText::Missing);
        self.asked.insert(path);
        exists && !matches!(name, b"." | b"..")
    }

    /// The directories to look at, as empty pattern files.
    pub(super) fn into_files(self) -> impl Iterator<Item = (PathBuf, PatternFile)> {
        self.asked.into_iter().map(|path| {
            let file = PatternFile { path: Arc::new(path.clone()), patterns: Vec::new(), unreadable: None };
            (path, file)
        })
    }

    fn ipv6(&mut self, text: &[u8]) -> Option<Ipv6Addr> {
        let (address, zone) = number::ipv6(text)?;
        zone.is_none_or(|zone| self.exists(zone)).then_some(address)
    }
}

/// One token of a daemon list.
pub(super) fn daemon(token: &[u8], span: Span, interfaces: &mut Interfaces<'_>) -> DaemonPattern {
    let (left, right) = split_end(token);
    let server = right.filter(|right| !right.is_empty()).map(|right| host(right, interfaces));
    let daemon = match port(left) {
        _ if right == Some(b"") => Daemon::Never,
        Some(port) => Daemon::Port(port),
        None => Daemon::Name(text(left, interfaces)),
    };
    DaemonPattern { span, daemon, server }
}

/// One token of a client list.
pub(super) fn client(token: &[u8], span: Span, interfaces: &mut Interfaces<'_>) -> ClientPattern {
    match split_end(token) {
        (whole, None) => ClientPattern { span, user: None, host: host(whole, interfaces) },
        (user, Some(right)) => {
            let host = if right.is_empty() { HostPattern::Never } else { host(right, interfaces) };
            ClientPattern { span, user: Some(text(user, interfaces)), host }
        }
    }
}

/// `left@right`: cut at the first `@` outside brackets that is not the first
/// character, which does not count as a bracket either.
pub(crate) fn split_end(token: &[u8]) -> (&[u8], Option<&[u8]>) {
    match token.get(1..).and_then(|behind| split_at(behind, b'@')) {
        None => (token, None),
        Some(at) => (&token[..=at], Some(&token[at + 2..])),
    }
}

fn port(name: &[u8]) -> Option<u16> {
    number::scan_unsigned(name, 10).and_then(|value| value.try_into().ok())
}

/// A pattern for one end of a connection.
pub(super) fn host(token: &[u8], interfaces: &mut Interfaces<'_>) -> HostPattern {
    match token {
        [] => HostPattern::Never,
        [b'@', group @ ..] => HostPattern::Netgroup(group.into()),
        [b'/', ..] => HostPattern::File(PathBuf::from(OsStr::from_bytes(token))),
        _ if token.eq_ignore_ascii_case(b"KNOWN") => HostPattern::Known,
        _ if token.eq_ignore_ascii_case(b"LOCAL") => HostPattern::Local,
        _ => match split_at(token, b'/') {
            Some(at) => network(&token[..at], &token[at + 1..], interfaces),
            None => HostPattern::Text {
                pattern: text(token, interfaces),
                numeric: token.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'/')),
            },
        },
    }
}

fn network(net: &[u8], mask: &[u8], interfaces: &mut Interfaces<'_>) -> HostPattern {
    if let [b'[', inner @ .., b']'] = net {
        let prefix_bits = u8::try_from(number::atoi(mask)).ok().filter(|bits| *bits <= 128);
        return match (interfaces.ipv6(inner), prefix_bits) {
            (Some(net), Some(prefix_bits)) => HostPattern::NetV6 { net, prefix_bits },
            _ => HostPattern::Never,
        };
    }
    match (number::dot_quad(net), number::mask_v4(mask)) {
        (Some(net), Some(mask)) => HostPattern::NetV4 { net, mask },
        _ => HostPattern::Never,
    }
}

/// A pattern for one string.
pub(super) fn text(token: &[u8], interfaces: &mut Interfaces<'_>) -> TextPattern {
    match token {
        _ if token.iter().any(|byte| matches!(byte, b'*' | b'?')) => TextPattern::Glob(token.into()),
        [b'.', ..] => TextPattern::Suffix(token.into()),
        _ if token.eq_ignore_ascii_case(b"ALL") => TextPattern::All,
        _ if token.eq_ignore_ascii_case(b"KNOWN") => TextPattern::Known,
        [.., b'.'] => TextPattern::Prefix(token.into()),
        [b'[', inner @ .., b']'] => TextPattern::Bracketed(interfaces.ipv6(inner)),
        _ => TextPattern::Exact(token.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_host(token: &str) -> HostPattern {
        host(token.as_bytes(), &mut Interfaces::new(&BTreeMap::new()))
    }

    fn net(net: &str, mask: &str) -> HostPattern {
        HostPattern::NetV4 { net: net.parse().unwrap(), mask: mask.parse().unwrap() }
    }

    fn net6(net: &str, prefix_bits: u8) -> HostPattern {
        HostPattern::NetV6 { net: net.parse().unwrap(), prefix_bits }
    }

    fn plain(pattern: TextPattern, numeric: bool) -> HostPattern {
        HostPattern::Text { pattern, numeric }
    }

    macro_rules! hosts {
        ($($name:ident: $token:expr => $want:expr;)*) => {
            $(#[test] fn $name() { assert_eq!(parse_host($token), $want); })*
        };
    }

    hosts! {
        netgroup: "@trusted" => HostPattern::Netgroup((*b"trusted").into());
        file: "/etc/x.hosts" => HostPattern::File("/etc/x.hosts".into());
        known: "known" => HostPattern::Known;
        local: "Local" => HostPattern::Local;
        cidr: "10.0.0.0/8" => net("10.0.0.0", "255.0.0.0");
        dotted_mask: "10.0.0.0/255.0.255.0" => net("10.0.0.0", "255.0.255.0");
        octal_cidr: "010.0.0.0/8" => net("8.0.0.0", "255.0.0.0");
        cidr_zero: "0.0.0.0/0" => HostPattern::Never;
        all_ones_mask: "1.2.3.4/255.255.255.255" => HostPattern::Never;
        short_net: "10/8" => HostPattern::Never;
        all_with_mask: "ALL/0" => HostPattern::Never;
        v6_net: "[3ffe:ffff:100:200::]/64" => net6("3ffe:ffff:100:200::", 64);
        v6_net_without_length: "[::1]/" => net6("::1", 0);
        v6_net_with_junk: "[::1]/abc" => net6("::1", 0);
        v6_net_too_long: "[::1]/129" => HostPattern::Never;
        v6_net_inside_brackets: "[3ffe::/64]" => plain(TextPattern::Bracketed(None), false);
        v6_address: "[::1]" => plain(TextPattern::Bracketed(Some(Ipv6Addr::LOCALHOST)), false);
        prefix: "1.2.3." => plain(TextPattern::Prefix((*b"1.2.3.").into()), true);
        suffix: ".example.com" => plain(TextPattern::Suffix((*b".example.com").into()), false);
        glob_before_suffix: ".e?x" => plain(TextPattern::Glob((*b".e?x").into()), false);
        unknown_is_plain: "UNKNOWN" => plain(TextPattern::Exact((*b"UNKNOWN").into()), false);
    }

    macro_rules! ends {
        ($($name:ident: $token:expr => $want:expr;)*) => {
            $(#[test] fn $name() { assert_eq!(split_end($token), $want); })*
        };
    }

    ends! {
        plain_token: b"sshd" => (&b"sshd"[..], None);
        two_ends: b"sshd@x" => (&b"sshd"[..], Some(&b"x"[..]));
        leading_at: b"@sshd" => (&b"@sshd"[..], None);
        only_the_first_splits: b"a@b@c" => (&b"a"[..], Some(&b"b@c"[..]));
        empty_right: b"sshd@" => (&b"sshd"[..], Some(&b""[..]));
        leading_bracket_is_not_counted: b"[a]@x" => (&b"[a]@x"[..], None);
    }

    macro_rules! ports {
        ($($name:ident: $token:expr => $want:expr;)*) => {
            $(#[test] fn $name() { assert_eq!(port($token), $want); })*
        };
    }

    ports! {
        port_number: b"22" => Some(22);
        port_wraps: b"4294967318" => Some(22);
        port_too_large_is_a_name: b"70000" => None;
        port_with_junk_is_a_name: b"22x" => None;
        port_after_vertical_tab: b"\x0b22" => Some(22);
    }
}
