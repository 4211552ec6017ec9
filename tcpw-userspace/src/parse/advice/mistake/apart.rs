//! Networks and ranges that are written in several words.

use std::net::Ipv4Addr;

use super::{Cut, Mistake};
use crate::parse::{
    advice::{Code, Finding, NEVER, follows, known, placeholder, quote, range},
    list::tokens,
    number,
};

/// Every network of the client list whose mask, and every range whose end, is a word of its own.
pub(in crate::parse) fn apart(cut: &Cut<'_>) -> Vec<Mistake> {
    if !cut.is_rule() {
        return Vec::new();
    }
    let all: Vec<(usize, &[u8])> = tokens(cut.clients(), cut.colons[0] + 1).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let rest = &all[at..];
        let pair = network(rest)
            .or_else(|| range_of(rest))
            .or_else(|| blanks_inside(cut, rest))
            .or_else(|| braces(rest))
            .or_else(|| several(rest));
        let Some((count, finding, fix)) = pair else {
            at += 1;
            continue;
        };
        let (start, (last, word)) = (all[at].0, all[at + count - 1]);
        let length = last + word.len() - start;
        let text = &cut.bytes[start..start + length];
        let place = cut.place(start);
        let finding = follows::client(finding(text), place);
        let missed = place.missed();
        let finding = if finding.code == Code::W153 {
            finding.follows(format!("at most the network's own address matches: its other clients {missed}"))
        } else if finding.code == Code::W112 && !text.contains(&b'{') {
            finding
                .follows(format!("at most the first and the last address match: those between them {missed}"))
        } else {
            finding
        };
        let finding = match fix {
            Some(fix) => finding.replace(fix),
            None => finding,
        };
        found.push(Mistake { place: (start, length, finding), covers: start..start + length });
        at += count;
    }
    found
}

/// Whether a pattern file's path is the mask of a network, `/24`: that is said where it stands.
pub(in crate::parse) fn is_mask(path: &std::path::Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    text == b"/" || text.strip_prefix(b"/").is_some_and(|mask| prefix_bits(mask).is_some())
}

type Said = fn(&[u8]) -> Finding;

/// `192.0.2.0 255.255.255.0`, `192.0.2.0 /24`, `192.0.2.0/ 24`, `192.0.2.0 / 24`, `192.0.2.0 netmask 255.255.255.0`.
fn network(words: &[(usize, &[u8])]) -> Option<(usize, Said, Option<String>)> {
    let word = |index: usize| words.get(index).map(|(_, word)| *word);
    let first = word(0)?;
    let said: Said = |text| {
        Finding::new(
            Code::W153,
            format!("{} is a network and its mask in several words: each is taken for a client", quote(text)),
            "the network in one word: 192.0.2.0/24 or 192.0.2.0/255.255.255.0",
            NEVER,
        )
    };
    let inner = |mask: &'_ [u8]| mask.strip_prefix(b"(").and_then(|mask| mask.strip_suffix(b")")).is_some();
    let (address, mask, count) = if let Some(address) = first.strip_suffix(b"/") {
        (address, word(1)?, 2)
    } else {
        match word(1)? {
            b"/" => (first, word(2)?, 3),
            second if second.starts_with(b"/") => (first, &second[1..], 2),
            second if [&b"mask"[..], b"netmask"].iter().any(|it| it.eq_ignore_ascii_case(second)) => {
                (first, word(2)?, 3)
            }
            second if looks_like_mask(second) => (first, second, 2),
            second if second.strip_prefix(b"-").is_some_and(looks_like_mask) => (first, &second[1..], 2),
            second if inner(second) => (first, second.trim_ascii(), 2),
            second if is_length_of(first, second) => (first, second, 2),
            _ => return None,
        }
    };
    if let [b'[', inner @ .., b']'] = address {
        let (net, zone) = number::ipv6(inner)?;
        let bits: u8 = std::str::from_utf8(mask).ok()?.parse().ok().filter(|bits| *bits <= 128)?;
        let net = net.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        let fix = zone.is_none().then(|| format!("[{}]/{bits}", std::net::Ipv6Addr::from_bits(net)));
        return Some((count, said, fix));
    }
    let address: Ipv4Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
    let mask = mask.strip_prefix(b"(").and_then(|mask| mask.strip_suffix(b")")).unwrap_or(mask);
    let mask = if count == 2 && words[1].1.starts_with(b"(") {
        mask.strip_prefix(b"/").unwrap_or(mask)
    } else {
        mask
    };
    let bits = prefix_bits(mask).or_else(|| wildcard_bits(address, mask))?;
    Some((count, said, Some(network_of(address, bits))))
}

/// The network of an address as a pattern.
pub(super) fn network_of(address: Ipv4Addr, bits: u32) -> String {
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    let net = Ipv4Addr::from_bits(address.to_bits() & mask);
    match bits {
        0 => "0.0.0.0/0.0.0.0".to_owned(),
        32 => net.to_string(),
        bits => format!("{net}/{bits}"),
    }
}

/// The length of a dotted mask.
pub(super) fn dotted_bits(mask: &[u8]) -> Option<u32> {
    prefix_bits(mask).filter(|_| mask.contains(&b'.'))
}

/// `0.0.0.255` behind a network with zeros there: the mask as access lists of routers have it.
fn wildcard_bits(address: Ipv4Addr, mask: &[u8]) -> Option<u32> {
    let mask: Ipv4Addr = std::str::from_utf8(mask).ok()?.parse().ok()?;
    let ones = mask.to_bits().trailing_ones();
    let is_one = mask.to_bits().count_ones() == ones && (1..32).contains(&ones);
    (is_one && address.to_bits() & mask.to_bits() == 0).then_some(32 - ones)
}

