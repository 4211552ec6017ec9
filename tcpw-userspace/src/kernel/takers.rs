//! The sockets of ours that take the connections the kernel leads to us.
//!
//! In: listening sockets. Out: entries in the kernel's table, each by network namespace and family.
//! Invariant: a socket leaves the table when it is closed, whoever closes it: the kernel sees to that.
//! Source: linux/net/core/sock_map.c, `sock_map_close`.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use aya::maps::SockHash;
use tcpw_common::{
    refusal::RedirectKey,
    tag::{REDIRECT_LISTENER, Tag},
};

use super::load::Kernel;

impl Kernel {
    /// Marks a socket as ours, before it listens: nobody judges what is led to it.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn mark_taker(&mut self, socket: BorrowedFd<'_>, netns: u64) -> Result<()> {
        self.write_tag(socket, Tag { names: 0, netns, pid: std::process::id(), flags: REDIRECT_LISTENER })
    }

    /// From here on connections of that namespace and family (2 or 10) may be led to a socket.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn add_taker(&mut self, socket: BorrowedFd<'_>, netns: u64, family: u32) -> Result<()> {
        let map =
            self.ebpf.map_mut("REDIRECT_LISTEN").context("the BPF object has no map REDIRECT_LISTEN")?;
        let mut takers: SockHash<_, RedirectKey> = SockHash::try_from(map)?;
        let key = RedirectKey { netns, family, reserved: 0 };
        takers.insert(key, socket.as_raw_fd(), 0).context("write a socket that takes connections")
    }
}
