//! Refusals of one attempt alone: a command decided.
//!
//! In: the flow user space names just before it sends the held SYN again, with the SYN's sequence number,
//! which the hook does not show. Out: whether this SYN is that one.
//! Invariant: it is told once: the next attempt of the flow is asked for anew.

use tcpw_common::outcome::Outcome;

use crate::{
    maps::{ATTEMPTS, ONCE},
    refuse::Refusal,
};

/// Whether user space refused the attempt that was held.
#[inline(always)]
pub(crate) fn take(lookup: &mut Refusal, now_ns: u64) -> bool {
    // SAFETY: the value is copied at once.
    let Some(answer) = unsafe { ONCE.get(&lookup.flow) }.copied() else {
        return false;
    };
    let _ = ONCE.remove(&lookup.flow);
    lookup.isn = answer.marks;
    lookup.is_once = 1;
    now_ns < answer.expires_ns && answer.outcome == Outcome::Refuse as u32
}

/// It is reset and reported: if the reset is lost, the gate meets its retransmit.
#[inline(always)]
pub(crate) fn refused(lookup: &mut Refusal, now_ns: u64) {
    if lookup.is_once == 0 {
        return;
    }
    lookup.flow.cookie = lookup.service.cookie;
    lookup.flow.isn = lookup.isn;
    // If it does not fit, a retransmit is logged as one more attempt.
    let _ = ATTEMPTS.insert(&lookup.flow, &now_ns, 0);
    lookup.flow.cookie = 0;
    lookup.flow.isn = 0;
}
