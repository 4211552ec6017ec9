//! Reads the pins without a daemon, also those of another version.
//!
//! In: pins of any version. Out: the policy in force, and its counters.
//! Source: [`ABI_VERSION`](tcpw_common::ABI_VERSION) says what is the same in all versions.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use tcpw_common::{
    deadline::{Deadline, slot_in_force},
    decide::AUDIT,
    metric::Metric,
};

use super::{counters, pins::Pins, sys};
use crate::host::boot_ns;

/// What is pinned.
#[derive(Clone, Debug)]
pub struct PinnedStatus {
    /// Layout version of the pins; not this program's own if another version pinned them.
    pub version: u32,
    /// Generation of the policy in force.
    pub generation: u32,
    /// Audit mode: nothing is refused.
    pub audit: bool,
    /// Id of the guarded cgroup: the inode number of its directory. 0: it is gone.
    pub cgroup: u64,
    /// The kernel's counters.
    pub counters: Vec<(Metric, u64)>,
}

/// The words of a policy's header that every version has: the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PinnedPolicy {
    pub(super) generation: u32,
    pub(super) flags: u32,
}

impl Pins {
    /// The pins here, of this version, or else of the newest other one; `None` if no gate is pinned.
    ///
    /// # Errors
    /// The pins cannot be read.
    pub fn status(&self) -> Result<Option<PinnedStatus>> {
        self.gates()?.first().map(Self::status_of_gate).transpose()
    }

    fn status_of_gate(&self) -> Result<PinnedStatus> {
        let in_force = self.in_force()?;
        Ok(PinnedStatus {
            version: self.version(),
            generation: in_force.generation,
            audit: in_force.flags & AUDIT != 0,
            cgroup: self.guarded_cgroup()?,
            counters: counters::read(&self.counters()?),
        })
    }

    /// The policy in force.
    pub(super) fn in_force(&self) -> Result<PinnedPolicy> {
        let (active, headers) = (self.open("ACTIVE")?, self.open("HEADERS")?);
        let active = word(&active, 0, 0)?;
        let slot = if self.map("DEADLINE").exists() {
            slot_in_force(active, &deadline(&self.open("DEADLINE")?)?, boot_ns)
        } else {
            active
        };
        Ok(PinnedPolicy { generation: word(&headers, slot, 0)?, flags: word(&headers, slot, 1)? })
    }

    /// The counters' map.
    pub(super) fn counters(&self) -> Result<PerCpuArray<MapData, u64>> {
        PerCpuArray::try_from(Map::PerCpuArray(self.open("COUNTERS")?)).context("read the pinned counters")
    }

    fn open(&self, name: &str) -> Result<MapData> {
        MapData::from_pin(self.map(name)).with_context(|| format!("open the pinned map {name}"))
    }
}

fn deadline(map: &MapData) -> Result<Deadline> {
    let [low, high, slot_before] = [word(map, 0, 0)?, word(map, 0, 1)?, word(map, 0, 2)?];
    let mut until_ns = [0; 8];
    until_ns[..4].copy_from_slice(&low.to_ne_bytes());
    until_ns[4..].copy_from_slice(&high.to_ne_bytes());
    Ok(Deadline { until_ns: u64::from_ne_bytes(until_ns), slot_before, reserved: 0 })
}

/// One 32-bit word of an array's element, whatever the element's size.
fn word(map: &MapData, index: u32, word: usize) -> Result<u32> {
    let size = map.info()?.value_size() as usize;
    let mut value = vec![0; size];
    sys::lookup(map.fd().as_fd(), &index.to_ne_bytes(), &mut value).context("read a pinned map")?;
    let bytes = value.get(4 * word..4 * word + 4).context("a pinned map has too short a value")?;
    Ok(bytes.try_into().map_or(0, u32::from_ne_bytes))
}
