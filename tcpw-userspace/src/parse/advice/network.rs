//! Findings on `net/mask`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Code, Finding, NEVER, quote, shown};
use crate::parse::{list::split_at, number};

/// IPv4 network.
pub(super) fn net_v4(token: &[u8], net: Ipv4Addr, mask: Ipv4Addr) -> Option<Finding> {
    let (net_text, mask_text) = token.split_at(split_at(token, b'/')?);
    let mask_text = &mask_text[1..];
    let ones = mask.to_bits().leading_ones();
    let is_prefix = mask.to_bits().count_ones() == ones;
    let with_mask = |net: Ipv4Addr| {
        let net = Ipv4Addr::from_bits(net.to_bits() & mask.to_bits());
        if is_prefix && ones > 0 { format!("{net}/{ones}") } else { format!("{net}/{mask}") }
    };
    if net_text.contains(&b'x') || net_text.contains(&b'X') {
        let message = format!("{} is the network {net}: 0x makes a part hexadecimal", quote(token));
        let finding = Finding::new(Code::W040, message, "decimal parts", "it matches that network");
        return Some(finding.replace(with_mask(net)));
    }
    if let Some(decimal) = decimal_parts(net_text)
        && decimal != net
    {
        let message = format!("{} is the network {net}: a leading 0 makes a part octal", quote(token));
        let expected = "decimal parts without leading zeros";
        let finding = Finding::new(Code::W040, message, expected, "it matches another network");
        return Some(finding.replace(with_mask(decimal)));
    }
    if !is_prefix {
        return Some(holes(token, net, mask));
    }
    if net.to_bits() & !mask.to_bits() != 0 {
        let message = format!("host bits set in {}", quote(token));
        let finding = Finding::new(Code::W041, message, "a network whose bits behind the mask are 0", NEVER);
        return Some(finding.replace(with_mask(net)));
    }
    let is_plain = mask_text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        && !mask_text.starts_with(b"0.")
        && mask_text.last() != Some(&b'.');
    (!is_plain && mask != Ipv4Addr::UNSPECIFIED).then(|| junk(mask_text, &mask).replace(with_mask(net)))
}

fn junk(mask: &[u8], read_as: &dyn std::fmt::Display) -> Finding {
    let message = format!("mask {} is read as {read_as}", quote(mask));
    Finding::new(Code::W042, message, "a number, or a dotted mask", "what follows the number is ignored")
}

/// A mask that is no prefix.
fn holes(token: &[u8], net: Ipv4Addr, mask: Ipv4Addr) -> Finding {
    let has_other_bits = net.to_bits() & !mask.to_bits() != 0;
    let finding = Finding::new(
        Code::W059,
        format!("the mask of {} has holes", quote(token)),
        "a mask of ones, then zeros",
        if has_other_bits {
            NEVER
        } else {
            "it matches every address that has the network's bits where the mask has ones"
        },
    );
    let inverse = !mask.to_bits();
    let ones = inverse.leading_ones();
    if inverse.count_ones() != ones || ones == 0 {
        return finding;
    }
    finding.replace(format!("{}/{ones}", Ipv4Addr::from_bits(net.to_bits() & inverse)))
}

/// The parts of a dotted quad read as decimal numbers.
pub(super) fn decimal_parts(text: &[u8]) -> Option<Ipv4Addr> {
    let mut parts = std::str::from_utf8(text).ok()?.split('.').map(|part| part.parse::<u8>().ok());
    let quad = [parts.next()??, parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(quad.into())
}

/// IPv6 network.
pub(super) fn net_v6(token: &[u8], net: Ipv6Addr, prefix_bits: u8) -> Option<Finding> {
    let length = &token[split_at(token, b'/')? + 1..];
    let with_length = |bits: u8| {
        let net =
            Ipv6Addr::from_bits(net.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0));
        format!("[{net}]/{bits}")
    };
    if !length.iter().any(u8::is_ascii_digit) || length.first().is_some_and(u8::is_ascii_alphabetic) {
        let message =
            format!("no length in {}: write it, such as /64, or no slash for one address", quote(token));
        let finding =
            Finding::new(Code::W043, message, "a length from 0 to 128", "it matches every IPv6 client");
        let is_host = net.to_bits() & u128::from(u64::MAX) != 0;
        return Some(if is_host {
            finding.replace(format!("[{net}]"))
        } else {
            finding.advise(format!("write the length of the network, such as {}", with_length(64)))
        });
    }
    if let Some(mapped) = net.to_ipv4_mapped().filter(|_| prefix_bits >= 96) {
        let message = format!("{} is a network of mapped IPv4 addresses", quote(token));
        let expected = "the IPv4 network: such clients are judged as IPv4";
        let finding = Finding::new(Code::W044, message, expected, NEVER);
        let bits = prefix_bits - 96;
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        let v4 = Ipv4Addr::from_bits(mapped.to_bits() & mask);
        return Some(finding.replace(match bits {
            0 => "0.0.0.0/0.0.0.0".to_owned(),
            bits => format!("{v4}/{bits}"),
        }));
    }
    if prefix_bits == 0 && !net.is_unspecified() {
        let message = format!("{} has the length 0", quote(token));
        let expected = "the length of the network";
        let finding = Finding::new(Code::W109, message, expected, "it matches every IPv6 client");
        return Some(finding.replace(format!("[{net}]")));
    }
    if !length.iter().all(u8::is_ascii_digit) {
        return Some(junk(length, &prefix_bits).replace(with_length(prefix_bits)));
    }
    let fixed = with_length(prefix_bits);
    (!fixed.starts_with(&format!("[{net}]"))).then(|| {
        let message = format!("host bits set in {}", quote(token));
        Finding::new(Code::H045, message, "a network", "they are ignored").replace(fixed)
    })
}

