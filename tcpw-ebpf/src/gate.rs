//! The gate: the authority on every new connection.
//!
//! In: each packet a socket below the cgroup is about to receive. Out: pass, or drop.
//! Invariant: only a packet that opens a connection to a listening TCP socket, or a datagram to a
//! UDP socket whose owner chose its port, can be dropped; what belongs to a connection leaves at
//! the first test, a load and two compares. An ACK opens a connection if its number is a SYN
//! cookie: one that belongs to no handshake is judged like a SYN. Where users decide, the last ACK of
//! a handshake is judged too.
//! Hook: cgroup_skb/ingress, after netfilter and sk_lookup; the context's socket is the listener
//! for a SYN and for the last ACK of a handshake; a datagram is whole again, whatever fragments
//! it came in.

mod ask;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_sk_fullsock},
    programs::SkBuffContext,
};
use aya_log_ebpf::{error, warn};
use tcpw_common::{
    counter::Counter,
    decide::{AUDIT, Decision, NAMES_COUNT, decide},
    event::Kind,
    handshake::Handshake,
    key::{AttemptKey, Query},
    limits::ONE_ATTEMPT_NS,
    outcome::{Outcome, REPORT},
    tag::{KERNEL_PORT, OF_ONE_DEVICE, PROVISIONAL, TAKER, Tag, UNPRIVILEGED},
    user::Pending,
};

use ask::{ask, wants_text};

use crate::{
    emit::{Report, count, emit},
    handshake::has_handshake,
    hold::{hold, is_anybody_there},
    identity::tag_of,
    maps::{ATTEMPTS, HANDSHAKES, LISTENERS, SCRATCH},
    packet::{self, Rest, Shape},
    port::port,
    remember::{self, are_resets_on},
    tables::KernelTables,
    udp::{self, IPPROTO_UDP, is_udp},
    user,
};

/// State of a listening socket. Source: linux/include/net/tcp_states.h.
const TCP_LISTEN: u32 = 10;
/// State of a UDP socket that is not connected.
const TCP_CLOSE: u32 = 7;
const IPPROTO_TCP: u32 = 6;

/// Not 0: every allowed attempt is remembered for the accepted event.
#[unsafe(no_mangle)]
static LOG_ALLOWED: u32 = 0;

/// Kinds of a UDP client's attempts, in the place of a sequence number.
const REFUSED: u32 = 0;
const ALLOWED: u32 = 1;

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Pass,
    Drop,
}

/// A connection attempt at a listener: a SYN, or the ACK that completes its handshake; or a datagram
/// to a service. Lives in [`SCRATCH`]: it does not fit the stack.
#[repr(C)]
pub(crate) struct Attempt {
    key: AttemptKey,
    query: Query,
    tag: Tag,
    family: u32,
    ifindex: u32,
    /// Not 0: an ACK that belongs to no handshake.
    is_stray: u32,
    /// IPPROTO_TCP or IPPROTO_UDP.
    protocol: u32,
    handshake: Handshake,
    /// Not 0: the ACK.
    completes: u32,
    rest: Rest,
    pending: Pending,
}

/// Judges one packet.
#[inline(always)]
pub(crate) fn judge(ctx: &SkBuffContext) -> Passage {
    let Some(attempt) = attempt(ctx) else {
        return Passage::Pass;
    };
    let passage = decide_attempt(ctx, attempt);
    if attempt.protocol == IPPROTO_UDP {
        udp::heard(&attempt.key, passage == Passage::Pass);
    } else if passage == Passage::Pass && attempt.completes == 0 && are_resets_on() {
        forget_socket(&mut attempt.key);
        // SAFETY: the helper has no preconditions.
        remember::passed(&attempt.key, unsafe { bpf_ktime_get_boot_ns() });
    }
    passage
}

