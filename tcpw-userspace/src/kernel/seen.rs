//! The random numbers by which the kernel finds attempts that it saw.
//!
//! In: the BPF object. Out: the numbers, in its map. Invariant: they are made once: later processes find the attempts that
//! earlier ones saw.

use std::io;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use tcpw_common::seen::SeenNumbers;

use super::maps::open;
use crate::host::fill_at_random;

/// Makes them, unless an earlier process did.
///
/// # Errors
/// There is no source of random numbers, or the map cannot be written.
pub(super) fn make_numbers(ebpf: &Ebpf) -> Result<()> {
    let mut map: Array<MapData, SeenNumbers> = open(ebpf, "SEEN_NUMBERS")?;
    let is_made = map.get(&0, 0).context("read the numbers of attempts")? != SeenNumbers::default();
    if is_made {
        return Ok(());
    }
    let numbers = random().context("read /dev/urandom")?;
    map.set(0, numbers, 0).context("write the numbers of attempts")
}

fn random() -> io::Result<SeenNumbers> {
    let mut numbers = SeenNumbers::default();
    for number in numbers.high.iter_mut().chain(&mut numbers.low) {
        let mut bytes = [0; 8];
        fill_at_random(&mut bytes)?;
        *number = u64::from_ne_bytes(bytes);
    }
    Ok(numbers)
}
