//! From another version's pins to this one's: both gates judge until the new one has taken over.
//!
//! In: this version's programs, attached beside those of another version. Out: this version's alone.
//! Invariant: the old gate goes only after the new one is attached with a policy in force. While
//! both are, a connection needs the consent of both: the kernel asks every gate of a cgroup.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::maps::{PerCpuArray, PerCpuValues};
use tcpw_common::counter::Counter;

use super::{
    attach::Hook,
    load::Kernel,
    pins::{Pins, cgroup_id},
};

impl Kernel {
    /// Flags of the header of the policy in force, this version's or another's; `None` if there is none.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn flags_in_force(&self) -> Result<Option<u32>> {
        let header = self.header()?;
        if header.generation != 0 {
            return Ok(Some(header.flags));
        }
        Ok(match self.predecessors()?.first() {
            Some(pins) => Some(pins.in_force()?.flags),
            None => None,
        })
    }

    /// Generation of the policy in force, likewise; 0 if there is none.
    pub(super) fn generation_in_force(&self) -> Result<u32> {
        match (self.header()?.generation, self.predecessors()?.first()) {
            (0, Some(pins)) => Ok(pins.in_force()?.generation),
            (own, _) => Ok(own),
        }
    }

    /// Other versions whose gate is pinned beside this one's.
    pub(super) fn predecessors(&self) -> Result<Vec<Pins>> {
        let Some(own) = &self.pins else { return Ok(Vec::new()) };
        Ok(own.gates()?.into_iter().filter(|pins| pins != own).collect())
    }

    /// Refuses to take over from a gate that guards another cgroup.
    pub(super) fn check_predecessors(&self, cgroup: &Path) -> Result<()> {
        for pins in self.predecessors()? {
            check_cgroup(pins.guarded_cgroup()?, cgroup, &pins.link(Hook::Gate))?;
        }
        Ok(())
    }

    /// Goes on counting where the gates of other versions are. Only while no gate of this version
    /// counts.
    pub(super) fn take_over_counters(&mut self) -> Result<()> {
        let before = self.predecessors()?;
        let map = self.ebpf.map_mut("COUNTERS").context("the BPF object has no map COUNTERS")?;
        let mut own: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
        for pins in before {
            let theirs = pins.counters()?;
            for counter in Counter::ALL {
                let index = counter as u32;
                // An older version has fewer.
                let Ok(counted) = theirs.get(&index, 0) else { continue };
                let mut values: Vec<u64> = own.get(&index, 0)?.iter().copied().collect();
                if let Some(first) = values.first_mut() {
                    *first += counted.iter().sum::<u64>();
                }
                own.set(index, PerCpuValues::try_from(values)?, 0)
                    .with_context(|| format!("take over counter {}", counter.metric().name))?;
            }
        }
        Ok(())
    }

    /// Ends what other versions enforce, and links of this version that are not in use any more.
    /// Call it when the gate is attached. Returns the versions that ended.
    ///
    /// # Errors
    /// Something of them cannot be removed: it goes on beside this gate.
    pub fn retire_predecessors(&mut self) -> Result<Vec<u32>> {
        let Some(own) = &self.pins else { return Ok(Vec::new()) };
        own.keep_links(&self.in_use)?;
        let mut ended = Vec::new();
        for pins in own.all_versions()?.into_iter().filter(|pins| pins != own) {
            pins.remove().with_context(|| format!("end what version {} left in force", pins.version()))?;
            ended.push(pins.version());
        }
        Ok(ended)
    }
}

/// Refuses a gate at another cgroup than the one to guard. 0: its cgroup is gone.
pub(super) fn check_cgroup(guarded: u64, cgroup: &Path, pin: &Path) -> Result<()> {
    if guarded != 0 && guarded != cgroup_id(cgroup)? {
        bail!(
            "the policy pinned in {} guards another cgroup than {}: name that one, choose another --pin-dir, or end it with `tcpw detach`",
            pin.display(),
            cgroup.display()
        );
    }
    Ok(())
}
