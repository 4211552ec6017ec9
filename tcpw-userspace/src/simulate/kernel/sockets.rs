//! Sockets: what listens, what it carries, and the connections that came of it.

use std::net::{IpAddr, SocketAddr};

use tcpw_common::{
    certified::{CertifiedKey, WHOLE_NETNS},
    event::Kind,
    key::{Address, Comm, FlowKey, as_v4, mapped},
    tag::{PROVISIONAL, Tag, UNPRIVILEGED},
    user::Mark,
};

use super::{SimulatedKernel, emit::Report};
use crate::listeners::PortSocket;

/// A listener's socket.
#[derive(Clone, Debug)]
pub(in crate::simulate) struct ListenerSocket {
    pub(in crate::simulate) netns: u64,
    pub(in crate::simulate) pid: u32,
    /// 6 or 17.
    pub(in crate::simulate) protocol: u16,
    pub(in crate::simulate) local: SocketAddr,
    pub(in crate::simulate) tag: Option<Tag>,
}

/// The socket of a connection.
#[derive(Clone, Debug)]
pub(in crate::simulate) struct ConnectionSocket {
    pub(in crate::simulate) flow: FlowKey,
    pub(in crate::simulate) mark: Option<Mark>,
    /// Of its listener, if its user was to be asked for.
    pub(in crate::simulate) asked: Option<Tag>,
    pub(in crate::simulate) has_keepalive: bool,
}

impl ListenerSocket {
    fn family(&self) -> u32 {
        if self.local.is_ipv4() { 2 } else { 10 }
    }

    /// Whether it takes packets to an address.
    fn takes(&self, server: &Address) -> bool {
        match self.local.ip() {
            IpAddr::V4(v4) => as_v4(server).is_some_and(|to| v4.is_unspecified() || v4.octets() == to),
            IpAddr::V6(v6) => v6.is_unspecified() || v6.octets() == *server,
        }
    }
}

impl SimulatedKernel {
    /// A process listens; gives the cookie.
    pub(in crate::simulate) fn listen(&mut self, socket: ListenerSocket, comm: Comm, is_root: bool) -> u64 {
        let cookie = self.cookie();
        let ListenerSocket { netns, protocol, local, pid, .. } = socket;
        self.changed(netns, protocol, local.port().into());
        self.sockets.insert(cookie, socket);
        self.name(cookie, pid, comm, is_root);
        cookie
    }

    /// Tags a socket by the name of its process, and reports it.
    fn name(&mut self, cookie: u64, pid: u32, comm: Comm, is_root: bool) {
        if !self.is_loaded {
            return;
        }
        let names = self.comms.get(&comm).copied().unwrap_or(0);
        let Some(socket) = self.sockets.get_mut(&cookie) else { return };
        let flags = if is_root { PROVISIONAL } else { PROVISIONAL | UNPRIVILEGED };
        let tag = Tag { names, netns: socket.netns, pid, flags };
        socket.tag = Some(tag);
        let flow = FlowKey::none(socket.netns, socket.protocol, socket.local.port());
        self.holders.insert(pid);
        self.emit(Kind::Listening, &Report { tag, cookie, flow, family: 0, generation: 0, policy: 0, comm });
    }

    /// A listener ends.
    pub(in crate::simulate) fn close(&mut self, cookie: u64) {
        if let Some(socket) = self.sockets.remove(&cookie) {
            self.changed(socket.netns, socket.protocol, socket.local.port().into());
        }
    }

    /// A process executes another program.
    pub(in crate::simulate) fn executed(&mut self, pid: u32) {
        if self.is_loaded && self.holders.contains(&pid) {
            let tag = Tag { names: 0, netns: 0, pid, flags: 0 };
            let flow = FlowKey::none(0, 0, 0);
            let report = Report { tag, cookie: 0, flow, family: 0, generation: 0, policy: 0, comm: [0; 16] };
            self.emit(Kind::Executed, &report);
        }
    }

    /// These processes hold listening sockets.
    pub(in crate::simulate) fn add_holders(&mut self, pids: &[u32]) {
        self.holders.extend(pids);
    }

    /// The listener that gets a packet.
    pub(super) fn find_socket(&self, flow: &FlowKey) -> Option<(u64, ListenerSocket)> {
        let is_it = |socket: &&ListenerSocket| {
            socket.netns == flow.netns
                && socket.protocol == flow.protocol
                && socket.local.port() == flow.server_port
                && socket.takes(&flow.server)
        };
        let mut all = self.sockets.iter().filter(|(_, socket)| is_it(socket));
        all.next().map(|(cookie, socket)| (*cookie, socket.clone()))
    }

    /// Address family of a listener.
    pub(super) fn family_of(socket: &ListenerSocket) -> u32 {
        socket.family()
    }

    fn changed(&mut self, netns: u64, protocol: u16, port: u32) {
        self.changes.insert((netns, protocol, port), self.now_ns);
    }

    /// When a listener of a port last came or went.
    pub(in crate::simulate) fn stamp(&self, netns: u64, protocol: u16, port: u32) -> u64 {
        self.changes.get(&(netns, protocol, port)).copied().unwrap_or(0)
    }

    /// Whether some certificate does not hold any more.
    pub(in crate::simulate) fn is_any_certificate_void(&self) -> bool {
        self.certified.iter().any(|(key, certified)| {
            self.stamp(key.netns, key.protocol, key.port.into()) != certified.port_stamp
                || self.stamp(key.netns, key.protocol, WHOLE_NETNS) != certified.netns_stamp
        })
    }

    /// The certified place of a packet, if its certificate holds.
    pub(super) fn certificate(&self, flow: &FlowKey) -> Option<tcpw_common::certified::Certified> {
        let key = |local| CertifiedKey {
            netns: flow.netns,
            local,
            port: flow.server_port,
            protocol: flow.protocol,
            reserved: 0,
        };
        let every = if as_v4(&flow.server).is_some() { mapped([0; 4]) } else { [0; 16] };
        let certified = self.certified.get(&key(flow.server)).or_else(|| self.certified.get(&key(every)))?;
        let holds = self.stamp(flow.netns, flow.protocol, flow.server_port.into()) == certified.port_stamp
            && self.stamp(flow.netns, flow.protocol, WHOLE_NETNS) == certified.netns_stamp;
        holds.then_some(*certified)
    }

    /// The sockets of a namespace, as sock_diag lists them.
    pub(in crate::simulate) fn port_sockets(&self, netns: u64, protocol: u16) -> Vec<PortSocket> {
        let all =
            self.sockets.iter().filter(|(_, socket)| socket.netns == netns && socket.protocol == protocol);
        all.map(|(cookie, socket)| PortSocket {
            cookie: *cookie,
            family: socket.family(),
            local: socket.local,
            is_v6_only: false,
            is_of_one_interface: false,
            is_guarded: true,
            is_connected: false,
        })
        .collect()
    }
}
