//! Map keys and the addresses in them.

/// An address: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d`.
pub type Address = [u8; 16];

/// The v4-mapped form of an IPv4 address.
#[inline(always)]
pub const fn mapped(v4: [u8; 4]) -> Address {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// The IPv4 address inside a v4-mapped one; `None` for a real IPv6 address.
#[inline(always)]
pub fn as_v4(address: &Address) -> Option<[u8; 4]> {
    let mut i = 0;
    while i < 10 {
        if address[i] != 0 {
            return None;
        }
        i += 1;
    }
    if address[10] != 0xff || address[11] != 0xff {
        return None;
    }
    Some([address[12], address[13], address[14], address[15]])
}

/// Stable identity of a set of daemon names: see `tcpw-userspace`'s `listeners`.
///
/// A hash of the names, so that every process of tcpw, before or after a
/// restart, gives the same set the same id. 0 is the empty set.
pub type NamesId = u64;

/// One connection attempt, as the tables see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Who listens.
    pub names: NamesId,
    /// Client address.
    pub client: Address,
    /// Local address the client connects to.
    pub server: Address,
    /// Local port, host order.
    pub port: u16,
}

/// Key of an answer that user space gave to [`Outcome::Ask`](crate::outcome::Outcome::Ask).
///
/// Layout: 4 + 4 + 16 + 16 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AnswerKey {
    /// Generation the answer belongs to; an answer dies with it.
    pub generation: u32,
    /// Policy index within that generation.
    pub policy: u32,
    /// Client address.
    pub client: Address,
    /// Local address.
    pub server: Address,
}
const _: () = assert!(size_of::<AnswerKey>() == 40);

/// One attempt: a SYN and its retransmits share it.
///
/// Layout: 16 + 16 + 8 + 4 + 2 + 2 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptKey {
    /// Client address.
    pub client: Address,
    /// Local address.
    pub server: Address,
    /// Cookie of the listening socket.
    pub cookie: u64,
    /// Initial sequence number, 0 where only the handshake counts.
    pub isn: u32,
    /// Client port, host order.
    pub client_port: u16,
    /// Local port, host order.
    pub server_port: u16,
}
const _: () = assert!(size_of::<AttemptKey>() == 48);

/// A UDP service socket and somebody it talks to.
///
/// Layout: 16 + 8 + 2 + 6 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// The peer, or [`EVERYBODY`].
    pub peer: Address,
    /// Cookie of the socket.
    pub cookie: u64,
    /// The peer's port, host order.
    pub port: u16,
    /// 0.
    pub reserved: [u16; 3],
}
const _: () = assert!(size_of::<PeerKey>() == 32);

/// The peer of a datagram to a group, who may be anybody.
pub const EVERYBODY: Address = [0; 16];

/// Whether a datagram to this address reaches many: multicast, or IPv4's limited broadcast.
#[inline(always)]
pub fn is_group(address: &Address) -> bool {
    match as_v4(address) {
        Some(v4) => v4[0] & 0xf0 == 0xe0 || u32::from_ne_bytes(v4) == u32::MAX,
        None => address[0] == 0xff,
    }
}

/// A process name as the kernel keeps it: 15 bytes and a NUL.
pub type Comm = [u8; 16];

#[cfg(feature = "user")]
mod plain {
    // SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::AnswerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::AttemptKey {}
}
