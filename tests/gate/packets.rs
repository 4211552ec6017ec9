//! Sockets that send unusual SYNs.

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
        getsockopt, sendto, socket, sockopt,
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

/// Sends the SYN with data; returns whether the daemon answered.
pub(crate) fn fast_open(source: IpAddr, server: SocketAddr, timeout: Duration) -> Result<bool> {
    let fd = client(source)?;
    match sendto(
        fd.as_raw_fd(),
        b"x",
        &SockaddrStorage::from(server),
        MsgFlags::from_bits_retain(libc::MSG_FASTOPEN),
    ) {
        Ok(_) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error).context("sendto with MSG_FASTOPEN"),
    }
    let mut stream = TcpStream::from(fd);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut greeting = [0; 5];
    Ok(stream.read(&mut greeting).is_ok_and(|length| length > 0))
}

/// A counter of /proc/net/netstat.
pub(crate) fn netstat(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if let Some(at) = names.split_whitespace().position(|one| one == name) {
            return values.split_whitespace().nth(at)?.parse().ok();
        }
    }
    None
}
