//! The daemon: a core that is handed what happened, and whose actions are carried out.
//!
//! In: inputs. Out: actions, for [`outside`](super::outside). Invariant: the core is handed one thing at a
//! time; a daemon that is busy or gone is handed nothing, and what was begun for one that is gone is lost.

use std::collections::VecDeque;

use super::{
    history::{Happening, History, MS, nanoseconds_of},
    host, ledger,
    outside::{self, OutsideWork, Work},
};
use crate::core::{
    Core, Input,
    input::{Second, Started},
};
use tcpw_common::decide::{NO_ALLOW_TABLE, NO_DENY_TABLE};

/// A daemon that runs.
pub(super) struct RunningDaemon {
    pub(super) number: u64,
    pub(super) core: Core,
    /// It does something else until then.
    busy_until_ns: u64,
    backlog: VecDeque<Input>,
    /// Results reach it in the order they were sent in.
    last_result_ns: u64,
    is_reading_rings: bool,
    pub(super) outside: OutsideWork,
}

/// A daemon is started.
pub(super) fn start(history: &mut History) {
    if history.daemon.is_some() || history.is_over {
        return;
    }
    let config = history.plan.config.clone();
    history.daemons += 1;
    let number = history.daemons;
    if !history.kernel.is_loaded {
        history.kernel.is_loaded = true;
        host::mark_bound(history);
    }
    let fell_back = history.kernel.fall_back();
    if fell_back {
        ledger::fell_back(history);
    }
    let has_policy = history.kernel.generation() != 0;
    let flags = history.kernel.flags().filter(|_| has_policy);
    let started = Started {
        has_listening_hook: history.plan.conditions.has_listening_hook,
        certified: history.kernel.certified.clone(),
        has_refusals: history.plan.conditions.has_refusals,
        early_netns: None,
        bans: crate::bans::journal::Stored { lines: history.host.stored_bans.clone(), wrong: Vec::new() },
        banners: history.kernel.banners.keys().copied().collect(),
        has_users: history.kernel.users_on,
        line_namespaces: [1].into(),
        missing_before: flags.map(|flags| [NO_ALLOW_TABLE, NO_DENY_TABLE].map(|flag| flags & flag != 0)),
        kept: history.disk.kept(fell_back),
    };
    let core = Core::new(config, history.now());
    history.daemon = Some(RunningDaemon {
        number,
        core,
        busy_until_ns: 0,
        backlog: VecDeque::new(),
        last_result_ns: 0,
        is_reading_rings: false,
        outside: OutsideWork::default(),
    });
    history.note(|_| format!("daemon {number} starts"));
    feed(history, Input::Started(started));
    let at = history.now_ns + history.chance(&[30, number]).next() % (1000 * MS);
    history.at(at, Happening::Second(number));
}

/// The daemon ends. What is not pinned ends with it.
pub(super) fn ends(history: &mut History, why: &str) {
    let Some(daemon) = history.daemon.take() else { return };
    history.note(|_| format!("daemon {} ends: {why}", daemon.number));
    history.kernel.redirect_listeners.clear();
    ledger::daemon_ended(history);
    if !history.plan.config.pin {
        unload(history);
    }
}

/// Nothing is pinned any more.
pub(super) fn unload(history: &mut History) {
    if history.is_over {
        return;
    }
    history.kernel.unload(&history.plan.config, &history.plan.conditions);
    ledger::unloaded(history);
}

/// The core is handed something.
pub(super) fn feed(history: &mut History, input: Input) {
    let now = history.now();
    let now_ns = history.now_ns;
    let Some(daemon) = &mut history.daemon else { return };
    if daemon.busy_until_ns > now_ns {
        if !matches!(input, Input::Deadline) {
            daemon.backlog.push_back(input);
        }
        return;
    }
    let input = history.planted.input(input);
    ledger::told(history, &input);
    history.note(|_| format!("  in:  {}", short(&format!("{input:?}"))));
    let Some(daemon) = &mut history.daemon else { return };
    let actions = daemon.core.on(input, now);
    let actions = history.planted.actions(actions, history.kernel.generation());
    ledger::look_at_core(history);
    for action in actions {
        history.note(|_| format!("  out: {}", short(&format!("{action:?}"))));
        ledger::acts(history, &action);
        outside::carry_out(history, action);
    }
    if let Some(result) = history.daemon.as_mut().and_then(|daemon| daemon.outside.end.take()) {
        if let Err(error) = result {
            history.note(|_| format!("the daemon says: {error}"));
        }
        ends(history, "it leaves its loop");
    }
}

