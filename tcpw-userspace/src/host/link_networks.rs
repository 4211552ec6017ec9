//! Networks on the links of interfaces: those of their addresses.
//!
//! In: the addresses of the calling thread's network namespace, as rtnetlink(7) lists them. Out: each with the
//! interface whose link it is on; whether they have changed.
//! Invariant: of the loopback device there are the host's own addresses alone: the packets of others come by it when they
//! are sent again. Link-local addresses of IPv6 are left out: they are on every link.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    ops::ControlFlow,
    os::fd::{AsRawFd, RawFd},
};

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tcpw_common::{
    key::{Address, is_link_local_v6, mapped},
    limits::MOST_ON_LINK,
};

use super::netlink::{dump, messages};

/// Source: linux/include/net/net_namespace.h, `LOOPBACK_IFINDEX`.
const LOOPBACK: u32 = 1;

/// A network that is on the link of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkNetwork {
    /// Index of the interface.
    pub ifindex: u32,
    /// Its address, IPv4 in mapped form; the bits behind the prefix are 0.
    pub network: Address,
    /// Length of its prefix, of 128 bits.
    pub prefix_bits: u8,
}

impl LinkNetwork {
    /// The network of an address with a prefix of so many bits; `None` if that has more than the address.
    pub fn new(ifindex: u32, address: IpAddr, prefix_bits: u8) -> Option<Self> {
        let (address, before) = match address {
            IpAddr::V4(v4) => (mapped(v4.octets()), 96),
            IpAddr::V6(v6) => (v6.octets(), 0),
        };
        let prefix_bits = prefix_bits.checked_add(before).filter(|bits| *bits <= 128)?;
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
        let network = (u128::from_be_bytes(address) & mask).to_be_bytes();
        Some(Self { ifindex, network, prefix_bits })
    }

    fn contains(&self, other: &Self) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_bits)).unwrap_or(0);
        self.ifindex == other.ifindex
            && self.prefix_bits <= other.prefix_bits
            && u128::from_be_bytes(other.network) & mask == u128::from_be_bytes(self.network)
    }
}

/// The networks of the calling thread's network namespace, of which at most [`MOST_ON_LINK`] count.
///
/// # Errors
/// The kernel refuses the list.
pub(super) fn link_networks() -> io::Result<BTreeSet<LinkNetwork>> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    let mut all = BTreeSet::new();
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    dump(&socket, request, |message| {
        if let RouteNetlinkMessage::NewAddress(address) = message {
            all.extend(networks_of(&address));
        }
        if all.len() < MOST_ON_LINK { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(all.into_iter().take(MOST_ON_LINK).collect())
}

/// Those of one address. Between two points the prefix is that of the peer, and the own address is another. What the
/// host sends to itself from an address comes by the loopback device.
fn networks_of(message: &AddressMessage) -> Vec<LinkNetwork> {
    let (ifindex, prefix_bits) = (message.header.index, message.header.prefix_len);
    let (mut on_link, mut local) = (None, None);
    for attribute in &message.attributes {
        if let AddressAttribute::Address(address) = attribute {
            on_link = Some(*address);
        } else if let AddressAttribute::Local(address) = attribute {
            local = Some(*address);
        }
    }
    let network = on_link.and_then(|address| LinkNetwork::new(ifindex, address, prefix_bits));
    let own = |ifindex: u32| {
        let address = local.or(on_link)?;
        LinkNetwork::new(ifindex, address, if address.is_ipv4() { 32 } else { 128 })
    };
    let is_link_local = |it: &LinkNetwork| it.prefix_bits >= 10 && is_link_local_v6(&it.network);
    let mut found: Vec<LinkNetwork> = Vec::new();
    for one in [network, own(ifindex), own(LOOPBACK)].into_iter().flatten() {
        if !is_link_local(&one) && !found.iter().any(|other| other.contains(&one)) {
            found.push(one);
        }
    }
    found
}

/// Tells when an address of a network namespace is new or gone.
pub struct AddressNotices {
    socket: Socket,
    /// Networks that were new before: routers announce theirs again and again.
    known: BTreeSet<LinkNetwork>,
}

impl AddressNotices {
    /// Those of the calling thread's network namespace, from now on.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn open() -> io::Result<Self> {
        /// Source: linux/include/uapi/linux/rtnetlink.h, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`.
        const ADDRESSES: u32 = 0x10 | 0x100;
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, ADDRESSES))?;
        Ok(Self { socket, known: BTreeSet::new() })
    }

    /// Reads what has come: whether a network is new or gone.
    ///
    /// # Errors
    /// Of the socket.
    pub fn read(&mut self) -> io::Result<bool> {
        let mut is_changed = false;
        loop {
            let datagram = match self.socket.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(is_changed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Some did not fit the socket's buffer.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    is_changed = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for message in messages::<RouteNetlinkMessage>(&datagram) {
                let message = message?;
                if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) = message {
                    for network in networks_of(&address) {
                        is_changed |= self.known.insert(network);
                    }
                } else if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(address)) = message
                {
                    is_changed = true;
                    for network in networks_of(&address) {
                        self.known.remove(&network);
                    }
                }
            }
            if self.known.len() > MOST_ON_LINK {
                self.known.clear();
            }
        }
    }
}

