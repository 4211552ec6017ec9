//! Counters and events.
//!
//! Invariant: no increment is lost. A program that runs for a process can be interrupted by one that runs for a
//! packet, and where the kernel is preemptible by another process on the same CPU: a CPU's own element is not
//! enough, so the addition is atomic. Source: linux/include/linux/bpf-cgroup.h, `bpf_prog_run_array_cg`
//! (migrate_disable, not preempt_disable, since 5.7).

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    mem::offset_of,
};

use tcpw_common::{
    counter::Counter,
    event::{Event, Kind},
    key::{Comm, FlowKey},
    tag::Tag,
};

use crate::maps::{COUNTERS, EVENTS};

/// Adds one to a counter.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the pointer is into the map, aligned, and every program adds to it atomically.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(value, 1) };
    }
}

/// The fields of an event, except its kind.
pub(crate) struct Report<'a> {
    /// When: CLOCK_BOOTTIME, nanoseconds.
    pub(crate) time_ns: u64,
    pub(crate) tag: &'a Tag,
    pub(crate) cookie: u64,
    /// The flow; where there is none, at least its namespace, protocol and local port.
    pub(crate) flow: &'a FlowKey,
    pub(crate) family: u32,
    pub(crate) ifindex: u32,
    pub(crate) generation: u32,
    pub(crate) policy: u32,
    pub(crate) comm: &'a Comm,
}

/// Puts an event into the ring, or counts that there was no room.
///
/// Fields are written in place: a whole-struct copy becomes a byte-wise memset.
#[inline(always)]
pub(crate) fn emit(kind: Kind, report: &Report) {
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count(Counter::RingFull);
        return;
    };
    // SAFETY: the reservation is as large as an Event, and every field is written before it is submitted.
    unsafe { fill(entry.as_mut_ptr(), kind, report) };
    // Wakes the reader only if it has read all earlier records; user space reads in batches, so that under a
    // flood this is rare.
    entry.submit(0);
}

/// Writes every field of an event, one by one.
///
/// # Safety
/// `event` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn fill(event: *mut Event, kind: Kind, report: &Report) {
    // SAFETY: by the contract of this function.
    unsafe {
        (*event).time_ns = report.time_ns;
        (*event).netns = report.flow.netns;
        (*event).names = report.tag.names;
        (*event).cookie = report.cookie;
        (*event).client = report.flow.client;
        (*event).server = report.flow.server;
        (*event).kind = kind as u32;
        (*event).generation = report.generation;
        (*event).policy = report.policy;
        (*event).pid = report.tag.pid;
        (*event).ifindex = report.ifindex;
        (*event).family = report.family;
        (*event).client_port = report.flow.client_port;
        (*event).server_port = report.flow.server_port;
        (*event).protocol = report.flow.protocol;
        (*event).flags = (report.tag.flags & 0xffff) as u16;
        // By words: a memset(3) is a call, for whose frame a program with a full stack has no room (Linux 6.1).
        let [a, b, c, d, e, f, g, h, rest @ ..] = *report.comm;
        let comm = (&raw mut (*event).comm).cast::<u64>();
        comm.write_volatile(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
        comm.add(1).write_volatile(u64::from_ne_bytes(rest));
    }
}

const _: () = assert!(offset_of!(Event, comm).is_multiple_of(8));
