//! Re-injects a held packet in the listener's network namespace.
//!
//! In: a packet, the cookie of the namespace, a process in it. Out: the packet, received over the loopback
//! device, or, if it has to be received on its own device, on that one: it passes netfilter and the gate
//! again.
//! Invariant: sockets of a namespace are kept open only as long as there is a listener in it.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io,
    mem::size_of,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::packet::Packet;
use crate::{host::netns_cookie, kernel::Frames};

/// Raw sockets by network namespace cookie.
#[derive(Debug)]
pub struct Injector {
    proc_root: PathBuf,
    /// `None` where the kernel lacks them.
    frames: Option<Frames>,
    namespaces: HashMap<u64, Sockets>,
}

#[derive(Debug)]
struct Sockets {
    namespace: File,
    v4: OwnedFd,
    /// `None` if the namespace has no IPv6.
    v6: Option<OwnedFd>,
}

impl Injector {
    /// Opens namespaces through the processes below `proc_root`.
    pub fn new(proc_root: impl Into<PathBuf>, frames: Option<Frames>) -> Self {
        Self { proc_root: proc_root.into(), frames, namespaces: HashMap::new() }
    }

    /// Injects the packet on the interface `ifindex` of the network namespace `netns` (a cookie) of process `pid`.
    ///
    /// # Errors
    /// As [`Self::send`]; no such interface; a kernel before 5.18.
    pub fn send_by_device(&mut self, netns: u64, pid: u32, ifindex: u32, packet: &Packet) -> io::Result<()> {
        let namespace = self.sockets(netns, pid)?.namespace.try_clone()?;
        let frames = self.frames.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        // A thread of its own, because it stays in the namespace.
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&namespace, CloneFlags::CLONE_NEWNET)?;
                    frames.receive(ifindex, &packet.frame(mac(ifindex)?))
                })
                .join()
                .map_err(|_| io::Error::other("the thread that enters the namespace ended early"))?
        })
    }

    /// Sends the packet in the network namespace `netns` (a cookie) of process `pid`.
    ///
    /// # Errors
    /// The process is gone or in another namespace, or the kernel refuses the packet.
    pub fn send(&mut self, netns: u64, pid: u32, packet: &Packet) -> io::Result<()> {
        self.send_packet(netns, pid, packet.bytes(), packet.destination())
    }

    /// Sends a packet to an address, in the same way.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_packet(
        &mut self,
        netns: u64,
        pid: u32,
        packet: &[u8],
        destination: IpAddr,
    ) -> io::Result<()> {
        self.send_on_link(netns, pid, packet, destination, 0)
    }

    /// The same; a link-local address is one of the interface `ifindex`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_on_link(
        &mut self,
        netns: u64,
        pid: u32,
        packet: &[u8],
        destination: IpAddr,
        ifindex: u32,
    ) -> io::Result<()> {
        let sockets = self.sockets(netns, pid)?;
        match destination {
            IpAddr::V4(address) => {
                let to = libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: 0,
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                    sin_zero: [0; 8],
                };
                send(&sockets.v4, packet, &to)
            }
            IpAddr::V6(address) => {
                let to = libc::sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: 0,
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: address.octets() },
                    sin6_scope_id: if address.is_unicast_link_local() { ifindex } else { 0 },
                };
                let socket = sockets.v6.as_ref().ok_or(io::ErrorKind::AddrNotAvailable)?;
                send(socket, packet, &to)
            }
        }
    }

    fn sockets(&mut self, netns: u64, pid: u32) -> io::Result<&Sockets> {
        match self.namespaces.entry(netns) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let path = self.proc_root.join(pid.to_string()).join("ns/net");
                Ok(new.insert(open(&path, netns)?))
            }
        }
    }

    /// Closes the sockets of every namespace without a listener.
    pub fn keep_only(&mut self, is_in_use: impl Fn(u64) -> bool) {
        self.namespaces.retain(|netns, _| is_in_use(*netns));
    }
}

/// Opens the sockets on a thread of its own, because the thread stays in the namespace.
fn open(namespace: &Path, cookie: u64) -> io::Result<Sockets> {
    let file = File::open(namespace)?;
    let kept = file.try_clone()?;
    let sockets = thread::spawn(move || -> io::Result<Sockets> {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        Ok(Sockets { namespace: kept, v4: raw(libc::AF_INET)?, v6: raw(libc::AF_INET6).ok() })
    })
    .join()
    .map_err(|_| io::Error::other("the thread that enters the namespace ended early"))??;
    if netns_cookie(sockets.v4.as_fd())? != cookie {
        return Err(io::Error::other("the process is in another network namespace than its socket"));
    }
    Ok(sockets)
}

/// Link address of an interface of the calling thread's network namespace; zeroes where it has none.
fn mac(ifindex: u32) -> io::Result<[u8; 6]> {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: `request` has room for the name of an interface, which the call writes.
    if unsafe { libc::if_indextoname(ifindex, request.ifr_name.as_mut_ptr()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: passes a live ifreq with a name.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call wrote a socket address there.
    let data = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    Ok(std::array::from_fn(|at| data[at].to_ne_bytes()[0]))
}

/// A socket that sends packets with their IP header.
fn raw(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes three integers; the result is checked before it is used.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send<A>(socket: &OwnedFd, packet: &[u8], to: &A) -> io::Result<()> {
    // SAFETY: `to` is a socket address of the length given, and the packet lives over the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_DONTWAIT,
            (&raw const *to).cast(),
            socklen::<A>(),
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn family(number: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).unwrap_or_default()
}

fn socklen<T>() -> libc::socklen_t {
    #[expect(clippy::cast_possible_truncation, reason = "sizes of a few bytes")]
    let length = size_of::<T>() as libc::socklen_t;
    length
}
