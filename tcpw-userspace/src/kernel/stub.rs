//! The sk_lookup program of one network namespace: it stores the namespace's cookie, then calls the shared
//! program.
//!
//! In: the namespace's cookie, two maps. Out: a loaded program of 22 instructions. The hook has no
//! helper that returns the namespace, and a copy of the whole program for each namespace would have to be
//! verified, kept and replaced many times.
//! Invariant: without a shared program every packet passes.
//! Source: Documentation/bpf/standardization/instruction-set.rst; uapi/linux/bpf.h, `struct bpf_sk_lookup`.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use super::sys;

const LOCAL_PORT: i16 = 60;
const REMOTE_PORT: i16 = 36;

/// One instruction: opcode, registers (source, destination), offset, immediate.
fn one(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let registers = source << 4 | destination;
    let [a, b] = offset.to_ne_bytes();
    let [i, j, k, l] = immediate.to_ne_bytes();
    u64::from_ne_bytes([code, registers, a, b, i, j, k, l])
}

/// Loads the program of a namespace; `place` and `shared` are the maps PLACE and REFUSALS.
pub(super) fn load(netns: u64, place: BorrowedFd<'_>, shared: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    sys::load_sk_lookup(&instructions(netns, place.as_raw_fd(), shared.as_raw_fd()))
}

fn instructions(netns: u64, place: i32, shared: i32) -> [u64; 22] {
    const LOAD_64: u8 = 0x18;
    const MAP: u8 = 1;
    const MOVE: u8 = 0xbf;
    const MOVE_NUMBER: u8 = 0xb7;
    const ADD_NUMBER: u8 = 0x07;
    const CALL: u8 = 0x85;
    const LOOKUP_ELEMENT: i32 = 1;
    const TAIL_CALL: i32 = 12;
    const LOAD_U32: u8 = 0x61;
    const LOAD_U16: u8 = 0x69;
    const STORE_U32: u8 = 0x63;
    const STORE_U64: u8 = 0x7b;
    const STORE_NUMBER_U32: u8 = 0x62;
    const IF_ZERO: u8 = 0x15;
    const EXIT: u8 = 0x95;
    let [a, b, c, d, e, f, g, h] = netns.to_le_bytes();
    let (low, high) = (i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h]));
    [
        one(MOVE, 6, 1, 0, 0),
        // Key 0, on the stack.
        one(STORE_NUMBER_U32, 10, 0, -4, 0),
        one(LOAD_64, 1, MAP, 0, place),
        0,
        one(MOVE, 2, 10, 0, 0),
        one(ADD_NUMBER, 2, 0, 0, -4),
        one(CALL, 0, 0, 0, LOOKUP_ELEMENT),
        one(IF_ZERO, 0, 0, 12, 0),
        one(LOAD_64, 1, 0, 0, low),
        one(0, 0, 0, 0, high),
        one(STORE_U64, 0, 1, 0, 0),
        one(LOAD_U32, 1, 6, LOCAL_PORT, 0),
        one(STORE_U32, 0, 1, 8, 0),
        one(LOAD_U16, 1, 6, REMOTE_PORT, 0),
        one(STORE_U32, 0, 1, 12, 0),
        one(MOVE, 1, 6, 0, 0),
        one(LOAD_64, 2, MAP, 0, shared),
        0,
        one(MOVE_NUMBER, 3, 0, 0, 0),
        one(CALL, 0, 0, 0, TAIL_CALL),
        // SK_PASS.
        one(MOVE_NUMBER, 0, 0, 0, 1),
        one(EXIT, 0, 0, 0, 0),
    ]
}
