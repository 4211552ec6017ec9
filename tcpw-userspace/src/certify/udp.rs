//! Where sk_lookup may answer a refused datagram by ICMP.
//!
//! In: every UDP socket of a network namespace. Out: as for TCP, one entry for each address and port.
//! Invariant: an entry names the one socket that can receive the datagram. Every other socket of its port is
//! of the same names-set: whichever of them is closed, connected or disconnected, no datagram to another
//! listener is refused. A further socket can get the port only by bind(2), unless the port is of the range
//! that the kernel assigns itself (`ip_local_port_range`).
//! Source: linux/net/ipv4/udp.c, `udp_lib_get_port`, `compute_score`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use super::{CertifiedListener, Identified, LocalEnd, by_local_end, one};
use crate::listeners::PortSocket;

/// The ports that can be certified: of guarded sockets, and not of the range that the kernel assigns itself.
pub fn udp_ports(sockets: &[PortSocket], given_away: &RangeInclusive<u16>) -> BTreeSet<u16> {
    let is_open = |socket: &&PortSocket| socket.is_guarded && !given_away.contains(&socket.local.port());
    sockets.iter().filter(is_open).map(|socket| socket.local.port()).collect()
}

/// What can be certified of the UDP sockets of a network namespace, by local address and port.
///
/// `is_watched`: every bind(2) to the port is reported.
pub fn certify_udp(
    sockets: &[PortSocket],
    is_watched: impl Fn(u16) -> bool,
    identified: impl Fn(&PortSocket) -> Option<Identified>,
) -> BTreeMap<LocalEnd, Option<CertifiedListener>> {
    let mut by_port: BTreeMap<u16, Vec<&PortSocket>> = BTreeMap::new();
    for socket in sockets {
        by_port.entry(socket.local.port()).or_default().push(socket);
    }
    by_port.retain(|port, sockets| is_watched(*port) && are_of_one(sockets, &identified));
    by_local_end(by_port.into_values().flatten(), |receivers| match receivers {
        [_only] => one(receivers, &identified),
        // The kernel chooses which of them receives, and each may be connected to its own peer.
        _ => None,
    })
}

/// Whether all sockets of a port are guarded, identified and of one names-set, and receive from any peer and
/// interface.
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
        super::tests::{assert_certified, known, socket},
        *,
    };

    #[track_caller]
    fn is(sockets: &[PortSocket], wanted: &[(&str, u64)]) {
        assert_certified(certify_udp(sockets, |port| port < 1000, known), wanted);
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
        assert_eq!(udp_ports(&sockets, &(32768..=60999)), [53].into());
        assert_eq!(udp_ports(&sockets, &(53..=60999)), [].into());
    }
}
