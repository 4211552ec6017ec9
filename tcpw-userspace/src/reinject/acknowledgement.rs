//! The acknowledgement that opened a connection, made once more.
//!
//! In: what the gate read of it. Out: a packet that tells the server's socket nothing it does not
//! know; but when it comes in, the socket sends what could not go out before.
//! Source: RFC 791, RFC 8200 section 3, RFC 9293 section 3.1.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use super::packet::{checksum, is_link_local};

const TCP: u8 = 6;
const ACK: u8 = 0x10;
/// Of a TCP header without options: five words.
const WORDS: u8 = 5;
const HOPS: u8 = 64;

/// An acknowledgement of a client that carries nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    bytes: Vec<u8>,
    destination: IpAddr,
}

impl Acknowledgement {
    /// Makes it; `None` where it has to come in on the client's own link. `window` is that of the
    /// header, unscaled.
    pub fn new(client: SocketAddr, server: SocketAddr, seq: u32, ack: u32, window: u16) -> Option<Self> {
        if is_link_local(client.ip()) || is_link_local(server.ip()) {
            return None;
        }
        let mut segment = Vec::with_capacity(20);
        segment.extend(client.port().to_be_bytes());
        segment.extend(server.port().to_be_bytes());
        segment.extend(seq.to_be_bytes());
        segment.extend(ack.to_be_bytes());
        segment.extend([WORDS << 4, ACK]);
        segment.extend(window.to_be_bytes());
        segment.extend([0; 4]);
        let sum = checksum(TCP, client.ip(), server.ip(), &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = match (client.ip(), server.ip()) {
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                // The kernel fills in identification and checksum.
                let mut header = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, HOPS, TCP, 0, 0];
                header.extend(client.octets());
                header.extend(server.octets());
                header
            }
            (IpAddr::V6(client), IpAddr::V6(server)) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 20, TCP, HOPS];
                header.extend(client.octets());
                header.extend(server.octets());
                header
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        bytes.extend(segment);
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
    use super::*;

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
