//! A held packet, checked and made fit to be sent again.
//!
//! In: bytes from an IP header on. Out: a SYN with right checksums, and where it goes.
//! Invariant: nothing but a whole, unfragmented SYN without data passes.
//! Source: RFC 791, RFC 8200 section 4, RFC 9293 section 3.1.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A SYN that can be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syn {
    bytes: Vec<u8>,
    destination: IpAddr,
}

impl Syn {
    /// Reads a packet; `None` if it cannot be sent again as it is.
    ///
    /// The checksum is computed anew: one that came over a virtual cable is only begun, the
    /// network card was to finish it.
    pub fn new(packet: &[u8]) -> Option<Self> {
        let version = packet.first()? >> 4;
        let (source, destination, tcp) = match version {
            4 => read_v4(packet)?,
            6 => read_v6(packet)?,
            _ => return None,
        };
        // A client or server of one link has to come in on that link.
        if is_link_local(source) || is_link_local(destination) {
            return None;
        }
        let mut bytes = packet.to_vec();
        let segment = bytes.get_mut(tcp..)?;
        let flags = *segment.get(13)?;
        let header = usize::from(segment[12] >> 4) * 4;
        // With data it is a TCP Fast Open: the client sends a plain SYN next.
        if flags & (SYN | ACK | RST) != SYN || header < 20 || segment.len() != header {
            return None;
        }
        segment[16..18].fill(0);
        let sum = checksum(source, destination, segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        Some(Self { bytes, destination })
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

/// Both addresses, and where the TCP header begins.
fn read_v4(packet: &[u8]) -> Option<(IpAddr, IpAddr, usize)> {
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let fragment = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x3fff;
    if header < 20 || total != packet.len() || fragment != 0 || *packet.get(9)? != TCP {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    };
    Some((address(12)?, address(16)?, header))
}

/// Likewise. Extension headers are walked but for fragments and routes, which were used up on the way.
fn read_v6(packet: &[u8]) -> Option<(IpAddr, IpAddr, usize)> {
    const OPTIONS: [u8; 2] = [0, 60];
    let payload = usize::from(u16::from_be_bytes(packet.get(4..6)?.try_into().ok()?));
    if payload + 40 != packet.len() {
        return None;
    }
    let (mut next, mut at) = (packet[6], 40);
    while OPTIONS.contains(&next) {
        next = *packet.get(at)?;
        at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
    }
    if next != TCP {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    Some((address(8)?, address(24)?, at))
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// TCP's checksum with its pseudo header.
pub(super) fn checksum(source: IpAddr, destination: IpAddr, segment: &[u8]) -> u16 {
    let mut sum = u64::from(TCP) + segment.len() as u64;
    let mut add = |bytes: &[u8]| {
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    };
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => add(&address.octets()),
            IpAddr::V6(address) => add(&address.octets()),
        }
    }
    add(segment);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN of 1.2.3.4:1025 to 1.2.3.1:22, without TCP options.
    fn syn_v4() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0, 1, 2, 3, 4, 1, 2, 3, 1];
        packet.extend(segment());
        packet
    }

    fn segment() -> [u8; 20] {
        [4, 1, 0, 22, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0xab, 0xcd, 0, 0]
    }

    fn syn_v6(extension: &[u8], next: u8) -> Vec<u8> {
        let length = u8::try_from(20 + extension.len()).unwrap();
        let mut packet = vec![0x60, 0, 0, 0, 0, length, next, 64];
        packet.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(extension);
        packet.extend(segment());
        packet
    }

    /// The sum over segment and pseudo header with the checksum in place is all ones.
    fn is_right(syn: &Syn, source: &str, tcp: usize) -> bool {
        checksum(source.parse().unwrap(), syn.destination(), &syn.bytes()[tcp..]) == 0
    }

    #[test]
    fn checksum_is_computed_anew() {
        let syn = Syn::new(&syn_v4()).unwrap();
        assert!(is_right(&syn, "1.2.3.4", 20));
        assert_eq!(syn.destination(), IpAddr::from([1, 2, 3, 1]));
        let syn = Syn::new(&syn_v6(&[], TCP)).unwrap();
        assert!(is_right(&syn, "2001:db8::1", 40));
    }

    #[test]
    fn options_of_ipv6_are_kept() {
        let syn = Syn::new(&syn_v6(&[TCP, 0, 1, 4, 0, 0, 0, 0], 60)).unwrap();
        assert!(is_right(&syn, "2001:db8::1", 48));
    }

    #[test]
    fn what_is_no_plain_syn_is_left_to_the_client() {
        let with = |at: usize, byte: u8| {
            let mut packet = syn_v4();
            packet[at] = byte;
            Syn::new(&packet)
        };
        assert!(with(0, 0x45).is_some());
        assert_eq!(with(33, SYN | ACK), None);
        assert_eq!(with(33, RST), None);
        assert_eq!(with(9, 17), None);
        assert_eq!(with(6, 0x20), None);
        assert_eq!(with(3, 41), None);
        assert_eq!(with(32, 0x40), None);
        let mut link_local = syn_v4();
        link_local[12..14].copy_from_slice(&[169, 254]);
        assert_eq!(Syn::new(&link_local), None);
        assert_eq!(Syn::new(&syn_v6(&[TCP, 0, 0, 1, 0, 0, 0, 0], 44)), None);
    }

    #[test]
    fn nothing_cut_short_passes() {
        for packet in [syn_v4(), syn_v6(&[TCP, 0, 1, 4, 0, 0, 0, 0], 60)] {
            for length in 0..packet.len() {
                assert_eq!(Syn::new(&packet[..length]), None, "{length}");
            }
        }
    }
}
