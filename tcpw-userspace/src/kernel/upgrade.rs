//! The change from another version's pins to this one's: both gates judge until the new one has taken over.
//!
//! In: this version's programs, attached beside those of another version. Out: this version's alone.
//! Invariant: the old gate is detached only after the new one is attached with a policy in force. While
//! both are attached, a connection passes only if both allow it: the kernel runs every program of a cgroup.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{
    load::Kernel,
    pins::{Pins, cgroup_id},
    slots::Slots,
};

impl Kernel {
    /// Flags of the header of the policy in force, this version's or another's; `None` if there is none.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn flags_in_force(&self) -> Result<Option<u32>> {
        let header = self.slots.header()?;
        if header.generation != 0 {
            return Ok(Some(header.flags));
        }
        Ok(match self.predecessors()?.first() {
            Some(pins) => Some(pins.in_force()?.flags),
            None => None,
        })
    }

    /// Other versions whose gate is pinned beside this one's.
    pub(super) fn predecessors(&self) -> Result<Vec<Pins>> {
        predecessors(self.links.pins.as_ref())
    }

    /// Removes the pins of other versions, and links of this version that are not in use any more.
    /// Call it when the gate is attached. Returns the versions that ended.
    ///
    /// # Errors
    /// A pin cannot be removed: that gate stays attached beside this one.
    pub fn retire_predecessors(&mut self) -> Result<Vec<u32>> {
        let Some(own) = &self.links.pins else { return Ok(Vec::new()) };
        own.keep_links(self.links.wanted())?;
        let mut ended = Vec::new();
        for pins in own.all_versions()?.into_iter().filter(|pins| pins != own) {
            pins.remove().with_context(|| format!("end what version {} left in force", pins.version()))?;
            ended.push(pins.version());
        }
        Ok(ended)
    }
}

/// Generation of the policy in force, this version's or another's; 0 if there is none.
pub(super) fn generation_in_force(slots: &Slots, pins: Option<&Pins>) -> Result<u32> {
    match (slots.header()?.generation, predecessors(pins)?.first()) {
        (0, Some(pins)) => Ok(pins.in_force()?.generation),
        (own, _) => Ok(own),
    }
}

fn predecessors(pins: Option<&Pins>) -> Result<Vec<Pins>> {
    let Some(own) = pins else { return Ok(Vec::new()) };
    Ok(own.gates()?.into_iter().filter(|pins| pins != own).collect())
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
