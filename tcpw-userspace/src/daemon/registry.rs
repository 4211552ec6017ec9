//! The listeners the daemon knows: their tags, and what their log lines need.
//!
//! In: what a scan found. Out: tags in the kernel, names-sets for the compiler.
//! Invariant: a tag is written only after the policy in force knows its names.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
};

use anyhow::Result;
use tcpw_common::{
    key::NamesId,
    tag::{BOUND_BEFORE, Tag},
};

use crate::{
    events::UDP,
    kernel::Kernel,
    listeners::{Listener, NamePart, NameSource, XinetdService},
    names::NamesSet,
};

/// IPPROTO_TCP.
const TCP: u16 = 6;

/// A listener as last seen.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) pid: u32,
    pub(super) resident: u32,
    pub(super) ident: String,
    pub(super) names: NamesSet,
    pub(super) netns: u64,
    pub(super) protocol: u16,
    pub(super) local: SocketAddr,
    pub(super) found: NameSource,
    pub(super) parts: Vec<NamePart>,
    pub(super) service: Option<XinetdService>,
    /// The kernel takes datagrams from it before anybody filters them.
    pub(super) is_tunnel: bool,
    /// A process shows its socket.
    pub(super) is_shown: bool,
    /// Why its tag could not be written.
    pub(super) untagged: Option<String>,
}

impl Known {
    /// The name that stands for it where there is room for one: `%d`.
    pub(super) fn daemon(&self) -> &str {
        self.service.as_ref().map_or(&self.ident, |service| &service.id)
    }
}

/// All listeners by socket cookie, and all names-sets they ever had.
#[derive(Default)]
pub(super) struct Registry {
    listeners: HashMap<u64, Known>,
    names: HashMap<NamesId, NamesSet>,
}

impl Registry {
    /// Names-sets the compiler has to know.
    pub(super) fn names_sets(&self) -> Vec<NamesSet> {
        self.names.values().cloned().collect()
    }

    /// The set behind an id; 0 is the empty one.
    pub(super) fn names_of(&self, id: NamesId) -> Option<NamesSet> {
        if id == 0 { Some(NamesSet::default()) } else { self.names.get(&id).cloned() }
    }

    /// Whether the policy in force knows a names-set.
    pub(super) fn knows(&self, names: &NamesSet) -> bool {
        self.names.contains_key(&names.id())
    }

    /// The policy in force knows a names-set.
    pub(super) fn learn(&mut self, names: &NamesSet) {
        self.names.insert(names.id(), names.clone());
    }

    /// The listener of a cookie.
    pub(super) fn get(&self, cookie: u64) -> Option<&Known> {
        self.listeners.get(&cookie)
    }

    /// A process in the network namespace `netns`: that of the listener, which the kernel's own have not.
    pub(super) fn resident_of(&self, netns: u64, pid: u32) -> u32 {
        let other = || self.listeners.values().find(|known| known.netns == netns).map(|known| known.resident);
        if pid == 0 { other().unwrap_or_default() } else { pid }
    }

    /// The listener of an event: by cookie, or by process and port where there is no cookie.
    pub(super) fn find(&self, cookie: u64, pid: u32, port: u16) -> Option<&Known> {
        self.listeners
            .get(&cookie)
            .or_else(|| self.listeners.values().find(|known| known.pid == pid && known.local.port() == port))
    }

    /// Whether what a listener accepts is a plain TCP socket, for certain. One that an MPTCP listener
    /// accepts looks like it, and the kernel takes it for what it is not once it is in a map of sockets.
    /// Source: linux net/mptcp/protocol.c, `mptcp_is_tcpsk`.
    pub(super) fn is_plain_tcp(&self, listener: &Known) -> bool {
        let others = self
            .listeners
            .values()
            .filter(|other| other.netns == listener.netns && other.local.port() == listener.local.port());
        listener.is_shown && others.into_iter().all(|other| other.protocol == TCP || other.protocol == UDP)
    }

    /// Whether a listener carries another tag than it will.
    pub(super) fn is_news(&self, kernel: &Kernel, listener: &Listener) -> bool {
        match (&listener.socket, listener.protocol) {
            (Some(socket), TCP | UDP) => {
                let unmarked = |tag: Tag| Tag { flags: tag.flags & !BOUND_BEFORE, ..tag };
                let tag = kernel.tags.read(socket.as_fd());
                tag.is_ok_and(|tag| tag.map(unmarked) != Some(tag_of(listener)))
            }
            _ => self.get(listener.cookie).is_none_or(|known| known.names != listener.names),
        }
    }

    /// Tags a listener and remembers it.
    pub(super) fn tag(&mut self, kernel: &mut Kernel, listener: Listener) {
        let tag = tag_of(&listener);
        let written = match (&listener.socket, listener.protocol) {
            (Some(socket), TCP | UDP) => write(kernel, socket.as_fd(), tag),
            // The gate sees an MPTCP listener's subflow, which no descriptor leads to.
            _ => kernel.tags.name_socket(listener.cookie, tag),
        };
        let untagged = written.err().map(|error| format!("{error:#}"));
        if let Err(error) = kernel.tags.add_holders(listener.holders.iter().copied()) {
            log::error!("{error:#}");
        }
        let is_news = self.listeners.get(&listener.cookie).is_none_or(|known| known.untagged != untagged);
        if let Some(reason) = untagged.as_ref().filter(|_| is_news) {
            log::warn!(
                "{} of {}[{}] cannot be tagged, it is judged by the rules for any daemon: {reason}",
                listener.local,
                listener.ident,
                listener.pid
            );
        }
        self.listeners.insert(
            listener.cookie,
            Known {
                pid: listener.pid,
                resident: listener.resident,
                ident: listener.ident,
                names: listener.names,
                netns: listener.netns,
                protocol: listener.protocol,
                local: listener.local,
                found: listener.found,
                parts: listener.parts,
                service: listener.service,
                is_tunnel: listener.is_tunnel,
                is_shown: listener.socket.is_some(),
                untagged,
            },
        );
    }

    /// Forgets listeners a full scan did not find.
    pub(super) fn keep_only(&mut self, kernel: &mut Kernel, cookies: &HashSet<u64>) {
        self.listeners.retain(|cookie, _| cookies.contains(cookie));
        if let Err(error) = kernel.tags.keep_sockets(|cookie| cookies.contains(&cookie)) {
            log::error!("{error:#}");
        }
    }

    /// Every listener with its cookie, by port and process.
    pub(super) fn all(&self) -> Vec<(u64, &Known)> {
        let mut all: Vec<(u64, &Known)> =
            self.listeners.iter().map(|(cookie, known)| (*cookie, known)).collect();
        all.sort_by_key(|(_, known)| (known.local.port(), known.pid, known.local));
        all
    }
}

fn tag_of(listener: &Listener) -> Tag {
    Tag { names: listener.names.id(), netns: listener.netns, pid: listener.pid, flags: 0 }
}

fn write(kernel: &mut Kernel, socket: BorrowedFd<'_>, tag: Tag) -> Result<()> {
    let before = kernel.tags.read(socket)?;
    let tag = Tag { flags: before.map_or(0, |before| before.flags & BOUND_BEFORE), ..tag };
    if before == Some(tag) {
        return Ok(());
    }
    kernel.tags.write(socket, tag)
}
