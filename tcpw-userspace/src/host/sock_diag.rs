//! Sockets as sock_diag(7) lists them, those that no process shows among them: subflows of MPTCP
//! listeners, and the kernel's own.
//!
//! In: network namespaces. Out: what sock_diag(7) lists there, and the networks on their links. Invariant: the cookie is the one
//! the gate sees.
//! Minimum kernel version: 5.7 (INET_DIAG_CGROUP_ID).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    net::SocketAddr,
    ops::{ControlFlow, RangeInclusive},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    thread,
};

use netlink_packet_core::Nla as _;
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};
use nix::sched::{CloneFlags, setns};

use super::{
    link_networks::{LinkNetwork, link_networks},
    netlink,
    socket::netns_cookie,
};

/// Attribute with the socket's cgroup. Source: linux/include/uapi/linux/inet_diag.h.
const INET_DIAG_CGROUP_ID: u16 = 21;

/// Source: linux/include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;

/// Attribute of an IPv6 socket: whether it takes IPv6 alone.
const INET_DIAG_SKV6ONLY: u16 = 11;

/// A listening TCP socket, or a bound UDP socket, as sock_diag(7) lists it.
#[derive(Clone, Copy, Debug)]
pub struct DiagSocket {
    /// SO_COOKIE.
    pub cookie: u64,
    /// Index of the interface it is bound to, or 0.
    pub interface: u32,
    /// It takes IPv6 alone.
    pub is_v6_only: bool,
    /// Cookie of its network namespace.
    pub netns: u64,
    /// A process in that namespace.
    pub resident: u32,
    /// Id of the cgroup it was made in, 0 if unknown.
    pub cgroup: u64,
    /// Inode number, 0 if no process ever held it.
    pub inode: u64,
    /// 6 (TCP) or 17 (UDP).
    pub protocol: u16,
    /// 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// Local address and port.
    pub local: SocketAddr,
    /// A UDP socket that has a peer.
    pub is_connected: bool,
}

/// Why a list of sockets, or of processes, is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// Hardly anything was seen: processes, or files of theirs, or threads to look with were not to be had.
    Blind(String),
    /// Listeners belong to processes that cannot be seen. They were left out; all others were found.
    Unseen(String),
    /// A network namespace cannot be entered or read, perhaps never.
    Namespace(String),
}

impl std::fmt::Display for Incomplete {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blind(reason) | Self::Unseen(reason) => out.write_str(reason),
            Self::Namespace(reason) => write!(out, "list the sockets of a network namespace: {reason}"),
        }
    }
}

/// Network namespaces, each with a file that keeps it, and a process in it.
#[derive(Default)]
pub struct NetnsFiles(BTreeMap<(u64, u64), (File, u32)>);

impl NetnsFiles {
    /// Adds that of a process, if it is a new one.
    pub fn add(&mut self, proc_root: &Path, pid: u32) {
        let path = proc_root.join(pid.to_string()).join("ns/net");
        // A process may be gone: then another one shows its namespace, or nothing is left of it.
        if let Ok(found) = fs::metadata(&path)
            && !self.0.contains_key(&(found.dev(), found.ino()))
            && let Ok(file) = File::open(&path)
        {
            self.0.insert((found.dev(), found.ino()), (file, pid));
        }
    }

    /// All of them, with every listening TCP socket, and every UDP socket that has a port; one that
    /// cannot be entered or read to its end is left out, and an error says why.
    pub fn listening(self) -> (Vec<Listed>, Option<Incomplete>) {
        // Entering a namespace is for good: a thread of its own does it.
        let started = thread::Builder::new().spawn(move || {
            let (mut all, mut failed) = (Vec::new(), None);
            for (file, pid) in self.0.into_values() {
                match list(&file, pid) {
                    Ok((netns, sockets)) => {
                        let link_networks = link_networks().inspect_err(|error| {
                            log::debug!("list the addresses of a network namespace: {error}");
                        });
                        let link_networks = link_networks.ok();
                        all.push(Listed { netns, file, sockets, given_away: given_away(), link_networks });
                    }
                    Err(error) => failed = Some(Incomplete::Namespace(error.to_string())),
                }
            }
            (all, failed)
        });
        let ended_early = |_panic| io::Error::other("it ended early");
        match started.and_then(|thread| thread.join().map_err(ended_early)) {
            Ok(listed) => listed,
            Err(error) => {
                let reason = format!("the thread that lists the sockets of network namespaces: {error}");
                (Vec::new(), Some(Incomplete::Blind(reason)))
            }
        }
    }
}

