//! Findings on a host pattern.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    Code, Finding, NEVER, Side, brackets::stuck, name, network, placeholder::placeholder, quote, range, shown,
};
use crate::parse::{
    number, numeric_host,
    rule::{HostPattern, TextPattern},
};

/// Finding on a host pattern.
pub(super) fn host(token: &[u8], pattern: &HostPattern, side: Side) -> Option<Finding> {
    let is_word = !matches!(pattern, HostPattern::File(_) | HostPattern::Netgroup(_));
    let is_group = matches!(pattern, HostPattern::Netgroup(_));
    if let Some(finding) = placeholder(token).filter(|_| is_word || is_group) {
        return Some(finding);
    }
    if let Some(finding) = stuck(token).filter(|_| is_word) {
        return Some(finding);
    }
    match pattern {
        HostPattern::File(_) => None,
        HostPattern::Netgroup(_) => Some(Finding::new(
            Code::H033,
            format!("{} needs the {}'s name and the netgroup database", quote(token), side.end),
            "",
            "libwrap looks both up; so does tcpw, where the verdict depends on it",
        )),
        HostPattern::Known => Some(name::known(side)),
        HostPattern::Local => Some(name::local(side)),
        HostPattern::NetV4 { net, mask } => network::net_v4(token, *net, *mask),
        HostPattern::NetV6 { net, prefix_bits } => network::net_v6(token, *net, *prefix_bits),
        HostPattern::Never => network::never(token),
        HostPattern::Text { pattern, numeric: true } => numeric(token, pattern),
        HostPattern::Text { pattern, numeric: false } => text(token, pattern, side),
    }
}

/// A token of digits, dots and slashes.
fn numeric(token: &[u8], pattern: &TextPattern) -> Option<Finding> {
    let message = |what: &str| format!("{} {what}", quote(token));
    match pattern {
        TextPattern::Suffix(_) => Some(Finding::new(
            Code::W051,
            message("begins with a dot"),
            "the first parts of an address and a dot, such as \"10.1.\"",
            "it matches the addresses that end so",
        )),
        TextPattern::Prefix(_) => prefix(token),
        TextPattern::Exact(exact) => exact_numeric(token, exact),
        TextPattern::Glob(_) | TextPattern::All | TextPattern::Known | TextPattern::Bracketed(_) => None,
    }
}

/// `10.1.`
fn prefix(token: &[u8]) -> Option<Finding> {
    let text = std::str::from_utf8(token).ok()?;
    let message = |what: &str| format!("{} {what}", quote(token));
    let parts: Vec<&str> = text.strip_suffix('.')?.split('.').collect();
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
        let finding =
            Finding::new(Code::W052, message("is no address prefix"), "at most three parts and a dot", NEVER);
        let address = text.trim_end_matches('.').parse::<Ipv4Addr>();
        return Some(match address {
            Ok(address) => finding.replace(address.to_string()),
            Err(_) => finding,
        });
    }
    if parts.iter().any(|part| part.trim_start_matches('0').parse::<u8>().is_err() && !is_zero(part)) {
        return Some(too_large(token));
    }
    let plain: Vec<&str> =
        parts.iter().map(|part| if is_zero(part) { "0" } else { part.trim_start_matches('0') }).collect();
    (plain != parts).then(|| {
        let expected = "parts without leading zeros: an address is compared as text";
        let finding = Finding::new(Code::W111, message("has a leading zero"), expected, NEVER);
        finding.replace(format!("{}.", plain.join(".")))
    })
}

fn is_zero(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte == b'0')
}

fn too_large(token: &[u8]) -> Finding {
    let message = format!("{} has a part above 255", quote(token));
    Finding::new(Code::W110, message, "parts from 0 to 255", NEVER)
}

