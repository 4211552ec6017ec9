//! Redirects the connection of a refused client to tcpw's own listening socket, the redirect listener.
//!
//! In: a look-up whose refusal is certain, and its namespace. Out: the packet goes to that socket,
//! which sees the addresses the client chose.
//! Invariant: all packets of a flow go the same way: the first one decides, whatever the limits say
//! when a SYN is sent again, or when the ACK of a SYN cookie comes.
//! Source: Documentation/bpf/prog_sk_lookup.rst.

use aya_ebpf::programs::SkLookupContext;
use tcpw_common::{
    limits::{REDIRECTED_NS, REFUSED_FLOW_NS},
    refusal::{BY_REDIRECT, RedirectKey, RefusedFlow},
};

use crate::maps::REDIRECT_LISTEN;

/// Whether a flow was redirected before.
#[inline(always)]
pub(crate) fn was_redirected(before: Option<RefusedFlow>, now_ns: u64) -> bool {
    before.is_some_and(|flow| flow.by == BY_REDIRECT && now_ns < flow.at_ns.wrapping_add(REFUSED_FLOW_NS))
}

/// Whether that is recent enough for the packet to belong to the same attempt.
#[inline(always)]
pub(crate) fn is_same_attempt(before: Option<RefusedFlow>, now_ns: u64) -> bool {
    before.is_some_and(|flow| flow.by == BY_REDIRECT && now_ns < flow.at_ns.wrapping_add(REDIRECTED_NS))
}

/// Gives the packet to the redirect listener; false if there is none.
#[inline(always)]
pub(crate) fn redirect(ctx: &SkLookupContext, netns: u64, family: u32) -> bool {
    let key = RedirectKey { netns, family, reserved: 0 };
    REDIRECT_LISTEN.redirect_sk_lookup(ctx, &key, 0).is_ok()
}
