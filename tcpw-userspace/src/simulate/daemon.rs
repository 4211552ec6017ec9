//! The daemon: a core that is handed what happened, and whose actions are carried out.
//!
//! In: inputs. Out: actions, for [`outside`](super::outside). Invariant: the core is handed one thing at a
//! time; a daemon that is busy or gone is handed nothing, and what was begun for one that is gone is lost.

use std::collections::VecDeque;

use super::{
    host, ledger,
    outside::{self, OutsideWork, Work},
    world::{Happening, History, MS, nanoseconds_of},
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
pub(super) fn start(world: &mut History) {
    if world.daemon.is_some() || world.is_over {
        return;
    }
    let config = world.plan.config.clone();
    world.daemons += 1;
    let number = world.daemons;
    if !world.kernel.is_loaded {
        world.kernel.is_loaded = true;
        host::mark_bound(world);
    }
    let has_policy = world.kernel.generation() != 0;
    let flags = world.kernel.flags().filter(|_| has_policy);
    let started = Started {
        has_listening_hook: world.plan.conditions.has_listening_hook,
        certified: world.kernel.certified.clone(),
        has_refusals: world.plan.conditions.has_refusals,
        banners: world.kernel.banners.keys().copied().collect(),
        has_users: world.kernel.users_on,
        missing_before: flags.map(|flags| [NO_ALLOW_TABLE, NO_DENY_TABLE].map(|flag| flags & flag != 0)),
    };
    let core = Core::new(config, world.now());
    world.daemon = Some(RunningDaemon {
        number,
        core,
        busy_until_ns: 0,
        backlog: VecDeque::new(),
        last_result_ns: 0,
        is_reading_rings: false,
        outside: OutsideWork::default(),
    });
    world.note(|_| format!("daemon {number} starts"));
    feed(world, Input::Started(started));
    let at = world.now_ns + world.chance(&[30, number]).next() % (1000 * MS);
    world.at(at, Happening::Second(number));
}

/// The daemon ends. What is not pinned ends with it.
pub(super) fn ends(world: &mut History, why: &str) {
    let Some(daemon) = world.daemon.take() else { return };
    world.note(|_| format!("daemon {} ends: {why}", daemon.number));
    world.kernel.redirect_listeners.clear();
    ledger::daemon_ended(world);
    if !world.plan.config.pin {
        world.kernel.unload(&world.plan.config, &world.plan.conditions);
    }
}

/// The core is handed something.
pub(super) fn feed(world: &mut History, input: Input) {
    let now = world.now();
    let now_ns = world.now_ns;
    let Some(daemon) = &mut world.daemon else { return };
    if daemon.busy_until_ns > now_ns {
        if !matches!(input, Input::Deadline) {
            daemon.backlog.push_back(input);
        }
        return;
    }
    let input = world.planted.input(input);
    ledger::told(world, &input);
    world.note(|_| format!("  in:  {}", short(&format!("{input:?}"))));
    let Some(daemon) = &mut world.daemon else { return };
    let actions = daemon.core.on(input, now);
    let actions = world.planted.actions(actions, world.kernel.generation());
    ledger::look_at_core(world);
    for action in actions {
        world.note(|_| format!("  out: {}", short(&format!("{action:?}"))));
        ledger::acts(world, &action);
        outside::carry_out(world, action);
    }
    if let Some(result) = world.daemon.as_mut().and_then(|daemon| daemon.outside.end.take()) {
        if let Err(error) = result {
            world.note(|_| format!("the daemon says: {error}"));
        }
        ends(world, "it leaves its loop");
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
pub(super) fn deadline(world: &History) -> Option<u64> {
    let daemon = world.daemon.as_ref()?;
    let deadline = nanoseconds_of(daemon.core.deadline()?);
    Some(deadline.max(daemon.busy_until_ns))
}

/// The kernel sees that the daemon lives.
pub(super) fn sign_of_life(world: &mut History) {
    let now_ns = world.now_ns;
    if world.daemon.as_ref().is_some_and(|daemon| daemon.busy_until_ns <= now_ns) {
        world.kernel.alive_ns = Some(now_ns);
    }
}

/// The daemon is busy for a while.
pub(super) fn stalls(world: &mut History, ms: u64) {
    let until = world.now_ns + ms * MS;
    let Some(daemon) = &mut world.daemon else { return };
    daemon.busy_until_ns = daemon.busy_until_ns.max(until);
    let number = daemon.number;
    world.at(until, Happening::Wake(number));
}

/// It goes on.
pub(super) fn wake(world: &mut History, number: u64) {
    let now_ns = world.now_ns;
    let is_it = |daemon: &&mut RunningDaemon| daemon.number == number && daemon.busy_until_ns <= now_ns;
    let Some(daemon) = world.daemon.as_mut().filter(is_it) else { return };
    for input in std::mem::take(&mut daemon.backlog) {
        arrived(world, number, input);
    }
}

/// Has the rings read soon, if there is something in them and attempts are judged.
pub(super) fn look_at_rings(world: &mut History) {
    if world.kernel.events.is_empty() && world.kernel.holds.is_empty() {
        return;
    }
    let Some(daemon) = &mut world.daemon else { return };
    if daemon.is_reading_rings || !daemon.core.is_enforcing() {
        return;
    }
    daemon.is_reading_rings = true;
    let number = daemon.number;
    let at = world.now_ns + world.delay_ns(&[31, world.now_ns]) / 4;
    world.at(at, Happening::Rings(number));
}

/// The rings are read: held packets first, a few of each.
pub(super) fn read_rings(world: &mut History, number: u64) {
    let now_ns = world.now_ns;
    let Some(daemon) = world.daemon.as_mut().filter(|daemon| daemon.number == number) else { return };
    if daemon.busy_until_ns > now_ns {
        let at = daemon.busy_until_ns + 1;
        return world.at(at, Happening::Rings(number));
    }
    daemon.is_reading_rings = false;
    let most = 1 + world.chance(&[32, now_ns]).below(64);
    let held: Vec<_> = world.kernel.holds.drain(..world.kernel.holds.len().min(most)).collect();
    if !held.is_empty() {
        feed(world, Input::Held(held));
    }
    let count = world.kernel.events.len().min(most);
    let records: Vec<_> = world.kernel.events.drain(..count).collect();
    let events: Vec<_> = records.iter().map(|record| world.kernel.event_of(record)).collect();
    if !events.is_empty() {
        arrived(world, number, Input::Events(events));
    }
}

/// Another second.
pub(super) fn second(world: &mut History, number: u64) {
    if world.daemon.as_ref().is_none_or(|daemon| daemon.number != number) {
        return;
    }
    let kernel = &world.kernel;
    let second = Second {
        counters: kernel.counters(),
        is_any_certificate_void: kernel.is_any_certificate_void(),
        namespaces_without_resets: 0,
        waiting: (world.plan.conditions.has_users && kernel.users_on)
            .then(|| kernel.waiting.values().copied().collect()),
        turned_away: 0,
    };
    feed(world, Input::Second(second));
    world.at(world.now_ns + 1000 * MS, Happening::Second(number));
}

/// Sends a result to the daemon that runs: results arrive in the order they are sent in.
pub(super) fn result(world: &mut History, delay_ns: u64, input: Input) {
    let Some(daemon) = &mut world.daemon else { return };
    let at = (world.now_ns + delay_ns + 1000).max(daemon.last_result_ns + 1);
    if delay_ns == 0 {
        daemon.last_result_ns = at;
    }
    let number = daemon.number;
    world.at(at, Happening::Input(number, Box::new(input)));
}

/// Begins work whose result is sent when it is done.
pub(super) fn begin(world: &mut History, delay_ns: u64, work: Work) {
    let Some(daemon) = &world.daemon else { return };
    let number = daemon.number;
    world.at(world.now_ns + delay_ns, Happening::Done(number, Box::new(work)));
}

/// Work is done.
pub(super) fn done(world: &mut History, number: u64, work: Work) {
    if world.daemon.as_ref().is_some_and(|daemon| daemon.number == number) {
        outside::finish(world, work);
    }
}

/// An input reaches the daemon it is for, if that runs still.
pub(super) fn arrived(world: &mut History, number: u64, input: Input) {
    if world.daemon.as_ref().is_some_and(|daemon| daemon.number == number) {
        feed(world, input);
    }
}
