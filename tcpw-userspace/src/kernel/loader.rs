//! Policy to maps: fill the idle slot, flip to it, wait until no program still uses the other one.
//!
//! In: compiled policies. Out: a policy in force.
//! Invariant: only the idle slot is filled, and only when no program still uses it. It has a header, without which it
//! cannot be switched to, only when its tables have passed their check. A policy is in force whole or not at all.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use tcpw_common::{
    decide::Header,
    key::{Comm, NamesId},
    limits::SLOTS,
};

use super::{
    load::Kernel,
    loaded::FilledTables,
    pins::Pins,
    slots::Slots,
    tables::{Contents, Inners, Outers, Packed},
    upgrade::generation_in_force,
};
use crate::compile::{Policy, Prefix};

/// Fills slots. A worker thread owns it; the live slot stays in use meanwhile.
pub struct Loader {
    outers: Outers,
    slots: Slots,
    pins: Option<Pins>,
    /// Made in advance, because making it may fail.
    grace: Option<Array<MapData, u32>>,
    /// The live slot when [`Self::settle`] last ended: if it is still live, no program uses another one.
    settled: Option<u32>,
    /// The last generation that was used, whether or not it came into force.
    generation: u32,
    /// How often tables were put into the idle slot.
    staged: u64,
}

/// Tables that have passed their check, and are in the idle slot; it has no header yet.
#[derive(Debug)]
pub struct StagedSlot {
    slot: u32,
    number: u64,
    took: Duration,
    compared: usize,
}

/// A policy in the idle slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilledSlot {
    /// Its number.
    pub generation: u32,
    /// Time to create, fill and check the tables.
    pub took: Duration,
    /// What the check returned.
    pub compared: usize,
    pub(super) slot: u32,
    pub(super) comms: Vec<(Comm, NamesId)>,
}

/// A policy that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub generation: u32,
    /// Time to fill the tables, flip, and see the last evaluation of the old policy end.
    pub took: Duration,
}

impl Loader {
    pub(super) fn open(ebpf: &Ebpf, pins: Option<Pins>) -> Result<Self> {
        let outers = Outers::open(ebpf)?;
        let slots = Slots::open(ebpf)?;
        Ok(Self { outers, slots, pins, grace: None, settled: None, generation: 0, staged: 0 })
    }

