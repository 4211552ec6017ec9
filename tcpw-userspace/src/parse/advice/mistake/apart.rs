//! Networks and ranges that are written in several words.

use std::net::Ipv4Addr;

use super::{Cut, Mistake};
use crate::parse::{
    advice::{Code, Finding, quote, range},
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
        let pair = network(&all[at..]).or_else(|| range_of(&all[at..]));
        let Some((count, finding, fix)) = pair else {
            at += 1;
            continue;
        };
        let (start, (last, word)) = (all[at].0, all[at + count - 1]);
        let length = last + word.len() - start;
        let text = &cut.bytes[start..start + length];
        let finding = finding(text);
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
            "only the single address of the network itself matches, if that",
        )
    };
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
    let bits = prefix_bits(mask)?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    let net = Ipv4Addr::from_bits(address.to_bits() & mask);
    let fix = match bits {
        0 => "0.0.0.0/0.0.0.0".to_owned(),
        32 => net.to_string(),
        bits => format!("{net}/{bits}"),
    };
    Some((count, said, Some(fix)))
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
    let (first, last, count) = if let Some(first) = first.strip_suffix(b"-") {
        (first, second, 2)
    } else if second == b"-" || second.eq_ignore_ascii_case(b"to") {
        (first, word(2)?, 3)
    } else {
        (first, second.strip_prefix(b"-")?, 2)
    };
    let said: Said = |text| {
        Finding::new(
            Code::W112,
            format!("{} is a range of addresses: there are none in the language", quote(text)),
            "networks, such as 192.0.2.0/28",
            "only the first and the last address match, and \"-\" is taken for a host's name",
        )
    };
    let address = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<Ipv4Addr>().ok();
    let networks = range::networks(address(first)?, address(last)?)?;
    Some((count, said, networks))
}
