//! Certifies where sk_lookup and the early drop may refuse: which listener a packet to a local address and port reaches.
//!
//! In: every socket that listens in a network namespace, and what the inventory knows of those the gate
//! guards. Out: one entry for each local address and port: the one listener there, or "not certain".
//! Invariant: an entry names a listener only if every socket that could receive the packet is guarded,
//! identified, and of the same names-set.
//! Source: linux/net/ipv4/inet_hashtables.c, `__inet_lookup_listener`: a socket bound to the address goes
//! before one bound to the wildcard address.
#![forbid(unsafe_code)]

mod tcp;
mod udp;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use tcpw_common::key::{Address, NamesId, mapped};

use crate::listeners::PortSocket;
pub use tcp::certify_tcp;
pub use udp::{certify_udp, udp_ports};

/// A local address and port; `::` and `::ffff:0.0.0.0` are the wildcard addresses of their families.
pub type LocalEnd = (Address, u16);

/// 0.0.0.0, as the kernel's keys have it.
const ANY_V4: Address = mapped([0; 4]);
/// `::`.
const ANY_V6: Address = [0; 16];

/// The listener that all packets to a local address and port reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertifiedListener {
    /// Its names.
    pub names: NamesId,
    /// Cookie of its socket; of the oldest, if there are several.
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

/// Every local address and port of these sockets, with the one listener of all sockets there, if `one` finds it.
fn by_local_end<'a>(
    sockets: impl IntoIterator<Item = &'a PortSocket>,
    one: impl Fn(&[&PortSocket]) -> Option<CertifiedListener>,
) -> BTreeMap<LocalEnd, Option<CertifiedListener>> {
    let mut receivers: BTreeMap<LocalEnd, Vec<&PortSocket>> = BTreeMap::new();
    for socket in sockets {
        for end in local_ends(socket) {
            receivers.entry(end).or_default().push(socket);
        }
    }
    let mut found: BTreeMap<LocalEnd, Option<CertifiedListener>> =
        receivers.into_iter().map(|(end, receivers)| (end, one(&receivers))).collect();
    let is_certain =
        |found: &BTreeMap<LocalEnd, Option<CertifiedListener>>, end| matches!(found.get(&end), Some(Some(_)));
    let hiding: Vec<LocalEnd> = found
        .keys()
        .copied()
        .filter(|(address, port)| {
            is_certain(&found, (wildcard(address), *port)) || is_certain(&found, (*address, *port))
        })
        .collect();
    found.retain(|end, _| hiding.contains(end));
    found
}

/// The local addresses and ports whose packets a socket may receive.
pub fn local_ends(socket: &PortSocket) -> Vec<LocalEnd> {
    let port = socket.local.port();
    match socket.local.ip() {
        IpAddr::V4(v4) => vec![(mapped(v4.octets()), port)],
        IpAddr::V6(v6) if v6.is_unspecified() && !socket.is_v6_only => vec![(ANY_V6, port), (ANY_V4, port)],
        IpAddr::V6(v6) => vec![(v6.octets(), port)],
    }
}

/// The listener of all these sockets, if all are guarded, identified, and of one names-set.
fn one(
    receivers: &[&PortSocket],
    identified: impl Fn(&PortSocket) -> Option<Identified>,
) -> Option<CertifiedListener> {
    let oldest = receivers.iter().min_by_key(|socket| socket.cookie)?;
    let daemon = identified(oldest)?;
    let is_sure = |socket: &&PortSocket| {
        socket.is_guarded
            && !socket.is_of_one_interface
            && socket.family == oldest.family
            && identified(socket).is_some_and(|other| other.names == daemon.names)
    };
    receivers.iter().all(is_sure).then_some(CertifiedListener {
        names: daemon.names,
        cookie: oldest.cookie,
        pid: daemon.pid,
        family: oldest.family,
    })
}

/// The wildcard address of an address's family.
fn wildcard(address: &Address) -> Address {
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

    /// Compares addresses and the cookie of each, 0 for one that is not certain.
    #[track_caller]
    pub(super) fn assert_certified(
        found: BTreeMap<LocalEnd, Option<CertifiedListener>>,
        wanted: &[(&str, u64)],
    ) {
        let found: Vec<_> = found
            .into_iter()
            .map(|((address, port), one)| {
                (format!("{} {port}", crate::events::ip(&address)), one.map_or(0, |one| one.cookie))
            })
            .collect();
        let wanted: Vec<_> = wanted.iter().map(|(end, cookie)| ((*end).to_owned(), *cookie)).collect();
        assert_eq!(found, wanted);
    }
}
