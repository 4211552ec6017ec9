//! The refusal at once: a refused client is reset, or its connection is redirected or closed, where it is certain
//! that the gate would drop its packet.
//!
//! In: a packet for which no connection is known, before the kernel looks for a listener. Out: pass; drop, to
//! which the kernel answers with a RST, over UDP with an ICMP message; or the redirect listener.
//! Invariant: it refuses nothing that the gate would pass. It refuses only a packet for a certified listener that the
//! tables refuse; everything else goes on to the gate. A packet whose handshake the kernel knows never comes here, and
//! the gate judges any other by the same tables, whatever passed before. An attempt is reported once, by one of the
//! two. What the tables allow to any listener passes before anything is looked up for its place.
//! Limits: the hook shows no TCP flags. A refused client's segment without a connection counts as an attempt. Answers to
//! one attempt alone that allow it are not known here: the ACK of its SYN cookie is refused if a later attempt of its
//! client at this address was refused meanwhile.
//! Hook: sk_lookup, of each network namespace with a certified place.

use core::{
    hint::cold_path,
    ptr::{addr_of, read_volatile},
};

use aya_ebpf::programs::SkLookupContext;
use tcpw_common::{
    certified::{MAY_CLOSE, MAY_REDIRECT, MAY_RESET, WHOLE_NETNS, change_index},
    counter::Counter,
    decide::{AUDIT, Decision, decide, decide_for_any_names},
    event::Kind,
    key::{Address, Query, as_v4, mapped},
    limits::{REFUSED_FLOW_NS, SAME_ATTEMPT_NS},
    outcome::{Outcome, REDIRECT},
    refusal::{BY_GATE, BY_REDIRECT, BY_RESET, RefusedFlow},
    tag::Tag,
};

use crate::{
    clock::boot_ns,
    emit::{Report, count, emit},
    lookup::Lookup,
    maps::{ANSWERS, CERTIFIED, CHANGES, FLOWS, LOOKUP, PLACE, RESET_LIMITS, RESET_SOURCES, RESETS},
    net::{AF_INET, IPPROTO_TCP, IPPROTO_UDP, join, port},
    once,
    passage::Passage,
    rate::{is_reached, is_source_reached, is_source_within, is_within},
    redirect,
    steady::{Found, look_up, steady},
    tables::BY_CALL,
    unreachable,
};

/// What the context says of a packet besides its addresses.
struct Packet {
    protocol: u32,
    family: u32,
    ifindex: u32,
    /// Network order.
    remote_port: u16,
    /// Host order.
    local_port: u32,
}

/// Judges one packet.
#[inline(always)]
pub(crate) fn judge(ctx: &SkLookupContext) -> Passage {
    let query = read_query(ctx);
    // An allowed client needs no more, if the names of a listener do not matter.
    let decision = decide_for_any_names(&BY_CALL, &query);
    if decision.as_ref().is_some_and(passes) {
        return Passage::Pass;
    }
    cold_path();
    judge_at_place(ctx, &query, decision)
}

/// Whether the gate passes the packet, whatever else is known.
#[inline(always)]
fn passes(decision: &Decision) -> bool {
    decision.flags & AUDIT != 0 || decision.outcome == Outcome::Allow || decision.outcome == Outcome::Exempt
}

/// Judges a packet by its place. `of_any_names` is the decision, if the names of the listener do not matter.
#[inline(always)]
fn judge_at_place(ctx: &SkLookupContext, query: &Query, of_any_names: Option<Decision>) -> Passage {
    // SAFETY: this CPU's own element; `is_busy` keeps the one user it has.
    let Some(lookup) = LOOKUP.get_ptr_mut(0).and_then(|lookup| unsafe { lookup.as_mut() }) else {
        return Passage::Pass;
    };
    // A look-up on behalf of a process (sock_diag) may be interrupted by one of a packet.
    if lookup.is_busy != 0 {
        return Passage::Pass;
    }
    lookup.is_busy = 1;
    let passage = if is_of_place(&read(ctx), query, lookup) {
        refuse(ctx, lookup, of_any_names)
    } else {
        Passage::Pass
    };
    lookup.is_busy = 0;
    passage
}