/// The connection attempt this packet makes, if it makes one.
#[inline(always)]
fn attempt(ctx: &SkBuffContext) -> Option<&'static mut Attempt> {
    // SAFETY: the context is the kernel's; the verifier checks each access, and null is tested.
    let sk = unsafe {
        let sk = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if sk.is_null() || ((*sk).state != TCP_LISTEN && (*sk).state != TCP_CLOSE) {
            return None;
        }
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() {
            return None;
        }
        sk
    };
    // SAFETY: `sk` is a full socket and not null.
    let (state, protocol, kind) = unsafe { ((*sk).state, (*sk).protocol, (*sk).type_) };
    let tag = tag_of(sk);
    let is_datagram = state == TCP_CLOSE && is_udp(protocol, kind);
    if is_datagram {
        // Nobody bound it, or not to a port of his own.
        if tag?.flags & KERNEL_PORT != 0 {
            return None;
        }
    } else if state != TCP_LISTEN || protocol != IPPROTO_TCP {
        return None;
    }
    // SAFETY: this CPU's own element; the gate runs with bottom halves off and does not nest.
    let attempt = unsafe { SCRATCH.get_ptr_mut(0)?.as_mut()? };
    attempt.protocol = protocol;
    let wanted = if is_datagram { packet::UDP } else { packet::TCP };
    let shape = packet::read(ctx, &mut attempt.key, wanted, &mut attempt.rest);
    // SAFETY: as above.
    let own_port = unsafe { port((*sk).src_port) };
    if is_led(tag, shape, attempt.key.server_port, own_port) {
        return None;
    }
    match shape {
        Shape::Opens | Shape::Unparsable => (attempt.completes, attempt.is_stray) = (0, 0),
        Shape::Acknowledges => {
            let isn = attempt.key.isn;
            let is_stray = !has_handshake(ctx, &attempt.key) && !was_allowed(attempt);
            attempt.key.isn = isn;
            if !is_stray && !user::do_count() {
                return None;
            }
            (attempt.completes, attempt.is_stray) = (1, u32::from(is_stray));
        }
        Shape::Continues | Shape::NotIp => return None,
    }
    // SAFETY: `sk` is a full socket and not null; the helper takes the context.
    unsafe {
        attempt.key.cookie = bpf_get_socket_cookie(ctx.as_ptr());
        attempt.family = (*sk).family;
        attempt.ifindex = (*ctx.skb.skb).ingress_ifindex;
        if shape == Shape::Unparsable {
            attempt.rest.has_data = 1;
            attempt.key.isn = 0;
            attempt.key.client_port = 0;
            attempt.key.server_port = port((*sk).src_port);
        }
    }
    if shape == Shape::Unparsable {
        count(Counter::Unparsable);
        warn!(
            ctx,
            "packet without a TCP or UDP header to port {}: judged by its address", attempt.key.server_port
        );
    }
    if is_datagram && udp::is_reply(&attempt.key) {
        count(Counter::Replies);
        return None;
    }
    identify(attempt, tag);
    // SAFETY: as above.
    if unsafe { (*sk).bound_dev_if } != 0 {
        attempt.tag.flags |= OF_ONE_DEVICE;
    }
    attempt.query.names = attempt.tag.names;
    attempt.query.client = attempt.key.client;
    attempt.query.server = attempt.key.server;
    attempt.query.port = attempt.key.server_port;
    Some(attempt)
}

/// Whether a packet was led to tcpw's own socket. What comes to its very port was not: that is nobody's service.
#[inline(always)]
fn is_led(tag: Option<&Tag>, shape: Shape, port: u16, own_port: u16) -> bool {
    tag.is_some_and(|tag| tag.flags & TAKER != 0) && shape != Shape::Unparsable && port != own_port
}

/// Whether the SYN before an ACK passed: its handshake is kept in a SYN cookie alone.
#[inline(always)]
fn was_allowed(attempt: &mut Attempt) -> bool {
    if !are_resets_on() {
        return false;
    }
    forget_socket(&mut attempt.key);
    // SAFETY: the helper has no preconditions.
    remember::may_be_in_handshake(&attempt.key, unsafe { bpf_ktime_get_boot_ns() })
}

/// Who listens: the tag of user space, on the socket or under its cookie; else what there is.
#[inline(always)]
fn identify(attempt: &mut Attempt, tag: Option<&Tag>) {
    attempt.tag = match tag {
        Some(tag) => *tag,
        None => Tag { names: 0, netns: 0, pid: 0, flags: PROVISIONAL },
    };
    if attempt.tag.flags & PROVISIONAL == 0 {
        return;
    }
    // SAFETY: the value is copied at once.
    match unsafe { LISTENERS.get(&attempt.key.cookie) } {
        Some(tag) => attempt.tag = *tag,
        None if attempt.completes == 0 => count(Counter::Untagged),
        // Counted with its SYN.
        None => {}
    }
}

