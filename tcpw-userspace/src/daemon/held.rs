//! Held attempts: who listens is found out, and the packet is sent again.
//!
//! In: held packets. Out: tags and answers in the kernel, then the packet once more: the gate
//! itself lets it pass, or refuses and reports it.
//! Invariant: what waits is bounded in number and time; what a bound dropped is counted and said.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use tcpw_common::{
    held::Held,
    key::{Address, AnswerKey, AttemptKey},
    tag::{OF_ONE_DEVICE, PROVISIONAL, Tag, UNPRIVILEGED},
};

use super::{Daemon, scan::Found};
use crate::{
    config::Mode,
    events::{Decision, Event, UDP},
    names::NamesSet,
    reinject::Packet,
};

/// Most packets that wait for a scan: a megabyte or two.
const MOST_WAITING: usize = 4096;

/// After this long a client has sent its SYN again itself, or has given up waiting for a datagram.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a packet that was sent again is remembered, and a UDP client that would be refused.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Flags of a tag, as events carry them.
const PROVISIONAL_EVENT: u16 = flag(PROVISIONAL);
const UNPRIVILEGED_EVENT: u16 = flag(UNPRIVILEGED);
const OF_ONE_DEVICE_EVENT: u16 = flag(OF_ONE_DEVICE);

const fn flag(of_tag: u32) -> u16 {
    assert!(of_tag <= 0xffff);
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let flag = of_tag as u16;
    flag
}

/// What waits, and what was sent.
#[derive(Default)]
pub(super) struct Waiting {
    /// By cookie of a listener that nobody has identified yet.
    by_listener: HashMap<u64, Vec<(Instant, Held)>>,
    count: usize,
    /// Once for each reason to hold it: what was not known, under which policy.
    sent: HashMap<(AttemptKey, u32, u32), Instant>,
    /// UDP clients whose line audit mode wrote, by socket.
    said: HashMap<(u64, Address), Instant>,
    /// Packets that did not fit.
    dropped: u64,
    /// Those of them that were told of.
    told: u64,
}

impl Daemon {
    /// One held packet.
    pub(super) fn held(&mut self, held: &Held) {
        let Some(Event::Decision(decision)) = Event::from_record(&held.event) else {
            log::error!("a held packet of kind {} is not known to this version", held.event.kind);
            return;
        };
        let is_identified = held.event.flags & PROVISIONAL_EVENT == 0;
        if is_identified && let Some(names) = self.registry.names_of(decision.names) {
            self.decide(held, &decision, &names);
        } else if let Some(known) = self.registry.get(decision.cookie) {
            // It was tagged while the packet was on its way here.
            let names = known.names.clone();
            self.identified(held, &decision, &names);
        } else {
            self.identify(held, &decision);
        }
    }

    /// The listener's tag is there: the gate decides by itself.
    fn identified(&mut self, held: &Held, decision: &Decision, names: &NamesSet) {
        if self.config.mode == Mode::Audit {
            self.decide(held, decision, names);
            return;
        }
        // The rules may have it held once more, for its client's name.
        if let Err(error) = self.kernel.forget_held(&attempt_key(held, decision)) {
            log::error!("{error:#}");
        }
        self.send_again(held, decision);
    }

    /// Looks for the listener; the packet waits.
    fn identify(&mut self, held: &Held, decision: &Decision) {
        if self.waiting.count >= MOST_WAITING {
            self.waiting.dropped += 1;
            return;
        }
        self.waiting.count += 1;
        self.waiting.by_listener.entry(decision.cookie).or_default().push((Instant::now(), *held));
        if decision.pid != 0 {
            self.scans.look_at(decision.pid);
        } else {
            self.scans.look_at_all();
        }
    }

    /// After a scan: what waited for its listeners goes on.
    pub(super) fn release(&mut self, found: &Scanned) {
        let ready: Vec<u64> = self
            .waiting
            .by_listener
            .keys()
            .copied()
            .filter(|cookie| self.registry.get(*cookie).is_some())
            .collect();
        for cookie in ready {
            self.release_one(cookie);
        }
        if self.waiting.by_listener.is_empty() {
            return;
        }
        if !found.is_all {
            // Somebody else may hold the socket.
            self.scans.look_at_all();
            return;
        }
        let lost: Vec<u64> = self
            .waiting
            .by_listener
            .iter()
            .filter(|(_, packets)| packets.iter().all(|(since, _)| *since < found.began))
            .map(|(cookie, _)| *cookie)
            .collect();
        for cookie in lost {
            self.settle(cookie);
        }
    }

