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

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use tcpw_common::{
    certified::{MAY_DROP_EARLY, MAY_RESET},
    counter::Counter,
    decide::{AUDIT, Decision, decide},
    event::Kind,
    limits::{EARLY_REPORTS, ONE_SYN_NS},
    outcome::{Outcome, REDIRECT, REPORT},
};

use crate::{
    emit::count,
    frame::{self, Frame},
    hold::is_daemon_alive,
    lookup::Lookup,
    maps::{ATTEMPTS, EARLY_DEVICES, EARLY_LOCAL, EARLY_REPORTED, EARLY_SYN},
    net::IPPROTO_TCP,
    passage::Passage,
    rate::is_within,
    refuse::{are_limits_reached, find_certified, report},
    remember,
    tables::KernelTables,
};

/// Judges one frame.
#[inline(always)]
pub(crate) fn judge(frame: &impl Frame) -> Passage {
    if !frame::may_be_syn(frame) {
        return Passage::Pass;
    }
    // SAFETY: this CPU's own element; the program runs with bottom halves off and does not nest.
    let Some(syn) = EARLY_SYN.get_ptr_mut(0).and_then(|syn| unsafe { syn.as_mut() }) else {
        return Passage::Pass;
    };
    if read(frame, syn) { refuse(syn) } else { Passage::Pass }
}

/// Reads the SYN; false if the frame is none, or the device is not one of these.
#[inline(always)]
fn read(frame: &impl Frame, syn: &mut Lookup) -> bool {
    syn.ifindex = frame.ifindex();
    // SAFETY: the value is copied at once; user space replaces an entry whole.
    let Some(device) = (unsafe { EARLY_DEVICES.get(&syn.ifindex) }) else {
        return false;
    };
    if !frame::read_syn(frame, &device.ethernet, &mut syn.flow, &mut syn.once.isn) {
        return false;
    }
    syn.flow.netns = device.netns;
    syn.flow.protocol = IPPROTO_TCP;
    syn.flow.reserved = 0;
    syn.key.netns = device.netns;
    syn.key.port = syn.flow.server_port;
    syn.key.protocol = IPPROTO_TCP;
    syn.key.reserved = 0;
    true
}

#[inline(always)]
fn refuse(syn: &mut Lookup) -> Passage {
    if !find_certified(syn, MAY_DROP_EARLY) {
        return Passage::Pass;
    }
    // SAFETY: only tested for presence.
    if unsafe { EARLY_LOCAL.get(&syn.flow.server) }.is_none() {
        return Passage::Pass;
    }
    syn.query.names = syn.certified.names;
    syn.query.client = syn.flow.client;
    syn.query.server = syn.flow.server;
    syn.query.port = syn.flow.server_port;
    let Some(decision) = decide(&KernelTables, &syn.query) else {
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
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    if !is_daemon_alive(now_ns) || syn.certified.flags & MAY_RESET != 0 && !are_limits_reached(syn, now_ns) {
        return Passage::Pass;
    }
    count(Counter::EarlyDropped);
    report_some(syn, &decision, now_ns);
    Passage::Drop
}

/// Reports the attempt, if it is one of the first of this second and was not reported before.
#[inline(always)]
fn report_some(syn: &mut Lookup, decision: &Decision, now_ns: u64) {
    // SAFETY: this CPU's own element, as above.
    let reported = EARLY_REPORTED.get_ptr_mut(0).and_then(|reported| unsafe { reported.as_mut() });
    if !reported.is_some_and(|reported| is_within(reported, EARLY_REPORTS, now_ns)) {
        count(Counter::EarlyUnreported);
        return;
    }
    syn.once.flow = syn.flow;
    syn.once.listener = syn.certified.cookie;
    syn.once.reserved = 0;
    // The table of the gate: whichever of the two sees a SYN first reports it.
    if ATTEMPTS.get(&syn.once).is_some_and(|first| now_ns < first.wrapping_add(ONE_SYN_NS)) {
        count(Counter::Retransmits);
        return;
    }
    // If it does not fit, a retransmit is logged as one more attempt.
    ATTEMPTS.set(&syn.once, &now_ns);
    // Its retransmits are the gate's, if one passes.
    remember::refused(&syn.flow, now_ns);
    report(Kind::Refused, syn, decision);
}