/// Reads what is not in the query: again, because there is no room for it on the stack while the tables are walked.
#[inline(always)]
fn read(ctx: &SkLookupContext) -> Packet {
    let packet = ctx.lookup;
    // SAFETY: members of the context; the verifier checks each access. Each word is read by itself
    // and on every path, as in the accepted program.
    unsafe {
        Packet {
            protocol: read_volatile(addr_of!((*packet).protocol)),
            family: read_volatile(addr_of!((*packet).family)),
            ifindex: read_volatile(addr_of!((*packet).ingress_ifindex)),
            remote_port: read_volatile(addr_of!((*packet).remote_port)),
            local_port: read_volatile(addr_of!((*packet).local_port)),
        }
    }
}

/// Reads the addresses and the port; without names.
#[inline(always)]
fn read_query(ctx: &SkLookupContext) -> Query {
    let packet = ctx.lookup;
    // SAFETY: as above.
    let (family, local_port, remote, remote6, local, local6) = unsafe {
        (
            read_volatile(addr_of!((*packet).family)),
            read_volatile(addr_of!((*packet).local_port)),
            read_volatile(addr_of!((*packet).remote_ip4)),
            [
                read_volatile(addr_of!((*packet).remote_ip6[0])),
                read_volatile(addr_of!((*packet).remote_ip6[1])),
                read_volatile(addr_of!((*packet).remote_ip6[2])),
                read_volatile(addr_of!((*packet).remote_ip6[3])),
            ],
            read_volatile(addr_of!((*packet).local_ip4)),
            [
                read_volatile(addr_of!((*packet).local_ip6[0])),
                read_volatile(addr_of!((*packet).local_ip6[1])),
                read_volatile(addr_of!((*packet).local_ip6[2])),
                read_volatile(addr_of!((*packet).local_ip6[3])),
            ],
        )
    };
    let (client, server) = if family == AF_INET {
        (mapped(remote.to_ne_bytes()), mapped(local.to_ne_bytes()))
    } else {
        (join(remote6), join(local6))
    };
    Query { names: 0, client, server, port: port(local_port) }
}

/// Takes the packet's namespace and ends; false if the packet is not to be judged.
#[inline(always)]
fn is_of_place(packet: &Packet, query: &Query, lookup: &mut Lookup) -> bool {
    let Some(place) = PLACE.get_ptr(0) else {
        return false;
    };
    // SAFETY: the pointer is into the map.
    let place = unsafe { *place };
    if (packet.protocol != u32::from(IPPROTO_TCP) && packet.protocol != u32::from(IPPROTO_UDP))
        || place.local_port != packet.local_port
        || place.remote_port != u32::from(packet.remote_port)
    {
        return false;
    }
    lookup.flow.client = query.client;
    lookup.flow.server = query.server;
    lookup.flow.client_port = u16::from_be(packet.remote_port);
    lookup.flow.server_port = query.port;
    lookup.flow.netns = place.netns;
    lookup.flow.protocol = port(packet.protocol);
    lookup.flow.reserved = 0;
    lookup.ifindex = packet.ifindex;
    lookup.family = packet.family;
    lookup.key.netns = place.netns;
    lookup.key.port = lookup.flow.server_port;
    lookup.key.protocol = lookup.flow.protocol;
    lookup.key.reserved = 0;
    lookup.is_once = 0;
    true
}