/// A network namespace and what listens in it.
#[derive(Debug)]
pub struct Listed {
    /// Its cookie, 0 if the kernel lacks it.
    pub netns: u64,
    /// Keeps it.
    pub file: File,
    /// Its sockets.
    pub sockets: Vec<DiagSocket>,
    /// Ports the kernel gives to sockets that did not ask for one.
    pub given_away: RangeInclusive<u16>,
    /// Networks on the links of its interfaces; `None` if they are not known.
    pub link_networks: Option<BTreeSet<LinkNetwork>>,
}

/// Of the network namespace of the calling thread; every port, if it is not known.
fn given_away() -> RangeInclusive<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = range.split_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => 0..=u16::MAX,
    }
}

fn list(namespace: &File, resident: u32) -> io::Result<(u64, Vec<DiagSocket>)> {
    let mut all = Vec::new();
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    let netns = netns_cookie(socket.as_fd()).unwrap_or(0);
    for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
        for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            let extensions = ExtensionFlags::empty();
            // A UDP socket that is not connected is closed.
            let of_udp = StateFlags::CLOSE | StateFlags::ESTABLISHED;
            let states = if protocol == IPPROTO_TCP { StateFlags::LISTEN } else { of_udp };
            let request = InetRequest { family, protocol, extensions, states, socket_id };
            dump(&socket, request, |response| all.extend(read(&response, (netns, resident), protocol)))?;
        }
    }
    Ok((netns, all))
}

/// Every socket that the kernel has for a request.
pub fn dump(socket: &Socket, request: InetRequest, mut each: impl FnMut(InetResponse)) -> io::Result<()> {
    netlink::dump(socket, SockDiagMessage::InetRequest(request), |message| {
        if let SockDiagMessage::InetResponse(response) = message {
            each(*response);
        }
        ControlFlow::Continue(())
    })
}

/// SO_COOKIE of a listed socket.
pub fn cookie(response: &InetResponse) -> Option<u64> {
    let cookie = &response.header.socket_id.cookie;
    let half = |at: usize| -> Option<u64> {
        Some(u32::from_ne_bytes(cookie.get(at..at + 4)?.try_into().ok()?).into())
    };
    Some(half(0)? | half(4)? << 32)
}

fn read(response: &InetResponse, (netns, resident): (u64, u32), protocol: u8) -> Option<DiagSocket> {
    let id = &response.header.socket_id;
    let attribute = |kind: u16| {
        response.nlas.iter().find(|nla| nla.kind() == kind).map(|nla| {
            let mut value = vec![0; nla.value_len()];
            nla.emit_value(&mut value);
            value
        })
    };
    let cgroup = attribute(INET_DIAG_CGROUP_ID)
        .and_then(|value| Some(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?)));
    let is_v6_only =
        attribute(INET_DIAG_SKV6ONLY).is_some_and(|value| value.first().is_some_and(|it| *it != 0));
    Some(DiagSocket {
        cookie: cookie(response)?,
        netns,
        resident,
        cgroup: cgroup.unwrap_or(0),
        inode: response.header.inode.into(),
        protocol: protocol.into(),
        interface: id.interface_id,
        is_v6_only,
        family: response.header.family.into(),
        local: SocketAddr::new(id.source_address, id.source_port),
        is_connected: response.header.state == ESTABLISHED,
    })
}
