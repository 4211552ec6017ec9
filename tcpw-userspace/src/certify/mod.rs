//! Where a refused client may be reset, or get an ICMP message: which socket would take its packet, if that is certain.
//!
//! In: every socket that listens in a network namespace, and what is known of those the gate
//! guards. Out: one entry for each local address and port: the one daemon behind it, or "not certain".
//! Invariant: an entry names a daemon only if every socket that could take the packet is guarded,
//! identified, and this daemon's.
//! Source: linux/net/ipv4/inet_hashtables.c, `__inet_lookup_listener`: sockets of the very
//! address go before those of every address.
#![forbid(unsafe_code)]

mod datagrams;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use tcpw_common::key::{Address, NamesId, mapped};

use crate::listeners::PortSocket;
pub use datagrams::{certain_datagrams, datagram_ports};

/// A local address and port; `::` and `::ffff:0.0.0.0` are every address of their family.
pub type Place = (Address, u16);

/// Every IPv4 address.
const ANY_V4: Address = mapped([0; 4]);
/// Every IPv6 address.
const ANY_V6: Address = [0; 16];

/// The daemon behind a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certain {
    /// Its names.
    pub names: NamesId,
    /// Cookie of its socket, of the oldest if there are several.
    pub cookie: u64,
    /// Its process.
    pub pid: u32,
    /// 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
}

/// What is known of a guarded socket whose refused clients are to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Names of its daemon.
    pub names: NamesId,
    /// Its process.
    pub pid: u32,
}

/// The places of a network namespace where somebody listens; `None` where it is not certain who.
///
/// Uncertain ones are left out unless they hide one that is certain.
pub fn certain(
    sockets: &[PortSocket],
    identified: impl Fn(&PortSocket) -> Option<Identified>,
) -> BTreeMap<Place, Option<Certain>> {
    by_place(sockets, |sockets| one(sockets, &identified))
}

/// The places of all these sockets, each with the one daemon that listens there, if it is one.
fn by_place<'a>(
    sockets: impl IntoIterator<Item = &'a PortSocket>,
    one: impl Fn(&[&PortSocket]) -> Option<Certain>,
) -> BTreeMap<Place, Option<Certain>> {
    let mut by_place: BTreeMap<Place, Vec<&PortSocket>> = BTreeMap::new();
    for socket in sockets {
        for place in places(socket) {
            by_place.entry(place).or_default().push(socket);
        }
    }
    let mut found: BTreeMap<Place, Option<Certain>> =
        by_place.into_iter().map(|(place, sockets)| (place, one(&sockets))).collect();
    let is_certain =
        |found: &BTreeMap<Place, Option<Certain>>, place| matches!(found.get(&place), Some(Some(_)));
    let hiding: Vec<Place> = found
        .keys()
        .copied()
        .filter(|(address, port)| {
            is_certain(&found, (every(address), *port)) || is_certain(&found, (*address, *port))
        })
        .collect();
    found.retain(|place, _| hiding.contains(place));
    found
}

/// Where the packets come from that a socket may take.
pub fn places(socket: &PortSocket) -> Vec<Place> {
    let port = socket.local.port();
    match socket.local.ip() {
        IpAddr::V4(v4) => vec![(mapped(v4.octets()), port)],
        IpAddr::V6(v6) if v6.is_unspecified() && !socket.is_v6_only => vec![(ANY_V6, port), (ANY_V4, port)],
        IpAddr::V6(v6) => vec![(v6.octets(), port)],
    }
}

/// The daemon of all these sockets, if it is one and the same.
fn one(sockets: &[&PortSocket], identified: impl Fn(&PortSocket) -> Option<Identified>) -> Option<Certain> {
    let oldest = sockets.iter().min_by_key(|socket| socket.cookie)?;
    let daemon = identified(oldest)?;
    let is_sure = |socket: &&PortSocket| {
        socket.is_guarded
            && !socket.is_of_one_interface
            && socket.family == oldest.family
            && identified(socket).is_some_and(|other| other.names == daemon.names)
    };
    sockets.iter().all(is_sure).then_some(Certain {
        names: daemon.names,
        cookie: oldest.cookie,
        pid: daemon.pid,
        family: oldest.family,
    })
}