/// A token with a slash that is no network.
pub(super) fn never(token: &[u8]) -> Option<Finding> {
    let (net, mask) = token.split_at(split_at(token, b'/')?);
    let mask = &mask[1..];
    let finding = |code, what: &str, expected: &'static str| {
        Finding::new(code, format!("{what} in {}", quote(token)), expected, NEVER)
    };
    if let [b'[', inner @ .., b']'] = net {
        if let Some((_, Some(zone))) = number::ipv6(inner) {
            return Some(no_interface(token, zone));
        }
        if number::ipv6(inner).is_some() {
            return Some(finding(Code::W046, "bad length", "a length from 0 to 128"));
        }
        let bad = finding(Code::W047, "no IPv6 address", "an IPv6 address in the brackets");
        return Some(match (decimal_parts(inner), number::mask_v4(mask)) {
            (Some(net), Some(mask)) => {
                let bits = mask.to_bits().leading_ones();
                bad.replace(format!("{}/{bits}", Ipv4Addr::from_bits(net.to_bits() & mask.to_bits())))
            }
            _ => bad,
        });
    }
    if let Some((address, _)) = number::ipv6(net) {
        let bare = finding(Code::W048, "IPv6 network without brackets", "brackets around the address");
        let bits = shown(mask).parse::<u8>().ok().filter(|bits| (1..=128).contains(bits));
        return Some(match bits {
            Some(bits) => {
                let net = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - u32::from(bits))));
                bare.replace(format!("[{net}]/{bits}"))
            }
            None => bare,
        });
    }
    match number::dot_quad(net) {
        Some(address) => Some(bad_mask(token, address, mask)),
        None => Some(no_network(token, net, mask)),
    }
}

/// `10.1/16`: some parts are missing, or are no numbers.
fn no_network(token: &[u8], net: &[u8], mask: &[u8]) -> Finding {
    let message = format!("no network in {}", quote(token));
    let bad = Finding::new(Code::W049, message, "an IPv4 network of four parts, or [IPv6]/length", NEVER);
    let net = shown(net);
    let parts: Vec<_> = net.split('.').filter(|part| !part.is_empty()).collect();
    let padded = [parts.as_slice(), &["0"; 3]].concat();
    let guess: Option<Ipv4Addr> = padded.get(..4).and_then(|parts| parts.join(".").parse().ok());
    let bits = number::mask_v4(mask).map(|mask| mask.to_bits().leading_ones());
    match (guess, bits) {
        (Some(guess), Some(bits)) if parts.len() < 4 && bits > 0 => {
            let net = Ipv4Addr::from_bits(guess.to_bits() & (u32::MAX << (32 - bits)));
            bad.replace(format!("{net}/{bits}"))
        }
        _ if net.eq_ignore_ascii_case("ALL") => bad.replace("ALL"),
        // "0/0"
        _ if mask == b"0" && parts.iter().all(|part| *part == "0") && !parts.is_empty() => bad.replace("ALL"),
        _ => bad,
    }
}

fn bad_mask(token: &[u8], address: Ipv4Addr, mask: &[u8]) -> Finding {
    let message = format!("bad mask in {}", quote(token));
    let expected = "1 to 32, or a dotted mask other than 255.255.255.255";
    let bad = Finding::new(Code::W050, message, expected, NEVER);
    match mask {
        b"255.255.255.255" | b"" => bad.replace(address.to_string()),
        b"0" | b"00" if address.is_unspecified() => bad.replace("ALL"),
        b"0" => bad,
        _ => bad,
    }
}

/// A zone that is no interface.
pub(super) fn no_interface(token: &[u8], zone: &[u8]) -> Finding {
    let message = format!("no interface {} for {}", quote(zone), quote(token));
    let expected = "an interface of this host, or no zone: it is not compared";
    let plain = token.iter().position(|byte| *byte == b'%').unwrap_or_default();
    let behind = token.iter().position(|byte| *byte == b']').unwrap_or(token.len());
    Finding::new(Code::W058, message, expected, NEVER).replace([&token[..plain], &token[behind..]].concat())
}
