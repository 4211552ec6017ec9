//! The network that a client counts with where work or lines are shared out.
//!
//! In: an address. Out: its IPv4 /24, or its IPv6 /48: what one site is given.

use std::net::IpAddr;

use ipnet::IpNet;

/// Length of a network's prefix, bits.
const PREFIX_V4: u8 = 24;
const PREFIX_V6: u8 = 48;

/// The network of a client; an IPv4-mapped address is IPv4.
pub(super) fn client_network(client: IpAddr) -> IpNet {
    let client = client.to_canonical();
    let prefix = if client.is_ipv4() { PREFIX_V4 } else { PREFIX_V6 };
    IpNet::new_assert(client, prefix).trunc()
}
