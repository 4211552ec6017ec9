//! The network namespace of a socket.
//!
//! Out: the namespace's cookie, which no two namespaces share. cgroup_skb has no helper for it before
//! Linux 6.15, and sk_lookup none at all: there the program of each namespace passes the cookie.

use core::ffi::c_void;

use aya_ebpf::{bindings::bpf_sock, helpers::generated::bpf_skc_to_tcp_sock};

use crate::kernel_struct::{NET_COOKIE, SOCK_NET, offset, read};

/// Network namespace of a TCP socket in cgroup_skb; 0 if this kernel has only one.
#[inline(always)]
pub(crate) fn of_tcp(sk: *mut bpf_sock) -> u64 {
    // SAFETY: the helper takes a full socket, and null is tested.
    let sk: *const c_void = unsafe { bpf_skc_to_tcp_sock(sk.cast()).cast() };
    if sk.is_null() {
        return 0;
    }
    // SAFETY: a struct tcp_sock, which begins with its struct sock.
    unsafe { of_sock(sk) }
}

/// Network namespace of a `struct sock`; 0 if this kernel has only one.
///
/// # Safety
/// `sk` must be a pointer to a struct sock that the verifier knows.
#[inline(always)]
pub(crate) unsafe fn of_sock(sk: *const c_void) -> u64 {
    if offset(&SOCK_NET) == 0 || offset(&NET_COOKIE) == 0 {
        return 0;
    }
    // SAFETY: offsets come from this kernel's BTF; null is tested.
    unsafe {
        let net: *const c_void = read(sk, offset(&SOCK_NET));
        if net.is_null() { 0 } else { read(net, offset(&NET_COOKIE)) }
    }
}
