//! What one look at the host found: listeners, and who else listens in their network namespaces.
//!
//! Invariant: a namespace's sockets are all that listen for TCP there, and all of UDP that have a port,
//! guarded or not.

use std::{fs::File, net::SocketAddr, ops::RangeInclusive};

use super::Listener;
use crate::host::sock_diag::{DiagSocket, Incomplete, Listed};

const TCP: u16 = 6;
const UDP: u16 = 17;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Listeners in scope.
    pub listeners: Vec<Listener>,
    /// Network namespaces looked at.
    pub namespaces: Vec<Namespace>,
    /// Why listeners may be missing: something could not be looked at.
    pub incomplete: Option<Incomplete>,
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    /// Its cookie; never 0.
    pub netns: u64,
    /// Keeps it, and stands for it.
    pub file: File,
    /// Every socket that listens for TCP there.
    pub sockets: Vec<PortSocket>,
    /// Every UDP socket that has a port there.
    pub datagrams: Vec<PortSocket>,
    /// Ports the kernel gives to sockets that did not ask for one.
    pub given_away: RangeInclusive<u16>,
}

/// A listening TCP socket or a UDP socket, whoever holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSocket {
    /// SO_COOKIE.
    pub cookie: u64,
    /// 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// Local address and port.
    pub local: SocketAddr,
    /// It takes IPv6 alone.
    pub is_v6_only: bool,
    /// It takes packets of one interface alone.
    pub is_of_one_interface: bool,
    /// The gate sees its packets.
    pub is_guarded: bool,
    /// It is of UDP, and has a peer.
    pub is_connected: bool,
}

impl Namespace {
    /// With the sockets told apart by `is_guarded`; `None` if the kernel has no cookie for it.
    pub(super) fn new(listed: Listed, is_guarded: impl Fn(&DiagSocket) -> bool) -> Option<Self> {
        let of = |protocol: u16| -> Vec<PortSocket> {
            let sockets = listed.sockets.iter().filter(|socket| socket.protocol == protocol);
            let sockets = sockets.map(|socket| PortSocket {
                cookie: socket.cookie,
                family: socket.family,
                local: socket.local,
                is_v6_only: socket.is_v6_only,
                is_of_one_interface: socket.interface != 0,
                is_guarded: is_guarded(socket),
                is_connected: socket.is_connected,
            });
            sockets.collect()
        };
        let (sockets, datagrams) = (of(TCP), of(UDP));
        let Listed { netns, file, given_away, .. } = listed;
        (netns != 0).then_some(Self { netns, file, sockets, datagrams, given_away })
    }
}
