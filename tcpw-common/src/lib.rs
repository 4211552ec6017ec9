//! The interface between the BPF programs and user space.
//!
//! In: nothing. Out: the keys, values and events that cross the boundary, and
//! [`decide`](decide::decide), the one lookup order both sides run.
//! Invariant: every shared type is `#[repr(C)]`, without padding, of a size
//! asserted at compile time; a change of any of them changes [`ABI_VERSION`].
#![no_std]

pub mod answer;
pub mod ban;
pub mod banner;
pub mod certified;
pub mod challenge;
pub mod counter;
pub mod deadline;
pub mod decide;
pub mod early;
pub mod event;
pub mod fault;
pub mod flat;
pub mod handshake;
pub mod held;
pub mod key;
pub mod layout;
pub mod limits;
pub mod measure;
pub mod metric;
pub mod outcome;
pub mod probe;
pub mod refusal;
pub mod seen;
pub mod tag;
pub mod user;

pub use layout::ABI_VERSION;
