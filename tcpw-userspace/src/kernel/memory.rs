//! The memory of an array map: its values, written and read without a call for each.
//!
//! In: an array map that was created with BPF_F_MMAPABLE. Out: its values.
//! Invariant: programs only read these values, and this process writes them only before the map is in a slot.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::NonNull,
};

use aya::Pod;

/// The values of an array map, mapped into memory.
pub(super) struct MapMemory<V> {
    start: NonNull<V>,
    count: usize,
    values: PhantomData<V>,
}

// SAFETY: nothing but this value refers to the mapping in this process, and programs only read it.
unsafe impl<V: Pod + Send> Send for MapMemory<V> {}
// SAFETY: shared references only read.
unsafe impl<V: Pod + Sync> Sync for MapMemory<V> {}

impl<V: Pod> MapMemory<V> {
    /// Maps `count` values, at least one.
    pub(super) fn map(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        // The kernel puts a value at each multiple of 8 bytes.
        const { assert!(size_of::<V>().is_multiple_of(8) && align_of::<V>() <= 8) };
        // SAFETY: a new mapping of a map of that many values, at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * size_of::<V>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(memory.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, count, values: PhantomData })
    }

    /// The values.
    pub(super) fn values(&self) -> &[V] {
        // SAFETY: the mapping has that many values, is aligned to a page, and lives as long as self; every bit
        // pattern is valid.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }

    /// Writes all values.
    pub(super) fn write(&mut self, values: &[V]) {
        // SAFETY: as for `values`; `&mut self` excludes other references.
        let memory = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) };
        memory[..values.len()].copy_from_slice(values);
    }
}

impl<V> Drop for MapMemory<V> {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; nothing borrowed from it outlives self.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<V>()) };
    }
}
