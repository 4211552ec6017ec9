//! Counters and events.

use tcpw_common::{
    counter::Counter,
    event::{Event as Record, Kind},
    key::{Comm, FlowKey},
    tag::Tag,
};

use super::SimulatedKernel;
use crate::{core::input::KernelEvent, events};

/// What an event says beside its kind and time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) tag: Tag,
    pub(super) cookie: u64,
    pub(super) flow: FlowKey,
    pub(super) family: u32,
    pub(super) generation: u32,
    pub(super) policy: u32,
    pub(super) comm: Comm,
}

impl SimulatedKernel {
    /// Puts an event into the ring, or counts that there was no room; whether there was.
    pub(super) fn emit(&mut self, kind: Kind, report: &Report) -> bool {
        if self.events.len() >= self.ring {
            self.count(Counter::RingFull);
            return false;
        }
        self.events.push_back(self.record(kind, report));
        true
    }

    pub(super) fn record(&self, kind: Kind, report: &Report) -> Record {
        let Report { tag, cookie, flow, family, generation, policy, comm } = *report;
        Record {
            time_ns: self.now_ns,
            netns: flow.netns,
            names: tag.names,
            cookie,
            client: flow.client,
            server: flow.server,
            kind: kind as u32,
            generation,
            policy,
            pid: tag.pid,
            ifindex: 1,
            family,
            client_port: flow.client_port,
            server_port: flow.server_port,
            protocol: flow.protocol,
            flags: u16::try_from(tag.flags & 0xffff).unwrap_or_default(),
            comm,
        }
    }

    /// A record as the core takes it, with what the tables say of it.
    pub(in crate::simulate) fn event_of(&self, record: &Record) -> KernelEvent {
        match events::Event::from_record(record) {
            Some(events::Event::Decision(decision)) => KernelEvent::Decided(decision),
            Some(events::Event::Listening { pid, is_udp, .. }) => KernelEvent::Listening { pid, is_udp },
            Some(events::Event::Executed { pid }) => KernelEvent::Executed { pid },
            Some(events::Event::WaitsForUser { cookie }) => match self.waiting.get(&cookie) {
                Some(waiting) => KernelEvent::WaitsForUser(Box::new(*waiting)),
                None => KernelEvent::Outdated,
            },
            Some(events::Event::NoRoomForUser(decision)) => KernelEvent::NoRoomForUser(decision),
            Some(events::Event::CannotWait(decision)) => KernelEvent::CannotWait(decision),
            Some(events::Event::HandshakeHasData(decision)) => {
                match self.user_handshakes.get(&decision.flow()) {
                    Some(pending) => KernelEvent::HandshakeHasData(decision, *pending),
                    None => KernelEvent::Outdated,
                }
            }
            Some(events::Event::BannerDone { cookie }) => KernelEvent::BannerDone(cookie),
            None => KernelEvent::Unknown { kind: record.kind },
        }
    }
}
