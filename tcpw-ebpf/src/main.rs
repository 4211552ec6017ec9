//! Entry points: one per hook, each turns a result into the hook's return code.
//!
//! Minimum kernel version: 6.1.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "AtomicU64 of this target has no fetch_add, but the kernel has the instruction"
)]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "map keys and values passed by value are copied to the 512 bytes of stack"
)]

mod accepted;
mod attempt;
mod banner;
mod bans;
mod challenge;
mod clock;
mod early;
mod emit;
mod fault;
mod frame;
mod gate;
mod handshake;
mod hold;
mod identity;
mod kernel_struct;
mod lookup;
mod maps;
mod measure;
mod net;
mod netns;
mod on_link;
mod once;
mod packet;
mod passage;
mod per_flow;
mod probe;
mod rate;
mod redirect;
mod refuse;
mod remember;
mod seen;
mod steady;
mod tables;
mod udp;
mod unmarked;
mod unreachable;
mod user;

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        TC_ACT_SHOT, TC_ACT_UNSPEC,
        sk_action::SK_PASS,
        xdp_action::{XDP_DROP, XDP_PASS},
    },
    macros::{
        btf_tracepoint, cgroup_skb, cgroup_sock, cgroup_sock_addr, classifier, fentry, sk_lookup, sk_msg,
        sock_ops, xdp,
    },
    programs::{
        BtfTracePointContext, FEntryContext, SkBuffContext, SkLookupContext, SkMsgContext, SockAddrContext,
        SockContext, SockOpsContext, TcContext, XdpContext,
    },
};

use passage::Passage;

// Inlined: what runs for every packet has no time for a call of a function, about 8 ns.

/// cgroup_skb/ingress: every packet a socket below the cgroup is about to receive.
#[cgroup_skb]
#[inline(always)]
pub(crate) fn gate(ctx: SkBuffContext) -> i32 {
    gate::judge(&ctx).verdict() as i32
}

/// post_bind4: an IPv4 socket got its address.
#[cgroup_sock(post_bind4)]
pub(crate) fn bound_v4(ctx: SockContext) -> i32 {
    identity::bound(&ctx).into()
}

/// post_bind6: an IPv6 socket got its address.
#[cgroup_sock(post_bind6)]
pub(crate) fn bound_v6(ctx: SockContext) -> i32 {
    identity::bound(&ctx).into()
}

/// bind4: an IPv4 socket asks for an address.
#[cgroup_sock_addr(bind4)]
pub(crate) fn binds_v4(ctx: SockAddrContext) -> i32 {
    udp::binds(&ctx).into()
}

/// bind6: an IPv6 socket asks for an address.
#[cgroup_sock_addr(bind6)]
pub(crate) fn binds_v6(ctx: SockAddrContext) -> i32 {
    udp::binds(&ctx).into()
}

/// bind4 of the whole host: a UDP socket asks for an IPv4 address.
#[cgroup_sock_addr(bind4)]
pub(crate) fn watch_bind_v4(ctx: SockAddrContext) -> i32 {
    unreachable::binds(&ctx);
    1
}

/// bind6 of the whole host: a UDP socket asks for an IPv6 address.
#[cgroup_sock_addr(bind6)]
pub(crate) fn watch_bind_v6(ctx: SockAddrContext) -> i32 {
    unreachable::binds(&ctx);
    1
}

/// post_bind4 of the whole host: a UDP socket got its IPv4 address.
#[cgroup_sock(post_bind4)]
pub(crate) fn watch_bound_v4(ctx: SockContext) -> i32 {
    unreachable::got_port(&ctx);
    1
}

/// post_bind6 of the whole host: a UDP socket got its IPv6 address.
#[cgroup_sock(post_bind6)]
pub(crate) fn watch_bound_v6(ctx: SockContext) -> i32 {
    unreachable::got_port(&ctx);
    1
}

/// sendmsg4: a UDP socket that is not connected sends to an IPv4 address.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn wrote_v4(ctx: SockAddrContext) -> i32 {
    udp::wrote_v4(&ctx);
    1
}

