//! Findings on a table as a file.

use super::{Code, Finding, TableKind};

pub(in crate::parse) fn table_missing(kind: TableKind) -> Finding {
    Finding::new(
        Code::H001,
        "the file does not exist",
        "a table, even an empty one",
        match kind {
            TableKind::Allow => "no rule allows: hosts.deny decides alone",
            TableKind::Deny => "no rule refuses: every client is allowed unless hosts.allow says otherwise",
        },
    )
}

pub(in crate::parse) fn table_unreadable(kind: TableKind, why: &str) -> Finding {
    Finding::new(
        Code::E002,
        format!("the file cannot be read: {why}"),
        "a file that root can read",
        match kind {
            TableKind::Allow => "no rule allows: hosts.deny decides alone",
            TableKind::Deny => "every client that hosts.allow does not allow is refused",
        },
    )
}

pub(in crate::parse) fn broken_line(kind: TableKind, is_full: bool) -> Finding {
    let consequence = match kind {
        TableKind::Allow => "this line and all that follow are ignored",
        TableKind::Deny => {
            "this line and all that follow are ignored, and every client that no earlier rule decides is refused"
        }
    };
    if is_full {
        return Finding::new(
            Code::E004,
            "line too long",
            "at most 2047 bytes, continuation lines and the newline included",
            consequence,
        )
        .advise("several rules, or a pattern file: \"daemon: /path/to/file\"");
    }
    let message = "the last line has no newline";
    Finding::new(Code::E003, message, "a newline at the end of every line", consequence)
        .advise("press Enter at the end of the line")
}

/// The last line ends in a backslash; `has_newline`: and a newline.
pub(in crate::parse) fn broken_backslash(kind: TableKind, has_newline: bool) -> Finding {
    let consequence = match kind {
        TableKind::Allow => "this rule is ignored",
        TableKind::Deny => {
            "this rule is ignored; as the table has no proper end, every client of every daemon that no earlier rule decides is refused"
        }
    };
    let message = "the last line ends in a backslash, and there is no line in which it could go on";
    Finding::new(Code::E003, message, "a last line without a backslash at its end", consequence)
        .replace(if has_newline { "" } else { "\n" })
}
