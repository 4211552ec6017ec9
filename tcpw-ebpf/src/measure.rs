//! What a decision takes: the gate's `decide` in a loop, by BPF_PROG_TEST_RUN. Never attached.
//!
//! In: a packet whose payload is a [`MeasureInput`] behind an Ethernet header. Out: a number that depends on each
//! decision. It is not part of the probe: the verifier needs ten times as long for the loop.
//! Linux 5.17 (bpf_loop).

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_loop, programs::TcContext};
use tcpw_common::{
    decide::decide,
    key::Query,
    measure::{ELSEWHERE, EMPTY, IPV6, MeasureInput, client},
    probe::{BROKEN, PAYLOAD, answer},
};

use crate::{net::port, tables::IN_PLACE};

/// Decisions about clients chosen at random.
struct Measurement {
    query: Query,
    networks: u32,
    flags: u32,
    random: u32,
    /// Keeps the results from being optimised away.
    sum: u32,
}

/// Makes that many decisions.
#[inline(always)]
pub(crate) fn measure(ctx: &TcContext) -> u32 {
    let Ok(input) = ctx.load::<MeasureInput>(PAYLOAD) else {
        return BROKEN;
    };
    let query = Query { names: input.names, client: [0; 16], server: input.server, port: port(input.port) };
    let mut measurement =
        Measurement { query, networks: input.networks, flags: input.flags, random: 0x2545_f491, sum: 0 };
    let step: extern "C" fn(u32, *mut Measurement) -> i64 = step;
    let context = (&raw mut measurement).cast::<c_void>();
    // SAFETY: the kernel calls the function that many times with the context.
    let made = unsafe { bpf_loop(input.decisions, step as *mut c_void, context.cast(), 0) };
    if made != i64::from(input.decisions) {
        return BROKEN;
    }
    // Not that value: it means that nothing was measured.
    measurement.sum >> 1
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
        match decide(&IN_PLACE, &measurement.query) {
            Some(decision) => answer(&decision),
            None => BROKEN,
        }
    };
    measurement.sum = measurement.sum.wrapping_add(found);
    0
}
