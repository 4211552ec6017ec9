//! What `tcpw events` and `tcpw why` have in common: records as a person reads them.
//!
//! In: records as JSON (docs/records.md). Out: text. Invariant: no control character of a record reaches the terminal.

use std::borrow::Cow;

use serde_json::Value;

use crate::log::printable;

/// Longest text of a rule in a line.
const MOST_TEXT: usize = 120;

/// A field, however deep; null if it is not there, the value itself without a path.
pub(super) fn field<'a>(record: &'a Value, path: &str) -> &'a Value {
    if path.is_empty() {
        return record;
    }
    path.split('.').fold(record, |value, name| &value[name])
}

/// A field as text; empty if it is null.
pub(super) fn text(record: &Value, path: &str) -> String {
    let raw: Cow<'_, str> = match field(record, path) {
        Value::Null => "".into(),
        Value::String(text) => text.into(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string().into()
        }
    };
    printable(&raw).into_owned()
}

/// A record in one line.
pub(super) fn line(record: &Value) -> String {
    let time = text(record, "time");
    if field(record, "kind") != "attempt" {
        let of = match text(record, "network") {
            network if network.is_empty() => text(record, "clients"),
            network => network,
        };
        return format!(
            "{time} {} more of {of}, which have no record of their own",
            text(record, "attempts")
        );
    }
    format!(
        "{time} #{} {} {}[{}] {} -> {}{}",
        text(record, "id"),
        text(record, "fate"),
        text(record, "listener.ident"),
        text(record, "listener.pid"),
        end(record, "client"),
        end(record, "server"),
        rule(record).map(|rule| format!("  {rule}")).unwrap_or_default()
    )
}

/// One end of the connection.
pub(super) fn end(record: &Value, which: &str) -> String {
    let address = text(record, &format!("{which}.address"));
    let port = text(record, &format!("{which}.port"));
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// The rule that decided: file, line, text.
pub(super) fn rule(record: &Value) -> Option<String> {
    if field(record, "rule").is_null() {
        return None;
    }
    let rule = text(record, "rule.text");
    let short: String = rule.chars().take(MOST_TEXT).collect();
    let more = if short.len() < rule.len() { "..." } else { "" };
    Some(format!("{}:{}: {short}{more}", text(record, "rule.file"), text(record, "rule.line")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn record_is_one_line_and_cannot_paint() {
        let record = json!({
            "kind": "attempt", "time": "2026-01-02T20:24:17.123456Z", "id": 7, "fate": "refused",
            "listener": {"ident": "ev\u{1b}[2Jil", "pid": 12}, "client": {"address": "2001:db8::1", "port": 4000},
            "server": {"address": "192.0.2.1", "port": 22},
            "rule": {"file": "/etc/hosts.deny", "line": 3, "text": "ALL: ALL"},
        });
        let shown = line(&record);
        assert!(
            !shown.contains('\u{1b}') && shown.starts_with("2026-01-02T20:24:17.123456Z #7 refused ev"),
            "{shown}"
        );
        assert!(
            shown.ends_with("[12] [2001:db8::1]:4000 -> 192.0.2.1:22  /etc/hosts.deny:3: ALL: ALL"),
            "{shown}"
        );
        let count = json!({
            "kind": "unproven-count", "time": "T", "clients": "network", "network": "203.0.113.0/24", "attempts": 9,
        });
        assert_eq!(line(&count), "T 9 more of 203.0.113.0/24, which have no record of their own");
    }
}
