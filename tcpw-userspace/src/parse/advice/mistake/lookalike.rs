//! Characters of another script, and invisible ones.

use super::{Cut, Mistake, option_name, takes_text};
use crate::parse::{
    advice::{
        Code, Finding, Place,
        follows::{infinitive, verb},
        known, quote,
        word::CLIENT_WORDS,
    },
    list::is_separator,
    lookalike::{ascii, latin, name},
    rule::{RuleOption, TableKind},
};

/// The first such character, and the line with plain ones in place of all.
pub(super) fn lookalike(cut: &Cut<'_>) -> Option<Mistake> {
    let text = std::str::from_utf8(cut.text()).ok().filter(|text| !text.is_ascii())?;
    let plain = replace(text);
    let first = plain.places.first()?;
    let character = text[*first..].chars().next()?;
    let breaks = !cut.is_rule()
        || is_opposite(cut, &plain.text)
        || cut
            .fields
            .iter()
            .any(|field| field.option.is_err() && plain.places.iter().any(|at| *at < field.span.end));
    let column = first + 1;
    let number = format!("U+{:04X}", u32::from(character));
    let plain_one = ascii(character).map(str::to_owned).or_else(|| latin(character).map(String::from));
    let what = match plain_one.as_deref().unwrap_or_default() {
        "" => format!("{number} ({}) in column {column}: delete it", name(character)),
        " " => format!(
            "{number} ({}) in column {column} looks like a blank: type a blank instead",
            name(character)
        ),
        plain => format!(
            "{number} ({}) in column {column} looks like {}: type that instead",
            name(character),
            quote(plain.as_bytes())
        ),
    };
    let count = plain.places.len();
    let message = match count {
        1 => what,
        2 => format!("{what}; one more such character behind it"),
        _ => format!("{what}; {} more such characters behind it", count - 1),
    };
    let consequence = consequence(cut, *first, &plain);
    let code = if breaks { Code::E164 } else { Code::W163 };
    let finding = Finding::new(code, message, "the characters of a plain keyboard", consequence);
    Some(cut.whole(finding.replace(plain.text)))
}

/// What follows for clients.
fn consequence(cut: &Cut<'_>, first: usize, plain: &Plain) -> String {
    let (_, fields) = super::cut(plain.text.as_bytes());
    let meant = match fields.last().map(|field| &field.option) {
        Some(Ok(RuleOption::Allow)) => TableKind::Allow,
        Some(Ok(RuleOption::Deny | RuleOption::Twist(_))) => TableKind::Deny,
        Some(_) | None => cut.kind,
    };
    if !cut.is_rule() {
        return format!("the line is skipped: it does not {} its clients", infinitive(meant));
    }
    if cut.fields.iter().any(|field| field.option.is_err()) {
        return match meant {
            TableKind::Allow => "every client of this rule is refused instead of allowed".to_owned(),
            TableKind::Deny => "the option is not read; every client of this rule is refused".to_owned(),
        };
    }
    if is_opposite(cut, &plain.text) {
        return format!("the option is not read: this rule {} its clients", verb(cut.outcome()));
    }
    let place = cut.place(first);
    if first < cut.colons[0] {
        format!(
            "the word with it is the name of no daemon: clients of the daemon meant {}",
            Place::plain(meant).missed()
        )
    } else if first < cut.colons[1] {
        format!("the word with it is another one: the clients meant by it {}", place.missed())
    } else {
        "the option with it is not what was meant".to_owned()
    }
}

/// Whether the line was meant to end in `allow` or `deny`, against its table, and does not.
fn is_opposite(cut: &Cut<'_>, plain: &str) -> bool {
    let (_, fields) = super::cut(plain.as_bytes());
    let meant = fields.last().map(|field| &field.option);
    let is_there =
        cut.fields.iter().any(|field| matches!(field.option, Ok(RuleOption::Allow | RuleOption::Deny)));
    let is_against = match cut.kind {
        TableKind::Allow => matches!(meant, Some(Ok(RuleOption::Deny))),
        TableKind::Deny => matches!(meant, Some(Ok(RuleOption::Allow))),
    };
    is_against && !is_there
}

