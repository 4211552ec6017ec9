//! Sends a held packet again, in the listener's network namespace.
//!
//! In: a packet, the cookie of the namespace, a process in it. Out: the packet, delivered as if it
//! had come over the loopback device: it passes netfilter and the gate once more.
//! Invariant: a namespace is kept only as long as something listens in it.

use std::{
    collections::HashMap,
    fs::File,
    io,
    mem::size_of,
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::packet::Packet;
use crate::listeners::netns_cookie;

/// Raw sockets by network namespace cookie.
#[derive(Debug)]
pub struct Injector {
    proc_root: PathBuf,
    namespaces: HashMap<u64, Sockets>,
}

#[derive(Debug)]
struct Sockets {
    v4: OwnedFd,
    /// Not everywhere is there IPv6.
    v6: Option<OwnedFd>,
}

impl Injector {
    /// Finds namespaces by the processes below `proc_root`.
    pub fn new(proc_root: impl Into<PathBuf>) -> Self {
        Self { proc_root: proc_root.into(), namespaces: HashMap::new() }
    }

    /// Sends the packet in the namespace of cookie `netns`, which is that of process `pid`.
    ///
    /// # Errors
    /// The process is gone or its namespace another one, or the kernel refuses the packet.
    pub fn send(&mut self, netns: u64, pid: u32, packet: &Packet) -> io::Result<()> {
        self.send_packet(netns, pid, packet.bytes(), packet.destination())
    }

    /// Sends a packet likewise.
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
        if !self.namespaces.contains_key(&netns) {
            let sockets = open(&self.proc_root.join(pid.to_string()).join("ns/net"), netns)?;
            self.namespaces.insert(netns, sockets);
        }
        let sockets = self.namespaces.get(&netns).ok_or(io::ErrorKind::NotFound)?;
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
                    sin6_scope_id: 0,
                };
                let socket = sockets.v6.as_ref().ok_or(io::ErrorKind::AddrNotAvailable)?;
                send(socket, packet, &to)
            }
        }
    }

    /// Lets go of every namespace in which nothing listens any more.
    pub fn keep_only(&mut self, is_in_use: impl Fn(u64) -> bool) {
        self.namespaces.retain(|netns, _| is_in_use(*netns));
    }
}

/// Opens the sockets on a thread of their own: entering a namespace is for good.
fn open(namespace: &Path, cookie: u64) -> io::Result<Sockets> {
    let file = File::open(namespace)?;
    let sockets = thread::spawn(move || -> io::Result<Sockets> {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        Ok(Sockets { v4: raw(libc::AF_INET)?, v6: raw(libc::AF_INET6).ok() })
    })
    .join()
    .map_err(|_| io::Error::other("the thread that enters the namespace ended early"))??;
    if netns_cookie(sockets.v4.as_fd())? != cookie {
        return Err(io::Error::other("the process is in another network namespace than its socket"));
    }
    Ok(sockets)
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