impl AsRawFd for AddressNotices {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(ifindex: u32, prefix_len: u8, attributes: &[AddressAttribute]) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = ifindex;
        message.header.prefix_len = prefix_len;
        message.attributes = attributes.to_vec();
        message
    }

    fn network(ifindex: u32, address: &str, bits: u8) -> LinkNetwork {
        LinkNetwork::new(ifindex, address.parse().unwrap(), bits).unwrap()
    }

    /// Of an address with a prefix of so many bits, and the own address of an interface between two points.
    fn of(ifindex: u32, address: &str, prefix_bits: u8, own: Option<&str>) -> Vec<LinkNetwork> {
        let mut attributes = vec![AddressAttribute::Address(address.parse().unwrap())];
        attributes.extend(own.map(|own| AddressAttribute::Local(own.parse().unwrap())));
        networks_of(&message(ifindex, prefix_bits, &attributes))
    }

    #[test]
    fn networks_are_those_of_addresses_and_of_peers() {
        let v4 = of(3, "192.0.2.7", 24, Some("192.0.2.7"));
        assert_eq!(v4, [network(3, "192.0.2.0", 24), network(1, "192.0.2.7", 32)]);
        let all = of(3, "192.0.2.7", 0, Some("192.0.2.7"));
        assert_eq!(all, [network(3, "0.0.0.0", 0), network(1, "192.0.2.7", 32)]);
        let v6 = of(3, "2001:db8::7", 64, None);
        assert_eq!(v6, [network(3, "2001:db8::", 64), network(1, "2001:db8::7", 128)]);
        let own = [network(3, "192.0.2.7", 32), network(1, "192.0.2.7", 32)];
        let between_two = of(3, "198.51.100.9", 32, Some("192.0.2.7"));
        assert_eq!(between_two, [&[network(3, "198.51.100.9", 32)][..], &own].concat());
        assert_eq!(of(1, "127.0.0.1", 8, Some("127.0.0.1")), [network(1, "127.0.0.0", 8)]);
        assert_eq!(of(1, "::1", 128, None), [network(1, "::1", 128)]);
    }

    #[test]
    fn what_is_on_the_link_anyway_has_no_entry() {
        assert_eq!(of(3, "fe80::7", 64, None), []);
        assert_eq!(of(3, "fe80::7", 0, None), [network(3, "::", 0)], "every address");
        assert_eq!(of(3, "192.0.2.7", 33, None), [network(3, "192.0.2.7", 32), network(1, "192.0.2.7", 32)]);
    }
}
