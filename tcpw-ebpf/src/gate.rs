//! The gate: the authority on every new connection.
//!
//! In: each packet a socket below the cgroup is about to receive. Out: pass, or drop.
//! Invariant: only a packet that opens a connection to a listening TCP socket, or a datagram to a
//! UDP socket whose owner chose its port, can be dropped; a packet of a connection passes after
//! the first test, a load and two compares. An ACK opens a connection if its number is a SYN
//! cookie: one that belongs to no handshake is judged like a SYN. If users decide, the last ACK of
//! a handshake is judged too.
//! Hook: cgroup_skb/ingress, after netfilter and sk_lookup; the context's socket is the listener
//! for a SYN and for the last ACK of a handshake; a datagram is whole again, whatever fragments
//! it came in.

mod ask;
mod plain;

use core::hint::cold_path;

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock,
    helpers::{bpf_get_socket_cookie, bpf_sk_fullsock},
    programs::SkBuffContext,
};
use aya_log_ebpf::{error, warn};
use tcpw_common::{
    counter::Counter,
    decide::{AUDIT, Decision, NAMES_COUNT, decide},
    event::Kind,
    outcome::{Outcome, REDIRECT, REPORT},
    tag::{KERNEL_PORT, OF_ONE_DEVICE, PROVISIONAL, REDIRECT_LISTENER, Tag, UNPRIVILEGED},
};

use ask::{ask, wants_text};

use crate::{
    attempt::Attempt,
    challenge,
    clock::boot_ns,
    emit::{Report, count, emit},
    handshake::has_handshake,
    hold::{hold, is_daemon_alive},
    identity::tag_of,
    maps::{HANDSHAKES, LISTENERS, SCRATCH},
    net::{IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE, TCP_LISTEN, is_udp, port},
    netns,
    packet::{self, Shape},
    passage::Passage,
    remember::{self, are_resets_on},
    seen,
    steady::steady,
    tables::BY_CALL,
    udp, unmarked, user,
};

/// Not 0: every accepted connection is reported.
#[unsafe(no_mangle)]
static LOG_ALLOWED: u32 = 0;

#[inline(always)]
fn are_allowed_logged() -> bool {
    // SAFETY: a static of .rodata; volatile because user space sets it at load time.
    unsafe { core::ptr::read_volatile(&LOG_ALLOWED) != 0 }
}

/// Judges one packet.
#[inline(always)]
pub(crate) fn judge(ctx: &SkBuffContext) -> Passage {
    let Some(sk) = socket(ctx) else {
        return Passage::Pass;
    };
    let tag = tag_of(sk);
    if let Some(passage) = plain::judge(ctx, sk, tag) {
        return passage;
    }
    cold_path();
    let Some(attempt) = attempt(ctx, sk, tag) else {
        return Passage::Pass;
    };
    let passage = decide_attempt(ctx, attempt);
    if is_datagram(attempt) {
        udp::heard(&attempt.key, passage == Passage::Pass);
        return passage;
    }
    if passage == Passage::Drop {
        return Passage::Drop;
    }
    if attempt.waits == 0 && user::do_count() {
        return user::go_on_freely(&attempt.key.flow, &mut attempt.pending);
    }
    Passage::Pass
}

#[inline(always)]
fn is_datagram(attempt: &Attempt) -> bool {
    attempt.key.flow.protocol == IPPROTO_UDP
}

/// The socket that receives the packet, if it may be a listener.
#[inline(always)]
fn socket(ctx: &SkBuffContext) -> Option<*mut bpf_sock> {
    // SAFETY: the context is the kernel's; the verifier checks each access, and null is tested.
    unsafe {
        let sk = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if sk.is_null() || ((*sk).state != TCP_LISTEN && (*sk).state != TCP_CLOSE) {
            return None;
        }
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() { None } else { Some(sk) }
    }
}

