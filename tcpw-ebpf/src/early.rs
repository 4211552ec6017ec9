//! The early drop: a refused client's SYN is dropped at the device, where it is certain that the gate would drop it.
//!
//! In: a frame that a device received. Out: pass, or drop.
//! Invariant: it drops nothing that the gate would pass. It drops only a SYN to a local address, for a certified
//! listener, from a client that the tables refuse without a command or banner; and only while user space, which
//! says which addresses are local, is alive. Everything else goes on to sk_lookup and the gate. Clients that are
//! to be closed or reset are dropped here only past the limits of the resets, as the gate would.
//! Each SYN is counted; some of each second are reported.
//! Hook: XDP, or tcx (Linux 6.6) where XDP cannot be. XDP needs Linux 5.18 (bpf_xdp_load_bytes).
//! Limit: the hook knows no connections. A refused client's SYN in a connection that an earlier verdict allowed is
//! dropped too: it gets no challenge ACK, and no copy of its SYN-ACK before the server sends that again.
//! So is one for a socket that connects from the listener's port itself.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use tcpw_common::{
    certified::{MAY_DROP_EARLY, MAY_RESET, WHOLE_NETNS},
    counter::Counter,
    decide::{AUDIT, Decision, decide},
    early::{EarlyKey, EarlyPlace},
    event::Kind,
    limits::{ALIVE_NS, EARLY_REPORTS},
    outcome::{Outcome, REDIRECT, REPORT},
};

use crate::{
    clock::boot_ns,
    emit::count,
    frame::{self, Ethernet, Frame, Syn},
    lookup::Lookup,
    maps::{EARLY_ALIVE, EARLY_PLACES, EARLY_REPORTED, EARLY_SYN},
    net::IPPROTO_TCP,
    passage::Passage,
    rate::is_within,
    refuse::{are_limits_reached, report, stamp},
    remember::{self, are_resets_on},
    seen,
    steady::steady,
    tables::IN_PLACE,
};

/// Judges one frame.
#[inline(always)]
pub(crate) fn judge(frame: &impl Frame) -> Passage {
    if !frame::may_be_syn(frame) {
        return Passage::Pass;
    }
    // SAFETY: this CPU's own element; the program runs with bottom halves off and does not nest.
    let Some(lookup) = EARLY_SYN.get_ptr_mut(0).and_then(|lookup| unsafe { lookup.as_mut() }) else {
        return Passage::Pass;
    };
    let mut syn = Syn { query: &mut lookup.query, ethernet: Ethernet::default(), client_port: 0, isn: 0 };
    if !frame::read_syn(frame, &mut syn) {
        return Passage::Pass;
    }
    let Syn { ethernet, client_port, isn, .. } = syn;
    (lookup.flow.client_port, lookup.once.isn, lookup.ifindex) = (client_port, isn, frame.ifindex());
    refuse(lookup, ethernet)
}

#[inline(always)]
fn refuse(syn: &mut Lookup, ethernet: Ethernet) -> Passage {
    let key = EarlyKey { ifindex: syn.ifindex, port: syn.query.port, reserved: 0, local: syn.query.server };
    let Some(place) = steady(|| EARLY_PLACES.get_ptr(&key)) else {
        return Passage::Pass;
    };
    let EarlyPlace { certified, netns, .. } = place;
    if Ethernet::of(&place.ethernet) != ethernet || certified.flags & MAY_DROP_EARLY == 0 {
        return Passage::Pass;
    }
    syn.query.names = certified.names;
    let port = u32::from(syn.query.port);
    let changes = [stamp(netns, IPPROTO_TCP, port), stamp(netns, IPPROTO_TCP, WHOLE_NETNS)];
    if changes != [Some(certified.port_stamp), Some(certified.netns_stamp)] {
        return Passage::Pass;
    }
    let Some(decision) = decide(&IN_PLACE, &syn.query) else {
        return Passage::Pass;
    };
    // A rule with a command or a banner for the client has to be told of each attempt.
    if decision.outcome != Outcome::Refuse
        || decision.flags & AUDIT != 0
        || decision.marks & (REDIRECT | REPORT) != 0
    {
        return Passage::Pass;
    }
    // SAFETY: the helper has no preconditions.
    let coarse_ns = unsafe { bpf_ktime_get_coarse_ns() };
    if EARLY_ALIVE.get(0).is_none_or(|alive| coarse_ns >= alive.wrapping_add(ALIVE_NS)) {
        return Passage::Pass;
    }
    if certified.flags & MAY_RESET != 0 {
        let now_ns = boot_ns();
        if !are_limits_reached(&syn.query.client, now_ns) {
            return Passage::Pass;
        }
    }
    count(Counter::EarlyDropped);
    // SAFETY: this CPU's own element; the program runs with bottom halves off and does not nest.
    let reported = EARLY_REPORTED.get_ptr_mut(0).and_then(|reported| unsafe { reported.as_mut() });
    if !reported.is_some_and(|reported| is_within(reported, EARLY_REPORTS, coarse_ns)) {
        count(Counter::EarlyUnreported);
    } else {
        report_one(syn, &place, &decision);
    }
    Passage::Drop
}

/// Reports the attempt, if it was not reported before.
#[inline(always)]
fn report_one(lookup: &mut Lookup, place: &EarlyPlace, decision: &Decision) {
    lookup.certified = place.certified;
    lookup.key.netns = place.netns;
    lookup.flow.netns = lookup.key.netns;
    lookup.flow.client = lookup.query.client;
    lookup.flow.server = lookup.query.server;
    lookup.flow.server_port = lookup.query.port;
    lookup.flow.protocol = IPPROTO_TCP;
    lookup.flow.reserved = 0;
    lookup.once.flow = lookup.flow;
    lookup.once.listener = lookup.certified.cookie;
    lookup.once.reserved = 0;
    let now_ns = boot_ns();
    // The table of the gate: whichever of the two sees a SYN first reports it.
    if !seen::is_first_syn(&lookup.once, now_ns) {
        return count(Counter::Retransmits);
    }
    if are_resets_on() {
        // Its retransmits are the gate's, if one passes.
        remember::refused(&lookup.flow, now_ns);
    }
    report(Kind::Refused, lookup, decision, now_ns);
}
