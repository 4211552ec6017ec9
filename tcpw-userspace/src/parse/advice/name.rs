//! Findings on patterns of host names, and what they cost.

use std::net::Ipv4Addr;

use super::{Code, Finding, NEVER, Side, quote};
use crate::parse::rule::{TableKind, TextPattern};

/// What every look-up costs.
const COST: &str = "libwrap looks up the name of each address that reaches this rule, and the addresses of that name, and waits; \
                    so does tcpw, where the verdict depends on it";

/// Longest name libwrap keeps. Source: tcp_wrappers 7.6.q `tcpd.h`, STRING_LENGTH.
const LONGEST: usize = 127;

/// A pattern that is no glob.
pub(super) fn name(token: &[u8], pattern: &TextPattern, side: Side) -> Finding {
    if token.eq_ignore_ascii_case(b"UNKNOWN") {
        return unknown(side);
    }
    if token.eq_ignore_ascii_case(b"PARANOID") {
        return paranoid(side);
    }
    if let Some(finding) = impossible(token) {
        return finding;
    }
    let is_prefix = token.ends_with(b".");
    let name = token.strip_suffix(b".").unwrap_or(token);
    if is_prefix && name.contains(&b'.') {
        let message = format!("{} ends in a dot", quote(token));
        let expected = "a name without a dot at its end";
        let consequence = if matches!(pattern, TextPattern::Suffix(_)) {
            NEVER
        } else {
            "it matches the names that begin so, such as the same name within another domain"
        };
        return Finding::new(Code::W113, message, expected, consequence).replace(name);
    }
    if is_prefix {
        return anybody(token);
    }
    let is_short = matches!(pattern, TextPattern::Exact(_)) && !token.contains(&b'.');
    if is_short && !token.eq_ignore_ascii_case(b"localhost") {
        let message = format!("{} is a name without a domain", quote(token));
        let expected = "the full name that a reverse look-up gives";
        return Finding::new(Code::H114, message, expected, COST);
    }
    needs_name(token, side)
}

/// A glob that is not about addresses.
pub(super) fn glob(token: &[u8], glob: &[u8], side: Side) -> Finding {
    if let Some(finding) = impossible(token) {
        return finding;
    }
    let has_free_end = glob.ends_with(b"*") && glob.iter().any(u8::is_ascii_alphabetic);
    if has_free_end && !glob.contains(&b':') { anybody(token) } else { needs_name(token, side) }
}

fn needs_name(token: &[u8], side: Side) -> Finding {
    Finding::new(Code::H034, format!("{} needs the {}'s host name", quote(token), side.end), "", COST)
        .advise("nothing is wrong; to wait for no look-up, write addresses, such as 192.0.2.0/24")
}

fn anybody(token: &[u8]) -> Finding {
    Finding::new(
        Code::W118,
        format!("{} is the beginning of a name", quote(token)),
        "the end of a name, such as \".example.com\"",
        "the owner of any domain can give its own client a name that begins so",
    )
}

/// A pattern that no verified host name can match.
fn impossible(token: &[u8]) -> Option<Finding> {
    let why = if token.len() > LONGEST {
        "it is longer than 127 bytes, where libwrap cuts a name"
    } else if token.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-*?:%".contains(byte)) {
        return None;
    } else {
        "a name has letters, digits, \"-\", \"_\" and dots, and the C library drops any other"
    };
    if let Some(network) = other_slash(token) {
        let message = format!("{}: between a network and its length stands \"/\"", quote(token));
        return Some(Finding::new(Code::W115, message, "network/length", NEVER).replace(network));
    }
    let message = format!("{} matches no host name: {why}", quote(token));
    let is_international = std::str::from_utf8(token).is_ok_and(|text| !text.is_ascii());
    let expected =
        if is_international { "the name as DNS has it: xn--..." } else { "a host's name or address" };
    Some(Finding::new(Code::W115, message, expected, NEVER))
}

/// `10.0.0.0\\24`, `10.0.0.0|24`.
fn other_slash(token: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(token).ok()?;
    let (net, length) = text.split_once(['\\', '|'])?;
    let net: Ipv4Addr = net.parse().ok()?;
    let bits: u32 = length.parse().ok().filter(|bits| (1..=31).contains(bits))?;
    Some(format!("{}/{bits}", Ipv4Addr::from_bits(net.to_bits() & (u32::MAX << (32 - bits)))))
}

/// `LOCAL`.
pub(super) fn local(side: Side) -> Finding {
    let message = format!("LOCAL matches if the {}'s name has no dot", side.end);
    let advice = "the network itself, such as 192.0.2.0/24";
    Finding::new(
        Code::H132,
        message,
        "",
        format!("whether a name has a domain is the resolver's choice: {COST}"),
    )
    .advise(advice)
}

/// `KNOWN`.
pub(super) fn known(side: Side) -> Finding {
    let message = format!("KNOWN needs the {}'s host name", side.end);
    Finding::new(Code::H133, message, "", format!("when DNS fails, no client is known: {COST}"))
}

fn paranoid(side: Side) -> Finding {
    let message = format!("PARANOID matches if the {}'s name and address disagree", side.end);
    let consequence = format!(
        "faulty DNS is common: a name that is only an alias, or has no address of the client's family, \
         is PARANOID too; {COST}"
    );
    Finding::new(Code::H134, message, "", consequence)
}

fn unknown(side: Side) -> Finding {
    let message = format!("UNKNOWN matches if the {}'s name is unknown", side.end);
    match side.kind {
        Some(TableKind::Allow) => Finding::new(
            Code::W135,
            message,
            "a pattern of addresses",
            "any client can do without a reverse DNS entry, and is then allowed",
        ),
        Some(TableKind::Deny) | None => Finding::new(Code::H034, message, "", COST),
    }
}
