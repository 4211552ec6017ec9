//! An option that stands among the clients, as the colon before it is missing.

use super::{Cut, Mistake, option_name};
use crate::parse::{
    advice::{Code, Finding, quote},
    list::tokens,
    rule::{RuleOption, TableKind},
};

pub(super) fn option_word(cut: &Cut<'_>) -> Option<Mistake> {
    if !cut.is_rule() {
        return None;
    }
    let start = cut.colons[0] + 1;
    let all: Vec<(usize, &[u8])> = tokens(cut.clients(), start).collect();
    let is_option = |(index, (_, word)): &(usize, &(usize, &[u8]))| {
        let behind: &[(usize, &[u8])] = all.get(index + 1..).unwrap_or_default();
        let is_number = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
        match option_name(word).as_slice() {
            b"allow" | b"deny" => behind.is_empty(),
            b"spawn" | b"twist" | b"aclexec" | b"setenv" => !behind.is_empty(),
            b"severity" | b"banners" => behind.len() == 1,
            b"rfc931" | b"nice" | b"linger" | b"umask" => behind.len() == 1 && is_number(behind[0].1),
            b"keepalive" => behind.is_empty(),
            _ => false,
        }
    };
    let (index, &(at, word)) = all.iter().enumerate().find(is_option)?;
    let option = option_name(word);
    let meant = match option.as_slice() {
        b"allow" => Some(TableKind::Allow),
        b"deny" | b"twist" => Some(TableKind::Deny),
        _ => None,
    };
    let decided =
        cut.fields.iter().any(|field| matches!(field.option, Ok(RuleOption::Allow | RuleOption::Deny)));
    let is_opposite = meant.is_some_and(|meant| meant != cut.kind) && !decided;
    let verb = |kind| match kind {
        TableKind::Allow => "allows",
        TableKind::Deny => "refuses",
    };
    let message = format!("{} needs a colon before it: here it is the name of a client", quote(word));
    let finding = if is_opposite {
        let consequence =
            format!("the rule {} its other clients: the opposite of what it says", verb(cut.kind));
        Finding::new(Code::E151, message, "\": \" before the option", consequence)
    } else {
        let consequence = match meant {
            Some(kind) => format!(
                "a host of that name is looked for; the rule {} its other clients by the table it stands in",
                verb(kind)
            ),
            None => "a host of that name is looked for, and the option does nothing".to_owned(),
        };
        Finding::new(Code::W152, message, "\": \" before the option", consequence)
    };
    if index == 0 {
        return Some(Mistake { place: (at, word.len(), finding), covers: at..at + word.len() + 1 });
    }
    let text = cut.text();
    let before = text[..at].trim_ascii_end();
    let before = before.strip_suffix(b",").unwrap_or(before).trim_ascii_end();
    Some(cut.whole(finding.replace([before, b": ", &text[at..]].concat())))
}