/// The connection attempt that this packet to a socket with this tag makes, if it makes one.
#[inline(always)]
fn attempt(ctx: &SkBuffContext, sk: *mut bpf_sock, tag: Option<&Tag>) -> Option<&'static mut Attempt> {
    // SAFETY: `sk` is a full socket and not null.
    let (state, protocol, kind) = unsafe { ((*sk).state, (*sk).protocol, (*sk).type_) };
    let is_datagram = state == TCP_CLOSE && is_udp(protocol, kind);
    // Without a tag it was not bound, but for those that cannot carry one.
    let is_unmarked = is_datagram && tag.is_none();
    if is_datagram {
        if tag.is_some_and(|tag| tag.flags & KERNEL_PORT != 0) || is_unmarked && !unmarked::are_any() {
            return None;
        }
    } else if state != TCP_LISTEN || protocol != u32::from(IPPROTO_TCP) {
        return None;
    }
    // SAFETY: this CPU's own element; the gate runs with bottom halves off and does not nest.
    let attempt = unsafe { SCRATCH.get_ptr_mut(0)?.as_mut()? };
    if is_unmarked {
        // SAFETY: the helper takes the context.
        attempt.tag = unmarked::find(unsafe { bpf_get_socket_cookie(ctx.as_ptr()) })?;
    }
    let wanted = if is_datagram { packet::UDP } else { packet::TCP };
    let shape = packet::read(ctx, &mut attempt.key.flow, wanted, &mut attempt.header);
    // SAFETY: as above.
    let own_port = unsafe { port((*sk).src_port) };
    // bind(2) has put it into the tag of each UDP socket that is judged.
    let of_tag = if is_unmarked { attempt.tag.netns } else { tag.map_or(0, |tag| tag.netns) };
    attempt.key.flow.netns = if is_datagram || of_tag != 0 { of_tag } else { netns::of_tcp(sk) };
    if is_redirected(tag, shape, attempt.key.flow.server_port, own_port) {
        if user::do_count() {
            // If it does not fit, the client gets no text.
            user::go_on_freely(&attempt.key.flow, &mut attempt.pending);
        }
        return None;
    }
    attempt.key.isn = attempt.header.seq;
    (attempt.key.reserved, attempt.waits) = (0, 0);
    match shape {
        Shape::Opens | Shape::Unparsable => (attempt.completes, attempt.has_no_handshake) = (0, 0),
        Shape::Acknowledges => {
            // The state from the SYN, if there was one.
            attempt.key.isn = attempt.header.seq.wrapping_sub(1);
            (attempt.completes, attempt.has_no_handshake) = (1, 0);
        }
        Shape::Resets => {
            challenge::answered(&attempt.key.flow, attempt.header.seq);
            return None;
        }
        Shape::Continues | Shape::NotIp => return None,
    }
    attempt.key.listener = 0;
    // SAFETY: `sk` is a full socket and not null.
    unsafe {
        attempt.family = (*sk).family;
        attempt.ifindex = (*ctx.skb.skb).ingress_ifindex;
    }
    if is_datagram {
        find_listener(ctx, attempt);
    }
    if shape == Shape::Unparsable {
        attempt.header.has_data = 1;
        attempt.key.isn = 0;
        attempt.key.flow.client_port = 0;
        attempt.key.flow.server_port = own_port;
        count(Counter::Unparsable);
        warn!(ctx, "packet without a TCP or UDP header to port {}: judged by its address", own_port);
    }
    if is_datagram && udp::is_reply(attempt) {
        count(Counter::Replies);
        return None;
    }
    if !is_unmarked {
        identify(ctx, attempt, tag);
    }
    // SAFETY: as above.
    if unsafe { (*sk).bound_dev_if } != 0 {
        attempt.tag.flags |= OF_ONE_DEVICE;
    }
    attempt.query.names = attempt.tag.names;
    attempt.query.client = attempt.key.flow.client;
    attempt.query.server = attempt.key.flow.server;
    attempt.query.port = attempt.key.flow.server_port;
    Some(attempt)
}

/// Whether sk_lookup gave a packet to a redirect listener. A packet to the listener's own port was not redirected:
/// that port is no service.
#[inline(always)]
fn is_redirected(tag: Option<&Tag>, shape: Shape, port: u16, own_port: u16) -> bool {
    tag.is_some_and(|tag| tag.flags & REDIRECT_LISTENER != 0)
        && shape != Shape::Unparsable
        && port != own_port
}

