//! The table of changes, mapped into memory: when listeners came and went.
//!
//! In: a place. Out: its stamp; the kernel writes another one before a socket can be found there.
//! Invariant: only read here, by relaxed loads with fences. The mapping is read-only, and on such memory Rust defines
//! relaxed loads alone, of at most the size of a register: a stronger load may be a compare-and-swap, which writes.
//! Source: std::sync::atomic, "Atomic accesses to read-only memory".

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use tcpw_common::certified::CHANGES;

use crate::host::boot_ns;

const BYTES: usize = CHANGES * size_of::<u64>();

// On others a load of 64 bits is not defined here.
const _: () = assert!(cfg!(target_pointer_width = "64"));

/// The mapped table.
#[derive(Debug)]
pub struct Changes(NonNull<AtomicU64>);

// SAFETY: the memory is shared with the kernel anyway; every access is an atomic load.
unsafe impl Send for Changes {}
// SAFETY: as above.
unsafe impl Sync for Changes {}

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
        // SAFETY: a new mapping of a table of that many bytes, at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(std::ptr::null_mut(), BYTES, libc::PROT_READ, libc::MAP_SHARED, table.as_raw_fd(), 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(memory.cast()).map(Self).ok_or_else(|| io::ErrorKind::InvalidData.into())
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
        // SAFETY: the mapping is that long, aligned to a page, and lives as long as self.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), CHANGES) }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; nothing borrowed from it outlives self.
        unsafe { libc::munmap(self.0.as_ptr().cast(), BYTES) };
    }
}
