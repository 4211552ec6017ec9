//! UDP: which sockets are services, and which datagrams are replies.
//!
//! In: bind(2) and sendmsg(2) below the cgroup, and the gate's outcome for a datagram.
//! Out: whether the kernel chose a socket's port; the peers whose datagrams are not judged.
//! Invariant: datagrams of a peer are replies only if the socket wrote to it before any datagram of it was judged:
//! answering a client does not exempt the client. Replies to a multicast group come from the link. A socket for which
//! any bind(2) named a port, whether it failed or not, is judged: several threads may bind one socket at the same
//! time.

use core::{
    ffi::c_void,
    ptr::{addr_of, read_volatile, write_volatile},
};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, generated::bpf_sk_storage_get},
    programs::SockAddrContext,
};
use tcpw_common::{
    fault::BIND_NOT_STORED,
    key::{
        ANY_ON_LINK, ANY_PEER, Address, AttemptKey, PeerKey, UdpClientKey, is_group, is_multicast, mapped,
    },
    limits::{ANSWERS_FROM_BEFORE_NS, GROUP_REPLIES_NS, HEARD_NS, REPLIES_NS},
    outcome::Outcome,
    tag::{BOUND_BEFORE, KERNEL_PORT},
};

use crate::{
    attempt::Attempt,
    clock::boot_ns,
    fault::fails,
    identity::{self, tag_of},
    maps::{BINDS, HEARD, PEERS, WATCHING, WROTE},
    net::{is_udp, join, port},
    on_link::is_on_link,
    seen, unmarked,
};

const NS_PER_S: u64 = 1_000_000_000;

/// What was asked of bind(2) for a socket. Each member is written by itself, whole: nothing locks the socket yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct BindRequests {
    /// Not 0: that the kernel choose the port.
    any: u32,
    /// Not 0: a port.
    named: u32,
}

/// A UDP socket asks for a port: 0 leaves the choice to the kernel. Whether it may.
#[inline(always)]
pub(crate) fn binds(ctx: &SockAddrContext) -> bool {
    let address = ctx.sock_addr;
    // SAFETY: members of the context; the verifier checks each access, and null is tested. The stores are whole.
    unsafe {
        if !is_udp((*address).protocol, (*address).type_) {
            return true;
        }
        let sk: *mut bpf_sock = (*address).__bindgen_anon_1.sk;
        if sk.is_null() {
            return true;
        }
        let Some(requests) = bind_requests(sk, BPF_SK_STORAGE_GET_F_CREATE.into()) else {
            // The socket's option memory is full: its datagrams would not be judged.
            return false;
        };
        if !identity::mark_before_bind(sk, bpf_get_netns_cookie(ctx.as_ptr())) {
            return false;
        }
        if read_volatile(addr_of!((*address).user_port)) == 0 {
            write_volatile(&raw mut requests.any, 1);
        } else {
            write_volatile(&raw mut requests.named, 1);
        }
    }
    true
}

/// Whether the kernel chose the port that the socket got.
#[inline(always)]
pub(crate) fn is_port_of_kernel(sk: *mut bpf_sock) -> bool {
    bind_requests(sk, 0).is_some_and(|requests| {
        // SAFETY: two loads, each whole. A request by another thread that comes later does not get a port.
        unsafe {
            read_volatile(&raw const requests.any) != 0 && read_volatile(&raw const requests.named) == 0
        }
    })
}

#[inline(always)]
fn bind_requests(sk: *mut bpf_sock, flags: u64) -> Option<&'static mut BindRequests> {
    if fails(BIND_NOT_STORED) {
        return None;
    }
    let map = (&raw const BINDS).cast_mut().cast::<c_void>();
    // SAFETY: the map is socket storage of `BindRequests`; a null value means zeroes; null is tested.
    unsafe {
        bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), flags).cast::<BindRequests>().as_mut()
    }
}

/// A UDP socket that is not connected sends to an IPv4 address.
#[inline(always)]
pub(crate) fn wrote_v4(ctx: &SockAddrContext) {
    let Some(mut key) = begin(ctx) else {
        return;
    };
    // SAFETY: a member of the context.
    let ip = unsafe { read_volatile(addr_of!((*ctx.sock_addr).user_ip4)) };
    // 0.0.0.0 means this host.
    key.peer = mapped(if ip == 0 { [127, 0, 0, 1] } else { ip.to_ne_bytes() });
    wrote(&mut key);
}

/// Likewise, to an IPv6 address.
#[inline(always)]
pub(crate) fn wrote_v6(ctx: &SockAddrContext) {
    let Some(mut key) = begin(ctx) else {
        return;
    };
    let address = ctx.sock_addr;
    // SAFETY: members of the context, each read by itself.
    let words = unsafe {
        [
            read_volatile(addr_of!((*address).user_ip6[0])),
            read_volatile(addr_of!((*address).user_ip6[1])),
            read_volatile(addr_of!((*address).user_ip6[2])),
            read_volatile(addr_of!((*address).user_ip6[3])),
        ]
    };
    key.peer = join(words);
    if key.peer == ANY_PEER {
        // :: means this host.
        key.peer[15] = 1;
    }
    wrote(&mut key);
}