/// An address, or what is none.
fn exact_numeric(token: &[u8], exact: &[u8]) -> Option<Finding> {
    let text = std::str::from_utf8(exact).ok()?;
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return nobody(token, address).or_else(|| network_alone(token, address));
    }
    if text.contains("..") && text.split("..").next().is_some_and(|first| first.parse::<Ipv4Addr>().is_ok()) {
        return range_or_any(token);
    }
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() == 4
        && parts.iter().all(|part| !part.is_empty())
        && network::decimal_parts(exact).is_none()
    {
        return Some(too_large(token));
    }
    let finding = Finding::new(
        Code::W053,
        format!("{} is no IPv4 address", quote(token)),
        "four decimal parts, or a prefix that ends in a dot",
        NEVER,
    );
    let is_prefix = parts.len() < 4 && parts.iter().all(|part| part.parse::<u8>().is_ok());
    Some(match network::decimal_parts(exact) {
        Some(address) => finding.replace(address.to_string()),
        // A number alone may be anything: a port, a mask's length.
        None if is_prefix && parts.len() > 1 => finding.replace(format!("{text}.")),
        None => finding,
    })
}

/// `192.0.2.0`: no host has such an address in most networks.
fn network_alone(token: &[u8], address: Ipv4Addr) -> Option<Finding> {
    (address.octets()[3] == 0).then(|| {
        let message = format!("{} is a network's address without its length", quote(token));
        let expected = "the network with its length, such as 192.0.2.0/24";
        Finding::new(Code::W154, message, expected, "only this one address matches, not the network")
    })
}

fn nobody(token: &[u8], address: Ipv4Addr) -> Option<Finding> {
    let finding = Finding::new(
        Code::W119,
        format!("no client has the address {}", quote(token)),
        "an address of a client, or ALL for every one",
        NEVER,
    );
    match address {
        Ipv4Addr::UNSPECIFIED => Some(finding.replace("ALL")),
        Ipv4Addr::BROADCAST => Some(finding),
        _ => None,
    }
}

/// Any other token without a slash.
fn text(token: &[u8], pattern: &TextPattern, side: Side) -> Option<Finding> {
    match pattern {
        TextPattern::All => None,
        TextPattern::Known => Some(name::known(side)),
        TextPattern::Bracketed(Some(address)) => address.to_ipv4_mapped().map(|mapped| {
            let message = format!("{} is a mapped IPv4 address", quote(token));
            let expected = "the IPv4 address: such clients are judged as IPv4";
            Finding::new(Code::W054, message, expected, NEVER).replace(mapped.to_string())
        }),
        TextPattern::Bracketed(None) => Some(bracketed(token)),
        TextPattern::Glob(glob) => glob_of(token, glob, side),
        TextPattern::Exact(exact) if exact.contains(&b':') => exact_ipv6(token),
        TextPattern::Suffix(_) | TextPattern::Prefix(_) | TextPattern::Exact(_) => {
            range_or_any(token).or_else(|| Some(name::name(token, pattern, side)))
        }
    }
}

/// What a glob of addresses leads to.
const GLOB: &str = "the owner of an address chooses its name in reverse DNS: it also matches every client whose name fits this pattern";

/// `fe80*`: the first digits of IPv6 addresses; the network, if a whole group is there.
fn hexadecimal(glob: &[u8]) -> Option<String> {
    let head = glob.strip_suffix(b"*")?;
    let is_group = (2..=4).contains(&head.len()) && head.iter().all(u8::is_ascii_hexdigit);
    let value = u16::from_str_radix(std::str::from_utf8(head).ok()?, 16).ok().filter(|_| is_group)?;
    let first = value.checked_shl(u32::try_from(16 - 4 * head.len()).ok()?)?;
    // Those that hosts have.
    if !matches!(first, 0x2000..=0x3fff | 0xfc00..=0xffff)
        || head.iter().all(u8::is_ascii_digit) && head.len() < 4
    {
        return None;
    }
    Some(if head.len() == 4 { format!("[{value:x}::]/16") } else { String::new() })
}

/// A glob of addresses that a name may fit.
fn glob_of_addresses(token: &[u8], expected: &'static str, side: Side) -> Finding {
    let message = format!("{} is also matched against the {}'s host name", quote(token), side.end);
    Finding::new(Code::W056, message, expected, GLOB)
}

