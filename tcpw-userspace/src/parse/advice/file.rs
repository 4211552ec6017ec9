//! Findings on pattern files.

use std::path::Path;

use super::{Finding, quote, token};
use crate::parse::{list::is_except, pattern::split_end, rule::HostPattern};

pub(in crate::parse) fn file_missing() -> Finding {
    let message = "the pattern file does not exist".into();
    Finding::new("W080", message, "a file of patterns", "patterns that name it match nothing")
}

pub(in crate::parse) fn file_unreadable(why: &str) -> Finding {
    let message = format!("the pattern file cannot be read: {why}");
    Finding::new("E081", message, "a file that root can read", "patterns that name it match nothing")
}

pub(in crate::parse) fn file_cycle(to: &Path) -> Finding {
    let message = format!("\"{}\" includes itself", to.display());
    let consequence = "libwrap crashes here when nothing before matched; tcpw reads each file once";
    Finding::new("W086", message, "files that do not name themselves", consequence)
}

pub(in crate::parse) fn file_deep() -> Finding {
    let message = "more than 64 pattern files deep".into();
    let consequence = "tcpw reads it; libwrap keeps all of them open and may fail";
    Finding::new("W087", message, "a flatter tree of pattern files", consequence)
}

/// Finding on a token of a pattern file; words behind a `#` are reported with it.
pub(in crate::parse) fn file_token(word: &[u8], pattern: &HostPattern, commented: bool) -> Option<Finding> {
    if commented {
        return None;
    }
    if word.starts_with(b"#") {
        return Some(
            Finding::new(
                "W082",
                "a pattern file has no comments".into(),
                "patterns and blanks only",
                "every word of the line is a pattern",
            )
            .fix("delete the line"),
        );
    }
    if is_except(word) {
        return Some(Finding::new(
            "W084",
            format!("{} means nothing in a pattern file", quote(word)),
            "EXCEPT in the table: \"/file EXCEPT /other\"",
            "it is taken for a host name, and what follows matches too",
        ));
    }
    if word.contains(&b',') {
        let spaced = String::from_utf8_lossy(word).replace(',', " ");
        return Some(
            Finding::new(
                "W083",
                format!("comma in {}", quote(word)),
                "patterns separated by blanks or newlines",
                "it is taken for one pattern",
            )
            .fix(spaced.trim()),
        );
    }
    if !matches!(pattern, HostPattern::Netgroup(_)) && split_end(word).1.is_some() {
        let message = format!("{} means nothing in a pattern file", quote(word));
        let expected = "user names in the table: \"user@/file\"";
        return Some(Finding::new("W085", message, expected, "it is taken for a host name"));
    }
    if word.contains(&0) {
        let message = "NUL byte".into();
        return Some(Finding::new("W088", message, "text", "the rest of the word is ignored"));
    }
    token::host(word, pattern, "client")
}
