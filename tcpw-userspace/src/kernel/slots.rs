//! The policy in force: which slot is live, and what is added to it.
//!
//! Invariant: no entry of the live slot is changed or removed; only a names-set that no socket carries yet
//! is added.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, MapData},
};
use tcpw_common::{
    deadline::{Deadline, slot_in_force},
    decide::Header,
    key::NamesId,
    limits::SLOTS,
};

use super::{loader::FilledSlot, maps::open};
use crate::host::boot_ns;

/// The slots.
pub struct Slots {
    active: Array<MapData, u32>,
    deadline: Array<MapData, Deadline>,
    headers: Array<MapData, Header>,
    names: ArrayOfMaps<MapData, HashMap<MapData, NamesId, u32>>,
}

impl Slots {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            active: open(ebpf, "ACTIVE")?,
            deadline: open(ebpf, "DEADLINE")?,
            headers: open(ebpf, "HEADERS")?,
            names: open(ebpf, "NAMES")?,
        })
    }

    /// Number of the live slot.
    pub(super) fn live(&self) -> Result<u32> {
        Ok(slot_in_force(self.last()?, &self.deadline()?, boot_ns))
    }

    /// The slot that was switched to last: the live one, unless its deadline has passed.
    fn last(&self) -> Result<u32> {
        self.active.get(&0, 0).context("read the live slot")
    }

    fn deadline(&self) -> Result<Deadline> {
        self.deadline.get(&0, 0).context("read the deadline")
    }

    /// Whether the live policy has a deadline, or had one that no process has seen to.
    pub(super) fn has_deadline(&self) -> Result<bool> {
        Ok(self.deadline()?.until_ns != 0)
    }

    /// From `until_ns` on the slot that is live now is live again, whatever is switched to meanwhile.
    ///
    /// Programs may see a value half written: of each two writes only one changes what they may do.
    pub(super) fn set_deadline(&mut self, until_ns: u64) -> Result<()> {
        let slot_before = self.last()?;
        self.write_deadline(0, slot_before)?;
        self.write_deadline(until_ns, slot_before)
    }

    /// The slot that was switched to last stays the live one.
    pub(super) fn forget_deadline(&mut self) -> Result<()> {
        let (last, deadline) = (self.last()?, self.deadline()?);
        if deadline.until_ns != 0 {
            self.write_deadline(deadline.until_ns, last)?;
            self.write_deadline(0, last)?;
        }
        Ok(())
    }

    /// The slot before is live from now on, if there is a deadline. Returns whether there was.
    pub(super) fn fall_back(&mut self) -> Result<bool> {
        let deadline = self.deadline()?;
        if deadline.until_ns == 0 {
            return Ok(false);
        }
        self.switch_to(deadline.slot_before)?;
        self.write_deadline(0, deadline.slot_before)?;
        Ok(true)
    }

    fn write_deadline(&mut self, until_ns: u64, slot_before: u32) -> Result<()> {
        let deadline = Deadline { until_ns, slot_before, reserved: 0 };
        self.deadline.set(0, deadline, 0).context("write the deadline")
    }

    /// The highest generation of a slot: no other policy has had it yet.
    pub(super) fn highest_generation(&self) -> Result<u32> {
        let of = |slot| self.headers.get(&slot, 0).map(|header| header.generation);
        let all: Result<Vec<u32>, _> = (0..SLOTS).map(of).collect();
        Ok(all.context("read the headers")?.into_iter().max().unwrap_or_default())
    }

    /// Header of the policy in force; its generation is 0 if none is.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn header(&self) -> Result<Header> {
        self.headers.get(&self.live()?, 0).context("read the live header")
    }

    /// Adds a names-set that appeared after the policy was applied to that policy, the last one. Call this before the first tag
    /// carries it.
    ///
    /// # Errors
    /// The table is full: the policy has to be applied again.
    pub fn add_names(&mut self, names: NamesId, class: u32) -> Result<()> {
        let last = self.last()?;
        self.add_to(last, names, class)
    }

    /// The same for the policy before, which may come back.
    ///
    /// # Errors
    /// As there.
    pub fn add_names_before(&mut self, names: NamesId, class: u32) -> Result<()> {
        let before = self.deadline()?.slot_before;
        self.add_to(before, names, class)
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
