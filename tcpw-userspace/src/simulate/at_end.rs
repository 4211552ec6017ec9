//! What has to be so once nothing happens any more.
//!
//! In: a history that is over. Out: the rules that it breaks.

use tcpw_common::tag::PROVISIONAL;

use super::{history::History, ledger, plan::LISTENERS};
use crate::config::Mode;

/// Reasons for which a held packet is not sent again, as the core counts them.
const GIVEN_UP: [&str; 6] = [
    "hold_waiting_full",
    "hold_given_up",
    "hold_abandoned",
    "challenges_unanswered",
    "names_limited",
    "undecided_by_command",
];

/// Looks at everything.
pub(super) fn at_the_end(history: &mut History) {
    let Some(daemon) = &history.daemon else { return };
    let footprint = daemon.core.footprint();
    if !daemon.core.is_enforcing() {
        return history.breaks("a start comes to its end", None, "attempts are not judged yet".into());
    }
    let (wanted, counted) = daemon.core.counted_attempts();
    if wanted != counted {
        let what = format!("{counted} of {wanted}");
        history.breaks("metrics count every record once", None, what);
    }
    let left: Vec<_> = footprint.into_iter().filter(|(_, count)| *count > 0).collect();
    if !left.is_empty() {
        history.breaks("nothing is kept of what is gone", None, format!("{left:?}"));
    }
    let left: Vec<_> = history.kernel.leftovers().into_iter().filter(|(_, count)| *count > 0).collect();
    if !left.is_empty() {
        history.breaks("nothing is kept of what is gone", None, format!("{left:?}"));
    }
    if let Some(request) = history.ledger.requests.first() {
        history.breaks("every request is answered", None, format!("request {request} was not"));
    }
    if let Some((connection, _)) = history.ledger.connections.iter().find(|(_, is_done)| !**is_done) {
        let what = format!("connection {connection} was not");
        history.breaks("a redirected connection is served or ended once", None, what);
    }
    policy(history);
    tags(history);
    if !history.ledger.has_ended {
        records(history);
        releases(history);
    }
}

/// The files as they are now are in force, or what the next start puts in force in their place.
fn policy(history: &mut History) {
    if history.ledger.is_fill_failed {
        return;
    }
    let Some(tables) = ledger::tables_to_be(history) else { return };
    let generation = history.kernel.generation();
    let in_force = history.oracle.rules_of(generation);
    if in_force.is_none_or(|rules| **rules.tables() != tables) {
        let what = format!("generation {generation} has other rules");
        history.breaks("the files as they are now are in force", None, what);
    }
}

/// Every listener has its names.
fn tags(history: &mut History) {
    if history.plan.conditions.fail_percent > 0 || history.ledger.is_fill_failed {
        return;
    }
    for listener in 0..LISTENERS {
        let cookie = history.host.cookies[listener].filter(|_| !history.host.hidden[listener]);
        let Some(cookie) = cookie else { continue };
        let tag = history.kernel.sockets.get(&cookie).and_then(|socket| socket.tag);
        let names = history.host.names(listener).id();
        if tag.is_none_or(|tag| tag.names != names || tag.flags & PROVISIONAL != 0) {
            let what = format!("socket {cookie} of {} has {tag:?}", history.host.name(listener));
            history.breaks("every listener has its names", None, what);
        }
    }
}

/// Every refused attempt has its record.
fn records(history: &mut History) {
    let mut missing = Vec::new();
    for (client, tally) in &history.ledger.tallies {
        let least = tally.refused_heard + tally.user_refused + u64::from(tally.redirected_heard > 0);
        if tally.refused < least {
            missing.push((*client, tally.refused, least));
        }
    }
    for (client, found, wanted) in missing {
        let what = format!("{}: {found} of {wanted} records", ledger::client_text(history, client));
        let port = history.clients[client].flow.client_port;
        history.breaks("every refused attempt is recorded", Some(port), what);
    }
}

/// Every attempt that was held was sent again, or is counted.
fn releases(history: &mut History) {
    if history.plan.config.mode == Mode::Audit {
        return;
    }
    let is_lost =
        |tally: &ledger::Tally| !tally.held.is_empty() && tally.held.values().all(|held| held.sent == 0);
    let lost: Vec<usize> = history
        .ledger
        .tallies
        .iter()
        .filter(|(_, tally)| is_lost(tally))
        .map(|(client, _)| *client)
        .collect();
    let counted: u64 = GIVEN_UP.iter().map(|name| ledger::counted(history, name)).sum();
    if lost.len() as u64 > counted {
        let client = lost[0];
        let what = format!(
            "{}: {} were not, {counted} are counted",
            ledger::client_text(history, client),
            lost.len()
        );
        let port = history.clients[client].flow.client_port;
        history.breaks("a held packet is sent again, or counted", Some(port), what);
    }
}