/// sendmsg6: a UDP socket that is not connected sends to an IPv6 address.
#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn wrote_v6(ctx: SockAddrContext) -> i32 {
    udp::wrote_v6(&ctx);
    1
}

/// iter/task_file: an open file of a task. aya has no macro for it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub(crate) extern "C" fn open_files(ctx: *const c_void) -> i32 {
    identity::mark_bound_before(ctx);
    0
}

/// fentry/inet_csk_listen_start: a TCP socket begins to listen.
#[fentry(function = "inet_csk_listen_start")]
pub(crate) fn listens(ctx: FEntryContext) -> i32 {
    identity::listens(ctx.arg(0));
    0
}

/// fentry/inet_csk_listen_stop: a TCP socket does not listen any more.
#[fentry(function = "inet_csk_listen_stop")]
pub(crate) fn listen_ends(ctx: FEntryContext) -> i32 {
    identity::listen_ends(ctx.arg(0));
    0
}

/// tp_btf/inet_sock_set_state, where the kernel has no fentry: a socket changed state.
#[btf_tracepoint(function = "inet_sock_set_state")]
#[inline(always)]
pub(crate) fn listening(ctx: BtfTracePointContext) -> i32 {
    identity::state_changed(&ctx);
    0
}

/// tp_btf/sched_process_exec: a process executed another program.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn executed(ctx: BtfTracePointContext) -> i32 {
    identity::executed(&ctx);
    0
}

/// sock_ops: the handshake of an incoming connection is complete.
#[sock_ops]
pub(crate) fn accepted(ctx: SockOpsContext) -> u32 {
    accepted::established(&ctx);
    1
}

/// cgroup_skb/ingress, while users decide: data a waiting connection would receive.
#[cgroup_skb]
#[inline(always)]
pub(crate) fn user_in(ctx: SkBuffContext) -> i32 {
    user::comes_in(&ctx).verdict() as i32
}

/// cgroup_skb/egress, while users decide: data a waiting connection would send.
#[cgroup_skb]
#[inline(always)]
pub(crate) fn user_out(ctx: SkBuffContext) -> i32 {
    user::goes_out(&ctx).verdict() as i32
}

/// sock_ops, while users decide: the handshake of a connection that has to wait is complete.
#[sock_ops]
pub(crate) fn user_accepted(ctx: SockOpsContext) -> u32 {
    user::accepted(&ctx);
    1
}

/// sk_msg: a connection that gets a banner sends.
#[sk_msg]
pub(crate) fn send_banner(ctx: SkMsgContext) -> u32 {
    banner::send(&ctx);
    SK_PASS
}

/// sk_lookup, called by each namespace's own program: a packet that no connection takes.
#[sk_lookup]
#[inline(always)]
pub(crate) fn refuse(ctx: SkLookupContext) -> u32 {
    refuse::judge(&ctx).verdict()
}

/// XDP: a frame that a device received, before the stack.
#[xdp(frags)]
pub(crate) fn early_xdp(ctx: XdpContext) -> u32 {
    match early::judge(&ctx) {
        Passage::Pass => XDP_PASS,
        Passage::Drop => XDP_DROP,
    }
}

/// tcx/ingress: the same, as a packet of the stack. What passes goes on to the next program.
#[classifier]
pub(crate) fn early_tc(ctx: TcContext) -> i32 {
    match early::judge(&ctx) {
        Passage::Pass => TC_ACT_UNSPEC,
        Passage::Drop => TC_ACT_SHOT,
    }
}

/// Never attached: answers BPF_PROG_TEST_RUN.
#[classifier]
pub(crate) fn probe(ctx: TcContext) -> i32 {
    probe::probe(&ctx) as i32
}

/// Never attached: measures what a decision takes, by BPF_PROG_TEST_RUN.
#[classifier]
pub(crate) fn measure(ctx: TcContext) -> i32 {
    measure::measure(&ctx) as i32
}

/// Never attached: BPF_PROG_TEST_RUN with it puts a held packet onto the device it came by.
#[xdp]
pub(crate) fn receive(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
