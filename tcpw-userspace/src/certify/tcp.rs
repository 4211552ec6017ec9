//! Where sk_lookup may reset a refused client's connection.

use std::collections::BTreeMap;

use super::{CertifiedListener, Identified, LocalEnd, by_local_end, one};
use crate::listeners::PortSocket;

/// What can be certified of the listening TCP sockets of a network namespace, by local address and port.
///
/// `None`: not certain. Such an entry is kept only if sk_lookup would else use another entry for its packets.
pub fn certify_tcp(
    sockets: &[PortSocket],
    identified: impl Fn(&PortSocket) -> Option<Identified>,
) -> BTreeMap<LocalEnd, Option<CertifiedListener>> {
    by_local_end(sockets, |receivers| one(receivers, &identified))
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{assert_certified, known, socket},
        *,
    };

    #[track_caller]
    fn is(sockets: &[PortSocket], wanted: &[(&str, u64)]) {
        assert_certified(certify_tcp(sockets, known), wanted);
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
        // It depends on the kernel which of the two an IPv4 client reaches.
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
