//! A rule that goes on in the next line, without a backslash at the end of this one.

use super::{Cut, option_name, takes_text};
use crate::parse::{
    advice::{
        Code, Finding,
        follows::{infinitive, verb},
        known,
        separator::is_merge_mark,
    },
    list::{is_except, split_at, tokens},
    options::Field,
    rule::{RuleOption, TableKind},
};

/// Whether it is worth a look: most lines of large tables are plainly not continued.
pub(in crate::parse) fn may_go_on(line: &[u8], next: &[u8]) -> bool {
    let is_word = next.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'#')
        && !begins_with_except(next)
        && !is_addresses(next);
    let text = line.trim_ascii_end();
    let wants_more = text.ends_with(b",") || text.ends_with(b":") || ends_in_except(text);
    !is_word || wants_more || text.iter().any(|byte| b"(\"'`|".contains(byte))
}

fn ends_in_except(text: &[u8]) -> bool {
    text.len().checked_sub(6).and_then(|at| text.get(at..)).is_some_and(is_except)
}

/// Whether `next`, a line without its newline, is the rest of this one.
pub(in crate::parse) fn goes_on(cut: &Cut<'_>, next: &[u8]) -> bool {
    let text = cut.text();
    let rest = next.trim_ascii();
    if rest.is_empty() || next.starts_with(b"#") || text.ends_with(b"\\") || is_merge_mark(next) {
        return false;
    }
    if !cut.is_rule() {
        let are_daemons = tokens(text, 0).all(|(_, word)| is_daemon(word) || is_except(word));
        let has_more = text.ends_with(b",") || ends_in_except(text);
        return are_daemons
            && (has_more && is_rule(next) || rest.starts_with(b":") || begins_with_except(rest));
    }
    if let Some(command) = cut.fields.iter().rev().find(|field| takes_text(&option_name(&field.text))) {
        let is_open = !is_closed(cut.bytes.get(command.span.start..).unwrap_or_default());
        let is_shell = matches!(rest, [b'|' | b'>' | b'&', ..]) || rest.starts_with(b")");
        let is_indented = next.starts_with(b" ") || next.starts_with(b"\t");
        let is_option = !is_open && is_indented && rest.starts_with(b":");
        return is_shell || is_option || is_open && !is_rule(next);
    }
    let last = tokens(text, 0).last().map(|(_, word)| word).unwrap_or_default();
    let wants_more = text.ends_with(b",") || text.ends_with(b":") || is_except(last);
    let is_indented = next.starts_with(b" ") || next.starts_with(b"\t");
    if rest.starts_with(b":") {
        return is_indented || cut.fields.is_empty();
    }
    if is_rule(next) {
        return false;
    }
    if (rest.starts_with(b",") || begins_with_except(rest) || is_addresses(next)) && cut.fields.is_empty() {
        return true;
    }
    let is_client = |word: &[u8]| {
        known::address_part(word).is_some()
            || is_except(word)
            || word.eq_ignore_ascii_case(b"LOCAL")
            || word.contains(&b'.')
            || matches!(word, [b'@' | b'/', _, ..])
    };
    let has_clients = cut.fields.is_empty() || wants_more;
    let clients = &rest[..split_at(rest, b':').unwrap_or(rest.len())];
    let all_clients = tokens(clients, 0).all(|(_, word)| is_client(word));
    (is_indented || wants_more) && has_clients && (wants_more || all_clients)
}

/// Whether a line is a rule by itself: its first word is a daemon's name.
fn is_rule(line: &[u8]) -> bool {
    let Some(colon) = split_at(line, b':') else { return false };
    tokens(&line[..colon], 0).any(|(_, word)| is_daemon(word))
}

fn is_daemon(word: &[u8]) -> bool {
    let word = word.split(|byte| *byte == b'@').next().unwrap_or_default();
    word.eq_ignore_ascii_case(b"ALL") || known::is_known(word)
}

fn begins_with_except(line: &[u8]) -> bool {
    tokens(line, 0).next().is_some_and(|(_, word)| is_except(word))
}

