//! Comments where there can be none, and comments of other languages.

use super::{Cut, Mistake, option_name, takes_text};
use crate::parse::{
    advice::{Code, Finding, Placed, known, quote, shown},
    list::tokens,
};

/// What begins a comment in other languages.
const LEADERS: [&[u8]; 10] = [b"<!--", b"//", b"/*", b"--", b";", b"REM ", b"rem ", b"Rem ", b"dnl ", b"%%"];

pub(super) fn comment(cut: &Cut<'_>) -> Option<Mistake> {
    leading(cut).or_else(|| trailing(cut)).or_else(|| behind_option(cut))
}

/// The comment sign of another language at the start of a line.
fn leading(cut: &Cut<'_>) -> Option<Mistake> {
    let text = cut.text();
    let blanks = text.len() - text.trim_ascii_start().len();
    let leader = LEADERS.into_iter().find(|leader| text[blanks..].starts_with(leader))?;
    let sign = leader.trim_ascii_end();
    let behind = &text[blanks + sign.len()..];
    let gap: &[u8] = if behind.starts_with(b" ") { b"" } else { b" " };
    let fixed = [b"#", gap, behind].concat();
    let message = format!("{} begins no comment here, only \"#\" does", quote(sign));
    if !cut.is_rule() {
        let finding = Finding::new(
            Code::E005,
            message,
            "\"#\" in the first column",
            "libwrap warns and skips the line",
        );
        return Some(cut.whole(finding.replace(fixed)));
    }
    let daemons = tokens(&text[..cut.colons[0]], 0).map(|(_, word)| word);
    let daemons: Vec<String> =
        daemons.filter(|word| *word != sign && !word.starts_with(sign)).map(shown).collect();
    let consequence = if daemons.is_empty() {
        format!("the line is a rule for a daemon of the name {}", quote(text[..cut.colons[0]].trim_ascii()))
    } else {
        format!("the line is a rule, and in force for {}", daemons.join(", "))
    };
    let finding = Finding::new(Code::W167, message, "\"#\" in the first column", consequence);
    Some(cut.whole(finding.replace(fixed)))
}

/// A comment behind the clients.
fn trailing(cut: &Cut<'_>) -> Option<Mistake> {
    if !cut.is_rule() {
        return None;
    }
    let start = cut.colons[0] + 1;
    let signs: [&[u8]; 5] = [b"#", b"//", b"/*", b"<!--", b";"];
    let is_sign = |word: &[u8]| signs.iter().any(|sign| word.starts_with(sign)) || word == b"--";
    // What begins the list is another matter.
    let (at, word) = tokens(cut.clients(), start).skip(1).find(|(_, word)| is_sign(word))?;
    let sign = signs.iter().copied().find(|sign| word.starts_with(sign)).unwrap_or(word);
    Some(found(cut, at, sign, "every word of it is a client pattern"))
}

/// A `#` behind an option that takes no more words.
fn behind_option(cut: &Cut<'_>) -> Option<Mistake> {
    let field =
        cut.fields.iter().find(|field| field.option.is_err() && !takes_text(&option_name(&field.text)))?;
    let raw = cut.bytes.get(field.span.clone())?;
    let at = raw.windows(2).position(|pair| matches!(pair, [b' ' | b'\t', b'#']))? + 1;
    Some(found(cut, field.span.start + at, b"#", "it is part of the option"))
}

/// A comment from `at` on, which begins with `sign`.
fn found(cut: &Cut<'_>, at: usize, sign: &[u8], consequence: &'static str) -> Mistake {
    let text = cut.text();
    let (rule, comment) = (text[..at].trim_ascii_end(), &text[at..]);
    let begins_option = cut.fields.iter().any(|field| field.span.start > at && field.option.is_err())
        || cut.fields.iter().any(|field| field.span.contains(&at) && field.option.is_err());
    let (code, consequence) = if begins_option {
        (
            Code::E168,
            "its colon begins an option that does not exist: every client that the rule matches is refused",
        )
    } else {
        (Code::W023, consequence)
    };
    let message = match sign {
        b"#" => "a comment cannot follow a rule: \"#\" means nothing inside a line".to_owned(),
        _ => format!("a comment cannot follow a rule, and {} begins none", quote(sign)),
    };
    let body = comment.strip_prefix(sign).unwrap_or(comment).trim_ascii();
    let body =
        body.strip_suffix(b"-->").or_else(|| body.strip_suffix(b"*/")).unwrap_or(body).trim_ascii_end();
    let fixed = if body.contains(&b':') {
        // Rules that were switched off: each on a line of its own.
        let mut lines = vec![rule.to_vec()];
        lines.extend(pieces(body).into_iter().map(|piece| [b"# ", piece].concat()));
        lines.join(&b'\n')
    } else {
        [b"# ", body, b"\n", rule].concat()
    };
    let finding =
        Finding::new(code, message, "a comment on a line of its own, \"#\" in the first column", consequence);
    let place: Placed = (0, text.len(), finding.replace(fixed));
    Mistake { place, covers: 0..usize::MAX }
}

/// The parts of a comment between its `#` signs.
fn pieces(comment: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in 1..comment.len() {
        if comment[at] == b'#' && comment[at - 1].is_ascii_whitespace() {
            parts.push(comment[start..at].trim_ascii());
            start = at + 1;
        }
    }
    parts.push(comment[start..].trim_ascii());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Whether a word could be a daemon's name or ALL.
pub(super) fn is_daemon(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"ALL") || known::is_known(word)
}
