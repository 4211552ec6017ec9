//! Ring records to events.
//!
//! In: the records of the event ring. Out: [`Event`]s with Rust's address
//! types. Invariant: a record that is not understood is reported as an error,
//! and never gives a wrong line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tcpw_common::{
    event::{Event as Record, Kind},
    held::Held,
    key::{Address, AttemptKey, FlowKey, NamesId, as_v4, mapped},
};

/// IPPROTO_UDP.
pub const UDP: u16 = 17;

/// What the kernel reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A decision about a connection attempt.
    Decision(Decision),
    /// A process bound or opened a listening socket.
    Listening {
        /// The process.
        pid: u32,
        /// Local port.
        port: u16,
        /// A UDP socket: not every bind of its process is reported.
        is_udp: bool,
    },
    /// A process executed a program that may have taken over listening sockets.
    Executed {
        /// The process.
        pid: u32,
    },
    /// A connection waits for its client's user.
    WaitsForUser {
        /// Cookie of its socket.
        cookie: u64,
    },
    /// There is no room for a connection that has to wait: its user is unknown. The cookie of the
    /// decision is that of the connection's own socket.
    NoRoomForUser(Decision),
    /// As [`Self::NoRoomForUser`], and the connection is refused.
    CannotWait(Decision),
    /// The last ACK of a handshake had data and was dropped: its connection, which will have to wait,
    /// does not exist yet.
    HandshakeHasData(Decision),
    /// The banner of a connection was sent, or cannot be.
    BannerDone {
        /// Cookie of its socket.
        cookie: u64,
    },
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Refused.
    Refused,
    /// Passed in audit mode though the policy refuses it.
    WouldRefuse,
    /// Accepted.
    Accepted,
    /// Held until it is decided.
    Held,
    /// Refused, and redirected: its connection will reach the redirect listener.
    Redirected,
}

/// A decision about a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its outcome.
    pub fate: Fate,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub time_ns: u64,
    /// Network namespace cookie, 0 if unknown.
    pub netns: u64,
    /// Names of the listener.
    pub names: NamesId,
    /// Cookie of the listening socket; 0 for accepted connections.
    pub cookie: u64,
    /// Process id of the listener, 0 if unknown.
    pub pid: u32,
    /// Interface the SYN came in on.
    pub ifindex: u32,
    /// Client address.
    pub client: Address,
    /// Local address.
    pub server: Address,
    /// Client port.
    pub client_port: u16,
    /// Local port.
    pub server_port: u16,
    /// The listening socket is of family AF_INET6: an IPv4 client is spelled `::ffff:a.b.c.d`.
    pub socket_is_v6: bool,
    /// 6 (TCP) or 17 (UDP).
    pub protocol: u16,
    /// Policy that decided.
    pub policy: u32,
    /// Its generation.
    pub generation: u32,
}

impl Decision {
    /// The flow of the attempt, as the kernel's maps have it.
    pub fn flow(&self) -> FlowKey {
        FlowKey {
            netns: self.netns,
            client: self.client,
            server: self.server,
            client_port: self.client_port,
            server_port: self.server_port,
            protocol: self.protocol,
            reserved: 0,
        }
    }

    /// The attempt, as the kernel's maps have it; `isn` is 0 for a datagram.
    pub fn attempt(&self, isn: u32) -> AttemptKey {
        AttemptKey { flow: self.flow(), listener: self.cookie, isn, reserved: 0 }
    }
}

/// The flow whose client answered its challenge, if that is what a record of the ring of held packets reports.
pub fn challenge_answered(held: &Held) -> Option<FlowKey> {
    let event = &held.event;
    (Kind::from_number(event.kind) == Some(Kind::ChallengeAnswered)).then_some(FlowKey {
        netns: event.netns,
        client: event.client,
        server: event.server,
        client_port: event.client_port,
        server_port: event.server_port,
        protocol: event.protocol,
        reserved: 0,
    })
}

/// The decision that a held packet waits for; `None` if its event is of a kind this version does not know.
pub fn decision_of_held(held: &Held) -> Option<Decision> {
    match Event::from_record(&held.event)? {
        Event::Decision(decision) => Some(decision),
        Event::Listening { .. }
        | Event::Executed { .. }
        | Event::WaitsForUser { .. }
        | Event::NoRoomForUser(_)
        | Event::CannotWait(_)
        | Event::HandshakeHasData(_)
        | Event::BannerDone { .. } => None,
    }
}

impl Event {
    /// Reads a record; `None` for a kind this version does not know.
    pub fn from_record(record: &Record) -> Option<Self> {
        let what = |fate| Decision {
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
            socket_is_v6: record.family == libc::AF_INET6.cast_unsigned(),
            protocol: record.protocol,
            policy: record.policy,
            generation: record.generation,
        };
        let decision = |fate| Self::Decision(what(fate));
        Some(match Kind::from_number(record.kind)? {
            Kind::Refused => decision(Fate::Refused),
            Kind::WouldRefuse => decision(Fate::WouldRefuse),
            Kind::Accepted => decision(Fate::Accepted),
            Kind::Ask | Kind::Unidentified => decision(Fate::Held),
            Kind::Redirected => decision(Fate::Redirected),
            Kind::Executed => Self::Executed { pid: record.pid },
            Kind::WaitsForUser => Self::WaitsForUser { cookie: record.cookie },
            Kind::NoRoomForUser => Self::NoRoomForUser(what(Fate::Held)),
            Kind::CannotWait => Self::CannotWait(what(Fate::Held)),
            Kind::HandshakeHasData => Self::HandshakeHasData(what(Fate::Held)),
            Kind::BannerDone => Self::BannerDone { cookie: record.cookie },
            // It comes with the held packets.
            Kind::ChallengeAnswered => return None,
            Kind::Listening => {
                Self::Listening { pid: record.pid, port: record.server_port, is_udp: record.protocol == UDP }
            }
        })
    }
}

/// The address as in the packet: a v4-mapped one is IPv4.
pub fn ip(address: &Address) -> IpAddr {
    match as_v4(address) {
        Some(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        None => IpAddr::V6(Ipv6Addr::from(*address)),
    }
}

/// An address as the kernel's tables have it.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn record_cut_short_or_too_long_is_not_understood() {
        for length in [0, 1, 111, 113, 224] {
            assert_eq!(Record::from_bytes(&vec![0; length]), None);
        }
    }

    #[test]
    fn unknown_kind_is_not_understood() {
        let record = Record::from_bytes(&[0; 112]).expect("a record");
        assert_eq!(Event::from_record(&record), None);
        assert_eq!(Event::from_record(&Record { kind: 77, ..record }), None);
    }

    #[test]
    fn every_field_reaches_the_event() {
        let bytes: Vec<u8> = (0..112).collect();
        let record = Record { kind: 1, family: 10, ..Record::from_bytes(&bytes).expect("a record") };
        let Some(Event::Decision(event)) = Event::from_record(&record) else { panic!("a decision") };
        assert_eq!(event.time_ns, u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(event.client[0], 32);
        assert_eq!(event.server[15], 63);
        assert_eq!(event.client_port, u16::from_ne_bytes([88, 89]));
        assert!(event.socket_is_v6);
    }

    #[test]
    fn mapped_address_is_ipv4() {
        assert_eq!(ip(&mapped([1, 2, 3, 4])), IpAddr::from([1, 2, 3, 4]));
        assert_eq!(ip(&[0; 16]), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
}
