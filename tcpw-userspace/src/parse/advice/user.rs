//! Findings on one token of a client list.

use super::{
    Code, Finding, NEVER, Side, quote,
    separator::foreign,
    text,
    word::{CLIENT_WORDS, near_word},
};
use crate::parse::{
    pattern::split_end,
    rule::{ClientPattern, HostPattern, TableKind, TextPattern},
};

/// Finding on a token of a client list.
pub(in crate::parse) fn client(token: &[u8], pattern: &ClientPattern, kind: TableKind) -> Option<Finding> {
    let (user, right) = split_end(token);
    if right == Some(b"") {
        let message = format!("nothing after the \"@\" of {}", quote(token));
        let finding = Finding::new(Code::W030, message, "a client's host or address", NEVER);
        return Some(finding.replace([user, b"@ALL"].concat()));
    }
    if let Some(finding) = foreign(token) {
        return Some(finding);
    }
    let host = right.unwrap_or(token);
    let taken_for = "a host's name";
    let is_word = host.starts_with(b"!")
        || matches!(&pattern.host, HostPattern::Text { pattern: TextPattern::Exact(_), .. });
    let near = is_word.then(|| near_word(host, CLIENT_WORDS, taken_for)).flatten();
    let side = Side { end: "client", kind: Some(kind) };
    if let Some(finding) = near.or_else(|| of_host(host, right.is_some(), &pattern.host, side)) {
        return Some(finding.within(&token[..token.len() - host.len()], b""));
    }
    user_pattern(token, user, pattern.user.as_ref()?)
}

/// Finding on the host part; that "*" is ALL does not matter behind a user.
fn of_host(host: &[u8], has_user: bool, pattern: &HostPattern, side: Side) -> Option<Finding> {
    text::host(host, pattern, side).filter(|it| !has_user || it.code != Code::H174)
}

fn user_pattern(token: &[u8], user: &[u8], pattern: &TextPattern) -> Option<Finding> {
    let odd = |what: &str, consequence: &'static str| {
        Some(Finding::new(Code::W038, format!("{} {what}", quote(user)), "a user's name", consequence))
    };
    match pattern {
        TextPattern::Suffix(_) | TextPattern::Prefix(_) => {
            return odd("begins or ends in a dot", "it matches every user whose name ends or begins so");
        }
        TextPattern::Exact(exact) => {
            let is_host_word =
                [&b"LOCAL"[..], b"PARANOID"].iter().any(|word| exact.eq_ignore_ascii_case(word));
            if is_host_word || matches!(**exact, [b'@' | b'/', ..]) {
                return odd("means nothing before the \"@\"", "it is taken for a user's name");
            }
        }
        TextPattern::All | TextPattern::Glob(_) | TextPattern::Known | TextPattern::Bracketed(_) => {}
    }
    let message = format!("{} asks the client's host for its user (ident, RFC 1413)", quote(token));
    let consequence = "libwrap asks port 113 of the client for up to 10 seconds, and believes the answer; so does tcpw, and \
                       the connection's data wait meanwhile";
    let hint = Finding::new(Code::H032, message, "", consequence);
    let host = &token[user.len() + 1..];
    Some(match pattern {
        // Whatever is answered, it matches.
        TextPattern::All => hint.replace(host),
        TextPattern::Exact(_)
        | TextPattern::Suffix(_)
        | TextPattern::Prefix(_)
        | TextPattern::Glob(_)
        | TextPattern::Known
        | TextPattern::Bracketed(_) => hint.advise(format!("to ask no host, write {} alone", quote(host))),
    })
}
