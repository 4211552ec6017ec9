//! Findings on one token.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Finding, quote, shown};
use crate::{
    evaluate::numeric_host,
    parse::{
        list::split_at,
        number,
        pattern::split_end,
        rule::{ClientPattern, Daemon, DaemonPattern, HostPattern, TextPattern},
    },
};

/// Finding on a token of a daemon list.
pub(in crate::parse) fn daemon(token: &[u8], pattern: &DaemonPattern) -> Option<Finding> {
    if pattern.daemon == Daemon::Never {
        let name = token.strip_suffix(b"@").unwrap_or(token);
        let finding = Finding::new(
            "W030",
            format!("nothing after the \"@\" of {}", quote(token)),
            "a server address",
            NEVER,
        );
        return Some(finding.fix(shown(name)));
    }
    let (name, right) = split_end(token);
    if let (Some(right), Some(server)) = (right, &pattern.server)
        && let Some(finding) = host(right, server, "server")
    {
        return Some(finding);
    }
    let is_literal = matches!(name, [b'@' | b'/', _, ..]) && matches!(pattern.daemon, Daemon::Name(_));
    is_literal.then(|| {
        let message = format!("{} is taken as a daemon's name", quote(name));
        Finding::new("W031", message, "a daemon's name: neither files nor netgroups are read here", NEVER)
    })
}

/// Finding on a token of a client list.
pub(in crate::parse) fn client(token: &[u8], pattern: &ClientPattern) -> Option<Finding> {
    let (user, right) = split_end(token);
    if right == Some(b"") {
        let message = format!("nothing after the \"@\" of {}", quote(token));
        let finding = Finding::new("W030", message, "a client's host or address", NEVER);
        return Some(finding.fix(format!("{}@ALL", shown(user))));
    }
    if let Some(finding) = host(right.unwrap_or(token), &pattern.host, "client") {
        return Some(finding);
    }
    let user_pattern = pattern.user.as_ref()?;
    (*user_pattern != TextPattern::All).then(|| {
        let message = format!("{} needs the client's user name (RFC 1413)", quote(token));
        Finding::new("H032", message, "", "not asked for yet: every user is judged as unknown")
    })
}

const NEVER: &str = "it never matches";

/// Finding on a host pattern.
pub(super) fn host(token: &[u8], pattern: &HostPattern, whose: &str) -> Option<Finding> {
    match pattern {
        HostPattern::File(_) => None,
        HostPattern::Netgroup(_) => Some(Finding::new(
            "H033",
            format!("{} needs the {whose}'s name and the netgroup database", quote(token)),
            "",
            "not looked up yet: nobody is a member",
        )),
        HostPattern::Known | HostPattern::Local => Some(needs_name(token, whose)),
        HostPattern::NetV4 { net, mask } => net_v4(token, *net, *mask),
        HostPattern::NetV6 { net, prefix_bits } => net_v6(token, *net, *prefix_bits),
        HostPattern::Never => never(token),
        HostPattern::Text { pattern, numeric: true } => numeric(token, pattern),
        HostPattern::Text { pattern, numeric: false } => text(token, pattern, whose),
    }
}

fn needs_name(token: &[u8], whose: &str) -> Finding {
    let message = format!("{} needs the {whose}'s host name", quote(token));
    let consequence = "names are not looked up yet: every name is judged as unknown";
    Finding::new("H034", message, "", consequence)
}

fn net_v4(token: &[u8], net: Ipv4Addr, mask: Ipv4Addr) -> Option<Finding> {
    let (net_text, mask_text) = token.split_at(split_at(token, b'/')?);
    let mask_text = &mask_text[1..];
    let ones = mask.to_bits().leading_ones();
    let is_prefix = mask.to_bits().count_ones() == ones && ones > 0;
    let length = |net: Ipv4Addr| if is_prefix { format!("{net}/{ones}") } else { format!("{net}/{mask}") };
    if let Some(decimal) = decimal_parts(net_text)
        && decimal != net
    {
        let message = format!("{} is the network {net}: a leading 0 makes a part octal", quote(token));
        let finding = Finding::new(
            "W040",
            message,
            "decimal parts without leading zeros",
            "it matches another network",
        );
        return Some(finding.fix(length(decimal)));
    }
    let masked = Ipv4Addr::from_bits(net.to_bits() & mask.to_bits());
    if masked != net {
        let message = format!("host bits set in {}", quote(token));
        let finding = Finding::new("W041", message, "a network whose bits behind the mask are 0", NEVER);
        return Some(finding.fix(length(masked)));
    }
    let is_plain = mask_text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        && !mask_text.starts_with(b"0.")
        && mask_text.last() != Some(&b'.');
    (!is_plain && mask != Ipv4Addr::UNSPECIFIED).then(|| {
        let message = format!("mask {} is read as {mask}", quote(mask_text));
        Finding::new("W042", message, "1 to 32, or a dotted mask", "what follows the number is ignored")
            .fix(length(net))
    })
}

