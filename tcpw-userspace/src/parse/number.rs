//! Numbers and addresses as the C library reads them.
//!
//! Source: glibc 2.36 `resolv/inet_addr.c`, `stdlib/strtol_l.c`, `inet/inet6_scopeid_pton.c`.

use std::net::{Ipv4Addr, Ipv6Addr};

/// isspace(3) in the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// An integer as strtol(3) takes it off the front: sign, magnitude (`None` on
/// overflow of 64 bits) and the rest. `None` if there is no digit.
fn integer(text: &[u8], base: u8) -> Option<(bool, Option<u64>, &[u8])> {
    let start = text.iter().position(|byte| !is_space(*byte))?;
    let text = &text[start..];
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let value = |byte: u8| char::from(byte).to_digit(u32::from(base)).map(u64::from);
    let length = digits.iter().position(|byte| value(*byte).is_none()).unwrap_or(digits.len());
    if length == 0 {
        return None;
    }
    let magnitude = digits[..length]
        .iter()
        .try_fold(0u64, |sum, byte| sum.checked_mul(u64::from(base))?.checked_add(value(*byte)?));
    Some((negative, magnitude, &digits[length..]))
}

/// The low 32 bits, as C's conversion from `long` leaves them.
#[expect(clippy::cast_possible_truncation, reason = "C truncates, so do we")]
fn low_bits(value: u64) -> u32 {
    value as u32
}

fn signed(negative: bool, magnitude: Option<u64>) -> i32 {
    let clamped = match (negative, magnitude.and_then(|value| i64::try_from(value).ok())) {
        (true, Some(value)) => -value,
        (false, Some(value)) => value,
        (true, None) => i64::MIN,
        (false, None) => i64::MAX,
    };
    low_bits(clamped.cast_unsigned()).cast_signed()
}

/// atoi(3): junk behind is ignored, no digits are 0.
pub(crate) fn atoi(text: &[u8]) -> i32 {
    integer(text, 10).map_or(0, |(negative, magnitude, _)| signed(negative, magnitude))
}

/// All of `text` as scanf(3)'s `%d`.
pub(crate) fn scan_signed(text: &[u8]) -> Option<i32> {
    let (negative, magnitude, rest) = integer(text, 10)?;
    rest.is_empty().then(|| signed(negative, magnitude))
}

/// All of `text` as scanf(3)'s `%u` (base 10) or `%o` (base 8).
pub(crate) fn scan_unsigned(text: &[u8], base: u8) -> Option<u32> {
    let (negative, magnitude, rest) = integer(text, base)?;
    let value = match (negative, magnitude) {
        (true, Some(value)) => value.wrapping_neg(),
        (false, Some(value)) => value,
        (_, None) => u64::MAX,
    };
    rest.is_empty().then(|| low_bits(value))
}

/// libwrap's `dot_quad_addr`: inet_addr(3) of a text with four dotted runs.
///
/// Octal and hexadecimal parts count; 255.255.255.255 is the error value.
pub(crate) fn dot_quad(text: &[u8]) -> Option<Ipv4Addr> {
    // Four decimal numbers without a leading zero mean the same to inet_addr(3); the rest is its own.
    if let Some(plain) = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Ipv4Addr>().ok()) {
        return (plain != Ipv4Addr::BROADCAST).then_some(plain);
    }
    let runs = text.split(|byte| *byte == b'.').filter(|run| !run.is_empty()).count();
    let address = if runs == 4 { inet_aton(text)? } else { return None };
    (address != Ipv4Addr::BROADCAST).then_some(address)
}

fn inet_aton(text: &[u8]) -> Option<Ipv4Addr> {
    const LAST_PART_MAX: [u64; 4] = [0xffff_ffff, 0xff_ffff, 0xffff, 0xff];
    let mut rest = text;
    let mut word = 0u32;
    for part in 0..4u32 {
        let (value, behind) = aton_part(rest)?;
        if let [b'.', next @ ..] = behind {
            let byte = u8::try_from(value).ok().filter(|_| part < 3)?;
            word |= u32::from(byte) << (24 - 8 * part);
            rest = next;
            continue;
        }
        if behind.first().is_some_and(|byte| !is_space(*byte)) || value > LAST_PART_MAX[part as usize] {
            return None;
        }
        return Some(Ipv4Addr::from_bits(word | low_bits(value)));
    }
    None
}

