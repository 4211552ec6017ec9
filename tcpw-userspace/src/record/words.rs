//! The words that JSON and the journal have for a record's values.
//!
//! In: values of a [`Record`](super::Record). Out: text. Invariant: a word that was once written keeps its meaning.

use std::time::{Duration, SystemTime};

use super::{CountedClients, CountedFor, JudgementRecord, ListenerDoubt, SourceProof};
use crate::{
    evaluate::judgement::{Reason, Verdict},
    events::{Fate, UDP},
    log::rfc3339,
    parse::rule::TableKind,
};

/// Bytes that are not UTF-8 as `\xNN`, and a backslash as two: so the bytes can be found again.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A time in milliseconds since 1970.
pub(super) fn time(milliseconds: u64) -> String {
    rfc3339(
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_millis(milliseconds))
            .unwrap_or(SystemTime::UNIX_EPOCH),
    )
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The word of an outcome.
pub(super) fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Refused => "refused",
        Fate::WouldRefuse => "would-refuse",
        Fate::Accepted => "accepted",
        Fate::Held => "held",
        Fate::Redirected => "redirected",
    }
}

/// The reason of attempts that a ban decided.
pub(super) const BAN: &str = "ban";

/// The word of a reason.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Rule => "rule",
        Reason::Option => "option",
        Reason::OptionError => "option-error",
        Reason::Twist => "twist",
        Reason::Exit => "exit",
        Reason::TableBroken => "table-broken",
        Reason::NoRule => "no-rule",
    }
}

/// The word of what proves an address.
pub(super) fn source(source: SourceProof) -> &'static str {
    match source {
        SourceProof::Handshake => "handshake",
        SourceProof::Missing => "missing",
        SourceProof::Trusted => "trusted",
        SourceProof::NotWanted => "not-wanted",
    }
}

/// The word of a verdict.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Refuse => "refuse",
    }
}

/// The word of a protocol.
pub(super) fn protocol(protocol: u16) -> &'static str {
    if protocol == UDP { "udp" } else { "tcp" }
}

/// The word of why a line does not carry its listener's name.
pub(super) fn doubt(doubt: ListenerDoubt) -> &'static str {
    match doubt {
        ListenerDoubt::Namespace => "namespace",
        ListenerDoubt::Names => "names",
    }
}

/// The table of the rule that decided, by its usual name.
pub(super) fn table(judged: &JudgementRecord) -> Option<&'static str> {
    Some(match judged.rule?.table {
        TableKind::Allow => "hosts.allow",
        TableKind::Deny => "hosts.deny",
    })
}

/// The kind of a count.
pub(super) fn counted_for(counted_for: CountedFor) -> &'static str {
    match counted_for {
        CountedFor::Unproven => "unproven-count",
        CountedFor::Limit => "limit-count",
    }
}

/// The word of whose attempts were counted, and their network.
pub(super) fn counted(clients: CountedClients, hidden: Option<&str>) -> (&'static str, Option<String>) {
    match clients {
        CountedClients::Network(network) => {
            ("network", Some(hidden.map_or_else(|| network.to_string(), str::to_owned)))
        }
        CountedClients::Others => ("others", None),
        CountedClients::AtDevices => ("at-devices", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_text_can_be_found_again() {
        for (bytes, wanted) in [
            (b"good.example.test".as_slice(), "good.example.test"),
            ("h\u{f6}st".as_bytes(), "h\u{f6}st"),
            (b"h\xf6st", "h\\xf6st"),
            (b"h\\xf6st", "h\\\\xf6st"),
            (b"\xc3", "\\xc3"),
        ] {
            assert_eq!(text(bytes), wanted);
        }
    }
}
