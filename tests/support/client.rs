//! Connections from a chosen address, and how they end.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect as start, getsockopt,
        socket, sockopt,
    },
};

use crate::namespace::Netns;

/// How an attempt to connect ended.
#[derive(Debug)]
pub enum Ended {
    /// The handshake completed.
    Connected(TcpStream),
    /// A RST or ICMP answer came.
    Refused,
    /// Nothing came.
    TimedOut,
}

/// One attempt to connect.
#[derive(Debug)]
pub struct Attempt {
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub took: Duration,
}

impl Attempt {
    /// Whether the handshake completed.
    pub fn is_connected(&self) -> bool {
        matches!(self.ended, Ended::Connected(_))
    }

    /// What the server sends first, as text; empty if it closes or says nothing in time.
    pub fn greeting(&mut self, timeout: Duration) -> String {
        let mut bytes = [0; 256];
        let read = match &mut self.ended {
            Ended::Connected(stream) => {
                stream.set_read_timeout(Some(timeout)).and_then(|()| stream.read(&mut bytes))
            }
            Ended::Refused | Ended::TimedOut => Ok(0),
        };
        String::from_utf8_lossy(&bytes[..read.unwrap_or(0)]).trim().to_owned()
    }
}

/// Connects from `source`, an address of that network, to `server`.
///
/// # Errors
/// The source is no address of the network, or the server cannot be reached from it.
pub fn connect(netns: &Netns, source: IpAddr, server: SocketAddr, timeout: Duration) -> Result<Attempt> {
    connect_from(netns, SocketAddr::new(source, 0), server, timeout)
}

/// As [`connect`], from a port of the client's choice.
///
/// # Errors
/// Likewise, or the port is taken.
pub fn connect_from(
    netns: &Netns,
    source: SocketAddr,
    server: SocketAddr,
    timeout: Duration,
) -> Result<Attempt> {
    netns.run(|| attempt(source, server, timeout).with_context(|| format!("connect {source} to {server}")))
}

fn attempt(source: SocketAddr, server: SocketAddr, timeout: Duration) -> Result<Attempt> {
    let family = if server.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, SockProtocol::Tcp).context("make a socket")?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(source)).context("bind")?;

    let began = Instant::now();
    let error = match start(socket.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) => 0,
        Err(Errno::EINPROGRESS) => {
            let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
            let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut waiting, timeout).context("wait")? == 0 {
                return Ok(Attempt { ended: Ended::TimedOut, took: began.elapsed() });
            }
            getsockopt(&socket, sockopt::SocketError).context("ask for the outcome")?
        }
        Err(error) => error as i32,
    };
    let took = began.elapsed();
    let ended = if error == 0 {
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(false).context("make the socket block")?;
        Ended::Connected(stream)
    } else if error == Errno::ECONNREFUSED as i32 {
        Ended::Refused
    } else if error == Errno::ETIMEDOUT as i32 {
        Ended::TimedOut
    } else {
        return Err(Errno::from_raw(error).into());
    };
    Ok(Attempt { ended, took })
}
