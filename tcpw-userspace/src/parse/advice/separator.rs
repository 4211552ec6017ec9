//! Findings on what separates the fields of a rule.

use std::{net::Ipv6Addr, ops::Range};

use super::{Code, Finding, Placed, Writer, known, quote, replaced, shown, tool};
use crate::parse::list::{is_except, tokens};

/// A line without a colon that separates.
pub(in crate::parse) fn missing(text: &[u8], writer: Writer) -> Finding {
    let trimmed = text.trim_ascii();
    if matches!(known::address_part(trimmed), Some(known::Address::One)) {
        return tool::address_alone(trimmed);
    }
    let finding = Finding::new(
        Code::E005,
        "no \":\" between daemon list and client list",
        "\"daemons : clients\"",
        "the rule is skipped",
    );
    if trimmed.starts_with(b"#") {
        return finding.replace(trimmed);
    }
    if writer == Writer::DenyHosts {
        return finding.advise("the rule is the end of the comment above");
    }
    let mut words = tokens(text, 0);
    let first = words.next().map(|(_, word)| word.strip_suffix(b"=").unwrap_or(word));
    let second = words.find(|(_, word)| *word != b"=");
    match (first, second) {
        (Some(first), Some((at, second)))
            if !is_except(second) && !first.contains(&b'[') && !first.contains(&b']') =>
        {
            finding.replace([first, b": ", text[at..].trim_ascii_end()].concat())
        }
        _ => finding,
    }
}

/// IPv6 addresses without brackets that a separator cuts; other findings on
/// what it cut them into are dropped.
pub(in crate::parse) fn unbracketed(
    bytes: &[u8],
    separators: [usize; 2],
    writer: Writer,
    found: &mut Vec<Placed>,
) {
    for colon in separators {
        let Some((span, address)) = cut_address(bytes, colon) else { continue };
        found.retain(|(at, length, finding)| {
            at + length + 1 < span.start || (*at > span.end && !finding.code.as_str().starts_with("E06"))
        });
        if found.iter().any(|(at, _, _)| *at == span.start) {
            continue;
        }
        let (code, by) = tool::bare_ipv6(bytes, &span, writer);
        let finding = Finding::new(
            code,
            format!("IPv6 address without brackets: {}{by}", quote(&bytes[span.clone()])),
            "brackets: its colons separate the fields of a rule",
            "the rule is cut at the colon: what follows is taken for clients or options, \
             and a wrong option refuses",
        );
        let mask = &bytes[span.start + address..span.end];
        let text = shown(&bytes[span.start..span.start + address]);
        if bytes.trim_ascii() == &bytes[span.clone()] {
            found.push((
                span.start,
                span.len(),
                tool::address_alone(format!("[{text}]{}", shown(mask)).as_bytes()),
            ));
            continue;
        }
        let mapped = text.parse().ok().and_then(|address: Ipv6Addr| address.to_ipv4_mapped());
        let fixed = match mapped.filter(|_| mask.is_empty()) {
            Some(v4) => v4.to_string(),
            None => format!("[{text}]{}", shown(mask)),
        };
        found.push((span.start, span.len(), finding.replace(fixed)));
    }
}

/// An address around a colon: its span with the prefix length, and the address' own length.
fn cut_address(bytes: &[u8], colon: usize) -> Option<(Range<usize>, usize)> {
    let inside = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    if bytes.get(colon) != Some(&b':') {
        return None;
    }
    let start = bytes[..colon].iter().rposition(|byte| !inside(byte)).map_or(0, |at| at + 1);
    let length = bytes[colon..].iter().position(|byte| !inside(byte)).unwrap_or(bytes.len() - colon);
    let end = colon + length;
    // A separator may touch the address on either side.
    let address = [start..end, start + 1..end, start..end - 1].into_iter().find(|span| {
        let text = bytes.get(span.clone()).and_then(|text| std::str::from_utf8(text).ok());
        let cuts_word = span.start > start && bytes[start] != b':';
        !cuts_word && text.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok())
    })?;
    let length = match &bytes[address.end..] {
        [b'/', digits @ ..] => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    Some((address.start..address.end + length, address.len()))
}

/// A word with characters that separate in other languages, or with quotes.
pub(super) fn foreign(token: &[u8]) -> Option<Finding> {
    const BLANKS: [&str; 5] = ["\u{a0}", "\u{3000}", "\u{200b}", "\u{b}", "\u{c}"];
    let has = |mark: &[u8]| token.windows(mark.len()).any(|window| window == mark);
    let quotes: [&[u8]; 4] = [b"\"", b"'", "\u{201c}".as_bytes(), "\u{201d}".as_bytes()];
    let mut plain = token.to_vec();
    for mark in quotes {
        plain = replaced(&plain, mark, b"");
    }
    if token != plain && token.len() > 1 {
        return Some(
            Finding::new(
                Code::W016,
                format!("quotes in {}", quote(token)),
                "the pattern without quotes",
                "they are part of the pattern: it does not match what stands between them",
            )
            .replace(plain),
        );
    }
    let mark = std::iter::once(&b";"[..]).chain(BLANKS.map(str::as_bytes)).find(|mark| has(mark))?;
    let name = if mark == b";" { "semicolon" } else { "a blank that is no blank here" };
    let spaced = replaced(token, mark, b" ").trim_ascii().to_vec();
    Some(
        Finding::new(
            Code::W016,
            format!("{name} in {}", quote(token)),
            "space, tab or comma between patterns",
            "it separates nothing: this is one pattern",
        )
        .replace(spaced),
    )
}