#[inline(always)]
fn refuse(ctx: &SkLookupContext, lookup: &mut Lookup, of_any_names: Option<Decision>) -> Passage {
    if !find_certified(lookup) {
        return Passage::Pass;
    }
    let is_udp = lookup.key.protocol == IPPROTO_UDP;
    if is_udp && unreachable::is_unjudged(lookup) {
        return Passage::Pass;
    }
    let decision = match of_any_names {
        Some(decision) => decision,
        None => {
            // In the map: there is no room for another one on the stack.
            lookup.query.client = lookup.flow.client;
            lookup.query.server = lookup.flow.server;
            lookup.query.port = lookup.flow.server_port;
            lookup.query.names = lookup.certified.names;
            match decide(&BY_CALL, &lookup.query) {
                Some(decision) if !passes(&decision) => decision,
                Some(_) | None => return Passage::Pass,
            }
        }
    };
    let now_ns = boot_ns();
    let marks = match decision.outcome {
        Outcome::Refuse => Some(decision.marks),
        Outcome::Ask => answered_so(lookup, &decision, now_ns),
        Outcome::Allow | Outcome::Exempt => None,
    };
    let Some(marks) = marks else {
        return Passage::Pass;
    };
    let redirects = !is_udp && marks & REDIRECT != 0 && lookup.certified.flags & MAY_REDIRECT != 0;
    // The answer to one attempt alone depends on a command, which would have to run again for the connection.
    let closes = !is_udp && lookup.certified.flags & MAY_CLOSE != 0 && lookup.is_once == 0;
    if !redirects && lookup.certified.flags & MAY_RESET == 0 {
        return Passage::Pass;
    }
    if is_udp {
        return unreachable::refuse(lookup, &decision, now_ns);
    }
    // The SYN that user space re-injects is no retransmit.
    let before = if lookup.is_once == 0 { FLOWS.get(&lookup.flow) } else { None };
    if before.is_some_and(|flow| flow.by == BY_GATE && now_ns < flow.at_ns.wrapping_add(REFUSED_FLOW_NS)) {
        return Passage::Pass;
    }
    let goes_on = (redirects || closes) && redirect::was_redirected(before, now_ns);
    if !goes_on && !takes_one(lookup, now_ns) {
        count(Counter::ResetLimited);
        return Passage::Pass;
    }
    if (redirects || closes) && redirect::redirect(ctx, lookup.key.netns, lookup.family) {
        // If it does not fit, a retransmit is one more attempt that never connects.
        FLOWS.set(&lookup.flow, &RefusedFlow { at_ns: now_ns, by: BY_REDIRECT });
        if redirect::is_same_attempt(before, now_ns) {
            count(Counter::Retransmits);
            return Passage::Pass;
        }
        count(Counter::Refused);
        count(Counter::Redirected);
        report(Kind::Redirected, lookup, &decision, now_ns);
        return Passage::Pass;
    }
    if lookup.certified.flags & MAY_RESET == 0 {
        return Passage::Pass;
    }
    count(Counter::Reset);
    if before.is_some_and(|flow| flow.by == BY_RESET && now_ns < flow.at_ns.wrapping_add(SAME_ATTEMPT_NS)) {
        count(Counter::Retransmits);
        return Passage::Drop;
    }
    // If it does not fit, a retransmit is logged as one more attempt.
    FLOWS.set(&lookup.flow, &RefusedFlow { at_ns: now_ns, by: BY_RESET });
    once::refused(lookup, now_ns);
    count(Counter::Refused);
    report(Kind::Refused, lookup, &decision, now_ns);
    Passage::Drop
}

/// Reads the certificate of the packet's place; false if there is none with one of these flags, or it does not hold
/// any more.
#[inline(always)]
fn find_certified(lookup: &mut Lookup) -> bool {
    lookup.key.local = lookup.flow.server;
    let found = match look_up(|| CERTIFIED.get_ptr(&lookup.key)) {
        Found::Nothing => {
            let is_v4 = as_v4(&lookup.flow.server).is_some();
            lookup.key.local = if is_v4 { mapped([0; 4]) } else { [0; 16] };
            look_up(|| CERTIFIED.get_ptr(&lookup.key))
        }
        found @ (Found::Value(_) | Found::Unsteady) => found,
    };
    let Found::Value(certified) = found else {
        return false;
    };
    lookup.certified = certified;
    let (netns, protocol, port) = (lookup.key.netns, lookup.key.protocol, u32::from(lookup.key.port));
    lookup.certified.flags & (MAY_RESET | MAY_REDIRECT) != 0
        && stamp(netns, protocol, port) == Some(lookup.certified.port_stamp)
        && stamp(netns, protocol, WHOLE_NETNS) == Some(lookup.certified.netns_stamp)
}

