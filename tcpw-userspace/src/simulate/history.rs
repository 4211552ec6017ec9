//! One history: what there is, and what happens next.
//!
//! In: a [`Plan`]. Out: the first rule that was broken, and a trace if one is wanted.
//! Invariant: one thread, one clock, one queue. Of things that happen at the same moment chance decides the
//! order, by the seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use super::{
    HistoryResult,
    clients::{self, Client},
    daemon::{self, RunningDaemon},
    disk::Disk,
    host::{self, HostState},
    kernel::SimulatedKernel,
    ledger::{self, Ledger},
    oracle::Oracle,
    outside::Work,
    plan::{Plan, PlannedStep},
    plant::{Plant, Planted},
    random::{Random, chance_of},
};
use crate::core::{Input, Now};

/// Nanoseconds of a millisecond.
pub(super) const MS: u64 = 1_000_000;

/// After the last step and the last client, so long nothing begins: what is held for a while is let go of.
const QUIET_NS: u64 = 200_000 * MS;

/// The clock begins here, so that nothing is before its begin.
const BEGIN_NS: u64 = 1_000_000 * MS;

/// Something that happens at its time.
#[derive(Debug)]
pub(super) enum Happening {
    /// A step of the plan.
    Step(usize),
    /// A client sends its SYN.
    Syn { client: usize, number: u32 },
    /// A client sends the last ACK of its handshake, maybe with data.
    Ack { client: usize, number: u32 },
    /// A client with a connection sends data.
    Data { client: usize, socket: u64, number: u32 },
    /// A client sends a datagram.
    Datagram { client: usize, left: u32 },
    /// A redirected connection reaches its listener.
    Arrival { client: usize, listener: u64 },
    /// A listener begins again.
    Listen(usize),
    /// The daemon is started.
    Start,
    /// The daemon of that number goes on.
    Wake(u64),
    /// The daemon reads its rings.
    Rings(u64),
    /// Another second of the daemon.
    Second(u64),
    /// Something that was begun for the daemon is done.
    Done(u64, Box<Work>),
    /// An input reaches the daemon.
    Input(u64, Box<Input>),
}

/// A history that happens.
pub(super) struct History {
    pub(super) plan: Plan,
    pub(super) now_ns: u64,
    queue: BTreeMap<(u64, u64, u64), Happening>,
    queued: u64,
    /// Things that happen by themselves and are still to come.
    open: usize,
    last_step_ns: u64,
    pub(super) kernel: SimulatedKernel,
    pub(super) daemon: Option<RunningDaemon>,
    pub(super) daemons: u64,
    pub(super) disk: Disk,
    /// The daemon ended, and is not started again.
    pub(super) is_over: bool,
    pub(super) planted: Planted,
    pub(super) clients: Vec<Client>,
    pub(super) by_flow: BTreeMap<tcpw_common::key::FlowKey, usize>,
    pub(super) host: HostState,
    pub(super) oracle: Oracle,
    pub(super) ledger: Ledger,
    trace: Option<Vec<String>>,
    broken: Option<Broken>,
    happened: u64,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Which one.
    pub(super) rule: &'static str,
    /// By what.
    pub(super) what: String,
    /// The client's port, if it is about an attempt.
    pub(super) port: Option<u16>,
}

impl History {
    pub(super) fn new(plan: Plan, plant: Option<Plant>, is_traced: bool) -> Self {
        let is_audit = plan.config.mode == crate::config::Mode::Audit;
        Self {
            now_ns: BEGIN_NS,
            queue: BTreeMap::new(),
            queued: 0,
            open: 0,
            last_step_ns: BEGIN_NS,
            kernel: SimulatedKernel::new(&plan.config, &plan.conditions),
            daemon: None,
            daemons: 0,
            disk: Disk::default(),
            is_over: false,
            planted: Planted::new(plant),
            clients: Vec::new(),
            by_flow: BTreeMap::new(),
            host: HostState::new(&plan),
            oracle: Oracle::new(&plan.config.resolve, is_audit),
            ledger: Ledger::default(),
            trace: is_traced.then(Vec::new),
            broken: None,
            happened: 0,
            plan,
        }
    }

    /// Lets it happen.
    pub(super) fn run(mut self) -> HistoryResult {
        host::begin(&mut self);
        self.at(self.now_ns, Happening::Start);
        for (index, PlannedStep { at_ms, .. }) in self.plan.steps.iter().enumerate().collect::<Vec<_>>() {
            let at = BEGIN_NS + 500 * MS + at_ms * MS;
            self.queued += 1;
            let tie = chance_of(self.plan.seed, &[1, at, self.queued]).next();
            self.queue.insert((at, tie, self.queued), Happening::Step(index));
            self.open += 1;
            self.last_step_ns = self.last_step_ns.max(at);
        }
        while self.broken.is_none() && self.next() {}
        if self.broken.is_none() {
            ledger::at_the_end(&mut self);
        }
        HistoryResult { broken: self.broken, trace: self.trace.unwrap_or_default(), happened: self.happened }
    }

