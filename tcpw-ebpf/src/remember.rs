//! State that the gate records for sk_lookup.
//!
//! In: the gate's verdict on a SYN. Out: flows that must not be reset: those it let pass, because their
//! last ACK may carry a SYN cookie, and those it refused itself, because it counts their retransmits.
//! Invariant: while [`may_have_forgotten`] says no, every flow that passed within
//! [`PASSED_NS`] is known.

use tcpw_common::{
    key::FlowKey,
    limits::{MANY_PASSED, PASSED_NS},
    refusal::{BY_GATE, RefusedFlow},
};

use crate::maps::{FLOWS, PASSED, PRESSURE};

/// Not 0: refused clients may be reset, so flows are remembered.
#[unsafe(no_mangle)]
static RESETS_ON: u32 = 0;

/// Whether refused clients may be reset.
#[inline(always)]
pub(crate) fn are_resets_on() -> bool {
    // SAFETY: a static of .rodata; volatile because user space sets it at load time.
    unsafe { core::ptr::read_volatile(&RESETS_ON) != 0 }
}

/// A SYN passes.
#[inline(always)]
pub(crate) fn passed(flow: &FlowKey, now_ns: u64) {
    count(now_ns);
    // The table evicts its oldest entries: `count` notices if there are too many newer ones.
    PASSED.set(flow, &now_ns);
}

/// The gate refused an attempt.
#[inline(always)]
pub(crate) fn refused(flow: &FlowKey, now_ns: u64) {
    // If it does not fit, a retransmit is reset and logged as one more attempt.
    FLOWS.set(flow, &RefusedFlow { at_ns: now_ns, by: BY_GATE });
}

/// Whether a flow's SYN passed so short ago that its handshake may be under way.
#[inline(always)]
pub(crate) fn may_be_in_handshake(flow: &FlowKey, now_ns: u64) -> bool {
    PASSED.get(flow).is_some_and(|at_ns| now_ns < at_ns.wrapping_add(PASSED_NS))
}

/// Whether a flow that passed may be missing from the table.
#[inline(always)]
pub(crate) fn may_have_forgotten(now_ns: u64) -> bool {
    PRESSURE.get(0).is_none_or(|pressure| now_ns < pressure.until_ns)
}

#[inline(always)]
fn count(now_ns: u64) {
    let Some(pressure) = PRESSURE.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the pointer is into the map. Two CPUs that count at once lose a count, which the
    // margin of MANY_PASSED covers.
    unsafe {
        if now_ns >= (*pressure).began_ns.wrapping_add(PASSED_NS) {
            (*pressure).began_ns = now_ns;
            (*pressure).count = 0;
        }
        (*pressure).count += 1;
        if (*pressure).count > MANY_PASSED {
            (*pressure).until_ns = now_ns.wrapping_add(PASSED_NS);
        }
    }
}
