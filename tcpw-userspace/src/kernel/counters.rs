//! The counters that the kernel keeps.

use std::borrow::Borrow;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, PerCpuValues},
};
use tcpw_common::{counter::Counter, metric::Metric};

use super::maps::open;

/// The counters.
pub struct CounterMap(PerCpuArray<MapData, u64>);

impl CounterMap {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self(open(ebpf, "COUNTERS")?))
    }

    /// Every counter with its value.
    #[must_use]
    pub fn read(&self) -> Vec<(Metric, u64)> {
        read(&self.0)
    }

    /// Takes over the values of another version's counters. Only while no gate of this version counts.
    pub(super) fn add(&mut self, theirs: &PerCpuArray<MapData, u64>) -> Result<()> {
        for counter in Counter::ALL {
            let index = counter as u32;
            // An older version has fewer counters.
            let Ok(counted) = theirs.get(&index, 0) else { continue };
            let mut values: Vec<u64> = self.0.get(&index, 0)?.iter().copied().collect();
            if let Some(first) = values.first_mut() {
                *first += counted.iter().sum::<u64>();
            }
            self.0
                .set(index, PerCpuValues::try_from(values)?, 0)
                .with_context(|| format!("take over counter {}", counter.metric().name))?;
        }
        Ok(())
    }
}

/// Sums the per-CPU counters. One that the map does not have, because an older version made it, is 0.
pub(super) fn read<M: Borrow<MapData>>(map: &PerCpuArray<M, u64>) -> Vec<(Metric, u64)> {
    let value = |counter: Counter| {
        map.get(&(counter as u32), 0).map_or(0, |values: PerCpuValues<u64>| values.iter().sum())
    };
    Counter::ALL.map(|counter| (counter.metric(), value(counter))).to_vec()
}
