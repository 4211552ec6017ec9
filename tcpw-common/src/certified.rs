//! Certified places: where sk_lookup may refuse, because exactly one identified listener is there.
//!
//! In: a network namespace, a protocol, a local address and port. Out: the one listener behind it.
//! Invariant: a certificate is valid only while its stamps equal those in the table of changes. Before a socket
//! begins or stops to listen there, the kernel changes the stamp; over UDP, before a socket is bound to a
//! watched port.

use crate::key::{Address, NamesId};

/// A place: a local address and port at which a listener is reached.
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
/// Layout: 4 × 8 + 4 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certified {
    /// Names of the listener.
    pub names: NamesId,
    /// Cookie of its socket; of one of them, if there are several.
    pub cookie: u64,
    /// Stamp of the port before user space scanned.
    pub port_stamp: u64,
    /// Stamp of the namespace before user space scanned.
    pub netns_stamp: u64,
    /// Process id of the listener.
    pub pid: u32,
    /// Address family of the listening socket: 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// [`MAY_RESET`], [`MAY_REDIRECT`], [`MAY_CLOSE`], [`MAY_DROP_EARLY`], or 0: an entry without flags for one address
    /// overrides the entry for all addresses.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Certified>() == 48);

/// Flag: refused clients may be reset; over UDP they may get an ICMP message.
pub const MAY_RESET: u32 = 1;

/// Flag: refused clients whose rule has a banner or a command for them may be redirected.
pub const MAY_REDIRECT: u32 = 2;

/// Flag: the connections of refused clients may be completed by the redirect listener, which closes them.
pub const MAY_CLOSE: u32 = 4;

/// Flag: the SYNs of refused clients may be dropped at a device, before the stack.
pub const MAY_DROP_EARLY: u32 = 8;

/// A UDP port that is watched: a bind(2) to it, by any process, changes its stamp.
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

/// Stamps in the table of changes. If two ports share one, a change of either voids the certificates of both:
/// safe, and rare.
pub const CHANGES: usize = 1 << 16;

/// For a port whose number is not known: voids every place of the namespace.
pub const WHOLE_NETNS: u32 = 0;

/// For any listener that comes or goes in the namespace; voids nothing by itself.
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
