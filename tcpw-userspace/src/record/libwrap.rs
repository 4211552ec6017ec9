//! A record as the daemons that use libwrap, and xinetd, would log it.
//!
//! In: a [`Record`]. Out: the [`LogEntry`] of its line.
//! Source: tcp_wrappers 7.6 `refuse.c`, `options.c`; xinetd 2.3.15 `log.c`.

use super::{AttemptCount, CountedClients, CountedFor, ListenerDoubt, ListenerRecord, Record, SourceProof};
use crate::{
    evaluate::quoted_bytes,
    events::Fate,
    log::{LogEntry, line, priority},
};

/// The line of a record; `host` is this host's name.
pub(super) fn entry(record: &Record, host: &str) -> LogEntry {
    let service = record.listener.service.as_deref();
    let (client, address) = (record.client_text.as_str(), record.client_address.as_str());
    let (message, default) = match (record.fate, &record.twist) {
        (_, Some(command)) => (line::twist(client, &quoted_bytes(command)), priority::REFUSED),
        (Fate::Refused | Fate::Redirected, None) if record.source == SourceProof::Missing => {
            (line::unproven(service, client, address), priority::REFUSED)
        }
        (Fate::Refused | Fate::Redirected, None) => {
            (line::refused(service, client, address), priority::REFUSED)
        }
        (Fate::WouldRefuse, None) => (line::would_refuse(service, client, address), priority::REFUSED),
        (Fate::Accepted | Fate::Held, None) => (line::accepted(service, client, address), priority::ACCEPTED),
    };
    let listener = &record.listener;
    let (ident, pid, message) = match listener.doubt {
        None => (listener.ident.clone(), listener.pid, message),
        Some(doubt) => ("tcpw".into(), std::process::id(), in_own_name(record, doubt)),
    };
    LogEntry {
        time: record.time,
        host: host.to_owned(),
        ident,
        pid,
        message,
        priority: priority::of(default, record.judged.as_ref().and_then(|judged| judged.severity)),
    }
}

/// The message about a listener whose name any user may have chosen: in tcpw's own name.
fn in_own_name(record: &Record, doubt: ListenerDoubt) -> String {
    let what = match (record.fate, &record.twist) {
        (_, Some(_)) => "given to a command",
        (Fate::Refused | Fate::Redirected, None) => "refused",
        (Fate::WouldRefuse, None) => "would be refused",
        (Fate::Accepted | Fate::Held, None) => "accepted",
    };
    let whose = match doubt {
        ListenerDoubt::Namespace => "in another network namespace",
        ListenerDoubt::Names => "whose name is not proven",
    };
    let ListenerRecord { ident, pid, .. } = &record.listener;
    line::in_own_name((what, whose), (ident, *pid), &record.client_text, &record.client_address)
}

fn more(count: &AttemptCount, network: &str) -> String {
    match count.counted_for {
        CountedFor::Unproven => line::more_unproven(count.attempts, network),
        CountedFor::Limit => line::more(count.attempts, network, count.within.as_secs()),
    }
}

/// The line of a count, in tcpw's own name.
pub(super) fn entry_of_count(count: &AttemptCount, hidden: Option<&str>, host: &str) -> LogEntry {
    let message = match count.clients {
        CountedClients::Network(network) => {
            more(count, &hidden.map_or_else(|| network.to_string(), str::to_owned))
        }
        CountedClients::Others => more(count, "other networks"),
        CountedClients::AtDevices => line::more_at_devices(count.attempts),
    };
    LogEntry {
        time: count.time,
        host: host.to_owned(),
        ident: "tcpw".into(),
        pid: std::process::id(),
        message,
        priority: priority::of(priority::REFUSED, None),
    }
}