/// Whether a line is more than one address, and nothing else: the rest of a list of clients.
fn is_addresses(line: &[u8]) -> bool {
    line.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'[')
        && tokens(line, 0).count() > 1
        && tokens(line, 0).all(|(_, word)| known::address_part(word).is_some())
}

/// Whether parentheses and quotes of a command are in pairs.
fn is_closed(command: &[u8]) -> bool {
    let (mut depth, mut quote) = (0i32, None);
    let mut bytes = command.iter();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _) => {
                bytes.next();
            }
            (b'"' | b'\'' | b'`', None) => quote = Some(*byte),
            (byte, Some(open)) if *byte == open => quote = None,
            (b'(', None) => depth += 1,
            (b')', None) => depth -= 1,
            _ => {}
        }
    }
    depth <= 0 && quote.is_none()
}

/// What follows where the first of these lines stands alone.
fn consequence(lines: &[&[u8]], kind: TableKind) -> String {
    let text = lines.first().copied().unwrap_or_default().trim_ascii_end();
    let next = lines.get(1).copied().unwrap_or_default().trim_ascii();
    let (colons, fields) = super::cut(text);
    if colons[0] == text.len() {
        return format!("no line of it is a rule: it does not {} its clients", infinitive(kind));
    }
    if fields.iter().any(|field| takes_text(&option_name(&field.text))) {
        let end = if next.starts_with(b":") {
            "the option behind it is not read"
        } else {
            "its command is cut off"
        };
        let verdict = match effect(kind, &fields) {
            TableKind::Allow => "allowed",
            TableKind::Deny => "refused",
        };
        return format!("the rule ends in its first line: its clients are {verdict}, but {end}");
    }
    if next.starts_with(b":") {
        return format!("the option is not read: the rule {} its clients", verb(kind));
    }
    if fields.is_empty() && tokens(&text[colons[0] + 1..], 0).next().is_none() {
        return format!("the rule has no clients: it does not {} those of the next line", infinitive(kind));
    }
    if begins_with_except(next) || ends_in_except(text) {
        return format!("nothing is excepted: the rule {} the clients of the next line, too", verb(kind));
    }
    format!("the rule ends in its first line: it does not {} the clients behind it", infinitive(kind))
}

/// What a rule with these options does with its clients.
fn effect(kind: TableKind, fields: &[Field]) -> TableKind {
    if fields.iter().any(|field| field.option.is_err()) {
        return TableKind::Deny;
    }
    match fields.last().map(|field| &field.option) {
        Some(Ok(RuleOption::Allow)) => TableKind::Allow,
        Some(Ok(RuleOption::Deny | RuleOption::Twist(_))) => TableKind::Deny,
        Some(_) | None => kind,
    }
}

/// The finding, with the lines as one rule.
///
/// `first`: the number of the line that lacks the first backslash; `kind`: the table's.
pub(in crate::parse) fn joined(lines: &[&[u8]], first: u32, kind: TableKind) -> Finding {
    let count = lines.len();
    let number = |index: usize| first.saturating_add(u32::try_from(index).unwrap_or(u32::MAX));
    let last = number(count - 1);
    let message = match count {
        2 => format!("the rule goes on in line {last}: line {first} must end in a backslash"),
        _ => format!(
            "the rule goes on up to line {last}: lines {first} {} {} must each end in a backslash",
            if count == 3 { "and" } else { "to" },
            number(count - 2)
        ),
    };
    let consequence = consequence(lines, kind);
    let mut fixed = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let line = line.trim_ascii_end();
        // The wrong slash.
        let line = match line.strip_suffix(b"/") {
            Some(head) if index + 1 < count && head.ends_with(b" ") => head.trim_ascii_end(),
            Some(_) | None => line,
        };
        fixed.extend_from_slice(line);
        if index + 1 < count {
            fixed.extend_from_slice(b" \\\n");
        }
    }
    Finding::new(Code::E157, message, "a backslash as the last character of a line that goes on", consequence)
        .replace(fixed)
}
