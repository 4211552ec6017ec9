//! Accepted connections: the end of an allowed handshake.
//!
//! In: sock_ops on every TCP socket below the cgroup; attached only if accepted
//! connections are logged, or a rule acts on them. Out: one event per connection the gate
//! marked, SO_KEEPALIVE on its socket, and what the daemon shall send before anything else.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{
    bindings::BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, helpers::generated::bpf_setsockopt,
    programs::SockOpsContext,
};
use aya_log_ebpf::warn;
use tcpw_common::{
    event::Kind,
    key::{Address, AttemptKey, mapped},
    outcome::{BANNER, KEEPALIVE, REPORT},
};

use crate::{
    banner,
    emit::{Report, emit},
    maps::HANDSHAKES,
    port::port,
};

const AF_INET: u32 = 2;
/// Source: linux/include/uapi/asm-generic/socket.h.
const SOL_SOCKET: i32 = 1;
const SO_KEEPALIVE: i32 = 9;

/// Does what the gate marked the connection for, whose handshake is complete.
#[inline(always)]
pub(crate) fn established(ctx: &SockOpsContext) {
    if ctx.op() != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        return;
    }
    let family = ctx.family();
    let (client, server) = addresses(ctx, family);
    let key = AttemptKey {
        client,
        server,
        cookie: 0,
        isn: 0,
        client_port: port(u32::from_be(ctx.remote_port())),
        server_port: port(ctx.local_port()),
    };
    // SAFETY: the value is copied at once.
    let Some(handshake) = unsafe { HANDSHAKES.get(&key) }.copied() else {
        return;
    };
    let _ = HANDSHAKES.remove(&key);
    if handshake.marks & u32::from(BANNER) != 0 {
        banner::begin(ctx, key);
    }
    if handshake.marks & u32::from(KEEPALIVE) != 0 {
        keep_alive(ctx, key.server_port);
    }
    if handshake.marks & u32::from(REPORT) == 0 {
        return;
    }
    emit(
        Kind::Accepted,
        &Report {
            tag: &handshake.tag,
            cookie: handshake.cookie,
            client: &client,
            server: &server,
            client_port: key.client_port,
            server_port: key.server_port,
            family,
            ifindex: 0,
            generation: handshake.generation,
            policy: handshake.policy,
            protocol: 6,
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

/// Remote and local address.
///
/// Each word is read by itself, on every path: the verifier refuses both the
/// eight-byte loads that LLVM makes of two neighbours and the shared pointers
/// into the context that it makes of two branches.
#[inline(always)]
pub(crate) fn addresses(ctx: &SockOpsContext, family: u32) -> (Address, Address) {
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

#[inline(always)]
fn join(words: [u32; 4]) -> Address {
    let [a, b, c, d] = words.map(u32::to_ne_bytes);
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
}
