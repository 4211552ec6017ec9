//! Accepted connections: the end of an allowed handshake.
//!
//! In: sock_ops on every TCP socket below the cgroup; attached only if accepted
//! connections are logged, or a rule acts on them. Out: one event per connection the gate
//! marked, SO_KEEPALIVE on its socket, and the banner that is sent before the daemon's first bytes.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{
    bindings::BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
    helpers::generated::{bpf_get_netns_cookie, bpf_setsockopt},
    programs::SockOpsContext,
};
use aya_log_ebpf::warn;
use tcpw_common::{
    event::Kind,
    key::{Address, FlowKey, mapped},
    outcome::{BANNER, KEEPALIVE, REPORT},
};

use crate::{
    banner,
    clock::boot_ns,
    emit::{Report, emit},
    maps::HANDSHAKES,
    net::{AF_INET, join, port},
};

/// Source: linux/include/uapi/asm-generic/socket.h.
const SOL_SOCKET: i32 = 1;
const SO_KEEPALIVE: i32 = 9;

/// A handshake is complete: carries out the marks of the connection.
#[inline(always)]
pub(crate) fn established(ctx: &SockOpsContext) {
    if ctx.op() != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        return;
    }
    let flow = flow(ctx);
    let Some(handshake) = HANDSHAKES.get(&flow) else {
        return;
    };
    HANDSHAKES.remove(&flow);
    if handshake.marks & u32::from(BANNER) != 0 {
        banner::begin(ctx, &flow);
    }
    if handshake.marks & u32::from(KEEPALIVE) != 0 {
        keep_alive(ctx, flow.server_port);
    }
    if handshake.marks & u32::from(REPORT) == 0 {
        return;
    }
    emit(
        Kind::Accepted,
        &Report {
            time_ns: boot_ns(),
            tag: &handshake.tag,
            cookie: handshake.cookie,
            flow: &flow,
            family: ctx.family(),
            ifindex: 0,
            generation: handshake.generation,
            policy: handshake.policy,
            comm: &[0; 16],
        },
    );
}

/// Sets SO_KEEPALIVE, as libwrap does.
#[inline(always)]
fn keep_alive(ctx: &SockOpsContext, port: u16) {
    let mut on: i32 = 1;
    // SAFETY: the helper takes the context, and copies four bytes of a live integer.
    let done = unsafe { bpf_setsockopt(ctx.ops.cast(), SOL_SOCKET, SO_KEEPALIVE, (&raw mut on).cast(), 4) };
    if done != 0 {
        warn!(ctx, "SO_KEEPALIVE on a connection to port {}: error {}", port, done);
    }
}

/// The flow of a connection that a listener accepts.
#[inline(always)]
pub(crate) fn flow(ctx: &SockOpsContext) -> FlowKey {
    let (client, server) = addresses(ctx, ctx.family());
    // SAFETY: the helper takes the context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.ops.cast()) };
    FlowKey::tcp(netns, (client, port(u32::from_be(ctx.remote_port()))), (server, port(ctx.local_port())))
}

/// Remote and local address.
///
/// Each word is read by itself, on every path: the verifier refuses both the
/// eight-byte loads that LLVM makes of two neighbours and the shared pointers
/// into the context that it makes of two branches.
#[inline(always)]
fn addresses(ctx: &SockOpsContext, family: u32) -> (Address, Address) {
    let ops = ctx.ops;
    // SAFETY: members of the context; the verifier checks each access.
    let (remote, remote6, local, local6) = unsafe {
        (
            read_volatile(addr_of!((*ops).remote_ip4)),
            [
                read_volatile(addr_of!((*ops).remote_ip6[0])),
                read_volatile(addr_of!((*ops).remote_ip6[1])),
                read_volatile(addr_of!((*ops).remote_ip6[2])),
                read_volatile(addr_of!((*ops).remote_ip6[3])),
            ],
            read_volatile(addr_of!((*ops).local_ip4)),
            [
                read_volatile(addr_of!((*ops).local_ip6[0])),
                read_volatile(addr_of!((*ops).local_ip6[1])),
                read_volatile(addr_of!((*ops).local_ip6[2])),
                read_volatile(addr_of!((*ops).local_ip6[3])),
            ],
        )
    };
    if family == AF_INET {
        (mapped(remote.to_ne_bytes()), mapped(local.to_ne_bytes()))
    } else {
        (join(remote6), join(local6))
    }
}
