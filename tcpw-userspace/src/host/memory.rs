//! Memory that was freed goes back to the system.
//!
//! Out: an allocator that keeps little of what was freed. Without that glibc keeps freed memory for each thread, and
//! raises the size from which it asks the system for memory to that of the largest list that was freed: after a reload of a
//! million rules the daemon would keep several times what it needs.
//! Source: mallopt(3), malloc_trim(3).

/// From this size on memory is asked of the system, and given back at once when it is freed.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 256 << 10;

/// Heaps that threads share.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// Has freed memory given back. To be called before there are threads.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    for (name, value) in
        [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE), (libc::M_ARENA_MAX, HEAPS)]
    {
        // SAFETY: takes integers; no thread allocates at the same time.
        if unsafe { libc::mallopt(name, value) } == 0 {
            log::debug!("mallopt({name}, {value}) failed: more memory is kept than is needed");
        }
    }
}

/// Gives back what lies free between what is used.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes an integer; it locks what it works on.
    unsafe {
        libc::malloc_trim(0)
    };
}
