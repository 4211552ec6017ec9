//! The kernel, as far as the daemon sees it: the tables, the gate, sk_lookup, and the rings.
//!
//! In: packets, and writes of the daemon. Out: what becomes of each packet, and records in the rings.
//! Invariant: tcpw-ebpf is the model; what a file here does, the file of that name there does. The tables
//! are walked by the same [`decide`](tcpw_common::decide::decide). What is bounded there and cannot fill in
//! a short history is not bounded here.

mod ask;
mod emit;
mod gate;
mod probe;
mod refuse;
mod sockets;
mod user;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use tcpw_common::{
    answer::{Answer, AnswerOnce, ResetOnce},
    certified::{Certified, CertifiedKey},
    counter::Counter,
    decide::{Decision, decide},
    event::Event as Record,
    handshake::Handshake,
    held::Held,
    key::{Address, AnswerKey, AttemptKey, BannerKey, Comm, FlowKey, NamesId, Query, UdpClientKey},
    metric::Metric,
    refusal::RefusedFlow,
    tag::Tag,
    user::{Pending, Waiting},
};

pub(super) use gate::Packet;
pub(super) use sockets::{ConnectionSocket, ListenerSocket};
pub(super) use user::Data;

use super::plan::HostConditions;
use crate::{
    bans::{MemoryBans, WithBans},
    compile::{Policy, PolicyTables},
    config::{Config, Mode},
    core::action::Flip,
    redirect::Family,
};

/// One slot.
#[derive(Clone, Debug)]
struct Slot {
    number: u64,
    generation: u32,
    flags: u32,
    tables: PolicyTables,
    comms: HashMap<Comm, NamesId>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// Its socket gets it.
    Pass,
    /// Nobody does.
    Drop,
    /// Nobody does, and its sender is told.
    Reset,
    /// The redirect listener gets it.
    Redirected,
    /// Nobody listens.
    Closed,
}

/// A verdict that the kernel carried out, to be held against the evaluator's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided {
    pub(super) flow: FlowKey,
    pub(super) names: NamesId,
    pub(super) generation: u32,
    pub(super) pid: u32,
    pub(super) is_allowed: bool,
    /// The user was taken for unknown.
    pub(super) is_user_unknown: bool,
    /// The user was not known, and did not matter.
    pub(super) is_exempt: bool,
    /// Reported, as a new attempt; whether the ring had room.
    #[expect(dead_code, reason = "shown by those who look for a defect of the simulation")]
    pub(super) reported: Option<bool>,
}

/// The kernel.
#[derive(Debug)]
pub(super) struct SimulatedKernel {
    pub(super) now_ns: u64,
    /// The programs identify listeners.
    pub(super) is_loaded: bool,
    /// The gate judges.
    pub(super) is_gate_on: bool,
    /// The daemon's last sign of life.
    pub(super) alive_ns: Option<u64>,
    pub(super) users_on: bool,
    pub(super) watches_accepted: bool,
    log_allowed: bool,
    has_refusals: bool,
    /// The gate remembers which flows it let pass, for those that reset.
    are_resets_on: bool,
    rates: [u64; 2],
    ring: usize,
    slots: [Option<Slot>; 2],
    active: Option<usize>,
    /// From then on this slot is in force.
    deadline: Option<(u64, usize)>,
    comms: HashMap<Comm, NamesId>,
    last_generation: u32,
    last_cookie: u64,
    pub(super) sockets: BTreeMap<u64, ListenerSocket>,
    pub(super) connections: BTreeMap<u64, ConnectionSocket>,
    pub(super) events: VecDeque<Record>,
    pub(super) holds: VecDeque<Held>,
    counters: BTreeMap<&'static str, u64>,
    answers: HashMap<AnswerKey, Answer>,
    answers_once: BTreeMap<AttemptKey, AnswerOnce>,
    reset_once: BTreeMap<FlowKey, ResetOnce>,
    held: BTreeMap<AttemptKey, u64>,
    sources: BTreeMap<Address, [u64; 2]>,
    reset_sources: BTreeMap<Address, [u64; 2]>,
    resets: [u64; 2],
    attempts: BTreeMap<AttemptKey, u64>,
    udp_attempts: BTreeMap<UdpClientKey, u64>,
    flows: BTreeMap<FlowKey, RefusedFlow>,
    handshakes: BTreeMap<FlowKey, Handshake>,
    user_handshakes: BTreeMap<FlowKey, Pending>,
    data_reported: BTreeMap<FlowKey, u64>,
    pub(super) waiting: BTreeMap<u64, Waiting>,
    pub(super) banners: BTreeMap<BannerKey, usize>,
    pub(super) bans: MemoryBans,
    pub(super) listeners: BTreeMap<u64, Tag>,
    holders: BTreeSet<u32>,
    pub(super) certified: BTreeMap<CertifiedKey, Certified>,
    changes: BTreeMap<(u64, u16, u32), u64>,
    udp_ports: BTreeSet<(u64, u16)>,
    pub(super) redirect_listeners: BTreeMap<(u64, Family), u64>,
    /// What was decided by the last packet.
    pub(super) decided: Vec<Decided>,
}

