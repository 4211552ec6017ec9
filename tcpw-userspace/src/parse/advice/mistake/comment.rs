//! Comments where there can be none, and comments of other languages.

use super::{Cut, Mistake, option_name, option_word, takes_text};
use crate::parse::{
    advice::{
        Code, Finding, Placed,
        follows::{refused, verb},
        known, quote, shown,
    },
    list::tokens,
};

/// What begins a comment in other languages.
const LEADERS: [&[u8]; 20] = [
    b"<!--", b"//", b"/*", b"--", b";", b"REM ", b"rem ", b"Rem ", b"@REM ", b"@rem ", b"dnl ", b"%%", b"% ",
    b"! ", b"(*", b"{-", b"'''", b"' ", b"\" ", b"::",
];

pub(super) fn comment(cut: &Cut<'_>) -> Option<Mistake> {
    leading(cut).or_else(|| trailing(cut)).or_else(|| behind_option(cut)).or_else(|| behind_daemons(cut))
}

/// The comment sign of another language at the start of a line.
fn leading(cut: &Cut<'_>) -> Option<Mistake> {
    let text = cut.text();
    let blanks = text.len() - text.trim_ascii_start().len();
    let leader = LEADERS.into_iter().find(|leader| text[blanks..].starts_with(leader))?;
    let sign = leader.trim_ascii_end();
    let behind = &text[blanks + sign.len()..];
    let repeated = |byte: &&u8| sign.len() == 1 && **byte == sign[0];
    let behind = &behind[behind.iter().take_while(repeated).count()..];
    let gap: &[u8] = if behind.starts_with(b" ") { b"" } else { b" " };
    let fixed = [b"#", gap, behind].concat();
    let message = format!("{} begins no comment here, only \"#\" does", quote(sign));
    if !cut.is_rule() {
        let finding = Finding::new(
            Code::E005,
            message,
            "\"#\" in the first column",
            "the line is skipped, with a warning at each connection",
        );
        return Some(cut.whole(finding.replace(fixed)));
    }
    let daemons = tokens(&text[..cut.colons[0]], 0).map(|(_, word)| word);
    let daemons: Vec<String> =
        daemons.filter(|word| *word != sign && !word.starts_with(sign)).map(shown).collect();
    let consequence = if daemons.is_empty() {
        format!(
            "this is a rule in force, for a daemon called {}: it decides nothing",
            quote(text[..cut.colons[0]].trim_ascii())
        )
    } else {
        format!("this is a rule in force: it {} its clients at {}", verb(cut.outcome()), daemons.join(", "))
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
    let all = || tokens(cut.clients(), start);
    if let Some((at, word)) =
        all().next().filter(|(_, word)| word.starts_with(b"#") || matches!(*word, b"//" | b"--"))
    {
        // The clients themselves are commented out: what was meant is not known.
        let message = format!("{} begins no comment inside a line", quote(word));
        let finding = Finding::new(Code::W023, message, "a comment on a line of its own", words(cut));
        return Some(Mistake { place: (at, word.len(), finding), covers: at..at + word.len() });
    }
    // Stuck to an address: "192.0.2.1#office".
    let stuck = all().find_map(|(at, word)| {
        let sign = word.iter().position(|byte| *byte == b'#')?;
        (sign > 0 && known::address_part(&word[..sign]).is_some()).then_some((at + sign, &word[sign..]))
    });
    let (at, word) = stuck.or_else(|| all().skip(1).find(|(_, word)| is_sign(word)))?;
    let sign = signs.iter().copied().find(|sign| word.starts_with(sign)).unwrap_or(word);
    let behind = cut.text().get(at + sign.len()..).unwrap_or_default();
    if sign == b";" && option_word::is_option(behind) {
        return None;
    }
    Some(found(cut, at, sign, &words(cut)))
}

/// What becomes of a comment's words behind the clients.
fn words(cut: &Cut<'_>) -> String {
    let verb = verb(cut.outcome());
    format!(
        "every word of the comment is taken for a client's name: this rule {verb} a host of such a name, and the name of \
         each client that reaches it is looked up"
    )
}

/// A `#` between the daemons and their colon.
fn behind_daemons(cut: &Cut<'_>) -> Option<Mistake> {
    let daemons = cut.is_rule().then(|| &cut.bytes[..cut.colons[0]])?;
    let (at, word) = tokens(daemons, 0).skip(1).find(|(_, word)| word.starts_with(b"#"))?;
    let comment = daemons[at..].strip_prefix(b"#").unwrap_or(word).trim_ascii();
    let fixed =
        [b"# ", comment, b"\n", daemons[..at].trim_ascii_end(), &cut.text()[cut.colons[0]..]].concat();
    let message = "a comment cannot stand inside a rule: \"#\" means nothing inside a line";
    let expected = "a comment on a line of its own, \"#\" in the first column";
    let finding = Finding::new(
        Code::W023,
        message,
        expected,
        format!(
            "every word of the comment is taken for a daemon's name: this rule {} its clients there, too",
            verb(cut.outcome())
        ),
    );
    Some(cut.whole(finding.replace(fixed)))
}

/// A comment behind an option that takes no more words.
fn behind_option(cut: &Cut<'_>) -> Option<Mistake> {
    let field =
        cut.fields.iter().find(|field| field.option.is_err() && !takes_text(&option_name(&field.text)))?;
    let raw = cut.bytes.get(field.span.clone())?;
    let signs: [&[u8]; 6] = [b"#", b"//", b"/*", b"<!--", b"--", b";"];
    let (at, sign) = (1..raw.len()).filter(|at| raw[at - 1].is_ascii_whitespace()).find_map(|at| {
        let sign = signs.into_iter().find(|sign| raw[at..].starts_with(sign))?;
        Some((at, sign))
    })?;
    let is_rest = option_word::is_option(&raw[at + sign.len()..]);
    (!is_rest).then(|| found(cut, field.span.start + at, sign, "it is part of the option"))
}

/// A comment from `at` on, which begins with `sign`.
fn found(cut: &Cut<'_>, at: usize, sign: &[u8], consequence: &str) -> Mistake {
    let text = cut.text();
    let (rule, comment) = (text[..at].trim_ascii_end(), &text[at..]);
    let begins_option = cut.fields.iter().any(|field| field.span.start > at && field.option.is_err())
        || cut.fields.iter().any(|field| field.span.contains(&at) && field.option.is_err());
    let (code, consequence) = if begins_option {
        (
            Code::E168,
            format!(
                "the colon in the comment begins an option, and there is none of that name: {}",
                refused(cut.kind)
            ),
        )
    } else {
        (Code::W023, consequence.to_owned())
    };
    let message = match sign {
        b"#" => "a comment cannot follow a rule: \"#\" means nothing inside a line".to_owned(),
        _ => format!("a comment cannot follow a rule, and {} begins none", quote(sign)),
    };
    let body = comment.strip_prefix(sign).unwrap_or(comment).trim_ascii();
    let body = if sign == b"#" { trimmed(body) } else { body };
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

/// A comment without more `#` signs around it.
fn trimmed(body: &[u8]) -> &[u8] {
    let is_sign = |byte: &u8| *byte == b'#';
    let start = body.iter().take_while(|byte| is_sign(byte)).count();
    let end = body.len() - body[start..].iter().rev().take_while(|byte| is_sign(byte)).count();
    body[start..end].trim_ascii()
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
