//! Holding a SYN: user space gets a copy, the packet itself is dropped.
//!
//! In: an attempt the gate cannot decide. Out: a record with the packet, which user space
//! re-injects once it is decided; if that fails, the client's own retransmit finds the decision.
//! Invariant: bounded by source and by the ring; nothing is held unless user space is alive.

use core::ptr::read_volatile;

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext};
use tcpw_common::{
    counter::Counter,
    event::Kind,
    held::{Held, MAX_LENGTH},
    key::{AttemptKey, FlowKey},
    limits::{ALIVE_NS, HOLD_AGAIN_NS, HOLDS_PER_SOURCE, SLOW_NS},
};

use crate::{
    emit::{Report, count, fill},
    maps::{ALIVE, DATA_REPORTED, HELD, HOLDS, SOURCES},
    rate::is_source_within,
};

/// Whether user space gave a sign of life recently.
#[inline(always)]
pub(crate) fn is_daemon_alive(now_ns: u64) -> bool {
    ALIVE.get(0).is_some_and(|alive| now_ns < alive.wrapping_add(ALIVE_NS))
}

/// Whether to hold an attempt for its banner: the daemon is alive; or it may be slow, and was not asked about
/// this attempt before.
#[inline(always)]
pub(crate) fn is_worth_holding(key: &AttemptKey, now_ns: u64) -> bool {
    let Some(alive) = ALIVE.get(0).copied() else {
        return false;
    };
    if now_ns < alive.wrapping_add(ALIVE_NS) {
        return true;
    }
    now_ns < alive.wrapping_add(SLOW_NS) && (is_held(key, now_ns) || !HELD.has(key))
}

/// Whether to report to user space that the last ACK of a handshake had data: not twice in a short time, and not
/// for too many handshakes of a source.
#[inline(always)]
pub(crate) fn may_report_data(flow: &FlowKey, now_ns: u64) -> bool {
    if DATA_REPORTED.get(flow).is_some_and(|before| now_ns < before.wrapping_add(HOLD_AGAIN_NS)) {
        return false;
    }
    if !is_source_within(&SOURCES, &flow.client, HOLDS_PER_SOURCE, now_ns) {
        count(Counter::HoldLimited);
        return false;
    }
    // If it does not fit, it is reported once more.
    DATA_REPORTED.set(flow, &now_ns);
    true
}

/// Whether it was held a moment ago.
#[inline(always)]
fn is_held(key: &AttemptKey, now_ns: u64) -> bool {
    HELD.get(key).is_some_and(|before| now_ns < before.wrapping_add(HOLD_AGAIN_NS))
}

/// Copies the packet to user space, unless it was held a moment ago; or says which bound it exceeds.
#[inline(always)]
pub(crate) fn hold(
    ctx: &SkBuffContext,
    kind: Kind,
    key: &AttemptKey,
    report: &Report,
    now_ns: u64,
) -> Result<(), Counter> {
    if is_held(key, now_ns) {
        count(Counter::Retransmits);
        return Ok(());
    }
    if !is_source_within(&SOURCES, &report.flow.client, HOLDS_PER_SOURCE, now_ns) {
        return Err(Counter::HoldLimited);
    }
    let Some(mut entry) = HOLDS.reserve::<Held>(0) else {
        return Err(Counter::HoldRingFull);
    };
    count(Counter::Asked);
    // If it does not fit, a SYN sent again is held again.
    HELD.set(key, &now_ns);
    let held = entry.as_mut_ptr();
    let length = ctx.len();
    // SAFETY: the reservation is as large as a Held; every field is written, but for the packet's
    // bytes behind its length, which are not read.
    unsafe {
        fill(&raw mut (*held).event, kind, report);
        (*held).isn = key.isn;
        (*held).length = 0;
        if length > 0 && length <= MAX_LENGTH {
            let packet = (&raw mut (*held).packet).cast();
            // The verifier forgets the test above: the mask, which LLVM must not leave out, says it again.
            let bounded = ((read_volatile(&raw const length) - 1) & (MAX_LENGTH - 1)) + 1;
            if bpf_skb_load_bytes(ctx.as_ptr(), 0, packet, bounded) == 0 {
                (*held).length = length;
            }
        }
    }
    entry.submit(0);
    Ok(())
}