/// Every address of the family of one.
fn every(address: &Address) -> Address {
    let v6 = std::net::Ipv6Addr::from(*address);
    let is_v4 = v6.to_ipv4_mapped().is_some_and(|_: Ipv4Addr| true);
    if is_v4 { ANY_V4 } else { ANY_V6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: u32 = 2;
    const V6: u32 = 10;

    pub(super) fn socket(cookie: u64, local: &str) -> PortSocket {
        let local: std::net::SocketAddr = local.parse().unwrap();
        PortSocket {
            cookie,
            family: if local.is_ipv4() { V4 } else { V6 },
            local,
            is_v6_only: false,
            is_of_one_interface: false,
            is_guarded: true,
            is_connected: false,
        }
    }

    /// Cookies below 10 are of one daemon, below 20 of another; the others are not identified.
    pub(super) fn known(socket: &PortSocket) -> Option<Identified> {
        let tens = socket.cookie / 10;
        (tens < 2).then_some(Identified { names: 100 + tens, pid: 7 })
    }

    /// Compares places and the cookie of each, 0 for one that hides another.
    #[track_caller]
    pub(super) fn assert_places(found: BTreeMap<Place, Option<Certain>>, wanted: &[(&str, u64)]) {
        let found: Vec<_> = found
            .into_iter()
            .map(|((address, port), one)| {
                (format!("{} {port}", crate::events::ip(&address)), one.map_or(0, |one| one.cookie))
            })
            .collect();
        let wanted: Vec<_> = wanted.iter().map(|(place, cookie)| ((*place).to_owned(), *cookie)).collect();
        assert_eq!(found, wanted);
    }

    #[track_caller]
    fn is(sockets: &[PortSocket], wanted: &[(&str, u64)]) {
        assert_places(certain(sockets, known), wanted);
    }

    #[test]
    fn one_socket_is_certain() {
        is(&[socket(1, "0.0.0.0:22")], &[("0.0.0.0 22", 1)]);
        is(&[socket(1, "[::]:22")], &[(":: 22", 1), ("0.0.0.0 22", 1)]);
        is(&[PortSocket { is_v6_only: true, ..socket(1, "[::]:22") }], &[(":: 22", 1)]);
        is(&[socket(1, "1.2.3.1:22")], &[("1.2.3.1 22", 1)]);
        is(&[socket(1, "[::ffff:1.2.3.1]:22")], &[("1.2.3.1 22", 1)]);
    }

    #[test]
    fn sockets_of_one_daemon_are_certain_the_oldest_speaks_for_all() {
        is(&[socket(3, "0.0.0.0:22"), socket(2, "0.0.0.0:22")], &[("0.0.0.0 22", 2)]);
        let six = PortSocket { is_v6_only: true, ..socket(2, "[::]:22") };
        is(&[socket(3, "0.0.0.0:22"), six], &[(":: 22", 2), ("0.0.0.0 22", 3)]);
    }

    #[test]
    fn whoever_cannot_be_told_from_another_is_not() {
        is(&[socket(1, "0.0.0.0:22"), socket(11, "0.0.0.0:22")], &[]);
        is(&[socket(1, "0.0.0.0:22"), socket(21, "0.0.0.0:22")], &[]);
        is(&[PortSocket { is_guarded: false, ..socket(1, "0.0.0.0:22") }], &[]);
        is(&[PortSocket { is_of_one_interface: true, ..socket(1, "0.0.0.0:22") }], &[]);
        // Which of the two an IPv4 client meets is the kernel's affair.
        is(&[socket(1, "0.0.0.0:22"), socket(2, "[::]:22")], &[(":: 22", 2)]);
    }

    #[test]
    fn one_of_another_on_the_very_address_hides_that_for_every_address() {
        let sockets = [socket(1, "0.0.0.0:22"), socket(21, "127.0.0.1:22"), socket(22, "127.0.0.1:23")];
        is(&sockets, &[("0.0.0.0 22", 1), ("127.0.0.1 22", 0)]);
        let sockets = [socket(1, "[::]:22"), socket(11, "127.0.0.1:22"), socket(21, "[::1]:22")];
        is(&sockets, &[(":: 22", 1), ("::1 22", 0), ("0.0.0.0 22", 1), ("127.0.0.1 22", 11)]);
    }
}
