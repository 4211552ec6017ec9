//! The redirect listener: the socket that sk_lookup gives redirected connections to, one for each network
//! namespace and address family.
//!
//! In: a namespace and a family. Out: connections, each with the addresses its client used.
//! Invariant: no connection reaches it but through sk_lookup: it is bound to an address that no host has. A
//! connection to that address itself is reset.
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

/// Length of the accept queue: the SYNs of more connections are dropped, and their clients retransmit.
const BACKLOG: i32 = 256;

/// After an error of accept(2), such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// How many ports are tried.
const TRIES: u32 = 16;

/// Address family.
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

/// A connection that sk_lookup gave to the redirect listener.
#[derive(Debug)]
pub struct RedirectedConnection {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// The connection.
    pub stream: TcpStream,
    /// Its client.
    pub client: SocketAddr,
    /// The address and port its client connected to.
    pub server: SocketAddr,
}

/// The socket of a redirect listener before listen(2).
#[derive(Debug)]
pub struct BoundSocket {
    socket: OwnedFd,
    netns: u64,
}

/// A socket in LISTEN state for redirected connections. Dropping it closes it.
#[derive(Debug)]
pub struct RedirectListener {
    cookie: u64,
    task: JoinHandle<()>,
}

impl RedirectListener {
    /// Makes a socket in the network namespace of `file`.
    ///
    /// # Errors
    /// The namespace cannot be entered, or has no such family.
    pub fn bind(file: &File, netns: u64, family: Family) -> io::Result<BoundSocket> {
        let make = || {
            setns(file, CloneFlags::CLONE_NEWNET)?;
            bound(family)
        };
        let made = thread::scope(|scope| scope.spawn(make).join());
        let socket =
            made.map_err(|_| io::Error::other("the thread that enters the namespace ended early"))??;
        Ok(BoundSocket { socket, netns })
    }

    /// SO_COOKIE.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }
}

impl BoundSocket {
    /// Listens. Each connection goes to `sender`; if the channel is full, it is reset and counted.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn listen(
        self,
        sender: mpsc::Sender<RedirectedConnection>,
        not_accepted: Arc<AtomicU64>,
    ) -> io::Result<RedirectListener> {
        let cookie = socket_cookie(self.socket.as_fd())?;
        listen(&self.socket, Backlog::new(BACKLOG)?)?;
        let listener = TcpListener::from(self.socket);
        let own = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let netns = self.netns;
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, client)) => match connection(stream, netns, client) {
                        Ok(redirected) if redirected.server == own => abort(redirected.stream),
                        Ok(redirected) => {
                            if let Err(error) = sender.try_send(redirected) {
                                not_accepted.fetch_add(1, Ordering::Relaxed);
                                abort(error.into_inner().stream);
                            }
                        }
                        // It was closed before its addresses could be read.
                        Err(error) => log::debug!("a connection of {client} was lost: {error}"),
                    },
                    Err(error) => {
                        log::debug!("accept: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
        Ok(RedirectListener { cookie, task })
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for RedirectListener {
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

fn connection(
    stream: tokio::net::TcpStream,
    netns: u64,
    client: SocketAddr,
) -> io::Result<RedirectedConnection> {
    let server = stream.local_addr()?;
    Ok(RedirectedConnection { netns, stream: stream.into_std()?, client, server })
}

/// Binds the socket to a port that is chosen here. A port that the kernel chose is released before the gate is told that the
/// socket is closed, and could then be that of any listener of the namespace.
fn bound(family: Family) -> io::Result<OwnedFd> {
    let mut tries = 0;
    loop {
        // No other socket has this address, so the port is in use only if a socket has it on every address.
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
    // No interface has the address.
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}
