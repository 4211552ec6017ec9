//! The early drop: the places at which SYNs may be dropped before the stack.
//!
//! In: a device, a local address and port. Out: the one listener behind it, and what a frame for it looks like.
//! Invariant: an entry is there only while the address is local, the place is certified, and the device may drop.

use crate::{certified::Certified, key::Address};

/// A local address and port, as a device sees them.
///
/// Layout: 4 + 2 + 2 + 16 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EarlyKey {
    /// Interface index of the device.
    pub ifindex: u32,
    /// Local port, host order.
    pub port: u16,
    /// 0.
    pub reserved: u16,
    /// Local address.
    pub local: Address,
}
const _: () = assert!(size_of::<EarlyKey>() == 24);

/// What is at an [`EarlyKey`].
///
/// Layout: 48 + 8 + 6 + 2 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyPlace {
    /// The listener.
    pub certified: Certified,
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Ethernet address of the device: a frame to another one is not for this host's stack.
    pub ethernet: [u8; 6],
    /// 0.
    pub reserved: u16,
}
const _: () = assert!(size_of::<EarlyPlace>() == 64);

#[cfg(feature = "user")]
mod plain {
    // SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::EarlyKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::EarlyPlace {}
}
