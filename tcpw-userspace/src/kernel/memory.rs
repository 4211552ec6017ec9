//! The memory of an array map: its values, written and read without a call for each.
//!
//! In: an array map that was created with BPF_F_MMAPABLE. Out: its values.
//! Invariant: the values that [`MapMemory`] gives are only read by programs, and this process writes them only before the
//! map is in a slot. What programs write is read through a [`Mapping`] of atomics.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::NonNull,
};

use aya::Pod;

/// How a map is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// PROT_READ.
    Read,
    /// PROT_READ and PROT_WRITE.
    Write,
}

/// Values of an array map in the memory of this process, until this is dropped. Aligned to a page.
#[derive(Debug)]
pub(super) struct Mapping<V> {
    start: NonNull<V>,
    count: usize,
}

// SAFETY: nothing but this value refers to the mapping in this process.
unsafe impl<V: Send> Send for Mapping<V> {}
// SAFETY: as above.
unsafe impl<V: Sync> Sync for Mapping<V> {}

impl<V> Mapping<V> {
    /// Maps `count` values, at least one.
    pub(super) fn new(map: BorrowedFd<'_>, count: usize, access: Access) -> io::Result<Self> {
        // The kernel puts a value at each multiple of 8 bytes.
        const { assert!(size_of::<V>().is_multiple_of(8) && align_of::<V>() <= 8) };
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: a new mapping of a map of that many values, at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * size_of::<V>(),
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(memory.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, count })
    }

    /// Where the values are, and how many.
    pub(super) fn as_ptr(&self) -> (*mut V, usize) {
        (self.start.as_ptr(), self.count)
    }
}

impl<V> Drop for Mapping<V> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; nothing borrowed from it outlives self.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<V>()) };
    }
}

/// The values of an array map that programs only read.
pub(super) struct MapMemory<V>(Mapping<V>);

impl<V: Pod> MapMemory<V> {
    /// Maps `count` values, at least one.
    pub(super) fn map(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        Mapping::new(map, count, Access::Write).map(Self)
    }

    /// The values.
    pub(super) fn values(&self) -> &[V] {
        let (start, count) = self.0.as_ptr();
        // SAFETY: the mapping has that many values and lives as long as self; every bit pattern is valid.
        unsafe { std::slice::from_raw_parts(start, count) }
    }

    /// Writes all values.
    pub(super) fn write(&mut self, values: &[V]) {
        let (start, count) = self.0.as_ptr();
        // SAFETY: as for `values`; `&mut self` excludes other references.
        let memory = unsafe { std::slice::from_raw_parts_mut(start, count) };
        memory[..values.len()].copy_from_slice(values);
    }
}
