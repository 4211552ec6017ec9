//! Certified places: where sk_lookup may refuse, because exactly one identified listener is there.
//!
//! In: a network namespace, a protocol, a local address and port. Out: the one listener behind it.
//! Invariant: a certificate holds only while the stamps it names are those in the table of changes. A
//! socket that begins or ends to listen there writes another stamp first; over UDP, a socket that is bound
//! to a watched port does.

use crate::key::{Address, NamesId};

/// A place: where a listener is reached.
///
/// Layout: 8 + 16 + 2 + 2 + 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertifiedKey {
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
const _: () = assert!(size_of::<CertifiedKey>() == 32);

/// The listener at a [`CertifiedKey`].
///
/// Layout: 5 × 8 + 4 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certified {
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
    /// [`MAY_RESET`], [`MAY_REDIRECT`], both, or 0: an entry of one address that is not certain hides the
    /// entry of all addresses.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Certified>() == 56);

/// Flag: refused clients may be reset; over UDP they may get an ICMP message.
pub const MAY_RESET: u32 = 1;

/// Flag: refused clients whose rule has a banner or a command for them may be redirected.
pub const MAY_REDIRECT: u32 = 2;

/// A UDP port that is watched: a bind(2) of it leaves a stamp, in whichever process.
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

/// Stands for a port whose number is not known: every place of the namespace.
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

#[cfg(feature = "user")]
mod plain {
    // SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::CertifiedKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Certified {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::PortKey {}
}
