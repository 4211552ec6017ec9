//! Connections that wait for their client's user: the programs that make them wait, and the map.
//!
//! Invariant: the programs are attached before a policy with users is in force, and detached only
//! when no connection waits that such a policy let in.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, HashMap, MapData, MapError};
use tcpw_common::{
    key::FlowKey,
    user::{Pending, Waiting},
};

use super::{
    attach::{Hook, USER_HOOKS},
    load::Kernel,
};

/// Source: linux/include/uapi/linux/bpf.h.
const BPF_EXIST: u64 = 2;

impl Kernel {
    /// Makes ready for a policy in which users decide. Call this before it is in force.
    ///
    /// # Errors
    /// The kernel refuses one of the programs: users are then unknown.
    pub fn begin_users(&mut self, cgroup: &Path) -> Result<()> {
        if !self.offsets_known {
            // A handshake and its connection are then not known to be the same flow.
            bail!("this kernel's BTF does not say where a socket's network namespace is");
        }
        self.attach_user_hooks(cgroup)?;
        self.set_users(1)
    }

    /// Ends it, when nothing waits any more.
    ///
    /// # Errors
    /// A pin cannot be removed, or the kernel refuses the write.
    pub fn end_users(&mut self) -> Result<()> {
        self.set_users(0)?;
        self.detach_user_hooks()
    }

    /// Whether the programs are attached.
    pub fn has_users(&self) -> bool {
        self.attached.has(Hook::UserAccepted)
    }

    /// Whether an earlier process pinned them here.
    pub fn has_pinned_users(&self) -> bool {
        self.pins.as_ref().is_some_and(|pins| USER_HOOKS.iter().any(|hook| pins.link(*hook).exists()))
    }

    /// The connections that wait.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn waiting(&self) -> Result<Vec<Waiting>> {
        let map = self.waiting_map()?;
        let mut all = Vec::new();
        for cookie in map.keys() {
            let cookie = cookie.context("read the waiting connections")?;
            // One that was there a moment ago may be gone.
            all.extend(get(&map, cookie)?);
        }
        Ok(all)
    }

    /// A connection that waits, by the cookie of its socket; `None` if it does not.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn waiting_one(&self, cookie: u64) -> Result<Option<Waiting>> {
        get(&self.waiting_map()?, cookie)
    }

    /// What the gate read of the last ACK of a handshake whose connection will wait; `None` if it is over.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn pending_handshake(&self, flow: &FlowKey) -> Result<Option<Pending>> {
        let map = self.ebpf.map("USER_HANDSHAKES").context("the BPF object has no map USER_HANDSHAKES")?;
        let map: HashMap<_, FlowKey, Pending> = HashMap::try_from(map)?;
        match map.get(flow, 0) {
            Ok(pending) => Ok(Some(pending)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("read a handshake that waits"),
        }
    }

    /// Refuses a connection that waits: whatever becomes of its socket, none of its data pass.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn refuse_waiting(&mut self, waiting: &Waiting) -> Result<()> {
        let refused = Waiting { refused: 1, ..*waiting };
        let mut map = self.waiting_map_mut()?;
        map.insert(waiting.socket, refused, BPF_EXIST).context("refuse a waiting connection")
    }

    /// Lets the data of a connection pass, or forgets one that is gone.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn stop_waiting(&mut self, cookie: u64) -> Result<()> {
        match self.waiting_map_mut()?.remove(&cookie) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            Err(error) => Err(error).context("let a waiting connection pass"),
        }
    }

    fn set_users(&mut self, value: u32) -> Result<()> {
        let map = self.ebpf.map_mut("USERS").context("the BPF object has no map USERS")?;
        Array::try_from(map)?.set(0, value, 0).context("say whether users decide")
    }

    fn waiting_map(&self) -> Result<HashMap<&MapData, u64, Waiting>> {
        let map = self.ebpf.map("WAITING").context("the BPF object has no map WAITING")?;
        Ok(HashMap::try_from(map)?)
    }

    fn waiting_map_mut(&mut self) -> Result<HashMap<&mut MapData, u64, Waiting>> {
        let map = self.ebpf.map_mut("WAITING").context("the BPF object has no map WAITING")?;
        Ok(HashMap::try_from(map)?)
    }
}

fn get(map: &HashMap<&MapData, u64, Waiting>, cookie: u64) -> Result<Option<Waiting>> {
    match map.get(&cookie, 0) {
        Ok(waiting) => Ok(Some(waiting)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error).context("read a waiting connection"),
    }
}
