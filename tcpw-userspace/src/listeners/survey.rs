//! The result of one scan: listeners, and every other listening socket in their network namespaces.
//!
//! Invariant: a namespace's sockets are all listening TCP sockets and all UDP sockets with a port in it,
//! guarded or not.

use std::{collections::BTreeSet, fs::File, net::SocketAddr, ops::RangeInclusive};

use super::Listener;
use crate::host::{
    LinkNetwork,
    sock_diag::{DiagSocket, Incomplete, Listed},
};

const TCP: u16 = 6;
const UDP: u16 = 17;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Listeners in scope.
    pub listeners: Vec<Listener>,
    /// Network namespaces that were scanned.
    pub namespaces: Vec<Namespace>,
    /// Why listeners may be missing.
    pub incomplete: Option<Incomplete>,
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    /// Its cookie; never 0.
    pub netns: u64,
    /// An open file of the namespace: keeps it alive.
    pub file: File,
    /// Every socket that listens for TCP there.
    pub sockets: Vec<PortSocket>,
    /// Every UDP socket that has a port there.
    pub datagrams: Vec<PortSocket>,
    /// The range the kernel assigns ports from (`ip_local_port_range`).
    pub given_away: RangeInclusive<u16>,
    /// Networks on the links of its interfaces; `None` if they are not known.
    pub link_networks: Option<BTreeSet<LinkNetwork>>,
}

/// A listening TCP socket or a UDP socket, of any process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSocket {
    /// SO_COOKIE.
    pub cookie: u64,
    /// 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// Local address and port.
    pub local: SocketAddr,
    /// IPV6_V6ONLY is set.
    pub is_v6_only: bool,
    /// It receives packets of one interface only (SO_BINDTODEVICE).
    pub is_of_one_interface: bool,
    /// The gate guards it.
    pub is_guarded: bool,
    /// It is a connected UDP socket.
    pub is_connected: bool,
}

impl Namespace {
    /// A namespace with its sockets; `is_guarded` says which of them are guarded. `None` if the kernel has no
    /// cookie for it.
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
        let Listed { netns, file, given_away, link_networks, .. } = listed;
        (netns != 0).then_some(Self { netns, file, sockets, datagrams, given_away, link_networks })
    }
}
