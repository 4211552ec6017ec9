//! Entry points: one per hook, each turns a result into the hook's return code.
//!
//! Minimum kernel version: 6.1.
#![no_std]
#![no_main]

mod accepted;
mod emit;
mod gate;
mod identity;
mod maps;
mod packet;
mod probe;
mod tables;

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_skb, cgroup_sock, classifier, sock_ops},
    programs::{BtfTracePointContext, SkBuffContext, SockContext, SockOpsContext, TcContext},
};

use crate::gate::Passage;

#[cgroup_skb]
pub fn gate(ctx: SkBuffContext) -> i32 {
    match gate::judge(&ctx) {
        Passage::Pass => 1,
        Passage::Drop => 0,
    }
}

#[cgroup_sock(post_bind4)]
pub fn bound_v4(ctx: SockContext) -> i32 {
    identity::bound(&ctx);
    1
}

#[cgroup_sock(post_bind6)]
pub fn bound_v6(ctx: SockContext) -> i32 {
    identity::bound(&ctx);
    1
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn listening(ctx: BtfTracePointContext) -> i32 {
    identity::state_changed(&ctx);
    0
}

#[sock_ops]
pub fn accepted(ctx: SockOpsContext) -> u32 {
    accepted::established(&ctx);
    1
}

#[classifier]
pub fn probe(ctx: TcContext) -> i32 {
    probe::probe(&ctx) as i32
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
