//! The refusal at once over UDP: "port unreachable", as from a closed port.
//!
//! In: a datagram for a certified place, before the kernel looks for its socket; binds of the whole host. Out: drop,
//! to which the kernel answers with ICMP, or pass; the stamp of a port that is bound.
//! Invariant: it refuses nothing that the gate would pass: a certified place has one socket, and its cookie
//! is in the keys of the peers and of the attempt, as in the gate. Before a socket can be found at a port, its
//! stamp changes, so the port's certificates are void until user space has scanned again.
//! Limit: the hook does not tell a datagram from an ICMP error about a datagram of the listener's own. Such an error
//! from a refused client counts as an attempt.
//! Source: linux net/ipv4/udp.c, `__udp4_lib_lookup`: connected sockets are found before this hook; datagrams to a
//! group or to a subnet's broadcast address never reach it.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_get_netns_cookie,
    programs::{SockAddrContext, SockContext},
};
use tcpw_common::{
    certified::PortKey, counter::Counter, decide::Decision, event::Kind, key::is_group, outcome::Outcome,
};

use crate::{
    clock::boot_ns,
    emit::count,
    identity::void_certificates,
    lookup::Lookup,
    maps::UDP_PORTS,
    net::{IPPROTO_UDP, is_udp, port},
    passage::Passage,
    refuse::{is_within_limits, report},
    udp::{is_first, note, replies, replies_if_on_link},
};

/// Whether the gate would not judge the datagram, or may not: the gate alone knows which peers are on the link. Or it
/// goes to a group.
#[inline(always)]
pub(crate) fn is_unjudged(lookup: &mut Lookup) -> bool {
    name_peer(lookup);
    let now = boot_ns();
    is_group(&lookup.flow.server)
        || replies(&mut lookup.peer, now)
        || replies_if_on_link(&mut lookup.peer, now)
}

/// Refuses a datagram of a client that the tables refuse.
#[inline(always)]
pub(crate) fn refuse(lookup: &mut Lookup, decision: &Decision, now_ns: u64) -> Passage {
    if !is_within_limits(lookup, now_ns) {
        return Passage::Pass;
    }
    name_peer(lookup);
    note(&lookup.peer, now_ns, false);
    if is_first(lookup.certified.cookie, &lookup.flow.client, Outcome::Refuse, now_ns) {
        count(Counter::Refused);
        report(Kind::Refused, lookup, decision, now_ns);
    } else {
        count(Counter::Repeats);
    }
    Passage::Drop
}

#[inline(always)]
fn name_peer(lookup: &mut Lookup) {
    lookup.peer.peer = lookup.flow.client;
    lookup.peer.cookie = lookup.certified.cookie;
    lookup.peer.port = lookup.flow.client_port;
    lookup.peer.reserved = [0; 3];
}

/// A UDP socket asks for a port, before it can be found there.
#[inline(always)]
pub(crate) fn binds(ctx: &SockAddrContext) {
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

/// A UDP socket has its port. Certificates made since it asked for the port are void too.
#[inline(always)]
pub(crate) fn got_port(ctx: &SockContext) {
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
        void_certificates(netns, IPPROTO_UDP, port.into());
    }
}