fn short(text: &str) -> String {
    const MOST: usize = 260;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// When the core wants to be woken, if it is not busy.
pub(super) fn deadline(history: &History) -> Option<u64> {
    let daemon = history.daemon.as_ref()?;
    let deadline = nanoseconds_of(daemon.core.deadline()?);
    Some(deadline.max(daemon.busy_until_ns))
}

/// The kernel sees that the daemon lives.
pub(super) fn sign_of_life(history: &mut History) {
    let now_ns = history.now_ns;
    if history.daemon.as_ref().is_some_and(|daemon| daemon.busy_until_ns <= now_ns) {
        history.kernel.alive_ns = Some(now_ns);
    }
}

/// The daemon is busy for a while.
pub(super) fn stalls(history: &mut History, ms: u64) {
    let until = history.now_ns + ms * MS;
    let Some(daemon) = &mut history.daemon else { return };
    daemon.busy_until_ns = daemon.busy_until_ns.max(until);
    let number = daemon.number;
    history.at(until, Happening::Wake(number));
}

/// It goes on.
pub(super) fn wake(history: &mut History, number: u64) {
    let now_ns = history.now_ns;
    let is_it = |daemon: &&mut RunningDaemon| daemon.number == number && daemon.busy_until_ns <= now_ns;
    let Some(daemon) = history.daemon.as_mut().filter(is_it) else { return };
    for input in std::mem::take(&mut daemon.backlog) {
        arrived(history, number, input);
    }
}

/// Has the rings read soon, if there is something in them and attempts are judged.
pub(super) fn look_at_rings(history: &mut History) {
    if history.kernel.events.is_empty() && history.kernel.holds.is_empty() {
        return;
    }
    let Some(daemon) = &mut history.daemon else { return };
    if daemon.is_reading_rings || !daemon.core.is_enforcing() {
        return;
    }
    daemon.is_reading_rings = true;
    let number = daemon.number;
    let at = history.now_ns + history.delay_ns(&[31, history.now_ns]) / 4;
    history.at(at, Happening::Rings(number));
}

/// The rings are read: held packets first, a few of each.
pub(super) fn read_rings(history: &mut History, number: u64) {
    let now_ns = history.now_ns;
    let Some(daemon) = history.daemon.as_mut().filter(|daemon| daemon.number == number) else { return };
    if daemon.busy_until_ns > now_ns {
        let at = daemon.busy_until_ns + 1;
        return history.at(at, Happening::Rings(number));
    }
    daemon.is_reading_rings = false;
    let most = 1 + history.chance(&[32, now_ns]).below(64);
    let held: Vec<_> = history.kernel.holds.drain(..history.kernel.holds.len().min(most)).collect();
    if !held.is_empty() {
        feed(history, Input::Held(held));
    }
    let count = history.kernel.events.len().min(most);
    let records: Vec<_> = history.kernel.events.drain(..count).collect();
    let events: Vec<_> = records.iter().map(|record| history.kernel.event_of(record)).collect();
    if !events.is_empty() {
        arrived(history, number, Input::Events(events));
    }
}

/// Another second.
pub(super) fn second(history: &mut History, number: u64) {
    if history.daemon.as_ref().is_none_or(|daemon| daemon.number != number) {
        return;
    }
    let kernel = &history.kernel;
    let second = Second {
        counters: kernel.counters(),
        is_any_certificate_void: kernel.is_any_certificate_void(),
        namespaces_without_resets: 0,
        waiting: (history.plan.conditions.has_users && kernel.users_on)
            .then(|| kernel.waiting.values().copied().collect()),
        turned_away: 0,
    };
    feed(history, Input::Second(second));
    history.at(history.now_ns + 1000 * MS, Happening::Second(number));
}

/// Sends a result to the daemon that runs: results arrive in the order they are sent in.
pub(super) fn result(history: &mut History, delay_ns: u64, input: Input) {
    let Some(daemon) = &mut history.daemon else { return };
    let at = (history.now_ns + delay_ns + 1000).max(daemon.last_result_ns + 1);
    if delay_ns == 0 {
        daemon.last_result_ns = at;
    }
    let number = daemon.number;
    history.at(at, Happening::Input(number, Box::new(input)));
}

/// Begins work whose result is sent when it is done.
pub(super) fn begin(history: &mut History, delay_ns: u64, work: Work) {
    let Some(daemon) = &history.daemon else { return };
    let number = daemon.number;
    history.at(history.now_ns + delay_ns, Happening::Done(number, Box::new(work)));
}

/// Work is done.
pub(super) fn done(history: &mut History, number: u64, work: Work) {
    if history.daemon.as_ref().is_some_and(|daemon| daemon.number == number) {
        outside::finish(history, work);
    }
}

/// An input reaches the daemon it is for, if that runs still.
pub(super) fn arrived(history: &mut History, number: u64, input: Input) {
    if history.daemon.as_ref().is_some_and(|daemon| daemon.number == number) {
        feed(history, input);
    }
}
