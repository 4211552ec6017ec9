//! Refusals by sk_lookup: limits, and the state of refused flows.

/// Data that the program of one namespace passes to the shared program: the namespace, and the ports of the
/// packet. If these ports are not the packet's, another program has overwritten the value.
///
/// Layout: 8 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketPlace {
    /// Network namespace cookie.
    pub netns: u64,
    /// Local port, host order.
    pub local_port: u32,
    /// Remote port, network order.
    pub remote_port: u32,
}
const _: () = assert!(size_of::<PacketPlace>() == 16);

/// Limits of the resets.
///
/// Layout: 2 × 8 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetLimits {
    /// Resets in a second to one source: an IPv4 address, an IPv6 /64.
    pub per_source: u64,
    /// Resets in a second to all.
    pub total: u64,
}
const _: () = assert!(size_of::<ResetLimits>() == 16);

/// State of a refused flow.
///
/// Layout: 2 × 8 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedFlow {
    /// When: CLOCK_BOOTTIME, nanoseconds.
    pub at_ns: u64,
    /// How it was refused: [`BY_GATE`], [`BY_RESET`] or [`BY_REDIRECT`].
    pub by: u64,
}

/// The gate dropped it: its retransmits are left to the gate, which can distinguish them from new attempts.
pub const BY_GATE: u64 = 1;

/// It was reset.
pub const BY_RESET: u64 = 2;

/// It was redirected, and its further packets are redirected too.
pub const BY_REDIRECT: u64 = 3;

/// Key of a redirect listener.
///
/// Layout: 8 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectKey {
    /// Network namespace cookie.
    pub netns: u64,
    /// Address family of the packets: 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<RedirectKey>() == 16);

#[cfg(feature = "user")]
mod plain {
    // SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::ResetLimits {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::RedirectKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::RefusedFlow {}
}