/// A number behind a network's address: its length.
fn is_length_of(address: &[u8], number: &[u8]) -> bool {
    if let [b'[', inner @ .., b']'] = address {
        let bits = std::str::from_utf8(number).ok().and_then(|text| text.parse::<u8>().ok());
        return inner.ends_with(b"::") && bits.is_some_and(|bits| (8..=128).contains(&bits));
    }
    let text = std::str::from_utf8(address).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
    let Some(address) = text else { return false };
    let is_network = address.octets()[3] == 0;
    let is_number =
        number.iter().all(u8::is_ascii_digit) && prefix_bits(number).is_some_and(|bits| bits >= 8);
    is_network && (is_number || wildcard_bits(address, number).is_some())
}

/// `<your ip>`: a placeholder of several words.
fn several(words: &[(usize, &[u8])]) -> Option<(usize, Said, Option<String>)> {
    if !words.first().is_some_and(|(_, word)| matches!(word.first(), Some(b'<' | b'{' | b'['))) {
        return None;
    }
    let texts: Vec<&[u8]> = words.iter().map(|(_, word)| *word).collect();
    Some((placeholder::of_words(&texts)?, placeholder::filled, None))
}

/// `[ 2001:db8::1 ]`: blanks inside brackets make three words of it.
fn blanks_inside(cut: &Cut<'_>, words: &[(usize, &[u8])]) -> Option<(usize, Said, Option<String>)> {
    let (start, first) = words.first()?;
    let count = words.iter().position(|(_, word)| word.ends_with(b"]"))? + 1;
    if !first.starts_with(b"[") || !(2..=3).contains(&count) {
        return None;
    }
    let (end, last) = words[count - 1];
    let inner = cut.bytes.get(start + 1..end + last.len() - 1)?.trim_ascii();
    let (address, _) = number::ipv6(inner)?;
    let said: Said = |text| {
        let message = format!("{} has blanks inside its brackets: they separate words", quote(text));
        Finding::new(Code::W055, message, "[address] without blanks", NEVER)
    };
    Some((count, said, Some(format!("[{address}]"))))
}

/// `192.168.1.{1,2}`, `192.168.1.{1..9}`, `{192.168.1.1,192.168.1.2}`: a list as the shell has it.
fn braces(words: &[(usize, &[u8])]) -> Option<(usize, Said, Option<String>)> {
    let (_, first) = words.first()?;
    let open = first.iter().position(|byte| *byte == b'{')?;
    let count = words.iter().position(|(_, word)| word.ends_with(b"}"))? + 1;
    let text: Vec<&str> =
        words[..count].iter().map(|(_, word)| std::str::from_utf8(word).ok()).collect::<Option<_>>()?;
    let text = text.join(",");
    let (head, list) = text.split_at(open);
    let list = list.strip_prefix('{')?.strip_suffix('}')?;
    let address = |tail: &str| format!("{head}{tail}").parse::<Ipv4Addr>().ok();
    let said: Said = |text| {
        Finding::new(
            Code::W112,
            format!("{} is a list as the shell has it: there are none in the language", quote(text)),
            "each address by itself",
            NEVER,
        )
    };
    if let Some((first, last)) = list.split_once("..") {
        let networks = range::networks(address(first)?, address(last)?)?;
        return Some((count, said, networks));
    }
    let all: Vec<String> =
        list.split(',').map(|tail| Some(address(tail)?.to_string())).collect::<Option<_>>()?;
    Some((count, said, Some(all.join(" "))))
}

/// A dotted mask that is no address of a client.
fn looks_like_mask(word: &[u8]) -> bool {
    word.starts_with(b"255.") && prefix_bits(word).is_some_and(|bits| bits > 0)
}

/// The length that a mask stands for: a number, or dotted ones and then zeros.
fn prefix_bits(mask: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(mask).ok()?;
    if let Ok(bits) = text.parse::<u32>() {
        return (bits <= 32 && !text.starts_with('+')).then_some(bits);
    }
    let mask: Ipv4Addr = text.parse().ok()?;
    let ones = mask.to_bits().leading_ones();
    (mask.to_bits().count_ones() == ones).then_some(ones)
}

/// `192.0.2.1 - 192.0.2.9`, `192.0.2.1- 192.0.2.9`, `192.0.2.1 to 192.0.2.9`.
fn range_of(words: &[(usize, &[u8])]) -> Option<(usize, Said, Option<String>)> {
    let word = |index: usize| words.get(index).map(|(_, word)| *word);
    let first = word(0)?;
    let second = word(1)?;
    let is_sign = |word: &[u8]| {
        let signs: [&[u8]; 8] = [b"-", b"--", b"..", b"...", b"to", b"through", b"thru", b"until"];
        signs.iter().any(|sign| sign.eq_ignore_ascii_case(word))
    };
    let (first, last, count) = if let Some(first) = first.strip_suffix(b"-") {
        (first, second, 2)
    } else if is_sign(second) {
        (first, word(2)?, 3)
    } else {
        (first, second.strip_prefix(b"-")?, 2)
    };
    let said: Said = |text| {
        Finding::new(
            Code::W112,
            format!("{} is a range of addresses: there are none in the language", quote(text)),
            "networks, such as 192.0.2.0/28",
            NEVER,
        )
    };
    let address = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<Ipv4Addr>().ok();
    let bracketed = |text: &[u8]| matches!(known::address_part(text), Some(known::Address::One));
    if first.starts_with(b"[") {
        return (bracketed(first) && bracketed(last)).then_some((count, said, None));
    }
    // "10.0.0.0 -255.0.0.0" is no range, but a mask.
    if looks_like_mask(last) {
        return None;
    }
    let networks = range::networks(address(first)?, address(last)?)?;
    Some((count, said, networks))
}