struct Plain {
    text: String,
    /// Where each replaced character stood.
    places: Vec<usize>,
}

/// The text with plain characters; what stands in a command's own quotes is its business.
fn replace(text: &str) -> Plain {
    let mut plain = Plain { text: String::with_capacity(text.len()), places: Vec::new() };
    let (mut colons, mut depth, mut quote) = (0, 0, None);
    let mut field = 0;
    let mut at = 0;
    for word in text.split_inclusive(|it: char| u8::try_from(it).is_ok_and(is_separator)) {
        let letters = twin(word);
        for (index, character) in word.char_indices() {
            let place = at + index;
            let in_command = colons >= 2 && is_command(&plain.text[field..]);
            let with = match ascii(character) {
                Some(with) if !in_command || quote.is_none() && is_disturbing(with) => Some(with.to_owned()),
                Some(_) => None,
                None if letters && !in_command => latin(character).map(String::from),
                None => None,
            };
            let start = plain.text.len();
            match with {
                Some(with) => {
                    plain.places.push(place);
                    plain.text.push_str(&with);
                }
                None => plain.text.push(character),
            }
            let is_plain = plain.text[start..].starts_with(character);
            for byte in plain.text[start..].to_owned().bytes() {
                match byte {
                    b'[' if colons < 2 => depth += 1,
                    b']' if colons < 2 => depth -= 1,
                    b':' if depth == 0 && quote.is_none() => (colons, field) = (colons + 1, start + 1),
                    b'"' | b'\'' if !is_plain => {}
                    b'"' | b'\'' if in_command && quote == Some(byte) => quote = None,
                    b'"' | b'\'' if in_command && quote.is_none() => quote = Some(byte),
                    _ => {}
                }
            }
        }
        at += word.len();
    }
    plain
}

/// Whether a word is one of ours but for letters of another alphabet, or mixes alphabets.
fn twin(word: &str) -> bool {
    let word = word.trim_end_matches(|it: char| u8::try_from(it).is_ok_and(is_separator));
    if word.is_ascii() {
        return false;
    }
    let plain: String = word.chars().map(|it| latin(it).unwrap_or(it)).collect();
    let parts = plain.split([':', '@', ',']);
    let is_ours = |part: &str| {
        let upper = part.to_ascii_uppercase();
        CLIENT_WORDS.contains(&upper.as_str())
            || known::is_known(part.as_bytes())
            || matches!(upper.as_str(), "ALLOW" | "DENY")
    };
    plain.is_ascii()
        && (parts.into_iter().any(is_ours) || word.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

/// Whether a field of options is a command.
fn is_command(field: &str) -> bool {
    let field = field.trim_start();
    takes_text(&option_name(field.as_bytes())) || field.starts_with(['(', '/'])
}

/// Whether the shell would take the plain character for something else than this one.
fn is_disturbing(plain: &str) -> bool {
    matches!(plain, "" | " " | "\"" | "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! becomes {
        ($($name:ident: $text:expr => $want:expr;)*) => { $(#[test] fn $name() {
            assert_eq!(replace($text).text, $want);
        })* };
    }

    becomes! {
        no_break_space: "sshd:\u{a0}ALL:\u{a0}allow" => "sshd: ALL: allow";
        full_width: "sshd：192.0.2.1，192.0.2.2" => "sshd:192.0.2.1,192.0.2.2";
        curly_quotes_in_a_command: "a: b: spawn echo \u{201c}x\u{201d}" => "a: b: spawn echo \"x\"";
        a_commands_own_words: "a: b: spawn echo \"連線：%a\"" => "a: b: spawn echo \"連線：%a\"";
        zero_width: "ss\u{200b}hd: ALL" => "sshd: ALL";
        cyrillic: "АLL: ALL" => "ALL: ALL";
        a_name_in_another_script: "sshd: пример.рф" => "sshd: пример.рф";
        accents: "sshd: café.example.com" => "sshd: café.example.com";
    }
}