/// The key of a service socket that sends, but for the peer's address.
#[inline(always)]
fn begin(ctx: &SockAddrContext) -> Option<PeerKey> {
    let address = ctx.sock_addr;
    // SAFETY: members of the context; the verifier checks each access and null is tested.
    unsafe {
        if !is_udp((*address).protocol, (*address).type_) {
            return None;
        }
        let sk: *mut bpf_sock = (*address).__bindgen_anon_1.sk;
        if sk.is_null() {
            return None;
        }
        let cookie = bpf_get_socket_cookie(ctx.as_ptr());
        let tag = match tag_of(sk) {
            Some(tag) => *tag,
            None => unmarked::find(cookie)?,
        };
        if tag.flags & KERNEL_PORT != 0 {
            return None;
        }
        if tag.flags & BOUND_BEFORE != 0 {
            let since = WATCHING.get(0).copied().unwrap_or(0);
            if since == 0 || boot_ns() < since + ANSWERS_FROM_BEFORE_NS {
                return None;
            }
        }
        Some(PeerKey {
            peer: ANY_PEER,
            cookie,
            port: u16::from_be(port(read_volatile(addr_of!((*address).user_port)))),
            reserved: [0; 3],
        })
    }
}

/// Remembers the peer that the socket sends to, unless this is an answer to the peer.
#[inline(always)]
fn wrote(key: &mut PeerKey) {
    let now = boot_ns();
    let mut replies_ns = REPLIES_NS;
    if is_group(&key.peer) {
        key.peer = if is_multicast(&key.peer) { ANY_ON_LINK } else { ANY_PEER };
        replies_ns = GROUP_REPLIES_NS;
    }
    // SAFETY: the value is copied at once.
    let heard = unsafe { HEARD.get(&*key) }.copied();
    if heard.is_some_and(|heard| now < heard + HEARD_NS) {
        return;
    }
    // A full table evicts its oldest entry.
    let _ = WROTE.insert(&*key, &(now + replies_ns), 0);
}

/// Whether the datagram comes from a peer that the socket wrote to first.
#[inline(always)]
pub(crate) fn is_reply(attempt: &Attempt) -> bool {
    let Some(key) = key_of(&attempt.key) else {
        return false;
    };
    let now = boot_ns();
    replies(key, now) || replies_if_on_link(key, now) && is_on_link(&attempt.key.flow, attempt.ifindex)
}

/// Whether that peer replies to that socket, wherever it is. Leaves [`ANY_PEER`] in the key.
#[inline(always)]
pub(crate) fn replies(key: &mut PeerKey, now: u64) -> bool {
    if is_awaited(key, now) {
        return true;
    }
    key.peer = ANY_PEER;
    is_awaited(key, now)
}

/// Whether any peer on the link replies to that socket. Leaves [`ANY_ON_LINK`] in the key.
#[inline(always)]
pub(crate) fn replies_if_on_link(key: &mut PeerKey, now: u64) -> bool {
    key.peer = ANY_ON_LINK;
    is_awaited(key, now)
}

#[inline(always)]
fn is_awaited(key: &PeerKey, now: u64) -> bool {
    // SAFETY: the value is copied at once.
    unsafe { WROTE.get(key) }.is_some_and(|until| now < *until)
}

/// The socket's datagrams to the peer of a judged datagram are answers, if the datagram passed or an earlier one did.
#[inline(always)]
pub(crate) fn heard(attempt: &AttemptKey, passed: bool) {
    let Some(key) = key_of(attempt) else {
        return;
    };
    let now = boot_ns();
    note(key, now, passed);
    if passed && is_group(&attempt.flow.server) {
        // An answer to a group may go to a group: DHCP, mDNS.
        key.peer = ANY_PEER;
        note(key, now, true);
        key.peer = ANY_ON_LINK;
        note(key, now, true);
    }
}

/// As [`heard`], of one peer at `now`.
#[inline(always)]
pub(crate) fn note(key: &PeerKey, now: u64, passed: bool) {
    // SAFETY: the value is copied at once.
    let before = unsafe { HEARD.get(key) }.copied().filter(|heard| now < heard + HEARD_NS);
    let is_due = match before {
        Some(heard) => now > heard + NS_PER_S,
        None => passed,
    };
    if is_due {
        // A full table evicts its oldest entry.
        let _ = HEARD.insert(key, &now, 0);
    }
}

/// Whether this is the first datagram of its attempt; remembers it.
#[inline(always)]
pub(crate) fn is_first(listener: u64, client: &Address, outcome: Outcome, now_ns: u64) -> bool {
    let key = UdpClientKey { listener, client: *client, outcome: outcome as u32, reserved: 0 };
    seen::is_first_datagram(&key, now_ns)
}

#[inline(always)]
fn key_of(attempt: &AttemptKey) -> Option<&'static mut PeerKey> {
    // SAFETY: this CPU's own element; the gate runs with bottom halves off and does not nest.
    let key = unsafe { PEERS.get_ptr_mut(0)?.as_mut()? };
    key.peer = attempt.flow.client;
    key.cookie = attempt.listener;
    key.port = attempt.flow.client_port;
    key.reserved = [0; 3];
    Some(key)
}