    /// Creates and fills the tables, has them checked as they were loaded, and puts them into the idle slot; the
    /// policy is not in force yet. A policy that was filled before and is not in force is overwritten.
    ///
    /// # Errors
    /// The tables cannot be filled, or do not pass the check: the policy before stays in force, untouched.
    pub fn fill_checked(
        &mut self,
        policy: &Policy,
        flags: u32,
        check: impl FnOnce(&FilledTables<'_>) -> Result<usize>,
    ) -> Result<FilledSlot> {
        let staged = self.stage(policy, flags, check)?;
        self.finish(policy, flags, staged)
    }

    /// All of [`Self::fill_checked`] that takes time. Until [`Self::finish`] the slot cannot be switched to, and neither
    /// can what was filled into it before.
    ///
    /// # Errors
    /// As there.
    pub fn stage(
        &mut self,
        policy: &Policy,
        flags: u32,
        check: impl FnOnce(&FilledTables<'_>) -> Result<usize>,
    ) -> Result<StagedSlot> {
        ensure!(!self.slots.has_deadline()?, "the policy before may come back: its slot is not free");
        let begin = Instant::now();
        let inner = Inners::create(&contents(policy))?;
        let live = self.slots.live()?;
        if self.settled != Some(live) {
            // Programs may still use the slot that was live before.
            self.settle()?;
        }
        self.grace = Some(Outers::grace_map()?);
        self.generation = self.generation.max(self.slots.highest_generation()?);
        let slot = (live + 1) % SLOTS;
        self.slots.set_header(slot, Header::default())?;
        self.staged += 1;
        let outers = &mut self.outers;
        // To put tables into a slot is to wait for the kernel: meanwhile they are checked.
        let (put, compared) = thread::scope(|scope| {
            let put = scope.spawn(|| outers.set(slot, &inner));
            let compared = check(&FilledTables::new(&inner, policy.header(0, flags)));
            (put.join(), compared)
        });
        let compared = compared?;
        put.unwrap_or_else(|_| bail!("the thread that puts tables into their slot panicked"))?;
        Ok(StagedSlot { slot, number: self.staged, took: begin.elapsed(), compared })
    }

    /// Gives a slot its header.
    ///
    /// # Errors
    /// Other tables were put into the slot since, or the kernel refuses the write.
    pub fn finish(&mut self, policy: &Policy, flags: u32, staged: StagedSlot) -> Result<FilledSlot> {
        let begin = Instant::now();
        let StagedSlot { slot, number, took, compared } = staged;
        ensure!(number == self.staged && slot != self.slots.live()?, "the slot was filled again meanwhile");
        let in_force = generation_in_force(&self.slots, self.pins.as_ref())?;
        self.generation = self.generation.max(in_force).wrapping_add(1).max(1);
        self.slots.set_header(slot, policy.header(self.generation, flags))?;
        let (took, comms) = (took + begin.elapsed(), policy.comms.clone());
        Ok(FilledSlot { generation: self.generation, took, compared, slot, comms })
    }

    /// As [`Self::fill_checked`], without a check.
    ///
    /// # Errors
    /// The tables cannot be filled: the policy before stays in force, untouched.
    pub fn fill(&mut self, policy: &Policy, flags: u32) -> Result<FilledSlot> {
        self.fill_checked(policy, flags, |_| Ok(0))
    }

    /// Waits until every program that was running at the call has ended.
    ///
    /// # Errors
    /// The kernel refuses the write that waits.
    pub fn settle(&mut self) -> Result<()> {
        let live = self.slots.live()?;
        let grace = match self.grace.take() {
            Some(grace) => grace,
            None => Outers::grace_map()?,
        };
        self.outers.wait_for_programs(&grace)?;
        self.settled = Some(live);
        Ok(())
    }
}

impl Kernel {
    /// Takes the loader; once.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_loader(&mut self) -> Result<Loader> {
        self.loader.take().context("the loader was taken before")
    }

    /// Puts a filled policy in force, at once.
    ///
    /// # Errors
    /// Another policy was filled since, or the kernel refuses a write: the policy before stays in force.
    pub fn flip(&mut self, filled: &FilledSlot) -> Result<()> {
        self.switch(filled)?;
        self.set_comms(&filled.comms);
        Ok(())
    }

    /// The same until a moment of CLOCK_BOOTTIME: then the policy before is in force again, whether or not this process
    /// lives. `comms` are process names that mean the same in both policies.
    ///
    /// # Errors
    /// As there.
    pub fn flip_until(
        &mut self,
        filled: &FilledSlot,
        until_ns: u64,
        comms: &[(Comm, NamesId)],
    ) -> Result<()> {
        // No moment exists without it.
        self.slots.set_deadline(until_ns)?;
        let switched = self.switch(filled);
        if switched.is_err() {
            self.slots.forget_deadline()?;
        } else {
            self.set_comms(comms);
        }
        switched
    }

    /// The policy in force stays, without a deadline.
    ///
    /// # Errors
    /// The kernel refuses a write: it ends at its deadline.
    pub fn confirm(&mut self, comms: &[(Comm, NamesId)]) -> Result<()> {
        self.slots.forget_deadline()?;
        self.set_comms(comms);
        Ok(())
    }

    /// The policy before one with a deadline is in force again, for good.
    ///
    /// # Errors
    /// The kernel refuses a write: it is in force at the deadline.
    pub fn fall_back(&mut self, comms: &[(Comm, NamesId)]) -> Result<()> {
        if self.slots.fall_back()? {
            self.set_comms(comms);
        }
        Ok(())
    }

    /// The same of a policy that an earlier process left with a deadline. Returns whether there was one. The process
    /// names stay as they are: each means the same in both.
    ///
    /// # Errors
    /// The kernel refuses a write.
    pub fn end_left_deadline(&mut self) -> Result<bool> {
        self.slots.fall_back()
    }

    fn switch(&mut self, filled: &FilledSlot) -> Result<()> {
        if !self.slots.holds(filled)? {
            bail!("generation {} was overwritten by a later one", filled.generation);
        }
        self.slots.switch_to(filled.slot)
    }

    /// What fails here is reported, and does not undo a switch.
    fn set_comms(&mut self, comms: &[(Comm, NamesId)]) {
        if let Err(error) = self.tags.set_comms(comms) {
            log::error!("new listeners get no provisional tag until the next policy: {error:#}");
        }
    }

    /// Fills, flips and settles; no other caller may do so at the same time. When this returns, no evaluation of the
    /// previous policy is left.
    ///
    /// # Errors
    /// The tables cannot be filled, or the loader was taken: the policy before stays in force, untouched.
    pub fn apply(&mut self, policy: &Policy, flags: u32) -> Result<Applied> {
        let begin = Instant::now();
        let mut loader = self.take_loader()?;
        let applied = loader.fill(policy, flags).and_then(|filled| {
            self.flip(&filled)?;
            Ok(filled.generation)
        });
        if let Ok(generation) = applied
            && let Err(error) = loader.settle()
        {
            log::error!(
                "generation {generation} is in force, but a few verdicts may still be the old policy's: {error:#}"
            );
        }
        self.loader = Some(loader);
        Ok(Applied { generation: applied?, took: begin.elapsed() })
    }
}

fn contents(policy: &Policy) -> Contents<'_> {
    let (flat_v4, flat_v6) = (policy.clients_v4.flat(), policy.clients_v6.flat());
    Contents {
        clients_v4: trie(policy.clients_v4.prefixes()),
        clients_v6: trie(policy.clients_v6.prefixes()),
        flat_v4: flat_v4.map_or(&[], |table| &table.buckets),
        flat_v4_chunks: flat_v4.map_or(&[], |table| &table.chunks),
        flat_v6: flat_v6.map_or(&[], |table| &table.nodes),
        flat_v6_lows: flat_v6.map_or(&[], |table| &table.lows),
        servers_v4: trie(&policy.servers_v4),
        servers_v6: trie(&policy.servers_v6),
        names: pack(policy.names.iter().map(|(names, class)| (names.to_ne_bytes(), class.to_ne_bytes()))),
        ports: pack(
            policy.ports.iter().map(|(port, class)| (u32::from(*port).to_ne_bytes(), class.to_ne_bytes())),
        ),
        policies: array(policy.policies.iter().map(|policy| policy.to_ne_bytes())),
        outcomes: array(policy.outcomes.iter().map(|outcome| [*outcome])),
    }
}

/// Trie keys are the prefix length in host order, then the address. Source: `struct bpf_lpm_trie_key`.
fn trie<const N: usize>(entries: &[(Prefix<[u8; N]>, u32)]) -> Packed {
    let mut packed = Packed { keys: Vec::new(), values: Vec::new(), count: 0 };
    for (Prefix { address, bits }, class) in entries {
        packed.keys.extend(u32::from(*bits).to_ne_bytes());
        packed.keys.extend(address);
        packed.values.extend(class.to_ne_bytes());
        packed.count += 1;
    }
    packed
}

fn pack<K: AsRef<[u8]>, V: AsRef<[u8]>>(entries: impl Iterator<Item = (K, V)>) -> Packed {
    let mut packed = Packed { keys: Vec::new(), values: Vec::new(), count: 0 };
    for (key, value) in entries {
        packed.keys.extend(key.as_ref());
        packed.values.extend(value.as_ref());
        packed.count += 1;
    }
    packed
}

fn array<V: AsRef<[u8]>>(values: impl Iterator<Item = V>) -> Packed {
    pack(values.zip(0_u32..).map(|(value, index)| (index.to_ne_bytes(), value)))
}
