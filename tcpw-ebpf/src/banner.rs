//! Banners of allowed clients.
//!
//! In: handshakes for which user space has left a banner, and the first data that such a connection's daemon
//! sends. Out: the banner in front of these data, once.
//! Invariant: the daemon's data are sent complete and in order, whether or not the banner is; the banner is
//! sent complete or not at all. Until then it is in the socket's storage, so it is freed with the connection.
//! Hooks: sock_ops; sk_msg, which runs under the socket's lock.
//! Source: linux net/ipv4/tcp_bpf.c; net/core/filter.c, `bpf_msg_push_data`.

use core::ptr::{addr_of, null_mut, read_volatile};

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    cty::c_void,
    helpers::{
        bpf_get_socket_cookie,
        generated::{
            bpf_msg_pop_data, bpf_msg_push_data, bpf_sk_storage_delete, bpf_sk_storage_get,
            bpf_sock_hash_update,
        },
    },
    programs::{SkMsgContext, SockOpsContext},
};
use tcpw_common::{
    banner::{Banner, MAX_TEXT},
    counter::Counter,
    event::Kind,
    key::{BannerKey, FlowKey},
    tag::Tag,
};

use crate::{
    clock::boot_ns,
    emit::{Report, count, emit},
    maps::{BANNER_SOCKETS, BANNER_TEXTS, BANNERS},
    net::{IPPROTO_TCP, TCP_CLOSE_WAIT, TCP_ESTABLISHED},
};

/// Segments that every socket has room for.
const MOST_SEGMENTS: u32 = 8;

/// A word: the text is copied in such pieces.
const WORD: usize = 8;

/// sock_ops: the handshake of a connection that gets a banner is complete.
#[inline(always)]
pub(crate) fn begin(ctx: &SockOpsContext, flow: &FlowKey) {
    // SAFETY: the member is read once.
    let isn = unsafe { read_volatile(addr_of!((*ctx.ops).rcv_nxt)) }.wrapping_sub(1);
    let key = BannerKey { flow: *flow, isn, reserved: 0 };
    if !move_to_socket(ctx, &key) {
        count(Counter::BannersMissed);
    }
    BANNERS.remove(&key);
}

/// Puts the banner into the socket's storage, and lets the socket's data pass through [`send`].
#[inline(always)]
fn move_to_socket(ctx: &SockOpsContext, key: &BannerKey) -> bool {
    let Some(text) = BANNERS.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the socket is the context's; the verifier asks for the tests of null. The text is copied into
    // the socket's own storage.
    unsafe {
        let sk = (*ctx.ops).__bindgen_anon_2.sk;
        if sk.is_null() {
            return false;
        }
        // If the socket has no room for that many segments, a send that does not block would stop within the
        // banner, and the kernel would report a negative number of bytes to the daemon.
        let mss = read_volatile(addr_of!((*ctx.ops).mss_cache));
        if mss.wrapping_mul(MOST_SEGMENTS) < (*text).length {
            return false;
        }
        let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
        let banner: *mut Banner = bpf_sk_storage_get(texts(), sk.cast(), text.cast(), create).cast();
        if banner.is_null() {
            return false;
        }
        let mut cookie = bpf_get_socket_cookie(ctx.ops.cast());
        (*banner).cookie = cookie;
        let sockets = (&raw const BANNER_SOCKETS).cast_mut().cast();
        let flags = u64::from(BPF_NOEXIST);
        if bpf_sock_hash_update(ctx.ops, sockets, (&raw mut cookie).cast(), flags) != 0 {
            bpf_sk_storage_delete(texts(), sk.cast());
            return false;
        }
    }
    true
}

/// sk_msg: the socket of a connection that gets a banner sends.
#[inline(always)]
pub(crate) fn send(ctx: &SkMsgContext) {
    // SAFETY: a member of the context; null is tested. No other CPU uses the storage: the socket is locked.
    let (sk, banner) = unsafe {
        let sk = (*ctx.msg).__bindgen_anon_3.sk;
        if sk.is_null() {
            return;
        }
        let banner: *mut Banner = bpf_sk_storage_get(texts(), sk.cast(), null_mut(), 0).cast();
        if banner.is_null() {
            return;
        }
        (sk, &mut *banner)
    };
    let cookie = banner.cookie;
    let counter = if push(ctx, sk, banner) { Counter::BannersSent } else { Counter::BannersMissed };
    // SAFETY: the verifier knows the socket; the banner is not used after this.
    unsafe { bpf_sk_storage_delete(texts(), sk.cast()) };
    count(counter);
    let tag = Tag { names: 0, netns: 0, pid: 0, flags: 0 };
    emit(
        Kind::BannerDone,
        &Report {
            time_ns: boot_ns(),
            tag: &tag,
            cookie,
            flow: &FlowKey::none(0, IPPROTO_TCP, 0),
            family: 0,
            ifindex: 0,
            generation: 0,
            policy: 0,
            comm: &[0; 16],
        },
    );
}

/// Puts the banner in front of what is being sent.
#[inline(always)]
fn push(ctx: &SkMsgContext, sk: *mut bpf_sock, banner: &Banner) -> bool {
    // SAFETY: the socket is not null.
    let state = unsafe { (*sk).state };
    // In other states the send fails, and the kernel would report the banner's bytes to the daemon.
    if state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT {
        return false;
    }
    let length = banner.length;
    if length == 0 || length as usize > MAX_TEXT {
        return false;
    }
    // SAFETY: the helper takes the context and numbers.
    if unsafe { bpf_msg_push_data(ctx.msg, 0, length, 0) } != 0 {
        return false;
    }
    if fill(ctx, banner) {
        return true;
    }
    // SAFETY: likewise.
    unsafe { bpf_msg_pop_data(ctx.msg, 0, length, 0) };
    false
}

/// Writes the text over all the bytes that were inserted for it.
#[inline(always)]
fn fill(ctx: &SkMsgContext, banner: &Banner) -> bool {
    let length = banner.length as usize;
    let text = (&raw const banner.text).cast::<u8>();
    let mut at = 0;
    while at < MAX_TEXT {
        // Read again each time: LLVM must not merge the two bounds, because the verifier would not follow that.
        // SAFETY: a live number.
        let rest = unsafe { read_volatile(&raw const banner.length) } as usize;
        if at + WORD > rest {
            break;
        }
        if !put::<u64>(ctx, text, at) {
            return false;
        }
        at += WORD;
    }
    let mut tail = 0;
    while tail < WORD {
        // SAFETY: as above.
        let rest = unsafe { read_volatile(&raw const banner.length) } as usize;
        if at >= MAX_TEXT || at >= rest {
            break;
        }
        if !put::<u8>(ctx, text, at) {
            return false;
        }
        at += 1;
        tail += 1;
    }
    at == length
}

/// Copies one piece; `false` if there is no room, which the verifier wants to see tested.
#[inline(always)]
fn put<T: Copy>(ctx: &SkMsgContext, text: *const u8, at: usize) -> bool {
    // SAFETY: both ends are tested; neither needs to be aligned.
    unsafe {
        let data = read_volatile(addr_of!((*ctx.msg).__bindgen_anon_1.data)) as usize;
        let end = read_volatile(addr_of!((*ctx.msg).__bindgen_anon_2.data_end)) as usize;
        if data + at + size_of::<T>() > end {
            return false;
        }
        ((data + at) as *mut T).write_unaligned(text.add(at).cast::<T>().read_unaligned());
    }
    true
}

#[inline(always)]
fn texts() -> *mut c_void {
    (&raw const BANNER_TEXTS).cast_mut().cast()
}
