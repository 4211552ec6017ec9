//! Findings on pattern files.

use std::{net::Ipv6Addr, path::Path};

use super::{Code, Finding, Side, known, mistake, quote, replaced, text};
use crate::parse::{
    list::{self, is_except},
    pattern::split_end,
    rule::HostPattern,
};

/// Longest word libwrap survives. Source: tcp_wrappers 7.6.q `hosts_access.c`, `hostfile_match`.
const LONGEST: usize = 8191;

pub(in crate::parse) fn file_missing() -> Finding {
    let message = "the pattern file does not exist";
    Finding::new(Code::W080, message, "a file of patterns", "patterns that name it match nothing")
}

pub(in crate::parse) fn file_unreadable(why: &str) -> Finding {
    let message = format!("the pattern file cannot be read: {why}");
    Finding::new(Code::E081, message, "a file that root can read", "patterns that name it match nothing")
}

pub(in crate::parse) fn file_cycle(to: &Path) -> Finding {
    let message = format!("\"{}\" includes itself", to.display());
    let consequence = "libwrap crashes here when nothing before matched; tcpw reads each file once";
    Finding::new(Code::W086, message, "files that do not name themselves", consequence)
}

pub(in crate::parse) fn file_deep() -> Finding {
    let message = "more than 64 pattern files deep";
    let consequence = "tcpw reads it; libwrap keeps all of them open, and where it may open no more it skips the rest: their clients do not match";
    Finding::new(
        Code::W087,
        message,
        "pattern files that name fewer others: write the patterns of the last ones into an earlier file",
        consequence,
    )
}

/// Finding on a line of a pattern file that is a whole rule, and its length.
pub(in crate::parse) fn file_rule(line: &[u8]) -> Option<(usize, Finding)> {
    let text = line.trim_ascii_end();
    let ([colon, end], fields) = mistake::cut(text);
    let name = text.get(..colon)?.trim_ascii();
    let is_name =
        |word: &[u8]| word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(byte));
    let mut names = list::tokens(name, 0).map(|(_, word)| word);
    if colon >= text.len() || name.is_empty() || known::address_part(name).is_some() || !names.all(is_name) {
        return None;
    }
    let is_digits = name.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'.');
    if is_digits && !matches!(text.get(colon + 1), Some(b' ' | b'\t')) {
        return None;
    }
    // An address without brackets is right in such a file.
    if std::str::from_utf8(text).is_ok_and(|text| text.trim().parse::<Ipv6Addr>().is_ok()) {
        return None;
    }
    let clients = text[colon + 1..end].trim_ascii();
    let message = format!("{} is a rule: a pattern file holds clients only", quote(text));
    let consequence =
        "each of its words is taken for a client: names are looked up, and the options do nothing";
    let finding = Finding::new(Code::W171, message, "one client a line", consequence);
    let is_wrong = fields.iter().any(|field| field.option.is_err());
    Some((text.len(), if clients.is_empty() || is_wrong { finding } else { finding.replace(clients) }))
}

/// Finding on a token of a pattern file; words behind a `#` are reported with it.
pub(in crate::parse) fn file_token(word: &[u8], pattern: &HostPattern, commented: bool) -> Option<Finding> {
    if commented {
        return None;
    }
    if word.starts_with(b"#") {
        let message = "a pattern file has no comments";
        let consequence = "every word of the line is a pattern";
        return Some(
            Finding::new(Code::W082, message, "patterns and blanks only", consequence)
                .advise("delete the line, or keep it in a comment of the table"),
        );
    }
    if is_except(word) {
        let message = format!("{} means nothing in a pattern file", quote(word));
        let expected = "EXCEPT in the table: \"/file EXCEPT /other\"";
        let consequence = "it is taken for a host name, and what follows matches too";
        return Some(Finding::new(Code::W084, message, expected, consequence));
    }
    if word.contains(&b',') {
        let message = format!("comma in {}", quote(word));
        let expected = "patterns separated by blanks or newlines";
        return Some(
            Finding::new(Code::W083, message, expected, "it is taken for one pattern")
                .replace(replaced(word, b",", b" ").trim_ascii()),
        );
    }
    if !matches!(pattern, HostPattern::Netgroup(_))
        && let (_, Some(client)) = split_end(word)
    {
        let message = format!("{} matches no client: a pattern file has clients without users", quote(word));
        let expected = "a client, such as 192.0.2.7";
        let consequence = "it is taken for a host name, which no client has: the client meant is not matched";
        let advice = format!(
            "move {} into the rule that names this file, or for every user of that client write {} here",
            quote(word),
            quote(client)
        );
        return Some(Finding::new(Code::W085, message, expected, consequence).advise(advice));
    }
    if word.contains(&0) {
        return Some(Finding::new(Code::W088, "NUL byte", "text", "the rest of the word is ignored"));
    }
    if word.len() > LONGEST {
        let message = format!("a word of {} bytes", word.len());
        let expected = "words of at most 8191 bytes";
        return Some(Finding::new(Code::W089, message, expected, "libwrap crashes here; tcpw reads it"));
    }
    text::host(word, pattern, Side { end: "client", kind: None })
}