fn glob_of(token: &[u8], glob: &[u8], side: Side) -> Option<Finding> {
    if glob == b"*" && side.end == "client" {
        let message = "\"*\" is ALL: every client matches it";
        let consequence = "every client matches it, with and without a name";
        return Some(Finding::new(Code::H174, message, "ALL", consequence).replace("ALL"));
    }
    if glob.iter().all(|byte| *byte == b'*') {
        return None;
    }
    if glob.iter().any(|byte| matches!(byte, b'[' | b']')) {
        let message = format!("{} is a glob, as it has \"*\" or \"?\"", quote(token));
        let expected = "[network]/length";
        return Some(Finding::new(Code::W117, message, expected, NEVER));
    }
    if let Some(network) = hexadecimal(glob) {
        let finding = glob_of_addresses(token, "a network, such as [fe80::]/10", side);
        return Some(if network.is_empty() { finding } else { finding.replace(network) });
    }
    if !glob.iter().all(|byte| b"0123456789.*?".contains(byte)) {
        return Some(name::glob(token, glob, side));
    }
    let finding = glob_of_addresses(token, "a prefix such as \"10.1.\", or a network", side);
    let mut head = glob;
    while let Some(shorter) = head.strip_suffix(b".*") {
        head = shorter;
    }
    let parts = head.split(|byte| *byte == b'.');
    let is_prefix = head.len() < glob.len()
        && head.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        && parts.count() < 4;
    let prefix = [head, b"."].concat();
    Some(if is_prefix && self::prefix(&prefix).is_none() { finding.replace(prefix) } else { finding })
}

/// `10.1.2.3-10.1.2.9`, `10.1.x.x`.
fn range_or_any(token: &[u8]) -> Option<Finding> {
    let is_any = |byte: &u8| matches!(byte, b'x' | b'X');
    let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let is_range = token.first()?.is_ascii_digit()
        && token.iter().all(|byte| is_digit(byte) || is_any(byte) || *byte == b'-')
        && token.contains(&b'.');
    if !is_range {
        return None;
    }
    let finding = Finding::new(
        Code::W112,
        format!("{} is taken for a host's name: there are no ranges", quote(token)),
        "prefixes such as \"10.1.\", or networks",
        NEVER,
    );
    let text = std::str::from_utf8(token).ok()?;
    if let Some((first, last)) = text.split_once('-').or_else(|| text.split_once("..")) {
        let Ok(first) = first.parse::<Ipv4Addr>() else { return Some(finding) };
        let last = last.trim_start_matches('.');
        // "192.0.2.1-9": the last part alone.
        let last = match last.parse::<u8>() {
            Ok(part) => {
                let [a, b, c, _] = first.octets();
                Ok(Ipv4Addr::new(a, b, c, part))
            }
            Err(_) => last.parse(),
        };
        let networks = last.ok().and_then(|last| range::networks(first, last)).flatten();
        return Some(match networks {
            Some(networks) => finding.replace(networks),
            None => finding,
        });
    }
    let head = token.iter().position(is_any).map(|at| &token[..at]);
    let is_tail = |head: &[u8]| token[head.len()..].iter().all(|byte| is_any(byte) || *byte == b'.');
    Some(match head {
        Some(head) if head.ends_with(b".") && is_tail(head) && prefix(head).is_none() => {
            finding.replace(head)
        }
        _ => finding,
    })
}

/// `[...]` that is no address.
fn bracketed(token: &[u8]) -> Finding {
    let inner = &token[1..token.len() - 1];
    if let Some((_, Some(zone))) = number::ipv6(inner) {
        return network::no_interface(token, zone);
    }
    let message = format!("{} is no IPv6 address", quote(token));
    let finding = Finding::new(Code::W055, message, "[address] or [network]/length", NEVER);
    if let Some(at) = inner.iter().position(|byte| *byte == b'/')
        && number::ipv6(&inner[..at]).is_some()
    {
        let (net, length) = (shown(&inner[..at]), shown(&inner[at + 1..]));
        return finding.replace(format!("[{net}]/{length}"));
    }
    // IPv4 has no brackets.
    let is_v4 = match inner.iter().position(|byte| *byte == b'/') {
        Some(at) => {
            network::decimal_parts(&inner[..at]).is_some() && number::mask_v4(&inner[at + 1..]).is_some()
        }
        None => network::decimal_parts(inner).is_some(),
    };
    if is_v4 { finding.replace(inner) } else { finding }
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
        let finding = Finding::new(Code::W057, message, "brackets: then addresses are compared", NEVER);
        finding.replace(match address.to_ipv4_mapped() {
            Some(_) => spelt,
            None => format!("[{address}]"),
        })
    })
}
