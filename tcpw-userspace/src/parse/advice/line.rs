//! Findings on a joined line, before it is cut into fields.

use std::path::Path;

use super::{Code, Finding, Placed, Writer, follows::verb, known, quote, shown, tool};
use crate::parse::{
    diagnostic::Severity,
    list::{is_separator, split_at, tokens},
    number,
    rule::TableKind,
};

pub(in crate::parse) fn nul() -> Finding {
    Finding::new(
        Code::W010,
        "NUL byte",
        "text",
        "the rest of this line is not read, and the next line becomes part of it: neither rule is as written",
    )
    .replace("")
}

/// Findings on a comment. `joined` is where its first continuation begins.
pub(in crate::parse) fn comment(bytes: &[u8], joined: Option<usize>, writer: Writer) -> Option<Placed> {
    if let Some(at) = joined {
        let swallowed = bytes[at..].trim_ascii();
        if !swallowed.is_empty() && !swallowed.starts_with(b"#") {
            let finding = Finding::new(
                Code::W014,
                "this line belongs to the comment above, which ends in a backslash",
                "a comment without a backslash at its end",
                "it is no rule",
            );
            return Some((
                at,
                bytes[at..].trim_ascii_end().len(),
                finding.advise(
                    "delete the backslash at the end of the line above, or begin this line with \"#\"",
                ),
            ));
        }
    }
    if writer == Writer::DenyHosts {
        return None;
    }
    tool::glued_comment(bytes)
}

/// Findings on a joined line that is neither blank nor a comment.
pub(in crate::parse) fn line(bytes: &[u8], kind: TableKind, path: &Path) -> Vec<Placed> {
    let mut found = Vec::new();
    let text = bytes.trim_ascii_end();
    if bytes.ends_with(b"\\\r\n") {
        let finding = Finding::new(
            Code::W011,
            "carriage return after the backslash",
            "a newline right after the backslash",
            "the line is not continued; the backslash is part of its last word",
        );
        found.push((bytes.len() - 3, 2, finding.replace("\\")));
    } else if text.ends_with(b"\\") && bytes.len() > text.len() + 1 {
        let finding = Finding::new(
            Code::W017,
            "blanks after the backslash",
            "a newline right after the backslash",
            "the line is not continued; the backslash is part of its last word",
        );
        found.push((text.len() - 1, bytes.len() - text.len(), finding.replace("\\")));
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        let finding = Finding::new(
            Code::W012,
            format!("byte order mark: three bytes that editors do not show; {} deletes it", unmark(path)),
            "plain text",
            "it is part of the first word: that daemon is not matched",
        );
        found.push((0, 3, finding.replace("")));
    }
    found.extend(indented_comment(bytes, kind));
    found.extend(brackets(bytes));
    found
}

/// The command that deletes a byte order mark.
fn unmark(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = text.chars().all(|it| it.is_ascii_alphanumeric() || "/._-+".contains(it));
    format!("sed -i 's/^\\xEF\\xBB\\xBF//' {}", if is_plain { &text } else { "FILE" })
}

/// `#` behind blanks: no comment. Without a colon the line is skipped, and that is said elsewhere.
fn indented_comment(bytes: &[u8], kind: TableKind) -> Option<Placed> {
    let blanks = bytes.iter().position(|byte| !is_separator(*byte)).filter(|blanks| *blanks > 0)?;
    (bytes[blanks] == b'#' && bytes.contains(&b':')).then(|| {
        let daemons = &bytes[..split_at(bytes, b':').unwrap_or(bytes.len())];
        let mut names = tokens(daemons, 0).map(|(_, word)| word).filter(|word| !word.starts_with(b"#"));
        let consequence = match names.next() {
            Some(name) => format!("the rule is in force: it {} its clients at {}", verb(kind), shown(name)),
            None => {
                let name = tokens(daemons, 0).map(|(_, word)| word).next().unwrap_or_default();
                format!("the rule is for a daemon called {}: it decides nothing", quote(name))
            }
        };
        let finding = Finding::new(
            Code::W015,
            "a comment begins in the first column: this is a rule",
            "\"#\" without blanks before it",
            consequence,
        );
        (0, blanks + 1, finding.replace("#"))
    })
}