/// Finds the cookie of the listening socket, unless that is done. An attempt that is only allowed needs none.
#[inline(always)]
fn find_listener(ctx: &SkBuffContext, attempt: &mut Attempt) {
    if attempt.key.listener == 0 {
        // SAFETY: the helper takes the context.
        attempt.key.listener = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    }
}

/// Finds the listener's tag: that of user space, on the socket or under its cookie; else a provisional one.
#[inline(always)]
fn identify(ctx: &SkBuffContext, attempt: &mut Attempt, tag: Option<&Tag>) {
    attempt.tag = match tag {
        Some(tag) => *tag,
        None => Tag { names: 0, netns: 0, pid: 0, flags: PROVISIONAL },
    };
    if attempt.tag.flags & PROVISIONAL == 0 {
        return;
    }
    find_listener(ctx, attempt);
    match steady(|| LISTENERS.get_ptr(&attempt.key.listener)) {
        Some(tag) => attempt.tag = tag,
        None if attempt.completes == 0 => count(Counter::Untagged),
        // Counted with its SYN.
        None => {}
    }
}

#[inline(always)]
fn decide_attempt(ctx: &SkBuffContext, attempt: &mut Attempt) -> Passage {
    let Some(mut decision) = decide(&BY_CALL, &attempt.query) else {
        return broken(ctx, attempt);
    };
    if attempt.completes != 0 && (decision.outcome == Outcome::Exempt || decision.flags & AUDIT != 0) {
        return Passage::Pass;
    }
    if decision.outcome == Outcome::Exempt {
        count(Counter::Exempt);
        return Passage::Pass;
    }
    let is_plain = decision.outcome == Outcome::Allow && decision.marks == 0 && !are_allowed_logged();
    if !is_plain {
        find_listener(ctx, attempt);
    }
    // Of an ACK that the tables allow it does not matter whether it has a handshake.
    if attempt.completes != 0 && (decision.outcome != Outcome::Allow || attempt.tag.flags & PROVISIONAL != 0)
    {
        let has_none = !has_handshake(ctx, &attempt.key.flow);
        if !has_none && !user::do_count() {
            return Passage::Pass;
        }
        attempt.has_no_handshake = u32::from(has_none);
    }
    if attempt.tag.flags & PROVISIONAL != 0 && decision.flags & NAMES_COUNT != 0 {
        let now_ns = boot_ns();
        if is_daemon_alive(now_ns) {
            return wait(ctx, Kind::Unidentified, attempt, &decision, now_ns);
        }
        // A name that any process may take can refuse a client, but cannot allow one.
        if attempt.tag.flags & UNPRIVILEGED != 0 && decision.outcome != Outcome::Refuse {
            attempt.tag.names = 0;
            attempt.query.names = 0;
            decision = match decide(&BY_CALL, &attempt.query) {
                Some(decision) => decision,
                None => return broken(ctx, attempt),
            };
        }
    }
    match decision.outcome {
        // Handled above.
        Outcome::Exempt => Passage::Pass,
        Outcome::Allow if wants_text(attempt, &decision, decision.marks) => {
            ask(ctx, attempt, &decision, Some(decision.marks))
        }
        Outcome::Allow => allow(attempt, &decision, decision.marks),
        Outcome::Refuse => refuse(attempt, &decision),
        Outcome::Ask => ask(ctx, attempt, &decision, None),
    }
}

#[inline(always)]
fn broken(ctx: &SkBuffContext, attempt: &Attempt) -> Passage {
    count(Counter::Broken);
    error!(ctx, "a table look-up failed for port {}: refused", attempt.query.port);
    Passage::Drop
}

