//! Banners of clients that are let in.
//!
//! In: handshakes whose SYN was let go on with a text, and what such a connection's daemon sends first.
//! Out: the text in front of that, once.
//! Invariant: what a daemon sends goes out whole and in order, whatever becomes of the text; the text goes
//! out whole or not at all. A socket carries it until then, so nothing outlives a connection.
//! Hooks: sock_ops; sk_msg, which runs under the socket's lock.
//! Source: linux net/ipv4/tcp_bpf.c; net/core/filter.c, `bpf_msg_push_data`.

use core::ptr::{addr_of, null_mut, read_volatile};

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    cty::c_void,
    helpers::{
        bpf_get_socket_cookie,
        generated::{
            bpf_get_netns_cookie, bpf_msg_pop_data, bpf_msg_push_data, bpf_sk_storage_delete,
            bpf_sk_storage_get, bpf_sock_hash_update,
        },
    },
    programs::{SkMsgContext, SockOpsContext},
};
use tcpw_common::{
    banner::{Banner, MAX_TEXT},
    counter::Counter,
    event::Kind,
    key::AttemptKey,
    tag::Tag,
};

use crate::{
    emit::{Report, count, emit},
    maps::{BANNERS, SPEAKERS, SPEECHES},
};

/// States in which a socket sends. Source: linux/include/net/tcp_states.h.
const TCP_ESTABLISHED: u32 = 1;
const TCP_CLOSE_WAIT: u32 = 8;

/// Segments that every socket has room for.
const MOST_SEGMENTS: u32 = 8;

/// A word: the text is copied in such pieces.
const WORD: usize = 8;

/// sock_ops: the handshake of a connection is complete whose client has a banner coming. `ends` are its own,
/// without socket and sequence number.
#[inline(always)]
pub(crate) fn begin(ctx: &SockOpsContext, mut ends: AttemptKey) {
    // SAFETY: the helper takes the context; the member is read once.
    unsafe {
        ends.cookie = bpf_get_netns_cookie(ctx.ops.cast());
        ends.isn = read_volatile(addr_of!((*ctx.ops).rcv_nxt)).wrapping_sub(1);
    }
    if !take_up(ctx, &ends) {
        count(Counter::BannersMissed);
    }
    let _ = BANNERS.remove(&ends);
}

/// Gives the socket its text, and has what it sends pass by [`speak`].
#[inline(always)]
fn take_up(ctx: &SockOpsContext, key: &AttemptKey) -> bool {
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
        // In more segments than the socket has room for, a send that does not block would end within the
        // text, and the kernel would tell the daemon of less than nothing.
        let mss = read_volatile(addr_of!((*ctx.ops).mss_cache));
        if mss.wrapping_mul(MOST_SEGMENTS) < (*text).length {
            return false;
        }
        let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
        let speech: *mut Banner = bpf_sk_storage_get(speeches(), sk.cast(), text.cast(), create).cast();
        if speech.is_null() {
            return false;
        }
        let mut cookie = bpf_get_socket_cookie(ctx.ops.cast());
        (*speech).cookie = cookie;
        let speakers = (&raw const SPEAKERS).cast_mut().cast();
        let flags = u64::from(BPF_NOEXIST);
        if bpf_sock_hash_update(ctx.ops, speakers, (&raw mut cookie).cast(), flags) != 0 {
            bpf_sk_storage_delete(speeches(), sk.cast());
            return false;
        }
    }
    true
}

/// sk_msg: the socket of a connection sends.
#[inline(always)]
pub(crate) fn speak(ctx: &SkMsgContext) {
    // SAFETY: a member of the context; null is tested. Nobody else is at the storage: the socket is locked.
    let (sk, speech) = unsafe {
        let sk = (*ctx.msg).__bindgen_anon_3.sk;
        if sk.is_null() {
            return;
        }
        let speech: *mut Banner = bpf_sk_storage_get(speeches(), sk.cast(), null_mut(), 0).cast();
        if speech.is_null() {
            return;
        }
        (sk, &mut *speech)
    };
    let cookie = speech.cookie;
    let counter = if say(ctx, sk, speech) { Counter::BannersSent } else { Counter::BannersMissed };
    // SAFETY: the verifier knows the socket; the text is not looked at any more.
    unsafe { bpf_sk_storage_delete(speeches(), sk.cast()) };
    count(counter);
    let tag = Tag { names: 0, netns: 0, pid: 0, flags: 0 };
    emit(
        Kind::Spoken,
        &Report {
            tag: &tag,
            cookie,
            client: &[0; 16],
            server: &[0; 16],
            client_port: 0,
            server_port: 0,
            family: 0,
            ifindex: 0,
            generation: 0,
            policy: 0,
            protocol: 6,
            comm: &[0; 16],
        },
    );
}

/// Puts the text in front of what is being sent.
#[inline(always)]
fn say(ctx: &SkMsgContext, sk: *mut bpf_sock, speech: &mut Banner) -> bool {
    // SAFETY: the socket is not null.
    let state = unsafe { (*sk).state };
    // What such a socket sends fails, and the kernel would tell the daemon of the text's bytes.
    if state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT {
        return false;
    }
    let length = speech.length;
    if length == 0 || length as usize > MAX_TEXT {
        return false;
    }
    // SAFETY: the helper takes the context and numbers.
    if unsafe { bpf_msg_push_data(ctx.msg, 0, length, 0) } != 0 {
        return false;
    }
    if fill(ctx, speech) {
        return true;
    }
    // SAFETY: likewise.
    unsafe { bpf_msg_pop_data(ctx.msg, 0, length, 0) };
    false
}

/// Writes the text over the bytes that were made for it, all of them.
#[inline(always)]
fn fill(ctx: &SkMsgContext, speech: &mut Banner) -> bool {
    let length = speech.length as usize;
    let text = (&raw const speech.text).cast::<u8>();
    let mut at = 0;
    while at < MAX_TEXT {
        // Read anew each time: LLVM must not make one bound of two, which the verifier would not follow.
        // SAFETY: a live number.
        let rest = unsafe { read_volatile(&raw const speech.length) } as usize;
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
        let rest = unsafe { read_volatile(&raw const speech.length) } as usize;
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
fn speeches() -> *mut c_void {
    (&raw const SPEECHES).cast_mut().cast()
}
