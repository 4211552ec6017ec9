//! The clock of the kernel programs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// CLOCK_BOOTTIME, nanoseconds.
pub fn boot_ns() -> u64 {
    u64::try_from(boot_time().as_nanos()).unwrap_or(u64::MAX)
}

/// CLOCK_MONOTONIC_COARSE, nanoseconds: up to a tick of the kernel behind.
pub fn coarse_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// CLOCK_BOOTTIME.
pub fn boot_time() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
