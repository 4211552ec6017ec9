//! An option that stands among the clients or daemons, as the colon before it is missing.

use super::{Cut, Mistake, option_name, takes_text};
use crate::parse::{
    advice::{
        Code, Finding,
        follows::{infinitive, verb},
        known, quote,
    },
    list::{is_except, tokens},
    rule::{RuleOption, TableKind},
};

/// Words that are written for `allow` and `deny` at the end of a rule.
const OTHER_WORDS: [(&[u8], TableKind); 14] = [
    (b"accept", TableKind::Allow),
    (b"accepted", TableKind::Allow),
    (b"allowed", TableKind::Allow),
    (b"grant", TableKind::Allow),
    (b"granted", TableKind::Allow),
    (b"permit", TableKind::Allow),
    (b"permitted", TableKind::Allow),
    (b"denied", TableKind::Deny),
    (b"refuse", TableKind::Deny),
    (b"refused", TableKind::Deny),
    (b"reject", TableKind::Deny),
    (b"rejected", TableKind::Deny),
    (b"drop", TableKind::Deny),
    (b"dropped", TableKind::Deny),
];

pub(super) fn option_word(cut: &Cut<'_>) -> Option<Mistake> {
    if !cut.is_rule() {
        return None;
    }
    behind_command(cut)
        .or_else(|| no_colon_at_all(cut))
        .or_else(|| among_daemons(cut))
        .or_else(|| before_clients(cut))
        .or_else(|| behind_clients(cut))
}

/// Whether what stands behind the clients, `; deny`, is an option and no comment.
pub(super) fn is_option(text: &[u8]) -> bool {
    verdict(text.trim_ascii()).is_some()
}

/// What `allow` and `deny` mean, and words for them.
fn verdict(word: &[u8]) -> Option<TableKind> {
    plain(word).or_else(|| {
        let other = OTHER_WORDS.iter().find(|(other, _)| other.eq_ignore_ascii_case(word));
        other.map(|(_, kind)| *kind)
    })
}

/// `allow` and `deny` themselves.
fn plain(word: &[u8]) -> Option<TableKind> {
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    if is(b"allow") {
        Some(TableKind::Allow)
    } else if is(b"deny") {
        Some(TableKind::Deny)
    } else {
        None
    }
}

/// The option for a word.
fn spelt(word: &[u8], kind: TableKind) -> Vec<u8> {
    match (plain(word), kind) {
        (Some(_), _) => word.to_vec(),
        (None, TableKind::Allow) => b"allow".to_vec(),
        (None, TableKind::Deny) => b"deny".to_vec(),
    }
}

/// Whether an option of the rule gives its verdict.
fn decided(cut: &Cut<'_>) -> Option<TableKind> {
    cut.fields.iter().find_map(|field| match field.option {
        Ok(RuleOption::Allow) => Some(TableKind::Allow),
        Ok(RuleOption::Deny | RuleOption::Twist(_)) | Err(_) => Some(TableKind::Deny),
        Ok(_) => None,
    })
}

/// The finding: the rule does the opposite, or what it would do anyway.
fn finding(cut: &Cut<'_>, word: &[u8], meant: Option<TableKind>, taken_for: &str) -> Finding {
    let is_opposite = meant.is_some_and(|meant| meant != cut.kind) && decided(cut).is_none();
    let message = format!("{} needs a colon before it: here it is {taken_for}", quote(word));
    if is_opposite {
        let consequence = format!("this rule {} its clients: the opposite of what it says", verb(cut.kind));
        return Finding::new(Code::E151, message, "\": \" before the option", consequence);
    }
    let consequence = match meant {
        Some(_) => {
            let why = match (decided(cut), cut.kind) {
                (Some(_), _) => "because of its option",
                (None, TableKind::Allow) => "because every rule of hosts.allow does",
                (None, TableKind::Deny) => "because every rule of hosts.deny does",
            };
            let verb = verb(decided(cut).unwrap_or(cut.kind));
            format!("the word does nothing here; this rule {verb} its clients all the same, {why}")
        }
        None => format!("the option does nothing here; this rule {} its clients", verb(cut.outcome())),
    };
    Finding::new(Code::W152, message, "\": \" before the option", consequence)
}

