//! Sockets that send unusual SYNs.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, getsockopt, socket,
        sockopt,
    },
};

fn client(source: IpAddr) -> Result<OwnedFd> {
    let family = if source.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(
        family,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        SockProtocol::Tcp,
    )?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    Ok(fd)
}

/// Waits for the handshake; `false` if nothing came in time.
fn is_connected(fd: &OwnedFd, timeout: Duration) -> Result<bool> {
    let mut waiting = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut waiting, PollTimeout::try_from(timeout)?)? == 0 {
        return Ok(false);
    }
    let error = getsockopt(fd, sockopt::SocketError)?;
    ensure!(error == 0, "connect: {}", Errno::from_raw(error));
    Ok(true)
}

/// Connects with socket options (level, name, value) set before.
pub(crate) fn connect_with_options(
    source: IpAddr,
    server: SocketAddr,
    options: &[(i32, i32, &[u8])],
    timeout: Duration,
) -> Result<bool> {
    let fd = client(source)?;
    for (level, name, value) in options {
        // SAFETY: passes a live slice and its length.
        let done = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                *level,
                *name,
                value.as_ptr().cast(),
                u32::try_from(value.len())?,
            )
        };
        ensure!(done == 0, "option {name}: {}", std::io::Error::last_os_error());
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(Errno::EINPROGRESS) => is_connected(&fd, timeout),
        Err(error) => Err(error).context("connect"),
    }
}
