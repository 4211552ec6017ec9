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
    // By words: the kernel asks this for every attempt.
    let [a, b, c, d, e, f, g, h, i, j, k, l, v4 @ ..] = *address;
    let is_mapped = u64::from_ne_bytes([a, b, c, d, e, f, g, h]) == 0
        && u32::from_ne_bytes([i, j, k, l]) == u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    is_mapped.then_some(v4)
}

/// Stable identity of a set of daemon names: see `tcpw-userspace`'s `listeners`.
///
/// A keyed hash of the names, so that every process of tcpw with that key, before or after a
/// restart, gives the same set the same id. 0 is the empty set.
pub type NamesId = u64;

/// One connection attempt: the input of [`decide`](crate::decide::decide).
///
/// Its layout is fixed so that the client is aligned.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Names of the listener.
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

/// A flow: both ends of a connection, or of a datagram, in their network namespace.
///
/// Two namespaces may use the same addresses and ports: the namespace is part of the key.
///
/// Layout: 8 + 16 + 16 + 4 × 2 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Network namespace cookie; 0 if unknown.
    pub netns: u64,
    /// Client address.
    pub client: Address,
    /// Local address.
    pub server: Address,
    /// Client port, host order.
    pub client_port: u16,
    /// Local port, host order.
    pub server_port: u16,
    /// IP protocol: 6 (TCP) or 17 (UDP).
    pub protocol: u16,
    /// 0.
    pub reserved: u16,
}
const _: () = assert!(size_of::<FlowKey>() == 48);

impl FlowKey {
    /// The flow of a TCP connection.
    #[inline(always)]
    #[must_use]
    pub const fn tcp(netns: u64, client: (Address, u16), server: (Address, u16)) -> Self {
        const TCP: u16 = 6;
        Self {
            netns,
            client: client.0,
            server: server.0,
            client_port: client.1,
            server_port: server.1,
            protocol: TCP,
            reserved: 0,
        }
    }

    /// Of an event that is about no flow: the namespace, protocol and port of its socket.
    #[inline(always)]
    #[must_use]
    pub const fn none(netns: u64, protocol: u16, server_port: u16) -> Self {
        let (client, server) = ([0; 16], [0; 16]);
        Self { netns, client, server, client_port: 0, server_port, protocol, reserved: 0 }
    }

    /// The flow of a packet that the server sends, once its ends are read as those of a packet that it receives.
    #[inline(always)]
    pub const fn turn_round(&mut self) {
        (self.client, self.server) = (self.server, self.client);
        (self.client_port, self.server_port) = (self.server_port, self.client_port);
    }
}

/// One attempt: a SYN with its retransmits, or a datagram, at one socket.
///
/// Layout: 48 + 8 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptKey {
    /// Its flow.
    pub flow: FlowKey,
    /// Cookie of the listener's socket.
    pub listener: u64,
    /// The client's initial sequence number, host order; a datagram has none: 0.
    pub isn: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<AttemptKey>() == 64);

/// A handshake whose connection gets a banner.
///
/// Layout: 48 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BannerKey {
    /// Its flow.
    pub flow: FlowKey,
    /// The client's initial sequence number, host order.
    pub isn: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<BannerKey>() == 56);

/// The attempt of a UDP client: all its datagrams to one socket, for a while.
///
/// It has no port: a client that sends from many ports makes one attempt. It has no namespace: the
/// cookie of a socket is unique on the host.
///
/// Layout: 8 + 16 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UdpClientKey {
    /// Cookie of the listener's socket.
    pub listener: u64,
    /// Client address.
    pub client: Address,
    /// Its outcome, an [`Outcome`](crate::outcome::Outcome) as number: allowed and refused datagrams are separate
    /// attempts.
    pub outcome: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<UdpClientKey>() == 32);

/// A map key that is about one flow. It has the flow's network namespace: a key without one does not
/// compile as the key of a map of flows.
///
/// ```compile_fail
/// struct WithoutNamespace([u8; 16]);
/// impl tcpw_common::key::PerFlow for WithoutNamespace {}
/// ```
pub trait PerFlow: sealed::HasFlow {}
impl<K: sealed::HasFlow> PerFlow for K {}

mod sealed {
    use super::{AttemptKey, BannerKey, FlowKey};

    pub trait HasFlow {
        /// Where the flow's network namespace is in the key.
        const NETNS_AT: usize;
    }

    impl HasFlow for FlowKey {
        const NETNS_AT: usize = core::mem::offset_of!(FlowKey, netns);
    }
    impl HasFlow for AttemptKey {
        const NETNS_AT: usize = core::mem::offset_of!(AttemptKey, flow.netns);
    }
    impl HasFlow for BannerKey {
        const NETNS_AT: usize = core::mem::offset_of!(BannerKey, flow.netns);
    }
}

/// A UDP listener's socket and a peer of it.
///
/// Layout: 16 + 8 + 2 + 6 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// The peer, or [`ANY_PEER`], or [`ANY_ON_LINK`].
    pub peer: Address,
    /// Cookie of the socket.
    pub cookie: u64,
    /// The peer's port, host order.
    pub port: u16,
    /// 0.
    pub reserved: [u16; 3],
}
const _: () = assert!(size_of::<PeerKey>() == 32);

/// The peer of a datagram to 255.255.255.255: any address.
pub const ANY_PEER: Address = [0; 16];

/// The peer of a datagram to a multicast group: any address that is on the link. No datagram has this source.
pub const ANY_ON_LINK: Address = [0xff; 16];

/// Whether a datagram to this address reaches many: multicast, or IPv4's limited broadcast.
#[inline(always)]
pub fn is_group(address: &Address) -> bool {
    is_multicast(address) || as_v4(address).is_some_and(|v4| u32::from_ne_bytes(v4) == u32::MAX)
}

/// Whether this is the address of a multicast group.
#[inline(always)]
pub fn is_multicast(address: &Address) -> bool {
    match as_v4(address) {
        Some(v4) => v4[0] & 0xf0 == 0xe0,
        None => address[0] == 0xff,
    }
}

/// Whether this is a link-local address of IPv6: no router passes it on.
#[inline(always)]
pub fn is_link_local_v6(address: &Address) -> bool {
    address[0] == 0xfe && address[1] & 0xc0 == 0x80
}

/// An address at an interface: the data of a key of a trie, in which [`ON_LINK_BITS`] bits stand before the
/// address.
///
/// Layout: 8 + 2 × 4 + 16 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OnLinkKey {
    /// Network namespace cookie.
    pub netns: u64,
    /// Index of the interface in that namespace.
    pub ifindex: u32,
    /// 0.
    pub reserved: u32,
    /// The address, or the network.
    pub address: Address,
}
const _: () = assert!(size_of::<OnLinkKey>() == 32);

/// Bits of an [`OnLinkKey`] before its address.
pub const ON_LINK_BITS: u32 = 128;
const _: () = assert!(core::mem::offset_of!(OnLinkKey, address) * 8 == ON_LINK_BITS as usize);

/// A process name as the kernel keeps it: 15 bytes and a NUL.
pub type Comm = [u8; 16];

#[cfg(feature = "user")]
mod plain {
    // SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::AnswerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::FlowKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::AttemptKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::BannerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::UdpClientKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::OnLinkKey {}
}
