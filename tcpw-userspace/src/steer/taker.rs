//! A socket that takes the connections the kernel leads to us, in one network namespace.
//!
//! In: a namespace and a family. Out: connections, each with the addresses its client chose.
//! Invariant: nobody else can reach it: it is bound to an address that no host has. What comes to
//! that very address all the same is ended at once.
//! Source: RFC 7600 section 4.8 (192.0.0.8, never a destination); RFC 6666 (100::/64, discarded);
//! Documentation/bpf/prog_sk_lookup.rst.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, setsockopt,
        socket, sockopt,
    },
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::host::socket_cookie;

const ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8);

/// Connections that wait for us, each a moment: more are left to their clients' retransmits.
const BACKLOG: i32 = 256;

/// After an error of accept(2), such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// How often another port is tried.
const TRIES: u32 = 16;

/// The packets a socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// 2 (AF_INET) or 10 (AF_INET6).
    pub const fn number(self) -> u32 {
        match self {
            Self::V4 => libc::AF_INET.cast_unsigned(),
            Self::V6 => libc::AF_INET6.cast_unsigned(),
        }
    }
}

/// A connection that was led to us.
#[derive(Debug)]
pub struct Arrival {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// The connection.
    pub stream: TcpStream,
    /// Its client.
    pub client: SocketAddr,
    /// Where its client wanted to.
    pub server: SocketAddr,
}

/// A socket that takes them, on its way: bound, not listening.
#[derive(Debug)]
pub struct Bound {
    socket: OwnedFd,
    netns: u64,
}

/// A socket that takes them. Dropping it closes it.
#[derive(Debug)]
pub struct Taker {
    cookie: u64,
    task: JoinHandle<()>,
}

impl Taker {
    /// Makes a socket in the namespace that `file` stands for.
    ///
    /// # Errors
    /// The namespace cannot be entered, or has no such family.
    pub fn bind(file: &File, netns: u64, family: Family) -> io::Result<Bound> {
        let make = || {
            setns(file, CloneFlags::CLONE_NEWNET)?;
            bound(family)
        };
        let made = thread::scope(|scope| scope.spawn(make).join());
        let socket =
            made.map_err(|_| io::Error::other("the thread that enters the namespace ended early"))??;
        Ok(Bound { socket, netns })
    }

    /// SO_COOKIE.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }
}

impl Bound {
    /// Listens: what arrives goes to `sender`; what finds no room there is ended, and counted.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn listen(self, sender: mpsc::Sender<Arrival>, turned_away: Arc<AtomicU64>) -> io::Result<Taker> {
        let cookie = socket_cookie(self.socket.as_fd())?;
        listen(&self.socket, Backlog::new(BACKLOG)?)?;
        let listener = TcpListener::from(self.socket);
        let own = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let netns = self.netns;
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, client)) => match arrival(stream, netns, client) {
                        Ok(arrival) if arrival.server == own => abort(arrival.stream),
                        Ok(arrival) => {
                            if let Err(error) = sender.try_send(arrival) {
                                turned_away.fetch_add(1, Ordering::Relaxed);
                                abort(error.into_inner().stream);
                            }
                        }
                        // It is gone again.
                        Err(error) => log::debug!("a connection of {client} was lost: {error}"),
                    },
                    Err(error) => {
                        log::debug!("accept: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
        Ok(Taker { cookie, task })
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends a connection at once, with a reset.
pub fn abort(stream: TcpStream) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    // If it cannot be set, the connection ends with a FIN.
    let _ = setsockopt(&stream, sockopt::Linger, &at_once);
}

fn arrival(stream: tokio::net::TcpStream, netns: u64, client: SocketAddr) -> io::Result<Arrival> {
    let server = stream.local_addr()?;
    Ok(Arrival { netns, stream: stream.into_std()?, client, server })
}

/// With a port that was asked for: one that the kernel chose is forgotten before the end of the socket
/// is told of, which would then be that of any listener of the namespace.
fn bound(family: Family) -> io::Result<OwnedFd> {
    let mut tries = 0;
    loop {
        // The address is ours alone, so the port is taken only if somebody takes it for every address.
        let free = TcpListener::from(bound_to(family, 0)?).local_addr()?.port();
        match bound_to(family, free) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => tries += 1,
            other => return other,
        }
    }
}

fn bound_to(family: Family, port: u16) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let (domain, address) = match family {
        Family::V4 => (AddressFamily::Inet, SocketAddr::from((ADDRESS_V4, port))),
        Family::V6 => (AddressFamily::Inet6, SocketAddr::from((ADDRESS_V6, port))),
    };
    let socket = socket(domain, SockType::Stream, flags, SockProtocol::Tcp)?;
    if family == Family::V6 {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    // The address is nobody's.
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}