#[inline(always)]
fn decide_attempt(ctx: &SkBuffContext, attempt: &mut Attempt) -> Passage {
    let Some(mut decision) = decide(&KernelTables, &attempt.query) else {
        return broken(ctx, attempt);
    };
    if user::do_count() {
        user::forget(&mut attempt.key);
    }
    if attempt.completes != 0 && (decision.outcome == Outcome::Exempt || decision.flags & AUDIT != 0) {
        return Passage::Pass;
    }
    if decision.outcome == Outcome::Exempt {
        count(Counter::Exempt);
        return Passage::Pass;
    }
    if attempt.tag.flags & PROVISIONAL != 0 && decision.flags & NAMES_COUNT != 0 {
        // SAFETY: the helper has no preconditions.
        let now_ns = unsafe { bpf_ktime_get_boot_ns() };
        if is_anybody_there(now_ns) {
            return wait(ctx, Kind::Unidentified, attempt, &decision, now_ns);
        }
        // A name that anybody may take can close the door, and not open it.
        if attempt.tag.flags & UNPRIVILEGED != 0 && decision.outcome != Outcome::Refuse {
            attempt.tag.names = 0;
            attempt.query.names = 0;
            decision = match decide(&KernelTables, &attempt.query) {
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
    if attempt.protocol != IPPROTO_TCP {
        // A datagram makes no handshake: what is wanted beside is wanted now, once an attempt.
        if marks & REPORT != 0 && decision.flags & AUDIT == 0 && first_of_peer(attempt, ALLOWED) {
            report(Kind::Accepted, attempt, decision);
        }
        return Passage::Pass;
    }
    // Audit mode does nothing but look.
    let mut marks = if decision.flags & AUDIT != 0 { 0 } else { marks };
    // SAFETY: a static of .rodata; volatile because user space sets it at load time.
    if unsafe { core::ptr::read_volatile(&LOG_ALLOWED) } != 0 {
        marks |= REPORT;
    }
    if marks != 0 {
        attempt.handshake.tag = attempt.tag;
        attempt.handshake.cookie = attempt.key.cookie;
        attempt.handshake.generation = decision.generation;
        attempt.handshake.policy = decision.policy;
        attempt.handshake.marks = u32::from(marks);
        attempt.handshake.reserved = 0;
        forget_socket(&mut attempt.key);
        // A full or busy table costs what was wanted beside, never the connection.
        let _ = HANDSHAKES.insert(&attempt.key, &attempt.handshake, 0);
    }
    Passage::Pass
}

/// Leaves the key of the flow: without the socket and the sequence number, which others do not know.
#[inline(always)]
fn forget_socket(key: &mut AttemptKey) {
    key.isn = 0;
    key.cookie = 0;
}

#[inline(always)]
fn refuse(attempt: &mut Attempt, decision: &Decision) -> Passage {
    let audit = decision.flags & AUDIT != 0;
    if attempt.is_stray != 0 {
        count(Counter::Strays);
    } else if first_seen(attempt) {
        if audit {
            count(Counter::WouldRefuse);
            report(Kind::WouldRefuse, attempt, decision);
        } else {
            count(Counter::Refused);
            report(Kind::Refused, attempt, decision);
            if attempt.protocol == IPPROTO_TCP {
                forget_socket(&mut attempt.key);
                // SAFETY: the helper has no preconditions.
                remember::refused(&attempt.key, unsafe { bpf_ktime_get_boot_ns() });
            }
        }
    } else if attempt.protocol == IPPROTO_UDP {
        count(Counter::Repeats);
    } else {
        count(Counter::Retransmits);
    }
    if audit { Passage::Pass } else { Passage::Drop }
}

/// Leaves the attempt to user space. In audit mode it passes meanwhile.
#[inline(always)]
fn wait(ctx: &SkBuffContext, kind: Kind, attempt: &Attempt, decision: &Decision, now_ns: u64) -> Passage {
    if let Err(bound) = hold(ctx, kind, &attempt.key, &describe(attempt, decision), now_ns) {
        count(bound);
    }
    if decision.flags & AUDIT != 0 { Passage::Pass } else { Passage::Drop }
}

/// Whether this SYN or datagram is the first of its attempt; remembers it.
#[inline(always)]
fn first_seen(attempt: &mut Attempt) -> bool {
    if attempt.protocol == IPPROTO_UDP {
        return first_of_peer(attempt, REFUSED);
    }
    // SAFETY: only tested for presence.
    if unsafe { ATTEMPTS.get(&attempt.key) }.is_some() {
        return false;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // If it does not fit, a retransmit is logged as one more attempt.
    let _ = ATTEMPTS.insert(&attempt.key, &now, 0);
    true
}

/// All datagrams of a peer to a socket are one attempt for a while, from whichever ports.
#[inline(always)]
fn first_of_peer(attempt: &mut Attempt, kind: u32) -> bool {
    let ports = (attempt.key.client_port, attempt.key.server_port);
    let isn = attempt.key.isn;
    attempt.key.isn = kind;
    attempt.key.server = [0; 16];
    attempt.key.client_port = 0;
    attempt.key.server_port = 0;
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: the value is copied at once.
    let before = unsafe { ATTEMPTS.get(&attempt.key) }.copied();
    let is_first = before.is_none_or(|before| now >= before + ONE_ATTEMPT_NS);
    if is_first {
        // If it does not fit, the next one is logged as one more attempt.
        let _ = ATTEMPTS.insert(&attempt.key, &now, 0);
    }
    attempt.key.server = attempt.query.server;
    attempt.key.isn = isn;
    (attempt.key.client_port, attempt.key.server_port) = ports;
    is_first
}

#[inline(always)]
fn report(kind: Kind, attempt: &Attempt, decision: &Decision) {
    emit(kind, &describe(attempt, decision));
}

#[inline(always)]
fn describe<'a>(attempt: &'a Attempt, decision: &Decision) -> Report<'a> {
    Report {
        tag: &attempt.tag,
        cookie: attempt.key.cookie,
        client: &attempt.key.client,
        server: &attempt.key.server,
        client_port: attempt.key.client_port,
        server_port: attempt.key.server_port,
        family: attempt.family,
        ifindex: attempt.ifindex,
        generation: decision.generation,
        policy: decision.policy,
        protocol: port(attempt.protocol),
        comm: &[0; 16],
    }
}
