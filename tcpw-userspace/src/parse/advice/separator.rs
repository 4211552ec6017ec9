//! Findings on what separates the fields of a rule.

use super::{Code, Finding, NEVER, TableKind, Writer, follows::infinitive, known, quote, replaced, tool};
use crate::parse::{
    list::{is_except, split_at, tokens},
    number,
};

/// A line without a colon that separates.
pub(in crate::parse) fn missing(text: &[u8], writer: Writer, kind: TableKind) -> Finding {
    let trimmed = text.trim_ascii();
    if matches!(known::address_part(trimmed), Some(known::Address::One)) {
        return tool::address_alone(trimmed, Some(trimmed), kind);
    }
    let finding = Finding::new(
        Code::E005,
        "no \":\" between daemon list and client list",
        "\"daemons : clients\"",
        format!("the line is skipped: it does not {} any client", infinitive(kind)),
    );
    if trimmed.starts_with(b"#") {
        return finding.replace(trimmed);
    }
    if is_merge_mark(trimmed) {
        let message = format!("{} is left over from a merge of two versions", quote(trimmed));
        let expected = "rules of one version";
        let consequence = "the line is skipped, and the rules of both versions are in force";
        return Finding::new(Code::E005, message, expected, consequence)
            .advise("keep the rules of one version, and delete the three lines that mark them");
    }
    if writer == Writer::DenyHosts {
        return finding.advise("the rule is the end of the comment above");
    }
    let mut words = tokens(text, 0);
    let first = words.next().map(|(_, word)| word.strip_suffix(b"=").unwrap_or(word));
    let second = words.find(|(_, word)| *word != b"=");
    match (first, second) {
        (Some(first), Some((at, second)))
            if is_likely_daemon(first) && are_likely_clients(&text[at..]) && !is_except(second) =>
        {
            finding.replace([first, b": ", text[at..].trim_ascii_end()].concat())
        }
        _ => finding,
    }
}

/// What version control leaves around two versions of a text.
pub(super) fn is_merge_mark(line: &[u8]) -> bool {
    [&b"<<<<<<< "[..], b">>>>>>> ", b"||||||| "].iter().any(|mark| line.starts_with(mark))
        || line == b"======="
}

/// Whether a word may be a daemon's name, and no word of another language.
fn is_likely_daemon(word: &[u8]) -> bool {
    const OTHERS: [&[u8]; 9] =
        [b"allow", b"deny", b"permit", b"accept", b"block", b"reject", b"order", b"from", b"EXCEPT"];
    word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-@/".contains(byte))
        && !OTHERS.iter().any(|other| other.eq_ignore_ascii_case(word))
}

/// Whether every word up to the options may be a client.
fn are_likely_clients(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 7] = [b"ALL", b"LOCAL", b"KNOWN", b"UNKNOWN", b"PARANOID", b"EXCEPT", b"localhost"];
    let clients = &text[..split_at(text, b':').unwrap_or(text.len())];
    tokens(clients, 0).all(|(_, word)| {
        WORDS.iter().any(|known| known.eq_ignore_ascii_case(word))
            || known::address_part(word).is_some()
            || number::ipv6(word).is_some()
            || matches!(word, [b'.' | b'/' | b'@', _, ..])
            || word.contains(&b'.')
                && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_@*?/".contains(byte))
    })
}

/// A word with characters that separate in other languages, or with quotes.
pub(super) fn foreign(token: &[u8]) -> Option<Finding> {
    const BLANKS: [&str; 2] = ["\u{b}", "\u{c}"];
    let has = |mark: &[u8]| token.windows(mark.len()).any(|window| window == mark);
    let quotes: [&[u8]; 2] = [b"\"", b"'"];
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
                NEVER,
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
            format!("{name} in {}: it separates nothing", quote(token)),
            "space, tab or comma between patterns",
            NEVER,
        )
        .replace(spaced),
    )
}
