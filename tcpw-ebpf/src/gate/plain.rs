//! The straight path of the gate: a connection attempt that the tables alone decide, and that needs nothing else.
//!
//! In: a packet over IPv4 to a TCP listener that user space has tagged. Out: whether it passes, if that is plain.
//! Invariant: it passes, drops, counts and reports what the whole gate would; whatever is not plain, it leaves to the
//! whole gate. It is short and in one piece, because the whole gate is larger than a processor's instruction cache.
//! Limit: a packet over IPv6 takes the whole gate, so that the verifier need not follow one more search of an address.

use aya_ebpf::{
    EbpfContext as _, bindings::bpf_sock, helpers::bpf_get_socket_cookie, programs::SkBuffContext,
};
use tcpw_common::{
    counter::Counter,
    decide::{AUDIT, Decision, decide},
    key::{FlowKey, Query, mapped},
    outcome::Outcome,
    tag::{PROVISIONAL, REDIRECT_LISTENER, Tag},
};

use super::{are_allowed_logged, refuse_if_first};
use crate::{
    emit::count,
    maps::SCRATCH,
    net::{IPPROTO_TCP, TCP_LISTEN},
    packet::{self, Plain, Shape},
    passage::Passage,
    seen,
    tables::IN_PLACE,
    user,
};

/// What becomes of the packet; `None` if the whole gate has to judge it.
#[inline(always)]
pub(super) fn judge(ctx: &SkBuffContext, sk: *mut bpf_sock, tag: Option<&Tag>) -> Option<Passage> {
    // SAFETY: `sk` is a full socket and not null.
    let (state, protocol) = unsafe { ((*sk).state, (*sk).protocol) };
    if state != TCP_LISTEN || protocol != u32::from(IPPROTO_TCP) {
        return None;
    }
    let tag = tag.filter(|tag| tag.flags & (PROVISIONAL | REDIRECT_LISTENER) == 0)?;
    if are_allowed_logged() {
        return None;
    }
    let packet = packet::plain(ctx)?;
    let opens = match packet.shape {
        Shape::Opens => true,
        // Of an ACK that the tables allow it does not matter whether it has a handshake.
        Shape::Acknowledges => false,
        Shape::Resets | Shape::Continues | Shape::Unparsable | Shape::NotIp => return None,
    };
    let query = Query {
        names: tag.names,
        client: mapped(packet.client),
        server: mapped(packet.server),
        port: packet.server_port,
    };
    let decision = decide(&IN_PLACE, &query)?;
    if opens && decision.outcome == Outcome::Refuse && decision.flags & AUDIT == 0 {
        return refused(ctx, sk, tag, &packet, &decision);
    }
    if decision.outcome != Outcome::Allow || decision.marks != 0 {
        return None;
    }
    // After the decision: a policy with users is in force only once users count.
    if user::do_count() {
        return None;
    }
    if opens {
        count(Counter::Allowed);
    }
    Some(Passage::Pass)
}

/// Refuses a SYN.
#[inline(always)]
fn refused(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    tag: &Tag,
    packet: &Plain,
    decision: &Decision,
) -> Option<Passage> {
    if tag.netns == 0 {
        // The whole gate finds it.
        return None;
    }
    // SAFETY: this CPU's own element; the gate runs with bottom halves off and does not nest.
    let attempt = unsafe { SCRATCH.get_ptr_mut(0)?.as_mut()? };
    attempt.key.flow = FlowKey::tcp(
        tag.netns,
        (mapped(packet.client), packet.client_port),
        (mapped(packet.server), packet.server_port),
    );
    // SAFETY: the helper takes the context.
    attempt.key.listener = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    attempt.key.isn = packet.seq;
    attempt.key.reserved = 0;
    // Whether the socket is bound to a device matters only for what is held.
    attempt.tag = *tag;
    // SAFETY: `sk` is a full socket and not null.
    unsafe {
        attempt.family = (*sk).family;
        attempt.ifindex = (*ctx.skb.skb).ingress_ifindex;
    }
    attempt.has_no_handshake = 0;
    Some(refuse_if_first(attempt, decision, |attempt, now_ns| seen::is_first_syn(&attempt.key, now_ns)))
}