impl SimulatedKernel {
    pub(super) fn new(config: &Config, conditions: &HostConditions) -> Self {
        Self {
            now_ns: 0,
            is_loaded: false,
            is_gate_on: false,
            alive_ns: None,
            users_on: false,
            watches_accepted: false,
            log_allowed: config.log_allowed,
            has_refusals: conditions.has_refusals,
            are_resets_on: config.mode == Mode::Enforce && config.refusal.answers_any(),
            rates: [config.refusal.rates.per_source.into(), config.refusal.rates.total.into()],
            ring: conditions.ring,
            slots: [None, None],
            active: None,
            deadline: None,
            comms: HashMap::new(),
            last_generation: 0,
            last_cookie: 0,
            sockets: BTreeMap::new(),
            connections: BTreeMap::new(),
            events: VecDeque::new(),
            holds: VecDeque::new(),
            counters: BTreeMap::new(),
            answers: HashMap::new(),
            answers_once: BTreeMap::new(),
            reset_once: BTreeMap::new(),
            held: BTreeMap::new(),
            sources: BTreeMap::new(),
            reset_sources: BTreeMap::new(),
            resets: [0; 2],
            attempts: BTreeMap::new(),
            udp_attempts: BTreeMap::new(),
            flows: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            user_handshakes: BTreeMap::new(),
            data_reported: BTreeMap::new(),
            waiting: BTreeMap::new(),
            banners: BTreeMap::new(),
            bans: MemoryBans::default(),
            listeners: BTreeMap::new(),
            holders: BTreeSet::new(),
            certified: BTreeMap::new(),
            changes: BTreeMap::new(),
            udp_ports: BTreeSet::new(),
            redirect_listeners: BTreeMap::new(),
            decided: Vec::new(),
        }
    }

    /// Everything that is not pinned ends with its process.
    pub(super) fn unload(&mut self, config: &Config, conditions: &HostConditions) {
        let fresh = Self {
            now_ns: self.now_ns,
            last_cookie: self.last_cookie,
            last_generation: self.last_generation,
            sockets: std::mem::take(&mut self.sockets),
            connections: std::mem::take(&mut self.connections),
            changes: std::mem::take(&mut self.changes),
            ..Self::new(config, conditions)
        };
        *self = fresh;
        self.sockets.values_mut().for_each(|socket| socket.tag = None);
        self.connections.values_mut().for_each(|connection| connection.mark = None);
    }

    /// The generation in force; 0 if there is none.
    pub(super) fn generation(&self) -> u32 {
        self.slot().map_or(0, |slot| slot.generation)
    }

    /// Flags of the policy in force.
    pub(super) fn flags(&self) -> Option<u32> {
        self.slot().map(|slot| slot.flags)
    }

    fn slot(&self) -> Option<&Slot> {
        self.slots[self.live()?].as_ref()
    }

    /// The slot in force.
    fn live(&self) -> Option<usize> {
        match self.deadline {
            Some((until_ns, before)) if self.now_ns >= until_ns => Some(before),
            Some(_) | None => self.active,
        }
    }

    /// The decision by the policy in force and the bans.
    fn decide(&self, query: &Query) -> Option<Decision> {
        let tables = &self.slot()?.tables;
        decide(&WithBans { tables, bans: &self.bans, now_ns: self.now_ns }, query)
    }