    /// The next thing; whether there was one in time.
    fn next(&mut self) -> bool {
        let deadline = daemon::deadline(self);
        let next = self.queue.first_key_value().map(|((at, ..), _)| *at);
        let now_ns = match (next, deadline) {
            (Some(next), Some(deadline)) => next.min(deadline),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return false,
        };
        let now_ns = now_ns.max(self.now_ns);
        if self.open == 0 && now_ns > self.last_step_ns + QUIET_NS {
            return false;
        }
        self.now_ns = now_ns;
        self.kernel.now_ns = now_ns;
        daemon::sign_of_life(self);
        self.happened += 1;
        if deadline.is_some_and(|deadline| deadline <= now_ns && next.is_none_or(|next| deadline < next)) {
            daemon::feed(self, Input::Deadline);
            return true;
        }
        let Some((_, happening)) = self.queue.pop_first() else { return false };
        if is_spontaneous(&happening) {
            self.open -= 1;
            self.last_step_ns = self.last_step_ns.max(now_ns);
        }
        self.happens(happening);
        true
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Step(index) => host::step(self, index),
            Happening::Syn { client, number } => clients::sends_syn(self, client, number),
            Happening::Ack { client, number } => clients::sends_ack(self, client, number),
            Happening::Data { client, socket, number } => clients::sends_data(self, client, socket, number),
            Happening::Datagram { client, left } => clients::sends_datagram(self, client, left),
            Happening::Arrival { client, listener } => clients::arrives(self, client, listener),
            Happening::Listen(listener) => host::listen(self, listener),
            Happening::Start => daemon::start(self),
            Happening::Wake(number) => daemon::wake(self, number),
            Happening::Rings(number) => daemon::read_rings(self, number),
            Happening::Second(number) => daemon::second(self, number),
            Happening::Done(number, work) => daemon::done(self, number, *work),
            Happening::Input(number, input) => daemon::arrived(self, number, *input),
        }
        daemon::look_at_rings(self);
    }

    /// Has something happen.
    pub(super) fn at(&mut self, at_ns: u64, happening: Happening) {
        self.queued += 1;
        let tie = chance_of(self.plan.seed, &[1, at_ns, self.queued]).next();
        self.open += usize::from(is_spontaneous(&happening));
        self.queue.insert((at_ns.max(self.now_ns), tie, self.queued), happening);
    }

    /// Chance for something with a name.
    pub(super) fn chance(&self, what: &[u64]) -> Random {
        chance_of(self.plan.seed, what)
    }

    /// How long something takes, in nanoseconds.
    pub(super) fn delay_ns(&self, what: &[u64]) -> u64 {
        let mut chance = self.chance(what);
        let conditions = &self.plan.conditions;
        let usual = chance.next() % (conditions.delay_ms * MS);
        if chance.percent(conditions.slow_percent) { usual + chance.next() % (12_000 * MS) } else { usual }
    }

    /// Whether something fails.
    pub(super) fn fails(&self, what: &[u64]) -> bool {
        self.chance(what).percent(self.plan.conditions.fail_percent)
    }

    /// The time, as the core has it.
    pub(super) fn now(&self) -> Now {
        let passed = Duration::from_nanos(self.now_ns);
        Now { at: instant(self.now_ns), boot_ns: self.now_ns, wall: SystemTime::UNIX_EPOCH + passed }
    }

    /// Notes what happened, if somebody wants to read it.
    pub(super) fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let text = text(self);
            let ms = (self.now_ns - BEGIN_NS) / MS;
            let us = (self.now_ns / 1000) % 1000;
            if let Some(trace) = &mut self.trace {
                trace.push(format!("{ms:>7}.{us:03} {text}"));
            }
        }
    }

    /// A rule is broken; the first one counts.
    pub(super) fn breaks(&mut self, rule: &'static str, port: Option<u16>, what: String) {
        self.note(|_| format!("BROKEN: {rule}: {what}"));
        self.broken.get_or_insert(Broken { rule, what, port });
    }

    /// Listeners that a client or a scan can see.
    pub(super) fn netns_of_listeners(&self) -> BTreeSet<u64> {
        self.kernel.sockets.values().map(|socket| socket.netns).collect()
    }
}

/// The moment of a number of nanoseconds.
pub(super) fn instant(at_ns: u64) -> Instant {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    *BEGIN + Duration::from_nanos(at_ns)
}

/// The number of nanoseconds of a moment.
pub(super) fn nanoseconds_of(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(instant(0)).as_nanos()).unwrap_or(u64::MAX)
}

/// Whether it happens by itself: the history is not over before it did.
fn is_spontaneous(happening: &Happening) -> bool {
    match happening {
        Happening::Step(_)
        | Happening::Syn { .. }
        | Happening::Ack { .. }
        | Happening::Data { .. }
        | Happening::Datagram { .. }
        | Happening::Arrival { .. }
        | Happening::Listen(_)
        | Happening::Start => true,
        Happening::Wake(_)
        | Happening::Rings(_)
        | Happening::Second(_)
        | Happening::Done(..)
        | Happening::Input(..) => false,
    }
}
