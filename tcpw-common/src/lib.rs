//! The contract of kernel and user space.
//!
//! In: nothing. Out: the keys, values and events that cross the boundary, and
//! [`decide`](decide::decide), the one lookup order both sides run.
//! Invariant: every shared type is `#[repr(C)]`, without padding, of a size
//! asserted at compile time; a change of any of them changes [`ABI_VERSION`].
#![no_std]

pub mod answer;
pub mod counter;
pub mod decide;
pub mod event;
pub mod handshake;
pub mod held;
pub mod key;
pub mod limits;
pub mod outcome;
pub mod probe;
pub mod service;
pub mod tag;
pub mod user;

/// Layout version of maps, tags and events; part of the pin directory's name.
///
/// The same in every version, so that each can read and end what another left in force: the
/// directory `v<ABI_VERSION>`; pins of links named `link_` and the program, the gate's `link_gate`;
/// the maps `ACTIVE` (one u32), `HEADERS` (a generation and flags in the first two words) and
/// `COUNTERS` (u64 per CPU). No number of a flag or counter is ever given to another one.
pub const ABI_VERSION: u32 = 5;
