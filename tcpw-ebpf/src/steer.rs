//! Leads a refused client to user space's own socket, which has a banner or a program for it.
//!
//! In: a look-up whose refusal is certain, and its namespace. Out: the packet goes to that socket,
//! which sees the addresses the client chose.
//! Invariant: all packets of a flow go the same way: its first one decides, whatever the limits say
//! to a SYN that is sent again, or to the ACK of a SYN cookie. A handshake that was allowed and is
//! forgotten may end here: that is no more than its client's refusal, under the policy of today.
//! Source: Documentation/bpf/prog_sk_lookup.rst.

use aya_ebpf::programs::SkLookupContext;
use tcpw_common::{
    limits::{PASSED_NS, STEERED_NS},
    service::{BY_STEER, Flow, TakerKey},
};

use crate::maps::TAKERS;

/// Whether a flow was led to user space before.
#[inline(always)]
pub(crate) fn was_steered(before: Option<Flow>, now_ns: u64) -> bool {
    before.is_some_and(|flow| flow.by == BY_STEER && now_ns < flow.at_ns.wrapping_add(PASSED_NS))
}

/// Whether it is so short ago that the packet belongs to the same attempt.
#[inline(always)]
pub(crate) fn is_same_attempt(before: Option<Flow>, now_ns: u64) -> bool {
    before.is_some_and(|flow| flow.by == BY_STEER && now_ns < flow.at_ns.wrapping_add(STEERED_NS))
}

/// Gives the packet to user space's socket; false if there is none.
#[inline(always)]
pub(crate) fn steer(ctx: &SkLookupContext, netns: u64, family: u32) -> bool {
    let key = TakerKey { netns, family, reserved: 0 };
    TAKERS.redirect_sk_lookup(ctx, &key, 0).is_ok()
}
