//! A challenge: it shows whether there is a host at the address from which a SYN came.
//!
//! In: both ends, the SYN's sequence number, an unpredictable number. Out: a SYN-ACK whose acknowledgement number the
//! client does not accept. It answers with a reset that has this number, and stays in SYN-SENT (RFC 9293 section
//! 3.10.7.3). Linux then sends its SYN again at once (linux net/ipv4/tcp_input.c, `tcp_rcv_synsent_state_process`).
//! Invariant: the number lies so little below the SYN's that firewalls which follow connections take both packets for
//! parts of this one (linux net/netfilter/nf_conntrack_proto_tcp.c, `tcp_in_window`: MAXACKWINCONST, 66,000).
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;

/// Time to live, hop limit.
const HOPS: u8 = 64;

/// The largest window without scaling: the reset is then in the window, too.
const WINDOW: u16 = u16::MAX;

/// How far below the SYN's sequence number the acknowledgement number may lie.
const FARTHEST: u32 = 60_000;

/// A SYN-ACK that its receiver does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengePacket {
    bytes: Vec<u8>,
    /// The sequence number of the reset that answers it.
    pub answer: u32,
}

impl ChallengePacket {
    /// `None` if the ends are of different families. `isn` is the SYN's sequence number.
    pub fn new(client: SocketAddr, server: SocketAddr, isn: u32, random: u64) -> Option<Self> {
        let builder = match (server.ip(), client.ip()) {
            (IpAddr::V4(server), IpAddr::V4(client)) => {
                PacketBuilder::ipv4(server.octets(), client.octets(), HOPS)
            }
            (IpAddr::V6(server), IpAddr::V6(client)) => {
                PacketBuilder::ipv6(server.octets(), client.octets(), HOPS)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let [low, high] = [random & u64::from(u32::MAX), random >> 32];
        let [low, seq] = [low, high].map(|half| u32::try_from(half).unwrap_or(0));
        let answer = isn.wrapping_sub(low % FARTHEST);
        let builder = builder.tcp(server.port(), client.port(), seq, WINDOW).syn().ack(answer);
        let mut bytes = Vec::with_capacity(builder.size(0));
        builder.write(&mut bytes, &[]).ok()?;
        Some(Self { bytes, answer })
    }

    /// The packet, from its IP header on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{super::packet::checksum, *};

    const TCP: u8 = 6;
    const SYN_ACK: u8 = 0x12;

    fn made(client: &str, server: &str, isn: u32, random: u64) -> Option<ChallengePacket> {
        ChallengePacket::new(client.parse().unwrap(), server.parse().unwrap(), isn, random)
    }

    #[test]
    fn it_goes_from_the_server_to_the_client_and_its_sum_is_right() {
        for (client, server, header) in [("1.2.3.4:5", "1.2.3.1:22", 20), ("[::2]:5", "[::1]:22", 40)] {
            let packet = made(client, server, 7, 0x0102_0304_0000_0002).unwrap();
            let segment = &packet.bytes()[header..];
            assert_eq!(segment[..16], [0, 22, 0, 5, 1, 2, 3, 4, 0, 0, 0, 5, 0x50, SYN_ACK, 0xff, 0xff]);
            let (client, server): (SocketAddr, SocketAddr) =
                (client.parse().unwrap(), server.parse().unwrap());
            assert_eq!(checksum(TCP, server.ip(), client.ip(), segment), 0);
            assert_eq!(packet.answer, 5);
        }
        assert_eq!(made("1.2.3.4:5", "[::1]:22", 7, 0), None);
    }

    /// A client in SYN-SENT accepts an acknowledgement of its SYN: the number after it.
    #[test]
    fn no_client_accepts_it() {
        for isn in [0, 1, 59_999, 1 << 31, u32::MAX] {
            for random in [0, 1, 59_999, 60_000, 60_001, u64::from(u32::MAX), u64::MAX] {
                let answer = made("1.2.3.4:5", "1.2.3.1:22", isn, random).unwrap().answer;
                assert!(isn.wrapping_sub(answer) < FARTHEST, "{isn} {random}");
            }
        }
    }
}