/// Brackets of the lists that do not balance; inside options they mean nothing.
fn brackets(bytes: &[u8]) -> Option<Placed> {
    let (mut depth, mut last_open, mut colons) = (0i32, 0, 0);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'[' => (depth, last_open) = (depth + 1, at),
            b']' => depth -= 1,
            b':' if depth == 0 => colons += 1,
            _ => {}
        }
        if colons == 2 {
            return None;
        }
        if depth < 0 {
            return Some((at, 1, unbalanced("\"]\" without \"[\"")));
        }
    }
    if depth <= 0 {
        return None;
    }
    let finding = unbalanced("\"[\" without \"]\"");
    // The address, up to what follows it.
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'%');
    let word = &bytes[last_open + 1..];
    let word = &word[..word.iter().position(|byte| !is_part(byte)).unwrap_or(word.len())];
    let ends = word.strip_suffix(b":").into_iter().chain([word]);
    let address = ends.into_iter().find(|word| number::ipv6(word).is_some());
    Some(match address {
        Some(address) => {
            let fixed = [b"[", address, b"]"].concat();
            (last_open, address.len() + 1, finding.replace(fixed))
        }
        None => (last_open, 1, finding),
    })
}

fn unbalanced(what: &str) -> Finding {
    Finding::new(
        Code::W013,
        what,
        "brackets in pairs around an IPv6 address",
        "the colons behind it separate nothing",
    )
}

/// Drops what is only the consequence of another finding of the line.
pub(in crate::parse) fn drop_noise(found: &mut Vec<Placed>) {
    let place = |code: Code| found.iter().find(|(_, _, finding)| finding.code == code).map(|(at, _, _)| *at);
    let (comment, mark, glued) = (place(Code::W015), place(Code::W012), place(Code::W018));
    let backslash = place(Code::W011).or_else(|| place(Code::W017));
    let swapped = place(Code::W107).is_some();
    // Brackets too many are said at the word.
    let stuck: Vec<(usize, usize)> = found
        .iter()
        .filter(|(_, _, finding)| finding.code == Code::W150)
        .map(|(at, length, _)| (*at, *length))
        .collect();
    found.retain(|(at, _, finding)| {
        finding.code != Code::W013
            || !stuck.iter().any(|(start, length)| (*start..start + length).contains(at))
    });
    let said: Vec<usize> = found
        .iter()
        .filter(|(_, _, finding)| finding.code.severity() > Severity::Hint)
        .map(|(at, _, _)| *at)
        .collect();
    found.retain(|(at, length, finding)| {
        if matches!(finding.code, Code::H025 | Code::H026 | Code::H174) && said.contains(at)
            || swapped && matches!(finding.code, Code::H034 | Code::H114)
        {
            return false;
        }
        let covers = |place: Option<usize>| place.is_some_and(|place| (*at..at + length).contains(&place));
        matches!(finding.code, Code::W011 | Code::W012 | Code::W015 | Code::W017 | Code::W018)
            || comment.is_none() && !covers(mark) && !covers(backslash) && !covers(glued)
    });
}

/// Two words that a continuation makes one, in the lists.
pub(in crate::parse) fn glued(
    bytes: &[u8],
    joins: impl Iterator<Item = usize>,
    lists_end: usize,
) -> Vec<Placed> {
    let is_word = |byte: &u8| !is_separator(*byte) && *byte != b':';
    let joined = joins.filter(|at| {
        let around = (bytes.get(at.wrapping_sub(1)), bytes.get(*at));
        *at < lists_end && matches!(around, (Some(left), Some(right)) if is_word(left) && is_word(right))
    });
    let place = |at: usize| {
        let length = bytes[at..].iter().take_while(|byte| is_word(byte)).count();
        let finding = Finding::new(
            Code::W018,
            "this word is glued to the last one of the line above",
            "a blank before the backslash, or at the start of this line",
            "both are one word",
        );
        (at, length, finding.advise("a blank at the start of the line"))
    };
    joined.map(place).collect()
}

/// Whether a word looks like a client's address: four parts, a prefix, a network or brackets.
pub(super) fn is_address(word: &[u8]) -> bool {
    known::address_part(word).is_some()
}
