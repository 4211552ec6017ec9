//! The refusal at once over UDP: "port unreachable", as from a port at which nobody is.
//!
//! In: a datagram for a certified service, before its socket is looked for; binds of the whole host. Out: drop,
//! to which the kernel answers with ICMP, or pass; the stamp of a port that is bound.
//! Invariant: refused is only what the gate would drop: a certified place has one socket, whose cookie
//! leads to the same peers, and to the same attempt, as in the gate. Nothing is certain of a port
//! from before somebody is found there until user space has looked.
//! Limit: the hook does not tell a datagram from an ICMP error about one of the service's own. A refused
//! client's counts as an attempt.
//! Source: linux net/ipv4/udp.c, `__udp4_lib_lookup`: connected sockets go before this hook; what goes to a
//! group or to a subnet's broadcast address never comes by it.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_get_netns_cookie,
    programs::{SockAddrContext, SockContext},
};
use tcpw_common::{
    counter::Counter, decide::Decision, event::Kind, key::is_group, limits::ONE_ATTEMPT_NS, service::PortKey,
};

use crate::{
    emit::count,
    gate::Passage,
    identity::changed,
    maps::{ATTEMPTS, UDP_PORTS},
    port::port,
    refuse::{Refusal, is_within_limits, report},
    udp::{is_udp, note, replies},
};

pub(crate) const IPPROTO_UDP: u16 = 17;

/// Whether the gate would not judge the datagram, or it would reach others too.
#[inline(always)]
pub(crate) fn is_unjudged(lookup: &mut Refusal) -> bool {
    name_peer(lookup);
    is_group(&lookup.flow.server) || replies(&mut lookup.peer)
}

/// Refuses a datagram of a client that the tables refuse.
#[inline(always)]
pub(crate) fn refuse(lookup: &mut Refusal, decision: &Decision, now_ns: u64) -> Passage {
    if !is_within_limits(lookup, now_ns) {
        return Passage::Pass;
    }
    name_peer(lookup);
    note(&lookup.peer, now_ns, false);
    if is_first(lookup, now_ns) {
        count(Counter::Refused);
        report(Kind::Refused, lookup, decision);
    } else {
        count(Counter::Repeats);
    }
    Passage::Drop
}

#[inline(always)]
fn name_peer(lookup: &mut Refusal) {
    lookup.peer.peer = lookup.flow.client;
    lookup.peer.cookie = lookup.service.cookie;
    lookup.peer.port = lookup.flow.client_port;
    lookup.peer.reserved = [0; 3];
}

/// Whether this is the first datagram of its attempt, as the gate counts them; remembers it.
#[inline(always)]
fn is_first(lookup: &mut Refusal, now_ns: u64) -> bool {
    let (client_port, server_port) = (lookup.flow.client_port, lookup.flow.server_port);
    lookup.flow.server = [0; 16];
    lookup.flow.cookie = lookup.service.cookie;
    (lookup.flow.client_port, lookup.flow.server_port) = (0, 0);
    // SAFETY: the value is copied at once.
    let before = unsafe { ATTEMPTS.get(&lookup.flow) }.copied();
    let is_first = before.is_none_or(|before| now_ns >= before + ONE_ATTEMPT_NS);
    if is_first {
        // If it does not fit, the next one is logged as one more attempt.
        let _ = ATTEMPTS.insert(&lookup.flow, &now_ns, 0);
    }
    lookup.flow.server = lookup.query.server;
    (lookup.flow.client_port, lookup.flow.server_port) = (client_port, server_port);
    is_first
}

/// A UDP socket asks for a port, before it can be found there.
#[inline(always)]
pub(crate) fn joins(ctx: &SockAddrContext) {
    let address = ctx.sock_addr;
    // SAFETY: members of the context; the verifier checks each access. The helper takes the context.
    let (protocol, kind, wanted, netns) = unsafe {
        (
            (*address).protocol,
            (*address).type_,
            read_volatile(addr_of!((*address).user_port)),
            bpf_get_netns_cookie(ctx.as_ptr()),
        )
    };
    if is_udp(protocol, kind) {
        bound(netns, u16::from_be(port(wanted)));
    }
}

/// A UDP socket has its port. What was certified since it asked is void too.
#[inline(always)]
pub(crate) fn joined(ctx: &SockContext) {
    // SAFETY: as above.
    let (protocol, kind, own, netns) = unsafe {
        ((*ctx.sock).protocol, (*ctx.sock).type_, (*ctx.sock).src_port, bpf_get_netns_cookie(ctx.as_ptr()))
    };
    if is_udp(protocol, kind) {
        bound(netns, port(own));
    }
}

#[inline(always)]
fn bound(netns: u64, port: u16) {
    let key = PortKey { netns, port: port.into(), reserved: 0 };
    // SAFETY: only tested for presence.
    if unsafe { UDP_PORTS.get(&key) }.is_some() {
        changed(netns, IPPROTO_UDP, port.into());
    }
}
