//! Findings on pattern files.

use std::path::Path;

use super::{Code, Finding, Side, quote, replaced, text};
use crate::parse::{list::is_except, pattern::split_end, rule::HostPattern};

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
    let consequence = "tcpw reads it; libwrap keeps all of them open and may fail";
    Finding::new(Code::W087, message, "a flatter tree of pattern files", consequence)
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
    if !matches!(pattern, HostPattern::Netgroup(_)) && split_end(word).1.is_some() {
        let message = format!("{} means nothing in a pattern file", quote(word));
        let expected = "user names in the table: \"user@/file\"";
        return Some(Finding::new(Code::W085, message, expected, "it is taken for a host name"));
    }
    if word.contains(&0) {
        return Some(Finding::new(Code::W088, "NUL byte", "text", "the rest of the word is ignored"));
    }
    if word.len() > LONGEST {
        let message = format!("a word of {} bytes", word.len());
        let expected = "words of at most 8191 bytes";
        return Some(Finding::new(Code::W089, message, expected, "libwrap crashes here; tcpw reads it"));
    }
    text::host(word, pattern, Side { whose: "client", kind: None })
}
