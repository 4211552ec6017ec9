//! UDP sockets that were bound before the programs ran and cannot carry a tag: their option memory is full.
//!
//! In: such a socket, as the iterator meets it; later its cookie. Out: its tag, which stands under the cookie.
//! Invariant: of a UDP socket without a tag its owner named no port, unless its cookie is in the table, or the table
//! had no room: user space says so. While there is no such socket, no other pays for a look-up.

use core::ffi::c_void;

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_get_socket_cookie};
use tcpw_common::tag::{ALL_MARKED, SOME_MISSED, SOME_UNMARKED, Tag};

use crate::{
    maps::{LISTENERS, UNMARKED},
    steady::steady,
};

/// Source: linux/include/uapi/asm-generic/errno-base.h.
const EEXIST: i32 = 17;

/// Notes the tag of a socket that cannot carry it, unless there is one.
///
/// # Safety
/// `sk` must be a struct sock that the verifier knows.
#[inline(always)]
pub(crate) unsafe fn note(sk: *mut c_void, tag: &Tag) {
    // SAFETY: in a program of the tracing kind the helper takes a socket. Linux 5.12.
    let cookie = unsafe { bpf_get_socket_cookie(sk) };
    let Some(state) = UNMARKED.get_ptr_mut(0) else {
        return;
    };
    let is_noted = match LISTENERS.insert(&cookie, tag, u64::from(BPF_NOEXIST)) {
        Ok(()) => true,
        Err(error) => error == -EEXIST,
    };
    // SAFETY: the pointer is into the map and aligned; whole loads and stores. One process runs the iterator.
    unsafe {
        if !is_noted {
            state.write_volatile(SOME_MISSED);
        } else if state.read_volatile() == ALL_MARKED {
            state.write_volatile(SOME_UNMARKED);
        }
    }
}

/// Whether there is such a socket.
#[inline(always)]
pub(crate) fn are_any() -> bool {
    UNMARKED.get(0).copied().unwrap_or(ALL_MARKED) != ALL_MARKED
}

/// The tag of such a socket.
#[inline(always)]
pub(crate) fn find(cookie: u64) -> Option<Tag> {
    if are_any() { steady(|| LISTENERS.get_ptr(&cookie)) } else { None }
}
