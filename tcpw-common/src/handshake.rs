//! An allowed SYN until its handshake is complete.

use crate::tag::Tag;

/// Who listens, and which policy allowed it.
///
/// Layout: 24 + 4 + 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Tag of the listener.
    pub tag: Tag,
    /// Generation of the policy.
    pub generation: u32,
    /// Policy index within that generation.
    pub policy: u32,
}
const _: () = assert!(size_of::<Handshake>() == 32);