#[inline(always)]
fn allow(attempt: &mut Attempt, decision: &Decision, marks: u8) -> Passage {
    if attempt.completes != 0 {
        // Counted with its SYN.
        return Passage::Pass;
    }
    count(Counter::Allowed);
    if is_datagram(attempt) {
        // A datagram makes no handshake: it is reported now, once an attempt.
        if marks & REPORT != 0 && decision.flags & AUDIT == 0 {
            let now_ns = boot_ns();
            if first_datagram(attempt, Outcome::Allow, now_ns) {
                report(Kind::Accepted, attempt, decision, now_ns);
            }
        }
        return Passage::Pass;
    }
    // Audit mode does nothing to connections.
    let mut marks = if decision.flags & AUDIT != 0 { 0 } else { marks };
    if are_allowed_logged() {
        marks |= REPORT;
    }
    if marks != 0 {
        attempt.handshake.tag = attempt.tag;
        attempt.handshake.cookie = attempt.key.listener;
        attempt.handshake.generation = decision.generation;
        attempt.handshake.policy = decision.policy;
        attempt.handshake.marks = u32::from(marks);
        attempt.handshake.reserved = 0;
        // If it does not fit, the connection is not reported, gets no keepalive and no banner.
        HANDSHAKES.set(&attempt.key.flow, &attempt.handshake);
    }
    Passage::Pass
}

#[inline(always)]
#[expect(
    clippy::redundant_closure,
    reason = "passed as a function it is a call, whose stack frame and the gate's are more than 512 bytes"
)]
fn refuse(attempt: &Attempt, decision: &Decision) -> Passage {
    refuse_if_first(
        attempt,
        decision,
        #[inline(always)]
        |attempt, now_ns| first_seen(attempt, now_ns),
    )
}

/// Refuses an attempt; `is_first` says whether this packet is the first of it, and remembers it.
#[inline(always)]
fn refuse_if_first(
    attempt: &Attempt,
    decision: &Decision,
    is_first: impl FnOnce(&Attempt, u64) -> bool,
) -> Passage {
    let audit = decision.flags & AUDIT != 0;
    let now_ns = boot_ns();
    if attempt.has_no_handshake != 0 {
        count(Counter::AcksWithoutHandshake);
    } else if is_first(attempt, now_ns) {
        if audit {
            count(Counter::WouldRefuse);
            report(Kind::WouldRefuse, attempt, decision, now_ns);
        } else {
            count(Counter::Refused);
            report(Kind::Refused, attempt, decision, now_ns);
            if !is_datagram(attempt) && may_act_later(decision) {
                remember::refused(&attempt.key.flow, now_ns);
            }
        }
    } else if is_datagram(attempt) {
        count(Counter::Repeats);
    } else {
        count(Counter::Retransmits);
    }
    if audit { Passage::Pass } else { Passage::Drop }
}

/// Whether sk_lookup may reset or redirect a retransmit of a SYN that the gate refused.
#[inline(always)]
fn may_act_later(decision: &Decision) -> bool {
    are_resets_on() || decision.outcome == Outcome::Ask || decision.marks & REDIRECT != 0
}

/// Leaves the attempt to user space. In audit mode it passes meanwhile.
#[inline(always)]
fn wait(ctx: &SkBuffContext, kind: Kind, attempt: &Attempt, decision: &Decision, now_ns: u64) -> Passage {
    if let Err(bound) = hold(ctx, kind, &attempt.key, &describe(attempt, decision, now_ns), now_ns) {
        count(bound);
    }
    if decision.flags & AUDIT != 0 { Passage::Pass } else { Passage::Drop }
}

/// Whether this SYN or datagram is the first of its attempt; remembers it.
#[inline(always)]
fn first_seen(attempt: &Attempt, now_ns: u64) -> bool {
    if is_datagram(attempt) {
        return first_datagram(attempt, Outcome::Refuse, now_ns);
    }
    seen::is_first_syn_by_call(&attempt.key, now_ns)
}

#[inline(always)]
fn first_datagram(attempt: &Attempt, outcome: Outcome, now_ns: u64) -> bool {
    udp::is_first(attempt.key.listener, &attempt.key.flow.client, outcome, now_ns)
}

#[inline(always)]
fn report(kind: Kind, attempt: &Attempt, decision: &Decision, time_ns: u64) {
    emit(kind, &describe(attempt, decision, time_ns));
}

#[inline(always)]
fn describe<'a>(attempt: &'a Attempt, decision: &Decision, time_ns: u64) -> Report<'a> {
    Report {
        time_ns,
        tag: &attempt.tag,
        cookie: attempt.key.listener,
        flow: &attempt.key.flow,
        family: attempt.family,
        ifindex: attempt.ifindex,
        generation: decision.generation,
        policy: decision.policy,
        comm: &[0; 16],
    }
}
