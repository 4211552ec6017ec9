//! Commands: without `spawn` before them, or with colons in them.

use super::{Cut, Mistake, option_name, takes_text};
use crate::parse::{
    advice::{Code, Finding, option, quote},
    options::Field,
};

/// Programs that are written as commands.
const PROGRAMS: [&[u8]; 11] = [
    b"echo",
    b"mail",
    b"mailx",
    b"logger",
    b"safe_finger",
    b"wall",
    b"printf",
    b"sh",
    b"bash",
    b"cat",
    b"date",
];

pub(super) fn command(cut: &Cut<'_>) -> Option<Mistake> {
    let index =
        cut.fields.iter().position(|field| is_bare(field) || takes_text(&option_name(&field.text)))?;
    let first = &cut.fields[index];
    let is_bare = is_bare(first);
    // A field that is no option is part of the command; options that are some end it.
    let is_part = |field: &Field| {
        field.option.is_err() && !is_last_word(field) && goes_on(cut.bytes, first.span.start, field)
    };
    let last = cut.fields.iter().rposition(is_part).filter(|last| *last > index);
    if !is_bare && last.is_none() {
        return None;
    }
    let last = last.unwrap_or(index);
    let end = cut.fields[last].span.end.min(cut.text().len());
    let raw = cut.bytes.get(first.span.start..end)?;
    let mut fixed = if is_bare { b"spawn ".to_vec() } else { Vec::new() };
    fixed.extend(with_escaped_colons(raw));
    let refuses = "the rule has an option that does not exist: every client that it matches is refused, in hosts.allow too";
    let finding = if is_bare {
        let message = format!("shell command without \"spawn\": {}", quote(raw));
        Finding::new(Code::E061, message, "spawn or twist before a command", refuses)
    } else {
        let message = format!("a colon inside a command is written \"\\:\": {}", quote(raw));
        Finding::new(Code::E166, message, "\"\\:\" for each colon of the command", refuses)
    };
    let (start, length) = (first.span.start, raw.len());
    Some(Mistake { place: (start, length, finding.replace(fixed)), covers: start..usize::MAX })
}

/// Whether a field is the rest of the command that begins at `start`, and no misspelt option.
fn goes_on(line: &[u8], start: usize, field: &Field) -> bool {
    let before = line.get(start..field.span.start).unwrap_or_default();
    let count = |byte: u8| before.iter().filter(|it| **it == byte).count();
    let is_open = count(b'(') > count(b')') || [b'"', b'\'', b'`'].iter().any(|quote| count(*quote) % 2 == 1);
    let is_spaced = before.ends_with(b" : ") || before.ends_with(b"\t: ");
    let name = option_name(&field.text);
    let is_near = std::str::from_utf8(&name).is_ok_and(|name| option::near(name).is_some());
    is_open || !is_spaced && !is_near
}

/// A command without an option's name.
fn is_bare(field: &Field) -> bool {
    let text = &field.text;
    let looks_so = || {
        let is_shell = text.iter().any(|byte| b"|&>`".contains(byte));
        matches!(text.as_slice(), [b'(' | b'/', ..])
            || is_shell
            || PROGRAMS.contains(&option_name(text).as_slice())
    };
    let name = option_name(text);
    let is_option = std::str::from_utf8(&name).is_ok_and(|name| option::near(name).is_some())
        || matches!(name.as_slice(), b"exec" | b"run" | b"shell");
    !is_option && field.option.as_ref().is_err_and(|why| why.starts_with("bad option name")) && looks_so()
}

/// `must be at end`: the option itself, which something else stands behind.
fn is_last_word(field: &Field) -> bool {
    let is = |name: &[u8]| field.text.eq_ignore_ascii_case(name);
    is(b"allow") || is(b"deny")
}

fn with_escaped_colons(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 8);
    for (at, byte) in raw.iter().enumerate() {
        if *byte == b':' && at.checked_sub(1).and_then(|at| raw.get(at)) != Some(&b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}
