//! The early drop: what its programs must know of a device.

/// A device at which SYNs may be dropped. The key is its interface index.
///
/// Layout: 8 + 6 + 2 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyDevice {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Its Ethernet address: a frame to another one is not for this host's stack.
    pub ethernet: [u8; 6],
    /// 0.
    pub reserved: u16,
}
const _: () = assert!(size_of::<EarlyDevice>() == 16);

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for EarlyDevice {}
