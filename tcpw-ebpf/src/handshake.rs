//! Whether an ACK belongs to a handshake that is under way.
//!
//! In: the ends of a segment to a listener. Out: whether the kernel keeps a request, or a
//! connection, of these ends: then its SYN was judged.
//! Source: linux net/core/filter.c, `bpf_skc_lookup_tcp`.

use core::mem::size_of;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp},
    programs::SkBuffContext,
};
use tcpw_common::key::{FlowKey, as_v4};

use crate::net::TCP_LISTEN;

/// The namespace the packet is in.
const BPF_F_CURRENT_NETNS: u64 = u64::MAX;

/// The members of `struct bpf_sock_tuple`, network order.
#[repr(C)]
struct Ends<A> {
    client: A,
    server: A,
    client_port: [u8; 2],
    server_port: [u8; 2],
}
const V4_BYTES: u32 = 12;
const V6_BYTES: u32 = 36;
const _: () = assert!(size_of::<Ends<[u8; 4]>>() == V4_BYTES as usize);
const _: () = assert!(size_of::<Ends<[u8; 16]>>() == V6_BYTES as usize);

/// Whether the kernel knows a handshake or a connection of these ends.
#[inline(always)]
pub(crate) fn has_handshake(ctx: &SkBuffContext, flow: &FlowKey) -> bool {
    let (client_port, server_port) = (flow.client_port.to_be_bytes(), flow.server_port.to_be_bytes());
    match (as_v4(&flow.client), as_v4(&flow.server)) {
        (Some(client), Some(server)) => {
            is_known(ctx, &mut Ends { client, server, client_port, server_port }, V4_BYTES)
        }
        _ => {
            let (client, server) = (flow.client, flow.server);
            is_known(ctx, &mut Ends { client, server, client_port, server_port }, V6_BYTES)
        }
    }
}

#[inline(always)]
fn is_known<A>(ctx: &SkBuffContext, ends: &mut Ends<A>, length: u32) -> bool {
    let tuple = (&raw mut *ends).cast();
    // SAFETY: `ends` has the layout and length of a tuple of its family; null is tested, and the reference
    // that the helper takes is given back.
    unsafe {
        let found = bpf_skc_lookup_tcp(ctx.as_ptr(), tuple, length, BPF_F_CURRENT_NETNS, 0);
        if found.is_null() {
            return false;
        }
        let state = (*found).state;
        bpf_sk_release(found.cast());
        state != TCP_LISTEN
    }
}