/// The parts of a dotted quad read as decimal numbers.
fn decimal_parts(text: &[u8]) -> Option<Ipv4Addr> {
    let mut parts = std::str::from_utf8(text).ok()?.split('.').map(|part| part.parse::<u8>().ok());
    let quad = [parts.next()??, parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(quad.into())
}

fn net_v6(token: &[u8], net: Ipv6Addr, prefix_bits: u8) -> Option<Finding> {
    let length = &token[split_at(token, b'/')? + 1..];
    let masked = Ipv6Addr::from_bits(net.to_bits() & prefix_mask(prefix_bits));
    if !length.iter().any(u8::is_ascii_digit) || length.first().is_some_and(u8::is_ascii_alphabetic) {
        let message = format!("no length in {}", quote(token));
        let finding = Finding::new("W043", message, "a length from 0 to 128", "it matches every IPv6 client");
        return Some(finding.fix(format!("[{net}]/128")));
    }
    if let Some(mapped) = net.to_ipv4_mapped().filter(|_| prefix_bits >= 96) {
        let message = format!("{} is a network of mapped IPv4 addresses", quote(token));
        let finding =
            Finding::new("W044", message, "the IPv4 network: such clients are judged as IPv4", NEVER);
        let bits = prefix_bits - 96;
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        let v4 = Ipv4Addr::from_bits(mapped.to_bits() & mask);
        let fix = if bits == 0 { format!("{v4}/0.0.0.0") } else { format!("{v4}/{bits}") };
        return Some(finding.fix(fix));
    }
    (masked != net).then(|| {
        let message = format!("host bits set in {}", quote(token));
        Finding::new("H045", message, "a network", "they are ignored")
            .fix(format!("[{masked}]/{prefix_bits}"))
    })
}

fn prefix_mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// A token with a slash that is no network.
fn never(token: &[u8]) -> Option<Finding> {
    let (net, mask) = token.split_at(split_at(token, b'/')?);
    let mask = &mask[1..];
    let net_shown = shown(net);
    let finding = |code, what: &str, expected| {
        Finding::new(code, format!("{what} in {}", quote(token)), expected, NEVER)
    };
    if let [b'[', inner @ .., b']'] = net {
        if let Some((_, Some(zone))) = number::ipv6(inner) {
            return Some(no_interface(token, zone));
        }
        if number::ipv6(inner).is_some() {
            return Some(finding("W046", "bad length", "a length from 0 to 128"));
        }
        let bad = finding("W047", "no IPv6 address", "an IPv6 address in the brackets");
        let v4 = decimal_parts(inner).is_some();
        let fix = format!("{}/{}", shown(inner), shown(mask));
        return Some(if v4 { bad.fix(fix) } else { bad });
    }
    if number::ipv6(net).is_some() {
        let bare = finding("W048", "IPv6 network without brackets", "brackets around the address");
        return Some(bare.fix(format!("[{net_shown}]/{}", shown(mask))));
    }
    let Some(address) = number::dot_quad(net) else {
        let bad = finding("W049", "no network", "an IPv4 network of four parts, or [IPv6]/length");
        let parts: Vec<_> = net_shown.split('.').filter(|part| !part.is_empty()).collect();
        let padded = [parts.as_slice(), &["0"; 3]].concat();
        let guess: Option<Ipv4Addr> = padded.get(..4).and_then(|parts| parts.join(".").parse().ok());
        return Some(match guess.filter(|_| parts.len() < 4 && number::mask_v4(mask).is_some()) {
            Some(guess) => bad.fix(format!("{guess}/{}", shown(mask))),
            None => bad,
        });
    };
    let bad = finding("W050", "bad mask", "1 to 32, or a dotted mask other than 255.255.255.255");
    Some(match mask {
        b"255.255.255.255" => bad.fix(address.to_string()),
        b"0" if address.is_unspecified() => bad.fix("0.0.0.0/0.0.0.0"),
        b"0" => bad.fix(format!("{address}/32")),
        _ => bad,
    })
}

/// A token of digits, dots and slashes.
fn numeric(token: &[u8], pattern: &TextPattern) -> Option<Finding> {
    let dots = token.iter().filter(|byte| **byte == b'.').count();
    let message = |what: &str| format!("{} {what}", quote(token));
    match pattern {
        TextPattern::Suffix(_) => Some(Finding::new(
            "W051",
            message("begins with a dot"),
            "the first parts of an address and a dot, such as \"10.1.\"",
            "it matches the addresses that end so",
        )),
        TextPattern::Prefix(_) if dots > 3 => {
            let finding =
                Finding::new("W052", message("is no address prefix"), "at most three parts and a dot", NEVER);
            Some(finding.fix(shown(&token[..token.len() - 1])))
        }
        TextPattern::Exact(exact) => {
            let strict = std::str::from_utf8(exact).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
            if strict.is_some() {
                return None;
            }
            let finding = Finding::new(
                "W053",
                message("is no IPv4 address"),
                "four decimal parts, or a prefix that ends in a dot",
                NEVER,
            );
            Some(match decimal_parts(exact) {
                Some(address) => finding.fix(address.to_string()),
                None if dots < 3 => finding.fix(format!("{}.", shown(token))),
                None => finding,
            })
        }
        TextPattern::Prefix(_)
        | TextPattern::Glob(_)
        | TextPattern::All
        | TextPattern::Known
        | TextPattern::Bracketed(_) => None,
    }
}

/// Any other token without a slash.
fn text(token: &[u8], pattern: &TextPattern, whose: &str) -> Option<Finding> {
    match pattern {
        TextPattern::All => None,
        TextPattern::Known => Some(needs_name(token, whose)),
        TextPattern::Bracketed(Some(address)) => address.to_ipv4_mapped().map(|mapped| {
            let message = format!("{} is a mapped IPv4 address", quote(token));
            Finding::new("W054", message, "the IPv4 address: such clients are judged as IPv4", NEVER)
                .fix(mapped.to_string())
        }),
        TextPattern::Bracketed(None) => Some(bracketed(token)),
        TextPattern::Glob(glob) if glob.iter().all(|byte| b"0123456789.*?".contains(byte)) => {
            let hint = Finding::new(
                "H056",
                format!("{} is also matched against the {whose}'s host name", quote(token)),
                "",
                "whoever rules his reverse DNS can choose a name that matches",
            );
            let prefix = glob
                .strip_suffix(b"*")
                .filter(|head| head.ends_with(b".") && !head.iter().any(|b| b"*?".contains(b)));
            if glob.iter().all(|byte| *byte == b'*') {
                return None;
            }
            Some(match prefix {
                Some(prefix) => hint.fix(shown(prefix)),
                None => hint,
            })
        }
        TextPattern::Exact(exact) if exact.contains(&b':') => exact_ipv6(token),
        TextPattern::Glob(_) | TextPattern::Suffix(_) | TextPattern::Prefix(_) | TextPattern::Exact(_) => {
            Some(needs_name(token, whose))
        }
    }
}

/// `[...]` that is no address.
fn bracketed(token: &[u8]) -> Finding {
    let inner = &token[1..token.len() - 1];
    if let Some((_, Some(zone))) = number::ipv6(inner) {
        return no_interface(token, zone);
    }
    let finding = Finding::new(
        "W055",
        format!("{} is no IPv6 address", quote(token)),
        "[address] or [network]/length",
        NEVER,
    );
    if let Some(at) = inner.iter().position(|byte| *byte == b'/')
        && number::ipv6(&inner[..at]).is_some()
    {
        let (net, length) = (shown(&inner[..at]), shown(&inner[at + 1..]));
        return finding.fix(format!("[{net}]/{length}"));
    }
    match decimal_parts(inner) {
        Some(address) => finding.fix(address.to_string()),
        None => finding,
    }
}

fn no_interface(token: &[u8], zone: &[u8]) -> Finding {
    let message = format!("no interface {} for {}", quote(zone), quote(token));
    Finding::new("W058", message, "an interface of this host, or no zone: it is not compared", NEVER)
}

/// An address with colons as text, which only a pattern file can hold.
fn exact_ipv6(token: &[u8]) -> Option<Finding> {
    let address: Ipv6Addr = std::str::from_utf8(token).ok()?.parse().ok()?;
    let spelt = match address.to_ipv4_mapped() {
        Some(mapped) => mapped.to_string(),
        None => numeric_host(address.into()),
    };
    (!token.eq_ignore_ascii_case(spelt.as_bytes())).then(|| {
        let message = format!("{} is compared as text with {spelt:?}", quote(token));
        Finding::new("W057", message, "brackets: then addresses are compared", NEVER).fix(
            match address.to_ipv4_mapped() {
                Some(_) => spelt,
                None => format!("[{address}]"),
            },
        )
    })
}