const CLIENT: &str = "the name of a client";

/// `192.0.2.7 deny`, `192.0.2.7 spawn /bin/x`.
fn behind_clients(cut: &Cut<'_>) -> Option<Mistake> {
    let start = cut.colons[0] + 1;
    let all: Vec<(usize, &[u8])> = tokens(cut.clients(), start).collect();
    let is_option = |(index, (_, word)): &(usize, &(usize, &[u8]))| {
        let behind: &[(usize, &[u8])] = all.get(index + 1..).unwrap_or_default();
        let is_number = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
        match option_name(word).as_slice() {
            b"allow" | b"deny" => behind.iter().all(|(_, word)| word.eq_ignore_ascii_case(b"ALL")),
            b"spawn" | b"twist" | b"aclexec" | b"setenv" => !behind.is_empty(),
            b"severity" | b"banners" => behind.len() == 1,
            b"user" | b"group" => *index > 0 && behind.len() == 1,
            b"rfc931" | b"nice" if behind.is_empty() => *index > 0,
            b"rfc931" | b"nice" | b"linger" | b"umask" => behind.len() == 1 && is_number(behind[0].1),
            b"keepalive" => behind.is_empty(),
            other => *index > 0 && behind.is_empty() && verdict(other).is_some(),
        }
    };
    let (index, &(at, word)) = all.iter().enumerate().find(is_option)?;
    let meant = match option_name(word).as_slice() {
        b"twist" => Some(TableKind::Deny),
        name => verdict(name),
    };
    let finding = finding(cut, word, meant, CLIENT);
    if index == 0 {
        return Some(Mistake { place: (at, word.len(), finding), covers: at..at + word.len() + 1 });
    }
    let text = cut.text();
    let before = text[..at].trim_ascii_end();
    let before = without_sign(before);
    let has_more = all.len() > index + 1 && verdict(word).is_some();
    let fixed = match (meant, decided(cut)) {
        _ if has_more => None,
        // The option says it once more, or something else.
        (Some(meant), Some(decided)) if verdict(word).is_some() => {
            let behind = text.get(cut.colons[1]..).unwrap_or_default();
            let is_wrong = cut.fields.iter().any(|field| field.option.is_err());
            (meant == decided && !is_wrong).then(|| [before, b" ", behind].concat())
        }
        (Some(kind), None) if verdict(word).is_some() => {
            // It is the last option.
            let behind = text.get(cut.colons[1]..).unwrap_or_default();
            Some([before, behind, b": ", &spelt(word, kind)].concat())
        }
        _ => Some([before, b": ", &text[at..]].concat()),
    };
    Some(cut.whole(with(finding, fixed)))
}

fn with(finding: Finding, fixed: Option<Vec<u8>>) -> Finding {
    match fixed {
        Some(fixed) => finding.replace(fixed),
        None => finding,
    }
}

/// A text without the sign that was written for the colon: `192.0.2.7 ;`, `192.0.2.7 -`.
fn without_sign(text: &[u8]) -> &[u8] {
    let is_sign = |byte: &u8| b",;-=|>".contains(byte);
    let is_alone = text.iter().rev().take_while(|byte| is_sign(byte)).count();
    let head = &text[..text.len() - is_alone];
    let is_stuck = text[head.len()..].iter().any(|byte| !b",;".contains(byte));
    if head.is_empty() || is_stuck && !head.ends_with(b" ") && !head.ends_with(b"\t") {
        return text;
    }
    head.trim_ascii_end()
}

/// `deny 192.0.2.7`.
fn before_clients(cut: &Cut<'_>) -> Option<Mistake> {
    let start = cut.colons[0] + 1;
    let mut all = tokens(cut.clients(), start);
    let (at, word) = all.next()?;
    let kind = plain(word)?;
    let (rest, _) = all.next().filter(|(_, word)| !is_except(word))?;
    let finding = finding(cut, word, Some(kind), CLIENT);
    let text = cut.text();
    let end = cut.colons[1].min(text.len());
    let fixed = decided(cut).is_none().then(|| {
        let clients = text[rest..end].trim_ascii_end();
        [&text[..at], clients, &text[end..], b": ", word].concat()
    });
    Some(cut.whole(with(finding, fixed)))
}

