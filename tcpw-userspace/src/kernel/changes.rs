//! The table of changes, mapped into memory: when listeners came and went.
//!
//! In: a place. Out: its stamp; the kernel writes another one before a socket can be found there.
//! Invariant: only read here, by relaxed loads with fences. The mapping is read-only, and on such memory Rust defines
//! relaxed loads alone, of at most the size of a register: a stronger load may be a compare-and-swap, which writes.
//! Source: std::sync::atomic, "Atomic accesses to read-only memory".

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use tcpw_common::certified::CHANGES;

use super::memory::{Access, Mapping};
use crate::host::boot_ns;

// On others a load of 64 bits is not defined here.
const _: () = assert!(cfg!(target_pointer_width = "64"));

/// The mapped table.
#[derive(Debug)]
pub struct Changes(Mapping<AtomicU64>);

/// All stamps at one time.
#[derive(Clone, Debug, Default)]
pub struct Stamps {
    all: Vec<u64>,
    at_ns: u64,
}

impl Stamps {
    /// The stamp at an index.
    pub fn get(&self, index: u32) -> Option<u64> {
        self.all.get(index as usize).copied()
    }

    /// When they were read: CLOCK_BOOTTIME, nanoseconds.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }
}

impl Changes {
    /// Maps the table.
    pub(super) fn map(table: BorrowedFd<'_>) -> io::Result<Self> {
        Mapping::new(table, CHANGES, Access::Read).map(Self)
    }

    /// The stamp at an index, now.
    pub fn get(&self, index: u32) -> Option<u64> {
        let stamps = self.all();
        // What was done before is not moved behind the load.
        fence(Ordering::SeqCst);
        let stamp = stamps.get(index as usize).map(|stamp| stamp.load(Ordering::Relaxed));
        fence(Ordering::SeqCst);
        stamp
    }

    /// All stamps. A scan that begins after this call is not older than they are.
    pub fn stamps(&self) -> Stamps {
        let at_ns = boot_ns();
        let all = self.all().iter().map(|stamp| stamp.load(Ordering::Relaxed)).collect();
        // The scan is not moved before the loads.
        fence(Ordering::SeqCst);
        Stamps { all, at_ns }
    }

    fn all(&self) -> &[AtomicU64] {
        let (start, count) = self.0.as_ptr();
        // SAFETY: the mapping has that many values and lives as long as self; every access is an atomic load.
        unsafe { std::slice::from_raw_parts(start, count) }
    }
}
