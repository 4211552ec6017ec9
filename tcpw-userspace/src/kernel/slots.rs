//! The policy in force: which slot is live, and what is added to it.
//!
//! Invariant: no entry of the live slot is changed or removed; only a names-set that no socket carries yet
//! is added.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, MapData},
};
use tcpw_common::{decide::Header, key::NamesId};

use super::{loader::FilledSlot, maps::open};

/// The slots.
pub struct Slots {
    active: Array<MapData, u32>,
    headers: Array<MapData, Header>,
    names: ArrayOfMaps<MapData, HashMap<MapData, NamesId, u32>>,
}

impl Slots {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            active: open(ebpf, "ACTIVE")?,
            headers: open(ebpf, "HEADERS")?,
            names: open(ebpf, "NAMES")?,
        })
    }

    /// Number of the live slot.
    pub(super) fn live(&self) -> Result<u32> {
        self.active.get(&0, 0).context("read the live slot")
    }

    /// Header of the policy in force; its generation is 0 if none is.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn header(&self) -> Result<Header> {
        self.headers.get(&self.live()?, 0).context("read the live header")
    }

    /// Adds a names-set that appeared after the policy was applied. Call this before the first tag
    /// carries it.
    ///
    /// # Errors
    /// The table is full: the policy has to be applied again.
    pub fn add_names(&mut self, names: NamesId, class: u32) -> Result<()> {
        let live = self.live()?;
        self.add_to(live, names, class)
    }

    /// The same for a policy that is filled and not in force yet.
    ///
    /// # Errors
    /// The table is full, or another policy was filled since.
    pub fn add_names_to(&mut self, filled: &FilledSlot, names: NamesId, class: u32) -> Result<()> {
        anyhow::ensure!(self.holds(filled)?, "generation {} was overwritten", filled.generation);
        self.add_to(filled.slot, names, class)
    }

    fn add_to(&mut self, slot: u32, names: NamesId, class: u32) -> Result<()> {
        let mut table = self.names.get(&slot, 0).context("open a table of names")?;
        table.insert(names, class, 0).context("add a names-set to a policy")
    }

    /// Whether a slot still holds what was filled into it.
    pub(super) fn holds(&self, filled: &FilledSlot) -> Result<bool> {
        let header = self.headers.get(&filled.slot, 0).context("read the header of a slot")?;
        Ok(header.generation == filled.generation)
    }

    /// From here on a slot is the live one.
    pub(super) fn switch_to(&mut self, slot: u32) -> Result<()> {
        self.active.set(0, slot, 0).context("switch to the other slot")
    }

    pub(super) fn set_header(&mut self, slot: u32, header: Header) -> Result<()> {
        self.headers.set(slot, header, 0).context("write the header")
    }
}
