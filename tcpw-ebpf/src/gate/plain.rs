//! The straight path of the gate: a connection that the tables allow and that needs nothing else.
//!
//! In: a packet over IPv4 to a TCP listener that user space has tagged. Out: whether it passes at once.
//! Invariant: it passes and counts what the whole gate would, and keeps nothing; whatever is not plain, it leaves to the
//! whole gate. It is short and in one piece, because the whole gate is larger than a processor's instruction cache.
//! Limit: a packet over IPv6 takes the whole gate, so that the verifier need not follow one more search of an address.

use aya_ebpf::{bindings::bpf_sock, programs::SkBuffContext};
use tcpw_common::{
    counter::Counter,
    decide::decide,
    key::{Query, mapped},
    outcome::Outcome,
    tag::{PROVISIONAL, REDIRECT_LISTENER, Tag},
};

use super::are_allowed_logged;
use crate::{
    emit::count,
    net::{IPPROTO_TCP, TCP_LISTEN},
    packet::{self, Shape},
    tables::KernelTables,
    user,
};

/// Whether the packet passes, and at most a counter is to be changed.
#[inline(always)]
pub(super) fn passes(ctx: &SkBuffContext, sk: *mut bpf_sock, tag: Option<&Tag>) -> bool {
    // SAFETY: `sk` is a full socket and not null.
    let (state, protocol) = unsafe { ((*sk).state, (*sk).protocol) };
    if state != TCP_LISTEN || protocol != u32::from(IPPROTO_TCP) {
        return false;
    }
    let Some(tag) = tag.filter(|tag| tag.flags & (PROVISIONAL | REDIRECT_LISTENER) == 0) else {
        return false;
    };
    if are_allowed_logged() {
        return false;
    }
    let Some(packet) = packet::plain(ctx) else {
        return false;
    };
    let opens = match packet.shape {
        Shape::Opens => true,
        // Of an ACK that the tables allow it does not matter whether it has a handshake.
        Shape::Acknowledges => false,
        Shape::Resets | Shape::Continues | Shape::Unparsable | Shape::NotIp => return false,
    };
    let query = Query {
        names: tag.names,
        client: mapped(packet.client),
        server: mapped(packet.server),
        port: packet.server_port,
    };
    if !decide(&KernelTables, &query).is_some_and(|it| it.outcome == Outcome::Allow && it.marks == 0) {
        return false;
    }
    // After the decision: a policy with users is in force only once users count.
    if user::do_count() {
        return false;
    }
    if opens {
        count(Counter::Allowed);
    }
    true
}
