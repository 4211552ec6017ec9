//! A duplicate of the acknowledgement that completed a connection's handshake.
//!
//! In: the header fields that the gate read. Out: the same acknowledgement, without data. The server's socket has already
//! processed it; receiving it again makes the socket send the data it could not send before.
//! Source: RFC 791, RFC 8200 section 3, RFC 9293 section 3.1.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;

use super::packet::is_link_local;

/// Time to live, hop limit.
const HOPS: u8 = 64;

/// An acknowledgement of a client that carries nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    bytes: Vec<u8>,
    destination: IpAddr,
}

impl Acknowledgement {
    /// `None` if an address is link-local: it would have to be received on that link. `window` is the header's
    /// field, unscaled.
    pub fn new(client: SocketAddr, server: SocketAddr, seq: u32, ack: u32, window: u16) -> Option<Self> {
        if is_link_local(client.ip()) || is_link_local(server.ip()) {
            return None;
        }
        let builder = match (client.ip(), server.ip()) {
            // The kernel fills in the identification.
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                PacketBuilder::ipv4(client.octets(), server.octets(), HOPS)
            }
            (IpAddr::V6(client), IpAddr::V6(server)) => {
                PacketBuilder::ipv6(client.octets(), server.octets(), HOPS)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let builder = builder.tcp(client.port(), server.port(), seq, window).ack(ack);
        let mut bytes = Vec::with_capacity(builder.size(0));
        builder.write(&mut bytes, &[]).ok()?;
        Some(Self { bytes, destination: server.ip() })
    }

    /// The packet, from its IP header on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it goes.
    pub fn destination(&self) -> IpAddr {
        self.destination
    }
}

#[cfg(test)]
mod tests {
    use super::{super::packet::checksum, *};

    const TCP: u8 = 6;
    const ACK: u8 = 0x10;

    fn made(client: &str, server: &str) -> Option<Acknowledgement> {
        Acknowledgement::new(client.parse().unwrap(), server.parse().unwrap(), 0x0102_0304, 5, 0x7fff)
    }

    #[test]
    fn it_carries_nothing_and_its_sum_is_right() {
        for (client, server, header) in [("1.2.3.4:5", "1.2.3.1:22", 20), ("[::2]:5", "[::1]:22", 40)] {
            let packet = made(client, server).unwrap();
            let segment = &packet.bytes()[header..];
            assert_eq!(segment.len(), 20);
            assert_eq!(segment[..16], [0, 5, 0, 22, 1, 2, 3, 4, 0, 0, 0, 5, 0x50, ACK, 0x7f, 0xff]);
            let (client, server): (SocketAddr, SocketAddr) =
                (client.parse().unwrap(), server.parse().unwrap());
            assert_eq!(checksum(TCP, client.ip(), server.ip(), segment), 0);
            assert_eq!(packet.destination(), server.ip());
        }
    }

    #[test]
    fn link_local_client_has_none() {
        assert_eq!(made("[fe80::2]:5", "[fe80::1]:22"), None);
        assert_eq!(made("1.2.3.4:5", "[::1]:22"), None);
    }
}
