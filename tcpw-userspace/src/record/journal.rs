//! A record as an entry of the journal: its line, and fields of tcpw's own.
//!
//! In: a [`Record`] or a count. Out: the entry. docs/records.md describes each field.
//! Invariant: the message is libwrap's line; a field that is not known is left out.

use std::os::unix::ffi::OsStrExt as _;

use super::{
    AttemptCount, Record, libwrap,
    words::{self, micros, text},
};
use crate::log::{JournalEntry, rfc3339};

/// Fields of an entry: what is known of them.
type Fields = Vec<(&'static str, Option<String>)>;

/// The entry of an attempt.
pub(super) fn attempt(record: &Record, host: &str) -> JournalEntry {
    let judged = record.judged.as_ref();
    let listener = &record.listener;
    let ban = record.ban.as_ref();
    let rule = judged.and_then(|judged| judged.rule());
    let word = |word: &str| Some(word.to_owned());
    let mut fields: Fields = vec![
        ("TCPW_KIND", word("attempt")),
        ("TCPW_TIME", Some(rfc3339(record.time))),
        ("TCPW_ID", Some(record.id.to_string())),
        ("TCPW_FATE", word(words::fate(record.fate))),
        ("TCPW_VERDICT", record.decided().and_then(|(verdict, _)| word(verdict))),
        ("TCPW_REASON", record.decided().and_then(|(_, reason)| word(reason))),
        ("TCPW_SOURCE", word(words::source(record.source))),
        ("TCPW_PROTOCOL", word(words::protocol(record.protocol))),
        ("TCPW_CLIENT", Some(record.shown_client())),
        ("TCPW_CLIENT_PORT", Some(record.client.port().to_string())),
        ("TCPW_CLIENT_NAME", record.client_name.as_deref().map(text)),
        ("TCPW_CLIENT_USER", record.client_user.as_deref().map(text)),
        ("TCPW_SERVER", Some(record.server.ip().to_canonical().to_string())),
        ("TCPW_SERVER_PORT", Some(record.server.port().to_string())),
        ("TCPW_INTERFACE", Some(record.ifindex.to_string())),
        ("TCPW_NETNS", Some(record.netns.to_string())),
        ("TCPW_LISTENER", Some(listener.ident.clone())),
        ("TCPW_LISTENER_PID", Some(listener.pid.to_string())),
        ("TCPW_SERVICE", listener.service.clone()),
        ("TCPW_DOUBT", listener.doubt.and_then(|doubt| word(words::doubt(doubt)))),
        ("TCPW_RULE_TABLE", judged.and_then(words::table).and_then(word)),
        ("TCPW_RULE_FILE", rule.as_ref().map(|rule| text(rule.path().as_os_str().as_bytes()))),
        ("TCPW_RULE_LINE", rule.as_ref().map(|rule| rule.line().to_string())),
        (
            "TCPW_RULE",
            rule.as_ref().filter(|_| record.hidden_client.is_none()).map(|rule| text(&rule.text())),
        ),
        ("TCPW_BAN", ban.map(|ban| ban.of.network.to_string())),
        ("TCPW_BAN_DAEMON", ban.and_then(|ban| ban.of.daemon.clone())),
        ("TCPW_BAN_SINCE", ban.map(|ban| words::time(ban.facts.since))),
        ("TCPW_BAN_UNTIL", ban.and_then(|ban| ban.facts.until).map(words::time)),
        ("TCPW_BAN_REASON", ban.map(|ban| ban.facts.reason.clone())),
        ("TCPW_BAN_BY", ban.map(|ban| ban.facts.by.clone())),
        ("TCPW_HELD_US", record.held_for.map(|held| micros(held).to_string())),
        ("TCPW_GENERATION", Some(record.generation.to_string())),
        ("TCPW_TWIST", record.twist.as_deref().map(text)),
    ];
    // journald takes a field several times. One program can have many names: a datagram is bounded.
    fields.extend(listener.names.iter().take(MOST_NAMES).map(|name| ("TCPW_NAME", Some(text(name)))));
    entry(libwrap::entry(record, host), fields)
}

/// Most names of a listener in one entry.
const MOST_NAMES: usize = 16;

/// The entry of a count.
pub(super) fn count(count: &AttemptCount, hidden: Option<&str>, host: &str) -> JournalEntry {
    let (clients, network) = words::counted(count.clients, hidden);
    let fields = vec![
        ("TCPW_KIND", Some(words::counted_for(count.counted_for).to_owned())),
        ("TCPW_TIME", Some(rfc3339(count.time))),
        ("TCPW_WITHIN_S", Some(count.within.as_secs().to_string())),
        ("TCPW_CLIENTS", Some(clients.to_owned())),
        ("TCPW_NETWORK", network),
        ("TCPW_ATTEMPTS", Some(count.attempts.to_string())),
    ];
    entry(libwrap::entry_of_count(count, hidden, host), fields)
}

fn entry(line: crate::log::LogEntry, fields: Fields) -> JournalEntry {
    JournalEntry::new(&line, fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}
