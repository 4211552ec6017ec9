//! Accepted connections: the end of an allowed handshake.
//!
//! In: sock_ops on every TCP socket below the cgroup; attached only if accepted
//! connections are logged. Out: one event per connection the gate allowed.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{bindings::BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, programs::SockOpsContext};
use tcpw_common::{
    event::Kind,
    key::{Address, AttemptKey, mapped},
};

use crate::{
    emit::{Report, emit},
    maps::HANDSHAKES,
    port::port,
};

const AF_INET: u32 = 2;

/// Reports the connection whose handshake is complete, if the gate allowed it.
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
    emit(
        Kind::Accepted,
        &Report {
            tag: &handshake.tag,
            cookie: 0,
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
