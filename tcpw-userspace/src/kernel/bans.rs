//! The bans in the kernel.
//!
//! In: bans to set and to end. Out: the gate refuses the clients of these networks, each until its time.
//! Invariant: the tables say that there are bans before the first one can be found, and until the last one is removed.

use std::{
    collections::HashSet,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{
        Array, MapData, MapError,
        lpm_trie::{Key, LpmTrie},
    },
};
use tcpw_common::{
    ban::{Ban, BanKey, BansInUse, SCOPE_BITS, Scopes},
    key::NamesId,
};

use super::{
    maps::{descriptor, open},
    sys,
};
use crate::bans::KernelChange;

/// The table of bans.
pub struct BanMap {
    bans: LpmTrie<MapData, BanKey, Ban>,
    /// The same, to write many at once.
    descriptor: OwnedFd,
    in_use: Array<MapData, BansInUse>,
    said_in_use: Option<BansInUse>,
    scopes: LpmTrie<MapData, NamesId, Scopes>,
}

impl BanMap {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            bans: open(ebpf, "BANS")?,
            descriptor: descriptor(ebpf, "BANS")?,
            in_use: open(ebpf, "BANS_IN_USE")?,
            said_in_use: None,
            scopes: open(ebpf, "BAN_SCOPES")?,
        })
    }

    /// Sets and ends bans; one of the same scope and network is replaced. `in_use` is what holds of all of them then.
    ///
    /// # Errors
    /// The kernel refuses a write, perhaps because the table is full: those before it are made.
    pub fn change(&mut self, changes: &[KernelChange], in_use: BansInUse) -> Result<()> {
        let before = self.said_in_use.unwrap_or(BansInUse { any: 1, scoped: 1 });
        self.say_in_use(BansInUse { any: before.any | in_use.any, scoped: before.scoped | in_use.scoped })?;
        self.set(changes.iter().filter_map(|change| Some((change, change.until_ns?))))?;
        for change in changes.iter().filter(|change| change.until_ns.is_none()) {
            self.end(&Key::new(SCOPE_BITS + u32::from(change.bits), change.key))?;
        }
        self.say_in_use(in_use)
    }

    /// Ends every ban that is not among these.
    ///
    /// # Errors
    /// The kernel refuses a read or a write.
    pub fn keep_only(&mut self, kept: &[KernelChange]) -> Result<()> {
        let kept: HashSet<(BanKey, u32)> =
            kept.iter().map(|change| (change.key, SCOPE_BITS + u32::from(change.bits))).collect();
        let mut gone = Vec::new();
        for key in self.bans.keys() {
            let key = key.context("read the bans")?;
            if !kept.contains(&(key.data(), key.prefix_len())) {
                gone.push(key);
            }
        }
        gone.iter().try_for_each(|key| self.end(key))
    }

    fn set<'a>(&mut self, bans: impl Iterator<Item = (&'a KernelChange, u64)>) -> Result<()> {
        let (mut keys, mut values, mut count) = (Vec::new(), Vec::new(), 0);
        for (change, until_ns) in bans {
            keys.extend((SCOPE_BITS + u32::from(change.bits)).to_ne_bytes());
            keys.extend(change.key.to_bytes());
            values.extend(Ban::new(change.bits, until_ns).to_bytes());
            count += 1;
        }
        sys::update_batch(self.descriptor.as_fd(), &keys, &values, count).context("write bans")
    }

    fn end(&mut self, key: &Key<BanKey>) -> Result<()> {
        match self.bans.remove(key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error).context("end a ban"),
        }
    }

    fn say_in_use(&mut self, in_use: BansInUse) -> Result<()> {
        if self.said_in_use != Some(in_use) {
            self.in_use.set(0, in_use, 0).context("say that there are bans")?;
            self.said_in_use = Some(in_use);
        }
        Ok(())
    }

    /// The scopes of a names-set's names; `None`: they are forgotten.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn set_scopes(&mut self, names: NamesId, scopes: Option<Scopes>) -> Result<()> {
        let key = Key::new(NamesId::BITS, names);
        match scopes {
            Some(scopes) => self.scopes.insert(&key, scopes, 0).context("write the scopes of bans of names"),
            None => match self.scopes.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
                Err(error) => Err(error).context("forget the scopes of bans of names"),
            },
        }
    }
}