/// When a listener of that port last came or went, as the table of changes has it.
#[inline(always)]
pub(crate) fn stamp(netns: u64, protocol: u16, port: u32) -> Option<u64> {
    let change = CHANGES.get_ptr(change_index(netns, protocol, port))?;
    // SAFETY: the pointer is into the map and aligned; one load, whole.
    Some(unsafe { change.read_volatile() })
}

/// The marks of user space's answer, if the address does not decide and the answer is a refusal.
#[inline(always)]
fn answered_so(lookup: &mut Lookup, decision: &Decision, now_ns: u64) -> Option<u8> {
    lookup.answer.generation = decision.generation;
    lookup.answer.policy = decision.policy;
    lookup.answer.client = lookup.flow.client;
    lookup.answer.server = lookup.flow.server;
    let answer = steady(|| ANSWERS.get_ptr(&lookup.answer));
    match answer.filter(|answer| now_ns < answer.expires_ns) {
        Some(answer) if answer.outcome == Outcome::Refuse as u32 => Some((answer.marks & 0xff) as u8),
        Some(_) => None,
        None => once::take(lookup, decision.generation, now_ns).then_some(0),
    }
}

/// Whether a limit of the resets is reached in this second, so that the gate would drop the packet; counts nothing.
#[inline(always)]
pub(crate) fn are_limits_reached(client: &Address, now_ns: u64) -> bool {
    let Some(limits) = RESET_LIMITS.get(0) else {
        return false;
    };
    // Two CPUs that count meanwhile: the sum is that of before or after.
    RESETS.get(0).is_some_and(|all| is_reached(all, limits.total, now_ns))
        || is_source_reached(&RESET_SOURCES, client, limits.per_source, now_ns)
}

/// Whether one more is within the limits; counts it.
#[inline(always)]
pub(crate) fn is_within_limits(lookup: &Lookup, now_ns: u64) -> bool {
    let is_within = takes_one(lookup, now_ns);
    count(if is_within { Counter::Reset } else { Counter::ResetLimited });
    is_within
}

/// Whether one more is within the limits.
#[inline(always)]
fn takes_one(lookup: &Lookup, now_ns: u64) -> bool {
    let Some(limits) = RESET_LIMITS.get(0) else {
        return false;
    };
    // SAFETY: the pointer is into the map; two CPUs that count at once may be off by one.
    let all = RESETS.get_ptr_mut(0).and_then(|all| unsafe { all.as_mut() });
    // The source first: what one source has too many of does not count against the limit of all.
    is_source_within(&RESET_SOURCES, &lookup.flow.client, limits.per_source, now_ns)
        && all.is_some_and(|all| is_within(all, limits.total, now_ns))
}

/// Tells user space of an attempt.
#[inline(always)]
pub(crate) fn report(kind: Kind, lookup: &mut Lookup, decision: &Decision, time_ns: u64) {
    lookup.tag =
        Tag { names: lookup.certified.names, netns: lookup.key.netns, pid: lookup.certified.pid, flags: 0 };
    emit(
        kind,
        &Report {
            time_ns,
            tag: &lookup.tag,
            cookie: lookup.certified.cookie,
            flow: &lookup.flow,
            family: lookup.certified.family,
            ifindex: lookup.ifindex,
            generation: decision.generation,
            policy: decision.policy,
            comm: &[0; 16],
        },
    );
}
