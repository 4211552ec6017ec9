//! Policy to maps: fill the idle slot, flip, wait.
//!
//! Invariant: the idle slot is filled by one [`Loader`], which also waits until no program reads the slot
//! that became idle.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tcpw_common::{
    decide::Header,
    key::{Comm, NamesId},
    limits::SLOTS,
};

use super::{
    load::Kernel,
    tables::{Contents, Inners, Outers, Packed},
};
use crate::compile::Policy;

/// Fills the idle slot while the live one serves.
pub struct Loader {
    outers: Outers,
}

/// A filled slot.
pub struct Filled {
    /// Generation of the policy in it.
    pub generation: u32,
    slot: u32,
    comms: Vec<(Comm, NamesId)>,
    inner: Inners,
}

impl Filled {
    /// Makes a names-set known that appeared after the policy was compiled. To be called before the flip.
    ///
    /// # Errors
    /// The table is full.
    pub fn add_names(&mut self, names: NamesId, class: u32) -> Result<()> {
        self.inner.add_names(names, class)
    }
}

impl Loader {
    /// Creates and fills the tables and puts them into the idle slot; nothing is in force yet.
    ///
    /// # Errors
    /// The tables cannot be filled.
    pub fn fill(&mut self, policy: &Policy, flags: u32) -> Result<Filled> {
        let live = self.outers.active.get(&0, 0).context("read the live slot")?;
        let in_force = self.outers.headers.get(&live, 0).context("read the live header")?.generation;
        let generation = in_force.wrapping_add(1).max(1);
        let idle = (live + 1) % SLOTS;
        let inner = Inners::create(&contents(policy))?;
        self.outers.set(idle, &inner)?;
        let header = policy.header(generation, flags);
        self.outers.headers.set(idle, header, 0).context("write the header")?;
        Ok(Filled { generation, slot: idle, comms: policy.comms.clone(), inner })
    }

    /// Waits until no program runs that began before the call.
    ///
    /// # Errors
    /// It is not certain.
    pub fn settle(&mut self) -> Result<()> {
        let grace = Outers::grace_map()?;
        self.outers.wait_for_programs(&grace)
    }
}

/// A policy that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub generation: u32,
    /// Time to fill the tables, flip, and see the last evaluation of the old policy end.
    pub took: Duration,
}

impl Kernel {
    /// Takes what fills slots; once.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_loader(&mut self) -> Result<Loader> {
        Ok(Loader { outers: self.outers.take().context("the loader was taken before")? })
    }

    /// Switches to a filled slot: it is in force from here on.
    ///
    /// # Errors
    /// It is not; the policy before stays.
    pub fn flip(&mut self, filled: &Filled) -> Result<()> {
        if let Some(resets) = &mut self.resets {
            resets.note_change()?;
        }
        self.switch.active.set(0, filled.slot, 0).context("flip the slot")?;
        // In force from here on: what fails now is reported, and does not undo it.
        if let Err(error) = self.set_comms(&filled.comms) {
            log::error!("new listeners are named late until the next policy: {error:#}");
        }
        Ok(())
    }

    /// Puts a policy in force; `flags` are those of its header. When this returns, no evaluation of the policy before is left.
    ///
    /// # Errors
    /// The tables cannot be filled: the policy before stays in force, untouched.
    pub fn apply(&mut self, policy: &Policy, flags: u32) -> Result<Applied> {
        let begin = Instant::now();
        let mut loader = self.take_loader()?;
        let filled = loader.fill(policy, flags);
        let flipped = filled.and_then(|filled| self.flip(&filled).map(|()| filled.generation));
        let settled = loader.settle();
        self.outers = Some(loader.outers);
        let generation = flipped?;
        if let Err(error) = settled {
            log::error!(
                "generation {generation} is in force, but a few verdicts may still be the old policy's: {error:#}"
            );
        }
        Ok(Applied { generation, took: begin.elapsed() })
    }

    /// Header of the policy in force; its generation is 0 if none is.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn header(&self) -> Result<Header> {
        let live = self.switch.active.get(&0, 0).context("read the live slot")?;
        self.switch.headers.get(&live, 0).context("read the live header")
    }

    /// Makes a names-set that appeared after the policy was applied known to it. Call this before
    /// the first tag carries it.
    ///
    /// # Errors
    /// The table is full: the policy has to be applied anew.
    pub fn add_names(&mut self, names: NamesId, class: u32) -> Result<()> {
        let live = self.switch.active.get(&0, 0).context("read the live slot")?;
        self.switch.add_names(live, names, class)
    }
}

fn contents(policy: &Policy) -> Contents {
    Contents {
        clients_v4: trie(
            policy.clients_v4.iter().map(|(prefix, class)| (prefix.bits.into(), prefix.address, *class)),
        ),
        clients_v6: trie(
            policy.clients_v6.iter().map(|(prefix, class)| (prefix.bits.into(), prefix.address, *class)),
        ),
        servers_v4: trie(
            policy.servers_v4.iter().map(|(prefix, class)| (prefix.bits.into(), prefix.address, *class)),
        ),
        servers_v6: trie(
            policy.servers_v6.iter().map(|(prefix, class)| (prefix.bits.into(), prefix.address, *class)),
        ),
        names: pack(policy.names.iter().map(|(names, class)| (names.to_ne_bytes(), class.to_ne_bytes()))),
        ports: pack(
            policy.ports.iter().map(|(port, class)| (u32::from(*port).to_ne_bytes(), class.to_ne_bytes())),
        ),
        policies: array(policy.policies.iter().map(|policy| policy.to_ne_bytes())),
        outcomes: array(policy.outcomes.iter().map(|outcome| [*outcome])),
    }
}

/// Trie keys are the prefix length in host order, then the address. Source: `struct bpf_lpm_trie_key`.
fn trie<A: AsRef<[u8]>>(entries: impl Iterator<Item = (u32, A, u32)>) -> Packed {
    let mut packed = Packed { keys: Vec::new(), values: Vec::new(), count: 0 };
    for (bits, address, class) in entries {
        packed.keys.extend(bits.to_ne_bytes());
        packed.keys.extend(address.as_ref());
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
