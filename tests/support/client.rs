//! Connections from a chosen address, and how they end.

use std::{
    io::{Read, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect as start,
        getsockopt, sendto, socket, sockopt,
    },
};

use crate::namespace::Netns;

/// How an attempt to connect ended.
#[derive(Debug)]
pub enum Ended {
    /// The handshake completed.
    Connected(TcpStream),
    /// It completed, and the server reset the connection before the client looked.
    ConnectedAndReset,
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
        matches!(self.ended, Ended::Connected(_) | Ended::ConnectedAndReset)
    }

    /// What the server sends first, as text; empty if it closes or says nothing in time.
    pub fn greeting(&mut self, timeout: Duration) -> String {
        let mut bytes = [0; 256];
        let read = match &mut self.ended {
            Ended::Connected(stream) => {
                stream.set_read_timeout(Some(timeout)).and_then(|()| stream.read(&mut bytes))
            }
            Ended::ConnectedAndReset | Ended::Refused | Ended::TimedOut => Ok(0),
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

/// Sends one SYN from an address of the calling thread's network, and forgets it: it is not sent again.
///
/// # Errors
/// As [`connect`].
pub fn knock(source: IpAddr, server: SocketAddr) -> Result<()> {
    knock_from(SocketAddr::new(source, 0), server)
}

/// As [`knock`], from a port of the client's choice.
///
/// # Errors
/// As [`connect_from`].
pub fn knock_from(source: SocketAddr, server: SocketAddr) -> Result<()> {
    let socket = bound(source, server)?;
    match start(socket.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("knock at {server} from {source}")),
    }
}

/// From here on that network does not see what a server answers to a SYN; or does again.
///
/// # Errors
/// nft is not installed, or fails.
pub fn lose_answers(netns: &Netns, are_lost: bool) -> Result<()> {
    let rules = if are_lost {
        "add table inet t\nadd chain inet t c { type filter hook input priority 0 ; }\n\
         add rule inet t c tcp flags & (syn|ack) == (syn|ack) drop\n"
    } else {
        "delete table inet t\n"
    };
    netns.run(|| {
        let done = Command::new("nft").arg(rules).output().context("start nft")?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    })
}

/// A socket that does not block, on the server's link if it has one; port 0 is any.
fn bound(mut source: SocketAddr, server: SocketAddr) -> Result<OwnedFd> {
    let family = if source.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, SockProtocol::Tcp).context("make a socket")?;
    if let (SocketAddr::V6(source), SocketAddr::V6(server)) = (&mut source, server) {
        source.set_scope_id(server.scope_id());
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(source)).context("bind")?;
    Ok(socket)
}

/// Connects with TCP Fast Open from an address of the calling thread's network: the SYN carries `data`,
/// where the kernel has a cookie or needs none.
///
/// # Errors
/// As [`connect`].
pub fn fast_open(source: IpAddr, server: SocketAddr, data: &[u8], timeout: Duration) -> Result<Attempt> {
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
    let mut is_sent = false;
    let send = |socket| {
        let sent = sendto(socket, data, &SockaddrStorage::from(server), flags);
        is_sent = sent.is_ok();
        sent.map(drop)
    };
    let mut attempt = attempt_by(SocketAddr::new(source, 0), server, timeout, send)
        .with_context(|| format!("fast open {source} to {server}"))?;
    // Without a cookie the SYN asks for one, and the data are still ours.
    if let Ended::Connected(stream) = &mut attempt.ended
        && !is_sent
    {
        stream.write_all(data).context("send what the SYN did not")?;
    }
    Ok(attempt)
}

fn attempt(source: SocketAddr, server: SocketAddr, timeout: Duration) -> Result<Attempt> {
    attempt_by(source, server, timeout, |socket| start(socket, &SockaddrStorage::from(server)))
}

/// `begin` sends the SYN.
fn attempt_by(
    source: SocketAddr,
    server: SocketAddr,
    timeout: Duration,
    begin: impl FnOnce(RawFd) -> nix::Result<()>,
) -> Result<Attempt> {
    let socket = bound(source, server)?;
    let began = Instant::now();
    let error = match begin(socket.as_raw_fd()) {
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
    } else if error == Errno::ECONNRESET as i32 {
        // Source: linux/net/ipv4/tcp_input.c, `tcp_reset`: in SYN_SENT it is ECONNREFUSED.
        Ended::ConnectedAndReset
    } else if error == Errno::ECONNREFUSED as i32 {
        Ended::Refused
    } else if error == Errno::ETIMEDOUT as i32 {
        Ended::TimedOut
    } else {
        return Err(Errno::from_raw(error).into());
    };
    Ok(Attempt { ended, took })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nix::{
        libc::linger,
        sys::socket::{setsockopt, sockopt::Linger},
    };

    use super::*;

    #[test]
    fn connection_that_was_reset_at_once_was_made() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let begin = |socket| {
            let began = start(socket, &SockaddrStorage::from(server));
            let (accepted, _) = listener.accept().unwrap();
            setsockopt(&accepted, Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
            began
        };
        let source = SocketAddr::new(server.ip(), 0);
        let mut attempt = attempt_by(source, server, Duration::from_secs(20), begin).unwrap();
        assert!(matches!(attempt.ended, Ended::ConnectedAndReset) && attempt.is_connected(), "{attempt:?}");
        assert_eq!(attempt.greeting(Duration::from_secs(20)), "");
    }
}
