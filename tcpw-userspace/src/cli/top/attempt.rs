//! One record, as `tcpw top` keeps it.
//!
//! In: a record as JSON (docs/records.md) and its number. Out: what rows show of it. Invariant: no text of it has a control
//! character; the record itself is kept as it was told.

use serde_json::Value;

use super::super::recent::{field, text};

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RuleAt {
    /// `allow` or `deny`.
    pub(super) table: String,
    /// Where the rule begins.
    pub(super) line: u32,
}

/// The rule that decided.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub(super) at: RuleAt,
    pub(super) file: String,
    pub(super) text: String,
}

/// A record.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Its number among the records of the daemon.
    pub(super) number: u64,
    /// As RFC 3339, in UTC.
    pub(super) time: String,
    pub(super) is_refused: bool,
    /// As the daemon counts it.
    pub(super) service: String,
    /// Its address; for a count of attempts, whose they are.
    pub(super) client: String,
    /// How many attempts have no record of their own, if it is a count.
    pub(super) more: Option<u64>,
    pub(super) reason: String,
    pub(super) rule: Option<Decided>,
    /// The record itself.
    json: Box<str>,
}

impl Attempt {
    /// From a record.
    pub(super) fn new(number: u64, record: &Value) -> Self {
        let is_count = field(record, "kind") != "attempt";
        let client = if !is_count {
            text(record, "client.address")
        } else if field(record, "network").is_null() {
            text(record, "clients")
        } else {
            text(record, "network")
        };
        Self {
            number,
            time: text(record, "time"),
            is_refused: is_count
                || matches!(text(record, "fate").as_str(), "refused" | "redirected" | "would-refuse"),
            service: if is_count { String::new() } else { service(record) },
            client,
            more: field(record, "attempts").as_u64().filter(|_| is_count),
            reason: text(record, "reason"),
            rule: decided(record),
            json: record.to_string().into(),
        }
    }

    /// The record as it was told.
    pub(super) fn record(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// The service that the daemon counts it for: `core/duty/tally.rs`.
fn service(record: &Value) -> String {
    match text(record, "listener.doubt").as_str() {
        "names" => "(name not proven)".into(),
        "namespace" => "(other namespace)".into(),
        _ => match text(record, "listener.service") {
            service if service.is_empty() => text(record, "listener.ident"),
            service => service,
        },
    }
}

fn decided(record: &Value) -> Option<Decided> {
    let line = field(record, "rule.line").as_u64()?;
    Some(Decided {
        at: RuleAt {
            table: text(record, "rule.table").trim_start_matches("hosts.").into(),
            line: u32::try_from(line).ok()?,
        },
        file: text(record, "rule.file"),
        text: text(record, "rule.text"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn record_and_count_have_what_rows_show() {
        let record = json!({
            "kind": "attempt", "time": "2026-01-02T20:24:17.123456Z", "id": 7, "fate": "would-refuse", "reason": "rule",
            "listener": {"ident": "xinetd", "service": "day\u{1b}time", "doubt": null},
            "client": {"address": "192.0.2.7", "port": 4000},
            "rule": {"table": "hosts.deny", "file": "/etc/hosts.deny", "line": 3, "text": "ALL: ALL"},
        });
        let attempt = Attempt::new(9, &record);
        assert_eq!((attempt.service.as_str(), attempt.is_refused), ("day\\u{1b}time", true));
        let rule = attempt.rule.as_ref().unwrap();
        assert_eq!((rule.at.table.as_str(), rule.at.line, rule.text.as_str()), ("deny", 3, "ALL: ALL"));
        assert_eq!(attempt.record(), record);
        let of = |fate: &str, doubt: Value| {
            let record = json!({"kind": "attempt", "fate": fate, "listener": {"ident": "a", "doubt": doubt}});
            let attempt = Attempt::new(1, &record);
            (attempt.service, attempt.is_refused)
        };
        assert_eq!(of("accepted", Value::Null), ("a".into(), false));
        assert_eq!(of("redirected", "names".into()), ("(name not proven)".into(), true));
        assert_eq!(of("refused", "namespace".into()), ("(other namespace)".into(), true));

        let count = json!({"kind": "unproven-count", "clients": "network", "network": "203.0.113.0/24", "attempts": 30});
        let count = Attempt::new(1, &count);
        assert_eq!((count.client.as_str(), count.more, count.is_refused), ("203.0.113.0/24", Some(30), true));
    }
}
