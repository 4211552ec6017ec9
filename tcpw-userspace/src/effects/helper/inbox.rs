//! Orders, and the connections that come with some of them.
//!
//! In: the daemon's socket. Out: its bytes, and descriptors in the order they came.
//! Invariant: a descriptor comes with the first bytes of its frame: it is here once the frame was read.
//! Source: unix(7), SCM_RIGHTS.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut, Read},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// What the daemon sends.
pub(super) struct OrderInbox {
    socket: UnixStream,
    descriptors: VecDeque<OwnedFd>,
}

impl OrderInbox {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket, descriptors: VecDeque::new() }
    }

    /// The descriptor of the frame that was read.
    pub(super) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }
}

impl Read for OrderInbox {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = nix::cmsg_space!([RawFd; 2]);
        let mut into = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut into, Some(&mut space), flags)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                // SAFETY: the kernel has just made these descriptors, and nothing else owns them.
                let owned = received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
                self.descriptors.extend(owned);
            }
        }
        Ok(message.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Write as _};

    use nix::sys::socket::{ControlMessage, sendmsg};

    use super::*;

    #[test]
    fn descriptor_comes_with_its_own_frame() -> io::Result<()> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut inbox = OrderInbox::new(theirs);
        ours.write_all(b"1111")?;
        let (kept, passed) = UnixStream::pair()?;
        let fds = [passed.as_raw_fd()];
        sendmsg::<()>(
            ours.as_raw_fd(),
            &[IoSlice::new(b"22")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )?;
        drop(passed);
        ours.write_all(b"22")?;
        let mut frame = [0; 4];
        inbox.read_exact(&mut frame)?;
        assert!(frame == *b"1111" && inbox.descriptor().is_none());
        inbox.read_exact(&mut frame)?;
        let passed = inbox.descriptor().map(UnixStream::from);
        assert!(frame == *b"2222" && inbox.descriptor().is_none());
        passed.map_or(Ok(()), |mut passed| passed.write_all(b"hello"))?;
        let mut said = String::new();
        let mut kept = kept;
        kept.read_to_string(&mut said)?;
        assert_eq!(said, "hello");
        Ok(())
    }
}