/// One part of inet_aton(3): decimal, octal or hexadecimal.
fn aton_part(text: &[u8]) -> Option<(u64, &[u8])> {
    let (base, digits) = match text {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => (16, rest),
        [b'0', ..] => (8, text),
        [b'1'..=b'9', ..] => (10, text),
        _ => return None,
    };
    let (_, magnitude, rest) = integer(digits, base)?;
    magnitude.filter(|value| *value <= 0xffff_ffff).map(|value| (value, rest))
}

/// The mask of a net/mask pattern: dotted, or the number of leading one bits.
pub(crate) fn mask_v4(text: &[u8]) -> Option<Ipv4Addr> {
    dot_quad(text).or_else(|| {
        let bits = u32::try_from(atoi(text)).ok().filter(|bits| (1..=32).contains(bits))?;
        Some(Ipv4Addr::from_bits(u32::MAX << (32 - bits)))
    })
}

/// A numeric IPv6 address and its zone, if any, as getaddrinfo(3) takes them;
/// whether a named zone's interface exists is for the caller to find out.
pub(crate) fn ipv6(text: &[u8]) -> Option<(Ipv6Addr, Option<&[u8]>)> {
    let cut = text.iter().position(|byte| *byte == b'%');
    let address = std::str::from_utf8(&text[..cut.unwrap_or(text.len())]).ok()?.parse().ok()?;
    let zone = match cut {
        None => return Some((address, None)),
        Some(at) => &text[at + 1..],
    };
    let number = || zone.first()?.is_ascii_digit().then(|| integer(zone, 10))?;
    let is_number =
        number().is_some_and(|(_, value, rest)| rest.is_empty() && value.is_some_and(|v| v <= 0xffff_ffff));
    let is_link_local = address.is_unicast_link_local()
        || address.octets()[..2] == [0xff, 0x02]
        || (address.octets()[0] == 0xff && address.octets()[1] & 0x0f == 0x02);
    if is_number {
        return Some((address, None));
    }
    let is_name = is_link_local && (1..16).contains(&zone.len()) && !zone.contains(&b'/');
    is_name.then_some((address, Some(zone)))
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! cases {
        ($($name:ident: $got:expr => $want:expr;)*) => { $(#[test] fn $name() { assert_eq!($got, $want); })* };
    }

    cases! {
        octal_net: dot_quad(b"010.0.0.0") => Some(Ipv4Addr::new(8, 0, 0, 0));
        hex_net: dot_quad(b"0x1.2.3.0") => Some(Ipv4Addr::new(1, 2, 3, 0));
        three_parts: dot_quad(b"1.2.3") => None;
        five_parts: dot_quad(b"1.2.3.4.5") => None;
        trailing_dot: dot_quad(b"1.2.3.4.") => None;
        double_dot: dot_quad(b"1.2..3.4") => None;
        eight_is_not_octal: dot_quad(b"08.2.3.0") => None;
        part_too_large: dot_quad(b"256.1.1.1") => None;
        broadcast_is_the_error_value: dot_quad(b"255.255.255.255") => None;
        blank_ends_the_address: dot_quad(b"1.2.3.0\x0bx") => Some(Ipv4Addr::new(1, 2, 3, 0));
        mask_0: mask_v4(b"0") => None;
        mask_33: mask_v4(b"33") => None;
        mask_32: mask_v4(b"32") => Some(Ipv4Addr::BROADCAST);
        mask_junk: mask_v4(b"24x") => Some(Ipv4Addr::new(255, 255, 255, 0));
        mask_wraps: mask_v4(b"4294967320") => Some(Ipv4Addr::new(255, 255, 255, 0));
        mask_dotted_zero: mask_v4(b"0.0.0.0") => Some(Ipv4Addr::UNSPECIFIED);
        unsigned_wraps: scan_unsigned(b"4294967318", 10) => Some(22);
        unsigned_negative: scan_unsigned(b"-18446744073709551594", 10) => Some(22);
        unsigned_overflow: scan_unsigned(b"18446744073709551638", 10) => Some(u32::MAX);
        unsigned_junk: scan_unsigned(b"22x", 10) => None;
        sign_twice: scan_unsigned(b"+-22", 10) => None;
        octal: scan_unsigned(b"022", 8) => Some(18);
        atoi_without_digits: atoi(b"abc") => 0;
        atoi_clamps_then_truncates: atoi(b"99999999999999999999") => -1;
        zone_number: ipv6(b"fe80::1%2") => Some(("fe80::1".parse().unwrap(), None));
        zone_name: ipv6(b"fe80::1%lo") => Some(("fe80::1".parse().unwrap(), Some(&b"lo"[..])));
        zone_name_needs_link_local: ipv6(b"::1%lo") => None;
        slash_is_no_address: ipv6(b"fe80::/64") => None;
    }
}
