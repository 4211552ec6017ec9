//! Sockets on their way from one process to another.

use std::{
    io::{IoSlice, IoSliceMut},
    net::TcpListener,
    os::{
        fd::{AsRawFd, FromRawFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

/// Leaves a socket to the kernel: on its way in a message that nobody takes, no process shows it.
pub(crate) fn hide(listener: &TcpListener) -> Result<(OwnedFd, OwnedFd)> {
    let (from, to) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    send(from.as_raw_fd(), listener)?;
    Ok((from, to))
}

/// Passes sockets to the process that waits at `path`.
pub(crate) fn give(path: &str, listeners: &[impl AsRawFd]) -> Result<()> {
    for listener in listeners {
        let stream = connect(path)?;
        send(stream.as_raw_fd(), listener)?;
    }
    Ok(())
}

/// Waits for a socket at `path`.
pub(crate) fn take(path: &str) -> Result<OwnedFd> {
    let (stream, _) = UnixListener::bind(path)?.accept()?;
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(fd) = fds.first()
        {
            // SAFETY: the kernel has just made this descriptor for us.
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    bail!("a message without a socket")
}

fn send(to: i32, listener: &impl AsRawFd) -> Result<()> {
    let fds = [listener.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(to, &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None)?;
    Ok(())
}

/// The other process may not wait there yet.
fn connect(path: &str) -> Result<UnixStream> {
    for _ in 0..500 {
        if let Ok(stream) = UnixStream::connect(path) {
            return Ok(stream);
        }
        thread::sleep(Duration::from_millis(10));
    }
    UnixStream::connect(path).with_context(|| path.to_owned())
}
