//! Commands: without `spawn` before them, or with colons in them.

use super::{Cut, Mistake, option_name, takes_text};
use crate::parse::{
    advice::{Code, Finding, follows::refused, option, quote},
    options::Field,
    rule::TableKind,
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
    if let Some(mistake) = colon_behind_name(cut) {
        return Some(mistake);
    }
    let begins = |field: &Field| is_bare(field) || takes_text(&option_name(&field.text));
    let starts = || (0..cut.fields.len()).filter(|index| begins(&cut.fields[*index]));
    // The first command with a colon in it, or without its option.
    let (index, last) = starts().find_map(|index| {
        let first = &cut.fields[index];
        // A field that is no option is part of the command; options that are some end it.
        let is_part = |field: &Field| {
            field.option.is_err() && !is_last_word(field) && goes_on(cut.bytes, first.span.start, field)
        };
        let is_option = |next: &usize| takes_text(&option_name(&cut.fields[*next].text));
        let next = starts().filter(is_option).find(|next| {
            *next > index && !is_open(cut.bytes, first.span.start, cut.fields[*next].span.start)
        });
        let end = next.unwrap_or(cut.fields.len());
        let last = cut.fields[..end].iter().rposition(is_part).filter(|last| *last > index);
        (last.is_some() || is_bare(first)).then_some((index, last.unwrap_or(index)))
    })?;
    let first = &cut.fields[index];
    let is_bare = is_bare(first);
    let end = cut.fields[last].span.end.min(cut.text().len());
    let raw = cut.bytes.get(first.span.start..end)?;
    let mut fixed = if is_bare { b"spawn ".to_vec() } else { Vec::new() };
    fixed.extend(with_escaped_colons(raw));
    let refuses = match cut.kind {
        TableKind::Allow => {
            "the command does not run, and every client of this rule is refused instead of allowed"
        }
        TableKind::Deny => "the command does not run; every client of this rule is refused",
    };
    // Options before the colon are carried out.
    let cut_off = match cut.kind {
        TableKind::Allow => {
            "the command is cut off at the colon, and every client of this rule is refused instead of allowed"
        }
        TableKind::Deny => "the command is cut off at the colon; every client of this rule is refused",
    };
    let finding = if is_bare {
        let message = format!("shell command without \"spawn\": {}", quote(raw));
        Finding::new(Code::E061, message, "spawn or twist before a command", refuses)
    } else {
        let message = format!("a colon inside a command is written \"\\:\": {}", quote(raw));
        Finding::new(Code::E166, message, "\"\\:\" for each colon of the command", cut_off)
    };
    let (start, length) = (first.span.start, raw.len());
    // A text that the shell cannot begin a command with is the rest of something else.
    let is_whole = !matches!(raw.trim_ascii_start(), [] | [b'|' | b'&' | b'>' | b'<' | b')' | b';', ..]);
    let finding = if is_whole { finding.replace(fixed) } else { finding };
    Some(Mistake { place: (start, length, finding), covers: start..usize::MAX })
}

/// `spawn: /bin/true`, `severity: auth.info`: a colon between an option and its value.
fn colon_behind_name(cut: &Cut<'_>) -> Option<Mistake> {
    let takes_value = |name: &[u8]| takes_text(name) || matches!(name, b"severity" | b"banners");
    let (name, value) = cut.fields.windows(2).find_map(|pair| {
        let [name, value] = pair else { return None };
        let is_name = takes_value(&name.text.to_ascii_lowercase()) && name.option.is_err();
        let next = option_name(&value.text);
        let is_option = std::str::from_utf8(&next).is_ok_and(|next| option::near(next).is_some());
        let is_value = value.option.is_err() && !value.text.is_empty() && !is_option;
        (is_name && is_value).then_some((name, value))
    })?;
    let end = value.span.end.min(cut.text().len());
    let raw = cut.bytes.get(name.span.start..end)?;
    let message = format!("no colon stands between an option and its value: {}", quote(raw));
    let refuses = format!("the option has no value: {}", refused(cut.kind));
    let finding = Finding::new(Code::E065, message, "a blank between them", refuses);
    let fixed = [&cut.bytes[name.span.clone()], b" ", &cut.bytes[value.span.start..end]].concat();
    let start = name.span.start;
    Some(Mistake { place: (start, raw.len(), finding.replace(fixed)), covers: start..usize::MAX })
}

/// Whether parentheses or quotes that a command opens are not closed before `end`.
fn is_open(line: &[u8], start: usize, end: usize) -> bool {
    let before = line.get(start..end).unwrap_or_default();
    let count = |byte: u8| before.iter().filter(|it| **it == byte).count();
    count(b'(') > count(b')') || [b'"', b'\'', b'`'].iter().any(|quote| count(*quote) % 2 == 1)
}

/// Whether a field is the rest of the command that begins at `start`, and no misspelt option.
fn goes_on(line: &[u8], start: usize, field: &Field) -> bool {
    let before = line.get(start..field.span.start).unwrap_or_default();
    let is_open = is_open(line, start, field.span.start);
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
        let is_url = text.starts_with(b"//");
        matches!(text.as_slice(), [b'(' | b'/', ..]) && !is_url
            || is_shell
            || has_arguments(text)
            || PROGRAMS.contains(&option_name(text).as_slice())
    };
    let name = option_name(text);
    let is_option = std::str::from_utf8(&name).is_ok_and(|name| option::near(name).is_some())
        || matches!(name.as_slice(), b"exec" | b"run" | b"shell");
    !is_option && field.option.as_ref().is_err_and(|why| why.starts_with("bad option name")) && looks_so()
}

/// `iptables -A INPUT -s %a`: a program's name, and arguments as programs have them.
fn has_arguments(text: &[u8]) -> bool {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let is_program = words.next().is_some_and(|word| {
        word.first().is_some_and(u8::is_ascii_alphabetic)
            && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-+/".contains(byte))
    });
    let is_argument = |word: &[u8]| {
        matches!(word, [b'-', b'a'..=b'z' | b'A'..=b'Z' | b'-', ..] | [b'/', ..])
            || word.windows(2).any(|pair| pair[0] == b'%' && b"aAcdhHnNprRsu".contains(&pair[1]))
    };
    is_program && words.any(is_argument)
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
