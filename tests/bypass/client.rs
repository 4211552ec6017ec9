//! Clients with unusual sockets.

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, getsockopt,
        listen, setsockopt, socket, sockopt,
    },
};

/// IPPROTO_MPTCP. Source: linux/include/uapi/linux/in.h.
const MPTCP: i32 = 262;

/// Connects from an address and port that another socket listens at.
pub(crate) fn connect_while_listening(source: IpAddr, server: SocketAddr, timeout: Duration) -> Result<bool> {
    let listener = tcp(source)?;
    setsockopt(&listener, sockopt::ReusePort, &true)?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    listen(&listener, Backlog::new(1)?)?;
    let fd = tcp(source)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    let address: SockaddrStorage = nix::sys::socket::getsockname(listener.as_raw_fd())?;
    bind(fd.as_raw_fd(), &address)?;
    start(fd, server, timeout)
}

/// Connects with Multipath TCP.
pub(crate) fn multipath(source: IpAddr, server: SocketAddr, timeout: Duration) -> Result<bool> {
    let family = if source.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes three integers; the result is checked before it is used.
    let fd = unsafe { libc::socket(family, kind, MPTCP) };
    ensure!(fd >= 0, "IPPROTO_MPTCP: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    start(fd, server, timeout)
}

/// Connects with whatever `prepare` does to the socket; returns whether the daemon greeted.
pub(crate) fn prepared(
    source: SocketAddr,
    server: SocketAddr,
    timeout: Duration,
    prepare: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<bool> {
    let fd = tcp(source.ip())?;
    prepare(&fd)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(source)).with_context(|| format!("bind to {source}"))?;
    start(fd, server, timeout)
}

fn tcp(source: IpAddr) -> Result<OwnedFd> {
    let family = if source.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(family, SockType::Stream, flags, SockProtocol::Tcp)?)
}

fn start(fd: OwnedFd, server: SocketAddr, timeout: Duration) -> Result<bool> {
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(Errno::ECONNREFUSED) => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("connect to {server}")),
    }
    let mut waiting = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut waiting, PollTimeout::try_from(timeout)?)? == 0 {
        return Ok(false);
    }
    match getsockopt(&fd, sockopt::SocketError)? {
        0 => greeting(fd, timeout),
        _ => Ok(false),
    }
}

fn greeting(fd: OwnedFd, timeout: Duration) -> Result<bool> {
    let mut stream = TcpStream::from(fd);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut greeting = [0; 5];
    Ok(stream.read(&mut greeting).is_ok_and(|length| length > 0))
}
