//! Counters and events.

use tcpw_common::{
    counter::Counter,
    event::{Event as Record, Kind},
    key::{Comm, FlowKey},
    tag::Tag,
};

use super::Kernel;
use crate::{
    core::input::Event,
    events::{Decision, Fate},
};

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

impl Kernel {
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

    /// A record as the core takes it, with what the tables say of it; `None` if they say nothing any more.
    pub(in crate::simulate) fn event_of(&self, record: &Record) -> Option<Event> {
        let decided = |fate| Some(Event::Decided(decision(record, fate)));
        match Kind::from_number(record.kind)? {
            Kind::Refused => decided(Fate::Refused),
            Kind::WouldRefuse => decided(Fate::WouldRefuse),
            Kind::Accepted => decided(Fate::Accepted),
            Kind::Redirected => decided(Fate::Redirected),
            Kind::Listening => Some(Event::Listening { pid: record.pid, is_udp: record.protocol == 17 }),
            Kind::Executed => Some(Event::Executed { pid: record.pid }),
            Kind::WaitsForUser => {
                self.waiting.get(&record.cookie).map(|waiting| Event::WaitsForUser(Box::new(*waiting)))
            }
            Kind::NoRoomForUser => Some(Event::NoRoomForUser(decision(record, Fate::Held))),
            Kind::HandshakeHasData => {
                let decision = decision(record, Fate::Held);
                let flow = flow_of(record);
                self.user_handshakes.get(&flow).map(|pending| Event::HandshakeHasData(decision, *pending))
            }
            Kind::BannerDone => Some(Event::BannerDone(record.cookie)),
            Kind::Ask | Kind::Unidentified => Some(Event::Unknown { kind: record.kind }),
        }
    }
}

/// The flow of a record.
pub(in crate::simulate) fn flow_of(record: &Record) -> FlowKey {
    FlowKey {
        netns: record.netns,
        client: record.client,
        server: record.server,
        client_port: record.client_port,
        server_port: record.server_port,
        protocol: record.protocol,
        reserved: 0,
    }
}

fn decision(record: &Record, fate: Fate) -> Decision {
    Decision {
        fate,
        time_ns: record.time_ns,
        netns: record.netns,
        names: record.names,
        cookie: record.cookie,
        pid: record.pid,
        ifindex: record.ifindex,
        client: record.client,
        server: record.server,
        client_port: record.client_port,
        server_port: record.server_port,
        socket_is_v6: record.family == 10,
        protocol: record.protocol,
        policy: record.policy,
        generation: record.generation,
    }
}