    /// Nobody is seen to hold the socket: from here on its names are those of its process name.
    fn settle(&mut self, cookie: u64) {
        let first = self.waiting.by_listener.get(&cookie).and_then(|packets| packets.first());
        let Some(event) = first.map(|(_, held)| held.event) else {
            return;
        };
        // What anybody may call himself is not believed.
        let is_privileged = event.flags & UNPRIVILEGED_EVENT == 0;
        let names = if is_privileged { event.names } else { 0 };
        let tag = Tag { names, netns: event.netns, pid: event.pid, flags: 0 };
        log::warn!(
            "nobody is seen to listen on port {} (socket {cookie}): judged by the rules for {}",
            event.server_port,
            self.policies.names_of(names).unwrap_or_default()
        );
        if let Err(error) = self.kernel.name_socket(cookie, tag) {
            log::error!("{error:#}");
        }
        self.release_one(cookie);
    }

    fn release_one(&mut self, cookie: u64) {
        let packets = self.waiting.by_listener.remove(&cookie).unwrap_or_default();
        self.waiting.count -= packets.len();
        let names = self.registry.get(cookie).map(|known| known.names.clone()).unwrap_or_default();
        for (since, held) in packets {
            if since.elapsed() < PATIENCE
                && let Some(Event::Decision(decision)) = Event::from_record(&held.event)
            {
                self.identified(&held, &decision, &names);
            }
        }
    }

    /// Sends the packet again, once. What cannot be sent is left to the client.
    pub(super) fn send_again(&mut self, held: &Held, decision: &Decision) {
        let Some(packet) = Packet::new(held.bytes()) else {
            return;
        };
        let key = (attempt_key(held, decision), held.event.kind, decision.generation);
        let now = Instant::now();
        let before = self.waiting.sent.insert(key, now);
        if before.is_some_and(|at| now.duration_since(at) < REMEMBERED) {
            return;
        }
        if self.waiting.sent.len() > 2 * MOST_WAITING {
            self.waiting.sent.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        }
        let (netns, pid) = match self.registry.get(decision.cookie) {
            Some(known) => (known.netns, known.resident),
            None => (decision.netns, decision.pid),
        };
        let sent = if held.event.flags & OF_ONE_DEVICE_EVENT != 0 || packet.is_of_one_link() {
            self.injector.send_by_device(netns, pid, decision.ifindex, &packet)
        } else {
            self.injector.send(netns, pid, &packet)
        };
        if let Err(error) = sent {
            log::debug!("a held packet is left to its client's own retransmit: {error}");
        }
    }

    /// Says what a bound did, and forgets what waited too long.
    pub(super) fn watch_held(&mut self) {
        let dropped = self.waiting.dropped - self.waiting.told;
        if dropped > 0 {
            self.waiting.told = self.waiting.dropped;
            log::warn!(
                "{dropped} connection attempts were not held: {MOST_WAITING} wait already; their clients try again"
            );
        }
        for packets in self.waiting.by_listener.values_mut() {
            packets.retain(|(since, _)| since.elapsed() < PATIENCE);
        }
        self.waiting.by_listener.retain(|_, packets| !packets.is_empty());
        self.waiting.count = self.waiting.by_listener.values().map(Vec::len).sum();
    }

    /// Lets go of the namespaces nothing listens in.
    pub(super) fn forget_namespaces(&mut self) {
        let in_use: HashSet<u64> = self.registry.all().iter().map(|(_, known)| known.netns).collect();
        self.injector.keep_only(|netns| in_use.contains(&netns));
        self.users.keep_namespaces(|netns| in_use.contains(&netns));
    }
}

impl Waiting {
    /// How many packets did not fit.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether an attempt is no further datagram of one that was told of. TCP's are held once each.
    pub(super) fn is_news(&mut self, decision: &Decision) -> bool {
        if decision.protocol != UDP {
            return true;
        }
        let now = Instant::now();
        if self.said.len() > MOST_WAITING {
            self.said.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        }
        let client = (decision.cookie, decision.client);
        if self.said.get(&client).is_some_and(|at| now.duration_since(*at) < REMEMBERED) {
            return false;
        }
        self.said.insert(client, now);
        true
    }
}

/// What a SYN and its retransmits share.
pub(super) fn attempt_key(held: &Held, decision: &Decision) -> AttemptKey {
    AttemptKey {
        client: decision.client,
        server: decision.server,
        cookie: decision.cookie,
        isn: held.isn,
        client_port: decision.client_port,
        server_port: decision.server_port,
    }
}

/// What attempts that get the same answer share.
pub(super) fn answer_key(decision: &Decision) -> AnswerKey {
    AnswerKey {
        generation: decision.generation,
        policy: decision.policy,
        client: decision.client,
        server: decision.server,
    }
}

/// What a finished scan was.
pub(super) struct Scanned {
    pub(super) is_all: bool,
    pub(super) began: Instant,
}

impl From<&Found> for Scanned {
    fn from(found: &Found) -> Self {
        Self { is_all: found.is_all, began: found.began }
    }
}