/// `sshd deny: 192.0.2.7`, `deny sshd: 192.0.2.7`.
fn among_daemons(cut: &Cut<'_>) -> Option<Mistake> {
    let text = cut.text();
    let daemons = &text[..cut.colons[0].min(text.len())];
    let all: Vec<(usize, &[u8])> = tokens(daemons, 0).collect();
    let (index, &(_, word)) =
        all.iter().enumerate().find(|(_, (_, word))| plain(word).is_some()).filter(|_| all.len() > 1)?;
    let kind = plain(word)?;
    let finding = finding(cut, word, Some(kind), "the name of a daemon");
    let others = [&all[..index], &all[index + 1..]].concat();
    let is_plain = others.iter().all(|(_, word)| word.eq_ignore_ascii_case(b"ALL") || known::is_known(word));
    let fixed = (is_plain && decided(cut).is_none()).then(|| {
        let names: Vec<&[u8]> = others.iter().map(|(_, word)| *word).collect();
        [&names.join(&b' '), &text[cut.colons[0]..], b": ", word].concat()
    });
    Some(cut.whole(with(finding, fixed)))
}

/// `sshd = 192.0.2.7 : deny`: the only colon is the option's.
fn no_colon_at_all(cut: &Cut<'_>) -> Option<Mistake> {
    let word = cut.clients().trim_ascii();
    plain(word).filter(|_| cut.fields.is_empty())?;
    let text = cut.text();
    let daemons = &text[..cut.colons[0]];
    let is_sign = |word: &[u8]| word.iter().all(|byte| b"=-|>;".contains(byte));
    let is_client = |word: &[u8]| {
        known::address_part(word).is_some()
            || [&b"ALL"[..], b"LOCAL"].iter().any(|known| known.eq_ignore_ascii_case(word))
            || word.starts_with(b".")
    };
    let all: Vec<(usize, &[u8])> = tokens(daemons, 0).filter(|(_, word)| !is_sign(word)).collect();
    let first = all.iter().position(|(_, word)| is_client(word)).map(|at| at.max(1))?;
    let clients = all.get(first..).filter(|clients| !clients.is_empty())?;
    if !clients.iter().all(|(_, word)| is_client(word)) {
        return None;
    }
    let message = format!("no \":\" before {}, the first of the clients", quote(clients[0].1));
    let consequence = format!(
        "the clients are taken for daemons, and {} for a client: this rule does not {} its clients",
        quote(word),
        infinitive(plain(word)?)
    );
    let names =
        |words: &[(usize, &[u8])]| words.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(&b' ');
    let fixed = [&names(&all[..first]), &b": "[..], &names(clients), b" ", &text[cut.colons[0]..]].concat();
    let finding = Finding::new(Code::W107, message, "\"daemons : clients : option\"", consequence);
    Some(cut.whole(finding.replace(fixed)))
}

/// `spawn (...) & deny`: a command ends where the shell is told so.
fn behind_command(cut: &Cut<'_>) -> Option<Mistake> {
    let field = cut.fields.last().filter(|field| takes_text(&option_name(&field.text)))?;
    let raw = cut.bytes.get(field.span.clone())?.trim_ascii_end();
    let at = raw.iter().rposition(|byte| byte.is_ascii_whitespace())? + 1;
    let word = &raw[at..];
    let kind = plain(word)?;
    let before = raw[..at].trim_ascii_end();
    if !matches!(before, [.., b'&' | b')' | b';']) {
        return None;
    }
    let finding = finding(cut, word, Some(kind), "part of the command");
    let text = cut.text();
    let start = field.span.start + before.len();
    let before = text[..start].strip_suffix(b";").unwrap_or(&text[..start]).trim_ascii_end();
    Some(cut.whole(finding.replace([before, b": ", word].concat())))
}
