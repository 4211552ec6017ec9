//! State of an allowed handshake until it is complete.

use crate::tag::Tag;

/// An allowed SYN for whose connection something is to be done.
///
/// Layout: 24 + 8 + 4 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Handshake {
    /// Tag of the listener.
    pub tag: Tag,
    /// Cookie of the listening socket.
    pub cookie: u64,
    /// Generation of the policy that decided.
    pub generation: u32,
    /// Policy index within that generation.
    pub policy: u32,
    /// [`REPORT`](crate::outcome::REPORT), [`KEEPALIVE`](crate::outcome::KEEPALIVE),
    /// [`BANNER`](crate::outcome::BANNER).
    pub marks: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Handshake>() == 48);

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Handshake {}
