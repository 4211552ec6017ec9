//! Two rules on one line: the newline between them was lost.

use super::{Cut, Mistake, comment::is_daemon};
use crate::parse::{
    advice::{
        Code, Finding,
        follows::{infinitive, verdict},
        known, quote,
    },
    list::{is_separator, tokens},
    rule::TableKind,
};

/// The rules that stand on this line, if each is free of errors by itself, as `is_clean` tells.
pub(in crate::parse) fn two_rules(cut: &Cut<'_>, is_clean: &mut dyn FnMut(&[u8]) -> bool) -> Option<Mistake> {
    let text = cut.text();
    let mut rules: Vec<&[u8]> = Vec::new();
    let mut rest = text;
    while rules.len() < 16 {
        let Some(at) = second(rest, is_clean) else { break };
        rules.push(ended(&rest[..at]));
        rest = &rest[at..];
    }
    if rules.is_empty() || !is_clean(rest) {
        return None;
    }
    rules.push(rest.trim_ascii());
    let next = rules.get(1).and_then(|rule| tokens(rule, 0).next()).map(|(_, word)| word).unwrap_or_default();
    let name = next.split(|byte| *byte == b':').next().unwrap_or_default();
    // The client list of the line is that of the first rule, or its last word is glued to the second.
    let own = |rule: &[u8]| {
        let (colons, _) = super::cut(rule);
        let clients = rule.get(colons[0] + 1..colons[1]).unwrap_or_default();
        tokens(clients, 0).map(|(_, word)| word.to_vec()).collect::<Vec<_>>()
    };
    let all: Vec<Vec<u8>> = tokens(cut.clients(), 0).map(|(_, word)| word.to_vec()).collect();
    let is_intact = rules.first().is_some_and(|rule| all.starts_with(&own(rule)));
    let meant = |index: usize| {
        let rule = rules.get(index).copied().unwrap_or_default();
        let (colons, fields) = super::cut(rule);
        Cut { bytes: rule, colons, fields: &fields, ..*cut }.meant()
    };
    let second = infinitive(meant(1));
    let consequence = match (is_intact, meant(0)) {
        (true, TableKind::Allow) => {
            format!(
                "the second rule does not {second} its clients, and those of the first are refused instead of allowed"
            )
        }
        (true, TableKind::Deny) => format!("the second rule is not read: it does not {second} its clients"),
        (false, first) => format!(
            "the last client of the first rule is not {} by it, and the second rule does not {second} its clients",
            verdict(first)
        ),
    };
    let expected = match cut.kind {
        TableKind::Allow => "a newline between them",
        TableKind::Deny => "a newline between them: programs that append a rule may not look for one",
    };
    let message = format!("{} rules on one line: {} begins the second", count(rules.len()), quote(name));
    let finding = Finding::new(Code::E097, message, expected, consequence);
    Some(cut.whole(finding.replace(rules.join(&b'\n'))))
}

fn count(rules: usize) -> String {
    match rules {
        2 => "two".to_owned(),
        more => more.to_string(),
    }
}

/// Where the second rule of a text begins, the first one being clean.
fn second(text: &[u8], is_clean: &mut dyn FnMut(&[u8]) -> bool) -> Option<usize> {
    let first = outer_colon(text, 0)?;
    let own: Vec<&[u8]> = tokens(&text[..first], 0).map(|(_, word)| word).collect();
    let mut colon = outer_colon(text, first + 1);
    while let Some(at) = colon {
        let end = text[..at].trim_ascii_end().len();
        let blank = text[..end].iter().rposition(|byte| is_separator(*byte)).map_or(0, |at| at + 1);
        let start = (blank..end)
            .rev()
            .find(|at| outer_colon(&text[..end], *at) == Some(*at))
            .map_or(blank, |at| at + 1);
        let word = text.get(start..end).unwrap_or_default();
        let is_name = |name: &[u8]| {
            !name.is_empty() && (is_daemon(name) || own.iter().any(|own| own.eq_ignore_ascii_case(name)))
        };
        // What stands before the name belongs to the first rule: an address, an option's name, or nothing.
        // A daemon of any name, where an address is the option: its clients.
        let is_other = || {
            let behind = text.get(at + 1..).unwrap_or_default();
            let next = tokens(behind, 0).next().map(|(_, word)| word).unwrap_or_default();
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
            start > first + 1
                && tokens(&text[first + 1..start], 0).next().is_some()
                && word.iter().all(is_plain)
                && word.first().is_some_and(u8::is_ascii_alphabetic)
                && known::address_part(next).is_some()
        };
        let is_glued = |head: &[u8], name: &[u8]| {
            let is_own = name == b"ALL" || own.iter().any(|own| own.eq_ignore_ascii_case(name));
            is_own && is_host(head)
        };
        let cuts = (0..word.len()).filter(|cut| {
            let (head, name) = word.split_at(*cut);
            is_name(name) && (may_end(head) || is_glued(head, name)) || *cut == 0 && is_other()
        });
        for cut in cuts {
            let begin = if cut == 0 { first_daemon(text, start, first) } else { start + cut };
            if is_balanced(&text[..begin]) && is_clean(ended(&text[..begin])) {
                return Some(begin);
            }
        }
        colon = outer_colon(text, at + 1);
    }
    None
}

/// A rule without the sign that stands between it and the next: `;`, `,`, `|`.
fn ended(rule: &[u8]) -> &[u8] {
    let is_sign = |byte: &u8| b" \t;,|".contains(byte);
    let signs = rule.iter().rev().take_while(|byte| is_sign(byte)).count();
    rule[..rule.len() - signs].trim_ascii_start()
}

/// The first daemon of a list whose last one begins at `start`.
fn first_daemon(text: &[u8], start: usize, first_colon: usize) -> usize {
    let mut begin = start;
    let before: Vec<(usize, &[u8])> = tokens(&text[first_colon + 1..start], first_colon + 1).collect();
    for (at, word) in before.into_iter().rev().filter(|(_, word)| !word.contains(&b':')) {
        if !known::is_known(word) {
            break;
        }
        begin = at;
    }
    begin
}

/// Whether a text is a host's name with a domain.
fn is_host(text: &[u8]) -> bool {
    let mut labels = text.rsplit(|byte| *byte == b'.');
    let top = labels.next().unwrap_or_default();
    top.len() >= 2
        && top.iter().all(u8::is_ascii_alphabetic)
        && labels.next().is_some_and(|it| !it.is_empty())
}

/// Whether a rule may end with this part of a word.
fn may_end(head: &[u8]) -> bool {
    head.is_empty()
        || [&b"allow"[..], b"deny", b"ALL", b"LOCAL", b"keepalive"]
            .iter()
            .any(|word| word.eq_ignore_ascii_case(head))
        || known::address_part(head).is_some()
        || head.ends_with(b"\"")
        || head.ends_with(b")")
        || head.ends_with(b"&")
}

/// Whether parentheses and quotes are in pairs.
fn is_balanced(text: &[u8]) -> bool {
    let count = |byte: u8| text.iter().filter(|it| **it == byte).count();
    count(b'(') == count(b')') && count(b'"') % 2 == 0 && count(b'\'') % 2 == 0 && count(b'`') % 2 == 0
}

/// The next colon outside brackets that no backslash stands before.
fn outer_colon(text: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            b':' if depth == 0 && at >= from && !text[..at].ends_with(b"\\") => return Some(at),
            _ => {}
        }
    }
    None
}
