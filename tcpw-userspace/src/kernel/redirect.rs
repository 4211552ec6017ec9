//! The redirect listeners: tcpw's own sockets, to which sk_lookup gives redirected connections.
//!
//! In: listening sockets. Out: entries in the kernel's table, each by network namespace and family.
//! Invariant: a socket leaves the table when it is closed, by whichever process: the kernel removes it.
//! Source: linux/net/core/sock_map.c, `sock_map_close`.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, SockHash},
};
use tcpw_common::refusal::RedirectKey;

use super::maps::open;

/// The table of redirect listeners.
pub struct RedirectMap {
    listeners: SockHash<MapData, RedirectKey>,
}

impl RedirectMap {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self { listeners: open(ebpf, "REDIRECT_LISTEN")? })
    }

    /// Adds a socket: from here on sk_lookup may redirect connections of this namespace and family (AF_INET or
    /// AF_INET6) to it.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn add(&mut self, socket: BorrowedFd<'_>, netns: u64, family: u32) -> Result<()> {
        let key = RedirectKey { netns, family, reserved: 0 };
        self.listeners.insert(key, socket.as_raw_fd(), 0).context("write a redirect listener")
    }
}
