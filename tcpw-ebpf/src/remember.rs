//! State that the gate records for sk_lookup.
//!
//! In: the gate's refusal of a SYN. Out: the flows whose retransmits are left to the gate, which counts them.

use tcpw_common::{
    key::FlowKey,
    refusal::{BY_GATE, RefusedFlow},
};

use crate::maps::FLOWS;

/// Not 0: refused clients may be reset, so flows are remembered.
#[unsafe(no_mangle)]
static RESETS_ON: u32 = 0;

/// Whether refused clients may be reset.
#[inline(always)]
pub(crate) fn are_resets_on() -> bool {
    // SAFETY: a static of .rodata; volatile because user space sets it at load time.
    unsafe { core::ptr::read_volatile(&RESETS_ON) != 0 }
}

/// The gate refused an attempt.
#[inline(always)]
pub(crate) fn refused(flow: &FlowKey, now_ns: u64) {
    // If it does not fit, a retransmit is reset and logged as one more attempt.
    FLOWS.set(flow, &RefusedFlow { at_ns: now_ns, by: BY_GATE });
}