    /// Fills the idle slot; gives the generation.
    pub(super) fn fill(&mut self, number: u64, policy: &Policy, flags: u32) -> u32 {
        assert!(self.deadline.is_none(), "the slot of a policy that may come back is filled");
        self.last_generation += 1;
        let idle = self.active.map_or(0, |active| 1 - active);
        self.slots[idle] = Some(Slot {
            number,
            generation: self.last_generation,
            flags,
            tables: PolicyTables::new(policy, self.last_generation, flags),
            comms: policy.comms.iter().copied().collect(),
        });
        self.last_generation
    }

    /// Switches to the idle slot, if it has the policy of this number.
    pub(super) fn flip(&mut self, flip: &Flip) -> Option<u32> {
        let Flip { number, names, until, .. } = flip;
        let idle = self.active.map_or(0, |active| 1 - active);
        let slot = self.slots[idle].as_mut().filter(|slot| slot.number == *number)?;
        names.iter().for_each(|(names, class)| slot.tables.set_names(*names, *class));
        self.comms = match until {
            None => slot.comms.clone(),
            Some(until) => until.comms.iter().copied().collect(),
        };
        let generation = slot.generation;
        let before = self.active.replace(idle);
        self.deadline = until.as_ref().zip(before).map(|(until, before)| (until.boot_ns, before));
        Some(generation)
    }

    /// The policy in force has no deadline any more.
    pub(super) fn confirm(&mut self, comms: &[(Comm, NamesId)]) {
        self.deadline = None;
        self.comms = comms.iter().copied().collect();
    }

    /// The policy before one with a deadline is in force again. Returns whether there was one.
    pub(super) fn fall_back(&mut self) -> bool {
        let Some((_, before)) = self.deadline.take() else { return false };
        self.active = Some(before);
        true
    }

    /// Process names that mean something in the policy in force.
    pub(super) fn set_comms(&mut self, comms: &[(Comm, NamesId)]) {
        self.comms = comms.iter().copied().collect();
    }

    /// A filled slot is not wanted.
    pub(super) fn discard(&mut self, number: u64) {
        let active = self.active;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if Some(index) != active && slot.as_ref().is_some_and(|slot| slot.number == number) {
                *slot = None;
            }
        }
    }

    /// Makes a names-set known to the policy in force.
    pub(super) fn set_names(&mut self, names: NamesId, class: u32) {
        if let Some(slot) = self.active.and_then(|active| self.slots[active].as_mut()) {
            slot.tables.set_names(names, class);
        }
    }

    /// Makes a names-set known to the policy that may come back.
    pub(super) fn set_names_before(&mut self, names: NamesId, class: u32) {
        if let Some(slot) = self.deadline.and_then(|(_, before)| self.slots[before].as_mut()) {
            slot.tables.set_names(names, class);
        }
    }

    /// Whether the daemon gave a sign of life of late.
    pub(super) fn is_daemon_alive(&self) -> bool {
        self.alive_ns.is_some_and(|alive| self.now_ns < alive + tcpw_common::limits::ALIVE_NS)
    }

    /// The counters, by name.
    pub(super) fn counters(&self) -> Vec<(Metric, u64)> {
        let counted = |counter: Counter| {
            let metric = counter.metric();
            (metric, self.counters.get(metric.name).copied().unwrap_or_default())
        };
        Counter::ALL.into_iter().map(counted).collect()
    }

    fn count(&mut self, counter: Counter) {
        *self.counters.entry(counter.metric().name).or_default() += 1;
    }

    /// Another number for a socket.
    pub(super) fn cookie(&mut self) -> u64 {
        self.last_cookie += 1;
        self.last_cookie
    }

    /// Entries of tables that end with what they are about.
    pub(super) fn leftovers(&self) -> [(&'static str, usize); 3] {
        [
            ("connections that wait in the kernel", self.waiting.len()),
            ("banners in the kernel", self.banners.len()),
            (
                "named listeners in the kernel",
                self.listeners.keys().filter(|cookie| !self.sockets.contains_key(cookie)).count(),
            ),
        ]
    }
}
