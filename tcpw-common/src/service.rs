//! Services whose refused clients may be reset: what user space certifies, and what voids it.
//!
//! In: a network namespace, a protocol, a local address and port. Out: the one listener behind it.
//! Invariant: a certificate holds only while the stamps it names are those in the table of
//! changes; whoever begins or ends to listen there writes another stamp first. For UDP, whoever binds
//! a port that is watched.

use crate::key::{Address, NamesId};

/// Key of a service: where it is reached.
///
/// Layout: 8 + 16 + 2 + 2 + 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// Network namespace cookie.
    pub netns: u64,
    /// Local address; `::` and `::ffff:0.0.0.0` stand for every one that has no entry of its own.
    pub local: Address,
    /// Local port, host order.
    pub port: u16,
    /// IP protocol: 6 (TCP) or 17 (UDP).
    pub protocol: u16,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<ServiceKey>() == 32);

/// Who listens at a [`ServiceKey`].
///
/// Layout: 5 × 8 + 4 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Names of the listener.
    pub names: NamesId,
    /// Cookie of its socket, of one of them if there are several.
    pub cookie: u64,
    /// Stamp of the port when user space looked.
    pub port_stamp: u64,
    /// Stamp of the namespace when user space looked.
    pub netns_stamp: u64,
    /// Since when the names are these: CLOCK_BOOTTIME, nanoseconds.
    pub since_ns: u64,
    /// Process id of the listener.
    pub pid: u32,
    /// Address family of the listening socket: 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// [`RESET`], [`STEER`], both, or 0: one that is not certain hides the one for every address.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Service>() == 56);

/// Refused clients are reset; over UDP they get an ICMP message.
pub const RESET: u32 = 1;

/// Refused clients for whom their rule has something are led to user space.
pub const STEER: u32 = 2;

/// A UDP port that is watched: a bind(2) of it leaves a stamp, whoever does it.
///
/// Layout: 8 + 4 + 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    /// Network namespace cookie.
    pub netns: u64,
    /// Port, host order.
    pub port: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<PortKey>() == 16);

/// Stamps in the table of changes. Two ports that share one void each other's certificates: safe, and rare.
pub const CHANGES: usize = 1 << 16;

/// Stands for a port whose number is not known: every service of the namespace.
pub const WHOLE_NETNS: u32 = 0;

/// Stands for any listener that comes or goes in the namespace; voids nothing by itself.
pub const ANY_PORT: u32 = 1 << 16;

/// Index of a port's stamp in the table of changes.
#[inline(always)]
pub const fn change_index(netns: u64, protocol: u16, port: u32) -> u32 {
    /// 2^64 divided by the golden ratio: Knuth's multiplicative hash.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = netns.wrapping_mul(GOLDEN) ^ (((protocol as u64) << 32) | port as u64);
    (mixed.wrapping_mul(GOLDEN) >> 48) as u32
}

/// What the program of one namespace hands to the one they share: where it runs, and a check
/// that nobody else wrote meanwhile.
///
/// Layout: 8 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Network namespace cookie.
    pub netns: u64,
    /// Local port, host order.
    pub local_port: u32,
    /// Remote port, network order.
    pub remote_port: u32,
}
const _: () = assert!(size_of::<Place>() == 16);

/// Limits of the resets.
///
/// Layout: 3 × 8 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetLimits {
    /// Resets in a second to one source: an IPv4 address, an IPv6 /64.
    pub per_source: u64,
    /// Resets in a second to all.
    pub total: u64,
    /// When a verdict last could change: CLOCK_BOOTTIME, nanoseconds.
    pub changed_ns: u64,
}
const _: () = assert!(size_of::<ResetLimits>() == 24);

/// A flow that was refused, and by whom.
///
/// Layout: 2 × 8 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// When: CLOCK_BOOTTIME, nanoseconds.
    pub at_ns: u64,
    /// [`BY_GATE`], [`BY_RESET`] or [`BY_STEER`].
    pub by: u64,
}

/// The gate dropped it: its retransmits are the gate's, which tells them from new attempts.
pub const BY_GATE: u64 = 1;

/// It was reset.
pub const BY_RESET: u64 = 2;

/// It was led to user space: so are its further packets.
pub const BY_STEER: u64 = 3;

/// Key of a socket that takes the connections led to user space.
///
/// Layout: 8 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakerKey {
    /// Network namespace cookie.
    pub netns: u64,
    /// Address family of the packets: 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<TakerKey>() == 16);

/// How often handshakes were allowed of late: whether one may have been forgotten.
///
/// Layout: 3 × 8 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Begin of the window: CLOCK_BOOTTIME, nanoseconds.
    pub began_ns: u64,
    /// Handshakes allowed in it.
    pub count: u64,
    /// Until then one may have been forgotten.
    pub until_ns: u64,
}

#[cfg(feature = "user")]
mod plain {
    // SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::ServiceKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Service {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::PortKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ResetLimits {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Pressure {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::TakerKey {}
}
