//! The probe: the gate's `decide` and maps, asked by BPF_PROG_TEST_RUN. Never attached.
//!
//! In: a packet whose payload is a [`ProbeInput`] behind an Ethernet header. Out: the return value.

use aya_ebpf::programs::TcContext;
use tcpw_common::{
    decide::decide,
    key::Query,
    probe::{BROKEN, PAYLOAD, ProbeInput, answer},
};

use crate::{net::port, tables::IN_PLACE};

/// Decides the query in the payload.
#[inline(always)]
pub(crate) fn probe(ctx: &TcContext) -> u32 {
    let Ok(input) = ctx.load::<ProbeInput>(PAYLOAD) else {
        return BROKEN;
    };
    let query =
        Query { names: input.names, client: input.client, server: input.server, port: port(input.port) };
    match decide(&IN_PLACE, &query) {
        Some(decision) => answer(&decision),
        None => BROKEN,
    }
}
