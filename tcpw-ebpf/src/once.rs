//! Refusals of one attempt only: a command decided.
//!
//! In: the flow that user space writes just before it re-injects the held SYN, with the SYN's sequence number,
//! which the hook does not show. Out: whether this SYN is that one.
//! Invariant: an entry counts once: user space is asked again about the next attempt of the flow.

use crate::{lookup::Lookup, maps::RESET_ONCE, seen};

/// Whether user space refused the attempt that was held, by the policy of this generation.
#[inline(always)]
pub(crate) fn take(lookup: &mut Lookup, generation: u32, now_ns: u64) -> bool {
    let Some(once) = RESET_ONCE.get(&lookup.flow) else {
        return false;
    };
    RESET_ONCE.remove(&lookup.flow);
    lookup.once.flow = lookup.flow;
    lookup.once.listener = lookup.certified.cookie;
    lookup.once.isn = once.isn;
    lookup.once.reserved = 0;
    lookup.is_once = 1;
    now_ns < once.expires_ns && once.generation == generation && once.names == lookup.certified.names
}

/// It is reset and reported: if the reset is lost, its retransmit reaches the gate.
#[inline(always)]
pub(crate) fn refused(lookup: &Lookup, now_ns: u64) {
    if lookup.is_once != 0 {
        seen::is_first_syn_by_call(&lookup.once, now_ns);
    }
}
