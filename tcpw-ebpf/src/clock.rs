//! The clock that events and stamps have.
//!
//! In: nothing. Out: CLOCK_BOOTTIME.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;

/// Nanoseconds. A reading takes as long as a look-up: one is enough for a packet.
#[inline(always)]
pub(crate) fn boot_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
