//! Connections that wait for their client's user: the programs that make them wait, and the map.
//!
//! Invariant: the programs are attached before a policy with users is in force, and detached only
//! when no connection waits any more that such a policy allowed.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError},
};
use tcpw_common::{
    key::FlowKey,
    user::{Pending, SINCE, UNMARKED, UserDecides, Waiting},
};

use super::{
    load::Kernel,
    maps::open,
    programs::{Hook, Want, When},
};
use crate::host::boot_ns;

/// Source: linux/include/uapi/linux/bpf.h.
const BPF_EXIST: u64 = 2;

const PROGRAMS: When = When::Wanted(Want::Users);

/// The tables of connections that wait for a user.
pub struct UserMaps {
    state: Array<MapData, u64>,
    handshakes: HashMap<MapData, FlowKey, Pending>,
    waiting: HashMap<MapData, u64, Waiting>,
    are_attached: bool,
    were_pinned: bool,
}

impl Kernel {
    /// Attaches the programs for a policy in which users decide. Call this before it is in force.
    ///
    /// # Errors
    /// The kernel refuses one of the programs: then none is attached, and users are unknown.
    pub fn begin_users(&mut self, cgroup: &Path) -> Result<()> {
        if !self.knows_namespaces {
            // Then a connection cannot be matched with its handshake.
            bail!("this kernel's BTF does not say where a socket's network namespace is");
        }
        for hook in Hook::of(PROGRAMS) {
            if self.links.has(hook) {
                continue;
            }
            if let Err(error) = self.links.attach(&mut self.ebpf, hook, cgroup) {
                self.end_users()?;
                let (program, cgroup) = (hook.program(), cgroup.display());
                return Err(error.context(format!("attach {program} to cgroup {cgroup}")));
            }
        }
        self.users.are_attached = true;
        self.users.begin()
    }

    /// Detaches the programs. Call this when no connection waits any more.
    ///
    /// # Errors
    /// A pin cannot be removed, or the kernel refuses the write.
    pub fn end_users(&mut self) -> Result<()> {
        self.users.end()?;
        self.detach_users()
    }

    fn detach_users(&mut self) -> Result<()> {
        self.users.are_attached = false;
        Hook::of(PROGRAMS).rev().try_for_each(|hook| self.links.detach(hook))
    }
}

impl UserMaps {
    pub(super) fn open(ebpf: &Ebpf, is_pinned: impl Fn(Hook) -> bool) -> Result<Self> {
        Ok(Self {
            state: open(ebpf, "USERS")?,
            handshakes: open(ebpf, "USER_HANDSHAKES")?,
            waiting: open(ebpf, "WAITING")?,
            are_attached: false,
            were_pinned: Hook::of(PROGRAMS).any(is_pinned),
        })
    }

    /// Whether the programs are attached.
    #[must_use]
    pub fn are_attached(&self) -> bool {
        self.are_attached
    }

    /// Whether an earlier process had pinned them.
    #[must_use]
    pub fn were_pinned(&self) -> bool {
        self.were_pinned
    }

    /// The connections that wait.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn waiting(&self) -> Result<Vec<Waiting>> {
        let mut all = Vec::new();
        for cookie in self.waiting.keys() {
            // The entry may have been removed meanwhile.
            all.extend(self.waiting_one(cookie.context("read the waiting connections")?)?);
        }
        Ok(all)
    }

    /// A connection that waits, by the cookie of its socket; `None` if it does not.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn waiting_one(&self, cookie: u64) -> Result<Option<Waiting>> {
        found(self.waiting.get(&cookie, 0)).context("read a waiting connection")
    }

    /// What the gate read of the last ACK of a handshake whose connection will wait; `None` if it is over.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn pending_handshake(&self, flow: &FlowKey) -> Result<Option<Pending>> {
        let pending = found(self.handshakes.get(flow, 0)).context("read a handshake that waits")?;
        Ok(pending.filter(|pending| UserDecides::from_answer(pending.answer).is_some()))
    }

    /// Refuses a connection that waits: none of its data pass as long as its socket exists.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn refuse(&mut self, waiting: &Waiting) -> Result<()> {
        let refused = Waiting { refused: 1, ..*waiting };
        self.waiting.insert(waiting.socket, refused, BPF_EXIST).context("refuse a waiting connection")
    }

    /// Lets the data of a connection pass, or forgets one that is gone.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn stop_waiting(&mut self, cookie: u64) -> Result<()> {
        found(self.waiting.remove(&cookie)).context("let a waiting connection pass").map(drop)
    }

    fn begin(&mut self) -> Result<()> {
        let since = self.state.get(&SINCE, 0).context("read whether users decide")?;
        if since != 0 {
            return Ok(());
        }
        self.state.set(SINCE, boot_ns().max(1), 0).context("say that users decide")
    }

    fn end(&mut self) -> Result<()> {
        self.state.set(SINCE, 0, 0).context("say that users do not decide")?;
        self.state.set(UNMARKED, 0, 0).context("say that no socket waits")
    }
}

/// `None` where there is no such entry.
pub(super) fn found<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
