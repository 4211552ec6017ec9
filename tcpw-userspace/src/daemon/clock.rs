//! The clocks, read once for each input.

use std::time::{Instant, SystemTime};

use crate::{core::Now, host::boot_ns};

/// The time.
pub(super) fn now() -> Now {
    Now { at: Instant::now(), boot_ns: boot_ns(), wall: SystemTime::now() }
}
