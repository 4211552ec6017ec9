//! What to say of a table that libwrap would not, or would say too late.
//!
//! In: what the parser has seen. Out: [`Finding`]s; the rules are never changed.
//! Codes: E = libwrap rejects it, W = hardly meant so, H = good to know.

mod file;
mod option;
mod token;

use std::{net::Ipv6Addr, ops::Range};

pub(super) use file::{file_cycle, file_deep, file_missing, file_token, file_unreadable};
pub(super) use option::option;
pub(super) use token::{client, daemon};

use super::{
    diagnostic::Finding,
    list::{is_except, tokens},
    rule::TableKind,
};

/// A finding and its stretch of the joined line.
pub(super) type Placed = (usize, usize, Finding);

/// Text for a message, in quotes.
fn quote(text: &[u8]) -> String {
    format!("\"{}\"", shown(text))
}

/// Text that is safe to print and not too long.
fn shown(text: &[u8]) -> String {
    let start = &text[..text.len().min(80)];
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let printable: String = String::from_utf8_lossy(start).chars().map(visible).collect();
    if start.len() < text.len() { printable + "..." } else { printable }
}

pub(super) fn table_missing(kind: TableKind) -> Finding {
    Finding::new(
        "H001",
        "the file does not exist".into(),
        "a table, even an empty one",
        match kind {
            TableKind::Allow => "no rule allows: hosts.deny decides alone",
            TableKind::Deny => "no rule refuses: every client is allowed unless hosts.allow says otherwise",
        },
    )
}

pub(super) fn table_unreadable(kind: TableKind, why: &str) -> Finding {
    Finding::new(
        "E002",
        format!("the file cannot be read: {why}"),
        "a file that root can read",
        match kind {
            TableKind::Allow => "no rule allows: hosts.deny decides alone",
            TableKind::Deny => "every client that hosts.allow does not allow is refused",
        },
    )
}

pub(super) fn broken_line(kind: TableKind, is_full: bool) -> Finding {
    let consequence = match kind {
        TableKind::Allow => "this line and all that follow are ignored",
        TableKind::Deny => {
            "this line and all that follow are ignored, and every client no earlier rule decides is refused"
        }
    };
    if is_full {
        let message = "line too long".into();
        let finding = Finding::new(
            "E004",
            message,
            "at most 2047 bytes, continuation lines and the newline included",
            consequence,
        );
        return finding.fix("several rules, or a pattern file: \"daemon: /path/to/file\"");
    }
    let message = "the last line has no newline".into();
    Finding::new("E003", message, "a newline at the end of every line", consequence)
        .fix("press Enter at the end of the line")
}

pub(super) fn nul() -> Finding {
    Finding::new(
        "W010",
        "NUL byte".into(),
        "text",
        "the rest of the line and its newline are dropped: the next line is glued on",
    )
}

pub(super) fn missing_separator(text: &[u8]) -> Finding {
    let finding = Finding::new(
        "E005",
        "no \":\" between daemon list and client list".into(),
        "\"daemons : clients\"",
        "the rule is skipped",
    );
    let is_comment = text.trim_ascii_start().starts_with(b"#");
    if is_comment { finding.fix("a comment begins in the first column") } else { finding }
}

/// Findings on a whole joined line.
pub(super) fn line(bytes: &[u8]) -> Vec<Placed> {
    let mut found = Vec::new();
    if bytes.ends_with(b"\\\r\n") {
        let finding = Finding::new(
            "W011",
            "carriage return after the backslash".into(),
            "a newline right after the backslash",
            "the line is not continued; the backslash is part of its last word",
        );
        found.push((bytes.len() - 3, 2, finding.fix("save the file with plain newlines")));
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        let finding = Finding::new(
            "W012",
            "byte order mark".into(),
            "plain text",
            "it is part of the first word: that daemon is not matched",
        );
        found.push((0, 3, finding));
    }
    found.extend(brackets(bytes));
    found
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
    (depth > 0).then(|| (last_open, 1, unbalanced("\"[\" without \"]\"")))
}

fn unbalanced(what: &str) -> Finding {
    Finding::new(
        "W013",
        what.into(),
        "brackets in pairs around an IPv6 address",
        "the colons behind it separate nothing",
    )
}

/// Findings on a daemon or client list as a whole.
pub(super) fn list(field: &[u8], start: usize, what: &str, found: &mut Vec<Placed>) {
    let mut before = None;
    let mut last = None;
    for (at, word) in tokens(field, start) {
        let is_exception = is_except(word);
        if is_exception && before.is_none() {
            let message = format!("{} at the start of the {what} list", quote(word));
            let finding = Finding::new("W021", message, "a pattern before it", "the list never matches");
            let rest = String::from_utf8_lossy(field).trim().to_owned();
            found.push((at, word.len(), finding.fix(format!("ALL {rest}"))));
        } else if is_exception && before == Some(true) {
            found.push((at, word.len(), idle_except(word)));
        }
        last = Some((at, word, before));
        before = Some(is_exception);
    }
    match last {
        None => {
            let message = format!("the {what} list is empty");
            let finding = Finding::new("W020", message, "at least one pattern", "the rule never matches");
            found.push((start.saturating_sub(1), 1, finding.fix("ALL")));
        }
        Some((at, word, Some(false))) if is_except(word) => found.push((at, word.len(), idle_except(word))),
        Some(_) => {}
    }
}

fn idle_except(word: &[u8]) -> Finding {
    let message = format!("nothing between {} and what follows", quote(word));
    Finding::new("W022", message, "patterns after EXCEPT", "nothing is excepted")
}

/// A word that begins with `#` in a client list, to the end of the list.
pub(super) fn inline_comment(field: &[u8], start: usize) -> Option<Placed> {
    let (at, word) = tokens(field, start).find(|(_, word)| word.starts_with(b"#"))?;
    let length = field[at - start..].trim_ascii_end().len().max(word.len());
    let finding = Finding::new(
        "W023",
        "a comment cannot follow a rule".into(),
        "comments on lines of their own, \"#\" in the first column",
        "every word of it is a client pattern",
    );
    Some((at, length, finding.fix("put the comment on the line above")))
}

/// IPv6 addresses without brackets that a separator cuts; other findings on
/// what it cut them into are dropped.
pub(super) fn unbracketed(bytes: &[u8], separators: [usize; 2], found: &mut Vec<Placed>) {
    for colon in separators {
        let Some((span, finding)) = cut_address(bytes, colon) else { continue };
        found.retain(|(at, length, finding)| {
            at + length + 1 < span.start || (*at > span.end && !finding.code.starts_with("E06"))
        });
        found.push((span.start, span.len(), finding));
    }
}

fn cut_address(bytes: &[u8], colon: usize) -> Option<(Range<usize>, Finding)> {
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
    let rest = &bytes[address.end..];
    let length = match rest {
        [b'/', digits @ ..] => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    let text = String::from_utf8_lossy(&bytes[address.clone()]);
    let mask = String::from_utf8_lossy(&rest[..length]);
    let finding = Finding::new(
        "E024",
        format!("IPv6 address without brackets: \"{text}{mask}\""),
        "brackets: its colons separate the fields of a rule",
        "the rule is cut at the colon: what follows is taken for clients or options, and a wrong option refuses",
    );
    Some((address.start..address.end + length, finding.fix(format!("[{text}]{mask}"))))
}
