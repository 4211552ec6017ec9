//! Failures that a test asks for.

use core::ptr::{addr_of, read_volatile};

/// Bits of [`tcpw_common::fault`].
#[unsafe(no_mangle)]
static FAULTS: u32 = 0;

/// Whether a call is to fail.
#[inline(always)]
pub(crate) fn fails(fault: u32) -> bool {
    // SAFETY: a static of .rodata; volatile because user space sets it at load time.
    unsafe { read_volatile(addr_of!(FAULTS)) & fault != 0 }
}
