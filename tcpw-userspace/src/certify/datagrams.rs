//! Where a refused datagram may be answered by ICMP: which socket would take it.
//!
//! In: every UDP socket of a network namespace. Out: as for TCP, one entry for each address and port.
//! Invariant: an entry names the one socket that can take the datagram; every other socket of its port
//! is the same daemon's, so that whichever of them is closed, connected or disconnected, no other
//! daemon's datagram is refused. A socket that joins them binds the port: sockets get ports in no other way, but
//! those of the range that the kernel gives away.
//! Source: linux/net/ipv4/udp.c, `udp_lib_get_port`, `compute_score`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use super::{Certain, Identified, Place, by_place, one};
use crate::listeners::PortSocket;

/// The ports at which an entry may come about.
pub fn datagram_ports(sockets: &[PortSocket], given_away: &RangeInclusive<u16>) -> BTreeSet<u16> {
    let is_open = |socket: &&PortSocket| socket.is_guarded && !given_away.contains(&socket.local.port());
    sockets.iter().filter(is_open).map(|socket| socket.local.port()).collect()
}

/// The places of a network namespace that have one UDP socket; `None` where it is not certain which.
///
/// `is_watched` says of a port that nobody binds it unseen.
pub fn certain_datagrams(
    sockets: &[PortSocket],
    is_watched: impl Fn(u16) -> bool,
    identified: impl Fn(&PortSocket) -> Option<Identified>,
) -> BTreeMap<Place, Option<Certain>> {
    let mut by_port: BTreeMap<u16, Vec<&PortSocket>> = BTreeMap::new();
    for socket in sockets {
        by_port.entry(socket.local.port()).or_default().push(socket);
    }
    by_port.retain(|port, sockets| is_watched(*port) && are_of_one(sockets, &identified));
    by_place(by_port.into_values().flatten(), |sockets| match sockets {
        [_only] => one(sockets, &identified),
        // Which of them is the kernel's affair, and each has its own peers.
        _ => None,
    })
}

/// Whether all sockets of a port are one daemon's, and none of them may turn up elsewhere.
fn are_of_one(sockets: &[&PortSocket], identified: impl Fn(&PortSocket) -> Option<Identified>) -> bool {
    let names = sockets.first().and_then(|socket| identified(socket)).map(|first| first.names);
    sockets.iter().all(|socket| {
        !socket.is_connected
            && !socket.is_of_one_interface
            && socket.is_guarded
            && identified(socket).is_some_and(|it| Some(it.names) == names)
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{assert_places, known, socket},
        *,
    };

    #[track_caller]
    fn is(sockets: &[PortSocket], wanted: &[(&str, u64)]) {
        assert_places(certain_datagrams(sockets, |port| port < 1000, known), wanted);
    }

    #[test]
    fn one_socket_is_certain_for_each_family_it_takes() {
        is(&[socket(1, "0.0.0.0:53")], &[("0.0.0.0 53", 1)]);
        is(&[socket(1, "[::]:53")], &[(":: 53", 1), ("0.0.0.0 53", 1)]);
        let six = PortSocket { is_v6_only: true, ..socket(2, "[::]:53") };
        is(&[socket(1, "0.0.0.0:53"), six], &[(":: 53", 2), ("0.0.0.0 53", 1)]);
        is(&[socket(1, "0.0.0.0:53"), socket(2, "1.2.3.1:53")], &[("0.0.0.0 53", 1), ("1.2.3.1 53", 2)]);
        is(&[socket(1, "0.0.0.0:2000")], &[]);
    }

    #[test]
    fn members_that_share_a_place_are_not_told_apart() {
        is(&[socket(1, "0.0.0.0:53"), socket(2, "0.0.0.0:53")], &[]);
        let sockets = [socket(1, "0.0.0.0:53"), socket(2, "1.2.3.1:53"), socket(3, "1.2.3.1:53")];
        is(&sockets, &[("0.0.0.0 53", 1), ("1.2.3.1 53", 0)]);
    }

    #[test]
    fn port_with_anybody_elses_socket_is_not_certain_at_any_address() {
        let one = socket(1, "1.2.3.1:53");
        is(&[one, socket(11, "127.0.0.1:53")], &[]);
        is(&[one, socket(21, "[::1]:53")], &[]);
        is(&[one, PortSocket { is_connected: true, ..socket(2, "1.2.3.1:53") }], &[]);
        is(&[one, PortSocket { is_of_one_interface: true, ..socket(2, "1.2.3.2:53") }], &[]);
        is(&[one, PortSocket { is_guarded: false, ..socket(2, "1.2.3.2:53") }], &[]);
        is(&[one, socket(11, "127.0.0.1:54")], &[("1.2.3.1 53", 1), ("127.0.0.1 54", 11)]);
    }

    #[test]
    fn ports_the_kernel_may_give_away_are_not_watched() {
        let sockets = [socket(1, "0.0.0.0:53"), PortSocket { is_guarded: false, ..socket(2, "0.0.0.0:54") }];
        assert_eq!(datagram_ports(&sockets, &(32768..=60999)), [53].into());
        assert_eq!(datagram_ports(&sockets, &(53..=60999)), [].into());
    }
}
