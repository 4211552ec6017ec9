//! What follows from a finding for clients: which are allowed, refused or left out.
//!
//! In: a finding, and what a match leads to where it stands. Out: the same; where its consequence was only how the
//! text is read, it says what becomes of clients.

use super::{Code, Finding, NEVER, Placed, word::NOT_EXCEPTED};
use crate::parse::{diagnostic::Fix, rule::TableKind};

/// Where a finding stands.
#[derive(Clone, Copy)]
pub(in crate::parse) struct Place {
    /// What a match of the word leads to.
    pub(in crate::parse) effect: TableKind,
    /// It stands behind EXCEPT.
    pub(in crate::parse) is_excepted: bool,
}

impl Place {
    /// Not behind EXCEPT.
    pub(in crate::parse) const fn plain(effect: TableKind) -> Self {
        Self { effect, is_excepted: false }
    }

    /// What does not become of clients that a word was to match, and does not.
    pub(in crate::parse) fn missed(self) -> &'static str {
        match (self.is_excepted, self.effect) {
            (false, TableKind::Allow) => "are not allowed by this rule",
            (false, TableKind::Deny) => "are not refused by this rule",
            (true, TableKind::Deny) => "are not excepted: this rule allows them, too",
            (true, TableKind::Allow) => "are not excepted: this rule refuses them, too",
        }
    }

    /// What becomes of clients that a word matches.
    fn matched(self) -> &'static str {
        match (self.is_excepted, self.effect) {
            (false, TableKind::Allow) => "this rule then allows",
            (false, TableKind::Deny) => "this rule then refuses",
            (true, _) => "this rule then excepts",
        }
    }
}

/// `allowed` or `refused`.
pub(in crate::parse) const fn verdict(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Allow => "allowed",
        TableKind::Deny => "refused",
    }
}

/// `allows` or `refuses`.
pub(in crate::parse) const fn verb(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Allow => "allows",
        TableKind::Deny => "refuses",
    }
}

/// `allow` or `refuse`.
pub(in crate::parse) const fn infinitive(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Allow => "allow",
        TableKind::Deny => "refuse",
    }
}

/// What an option in error leads to in a table.
pub(in crate::parse) const fn refused(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Allow => "every client of this rule is refused instead of allowed",
        TableKind::Deny => "every client of this rule is refused",
    }
}

/// Of a word of a client list.
pub(in crate::parse) fn client(finding: Finding, place: Place) -> Finding {
    let (missed, matched) = (place.missed(), place.matched());
    match finding.consequence() {
        NEVER => finding.follows(format!("{NEVER}: the clients meant by it {missed}")),
        NOT_EXCEPTED => {
            finding.follows(format!("{NOT_EXCEPTED}: this rule {} those clients, too", verb(place.effect)))
        }
        _ if finding.code == Code::H174 && place.is_excepted => finding
            .follows(format!("every client is excepted: this rule {} none", verb(place.effect.other()))),
        _ if finding.code == Code::H174 => {
            finding.follows(format!("this rule {} every client, with and without a name", verb(place.effect)))
        }
        _ if finding.code == Code::W154 => finding
            .follows(format!("it matches only this one address: the other clients of the network {missed}")),
        text if text.starts_with("it matches ") || matches!(finding.code, Code::W118 | Code::W056) => {
            let text = format!("{text}, which {matched}");
            finding.follows(text)
        }
        _ => finding,
    }
}

/// Of a word of a daemon list.
pub(in crate::parse) fn daemon(finding: Finding, place: Place) -> Finding {
    let (missed, matched) = (place.missed(), place.matched());
    match finding.consequence() {
        NOT_EXCEPTED => finding.follows(format!(
            "{NOT_EXCEPTED}: this rule {} clients of those daemons, too",
            verb(place.effect)
        )),
        NEVER => finding.follows(format!("it matches no daemon: clients of the daemon meant {missed}")),
        text if text.starts_with("it matches ") => {
            let text = format!("{text}, whose clients {matched}");
            finding.follows(text)
        }
        text if matches!(finding.code, Code::W101 | Code::H102 | Code::H172) => {
            let name = match &finding.fix {
                Some(Fix::Replace(name)) => name.split('@').next().unwrap_or_default(),
                Some(Fix::Advice(_)) | None => "the program meant",
            };
            let text = format!("{text}: clients of {name} {missed}");
            finding.follows(text)
        }
        _ => finding,
    }
}

/// Of a line: findings that are on no word of a list.
pub(in crate::parse) fn line(found: &mut [Placed], effect: TableKind) {
    for (_, _, finding) in found {
        let missed = Place::plain(effect).missed();
        let text = match (finding.code, finding.consequence()) {
            (Code::W020 | Code::W021 | Code::W028, text) => {
                format!("{text}: this rule {} no client", verb(effect))
            }
            (Code::W011 | Code::W017, _) => {
                format!("the rule ends in this line: the clients in the next one {missed}")
            }
            (Code::W012, _) => format!("it is part of the first word: clients of that daemon {missed}"),
            (Code::W013, _) => format!("the address in them is not read: the clients meant {missed}"),
            (Code::W014, _) => format!("it is no rule: its clients are not {} by it", verdict(effect)),
            (Code::W018, _) => format!("both are one word, which never matches: the clients meant {missed}"),
            (Code::W098, _) => {
                format!("it is part of the comment, and no rule: the client is not {} by it", verdict(effect))
            }
            _ => continue,
        };
        *finding = finding.clone().follows(text);
    }
}
