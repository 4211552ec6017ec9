//! The probe: the gate's `decide` and maps, asked by BPF_PROG_TEST_RUN. Never attached.
//!
//! In: a packet whose payload is a [`ProbeInput`] behind an Ethernet header. Out: the return value.
//! Linux 5.17 (bpf_loop).

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_loop, programs::TcContext};
use tcpw_common::{
    decide::decide,
    key::Query,
    measure::{ELSEWHERE, client},
    probe::{BROKEN, EMPTY, IPV6, PAYLOAD, ProbeInput, answer},
};

use crate::{net::port, tables::KernelTables};

/// Decides the query in the payload.
#[inline(always)]
pub(crate) fn probe(ctx: &TcContext) -> u32 {
    let Ok(input) = ctx.load::<ProbeInput>(PAYLOAD) else {
        return BROKEN;
    };
    let query =
        Query { names: input.names, client: input.client, server: input.server, port: port(input.port) };
    if input.decisions > 0 {
        return measure(&input, query);
    }
    match decide(&KernelTables, &query) {
        Some(decision) => answer(&decision),
        None => BROKEN,
    }
}

/// Decisions about clients chosen at random.
struct Measurement {
    query: Query,
    networks: u32,
    flags: u32,
    random: u32,
    /// Keeps the results from being optimised away.
    sum: u32,
}

/// Makes that many decisions; the result depends on each.
#[inline(always)]
fn measure(input: &ProbeInput, query: Query) -> u32 {
    let mut measurement =
        Measurement { query, networks: input.networks, flags: input.flags, random: 0x2545_f491, sum: 0 };
    let step: extern "C" fn(u32, *mut Measurement) -> i64 = step;
    let context = (&raw mut measurement).cast::<c_void>();
    // SAFETY: the kernel calls the function that many times with the context.
    unsafe { bpf_loop(input.decisions, step as *mut c_void, context.cast(), 0) };
    measurement.sum
}

#[inline(never)]
extern "C" fn step(_: u32, measurement: *mut Measurement) -> i64 {
    // SAFETY: the context that `measure` passes.
    let measurement = unsafe { &mut *measurement };
    // xorshift32: Marsaglia: Xorshift RNGs, Journal of Statistical Software, 2003.
    let mut random = measurement.random;
    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    measurement.random = random;
    let mut number = random;
    if measurement.networks > 0 {
        number %= measurement.networks;
    }
    number |= measurement.flags & ELSEWHERE;
    measurement.query.client = client(number, measurement.flags & IPV6 != 0);
    let found = if measurement.flags & EMPTY != 0 {
        u32::from(measurement.query.client[15])
    } else {
        match decide(&KernelTables, &measurement.query) {
            Some(decision) => answer(&decision),
            None => BROKEN,
        }
    };
    measurement.sum = measurement.sum.wrapping_add(found);
    0
}
