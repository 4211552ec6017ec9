//! A held packet, checked and made fit to be sent again.
//!
//! In: bytes from an IP header on. Out: a SYN or datagram with right checksums, and where it goes.
//! Invariant: nothing but a whole, unfragmented SYN, without its data, or datagram to one host, passes.
//! Source: RFC 768, RFC 791, RFC 8200 section 4, RFC 9293 section 3.1.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A SYN or datagram that can be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
    source: IpAddr,
    destination: IpAddr,
}

impl Packet {
    /// Reads a packet; `None` if it cannot be sent again as it is.
    ///
    /// The checksum is computed anew: one that came over a virtual cable is only begun, the
    /// network card was to finish it.
    pub fn new(packet: &[u8]) -> Option<Self> {
        let version = packet.first()? >> 4;
        let (source, destination, protocol, at) = match version {
            4 => read_v4(packet)?,
            6 => read_v6(packet)?,
            _ => return None,
        };
        let mut bytes = packet.to_vec();
        if protocol == TCP {
            // The data of a TCP Fast Open is not acknowledged, and its client sends it once more.
            let header = usize::from(*bytes.get(at + 12)? >> 4) * 4;
            if header < 20 || bytes.len() < at + header {
                return None;
            }
            bytes.truncate(at + header);
            set_length(&mut bytes, version)?;
        }
        let segment = bytes.get_mut(at..)?;
        match protocol {
            TCP => finish_syn(source, destination, segment)?,
            // To a group it would leave the host, for everybody to hear twice.
            UDP if !is_group(destination) => finish_datagram(source, destination, segment)?,
            _ => return None,
        }
        Some(Self { bytes, source, destination })
    }

    /// Whether it has to come in on the link it came by: its client or server is of that link alone.
    pub fn is_of_one_link(&self) -> bool {
        is_link_local(self.source) || is_link_local(self.destination)
    }

    /// The packet in an Ethernet frame to `mac`.
    pub fn frame(&self, mac: [u8; 6]) -> Vec<u8> {
        /// Administered locally, nobody's.
        const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
        let kind: [u8; 2] = if self.destination.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&mac[..], &SENDER, &kind, &self.bytes].concat()
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

fn finish_syn(source: IpAddr, destination: IpAddr, segment: &mut [u8]) -> Option<()> {
    if *segment.get(13)? & (SYN | ACK | RST) != SYN {
        return None;
    }
    segment[16..18].fill(0);
    let sum = checksum(TCP, source, destination, segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

fn finish_datagram(source: IpAddr, destination: IpAddr, datagram: &mut [u8]) -> Option<()> {
    let length = u16::from_be_bytes(datagram.get(4..6)?.try_into().ok()?);
    if datagram.len() < 8 || usize::from(length) != datagram.len() {
        return None;
    }
    // 0 is none, which only IPv4 may have.
    if datagram[6..8] == [0, 0] {
        return source.is_ipv4().then_some(());
    }
    datagram[6..8].fill(0);
    let sum = match checksum(UDP, source, destination, datagram) {
        0 => u16::MAX,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Both addresses, the protocol, and where its header begins.
fn read_v4(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, usize)> {
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let fragment = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x3fff;
    if header < 20 || total != packet.len() || fragment != 0 {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    };
    Some((address(12)?, address(16)?, *packet.get(9)?, header))
}

/// Likewise. Extension headers are walked but for fragments and routes, which were used up on the way.
fn read_v6(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, usize)> {
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
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    Some((address(8)?, address(24)?, next, at))
}

/// Sets the IP header's length to that of the packet.
fn set_length(packet: &mut [u8], version: u8) -> Option<()> {
    if version == 4 {
        let header = usize::from(packet.first()? & 15) * 4;
        let total = u16::try_from(packet.len()).ok()?;
        packet.get_mut(2..4)?.copy_from_slice(&total.to_be_bytes());
        packet.get_mut(10..12)?.fill(0);
        let sum = folded(words(packet.get(..header)?));
        packet.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    } else {
        let payload = u16::try_from(packet.len().checked_sub(40)?).ok()?;
        packet.get_mut(4..6)?.copy_from_slice(&payload.to_be_bytes());
    }
    Some(())
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The checksum of TCP and UDP, with its pseudo header.
pub(super) fn checksum(protocol: u8, source: IpAddr, destination: IpAddr, segment: &[u8]) -> u16 {
    let mut sum = u64::from(protocol) + segment.len() as u64;
    for address in [source, destination] {
        sum += match address {
            IpAddr::V4(address) => words(&address.octets()),
            IpAddr::V6(address) => words(&address.octets()),
        };
    }
    folded(sum + words(segment))
}

/// The sum of the 16-bit words.
fn words(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    bytes.chunks(2).map(word).sum()
}

/// The Internet checksum of a sum.
fn folded(mut sum: u64) -> u16 {
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
    fn is_right(syn: &Packet, source: &str, tcp: usize) -> bool {
        checksum(TCP, source.parse().unwrap(), syn.destination(), &syn.bytes()[tcp..]) == 0
    }

    #[test]
    fn checksum_is_computed_anew() {
        let syn = Packet::new(&syn_v4()).unwrap();
        assert!(is_right(&syn, "1.2.3.4", 20));
        assert_eq!(syn.destination(), IpAddr::from([1, 2, 3, 1]));
        let syn = Packet::new(&syn_v6(&[], TCP)).unwrap();
        assert!(is_right(&syn, "2001:db8::1", 40));
    }

    #[test]
    fn options_of_ipv6_are_kept() {
        let syn = Packet::new(&syn_v6(&[TCP, 0, 1, 4, 0, 0, 0, 0], 60)).unwrap();
        assert!(is_right(&syn, "2001:db8::1", 48));
    }

    #[test]
    fn what_is_no_plain_syn_is_left_to_the_client() {
        let with = |at: usize, byte: u8| {
            let mut packet = syn_v4();
            packet[at] = byte;
            Packet::new(&packet)
        };
        assert!(with(0, 0x45).is_some());
        assert_eq!(with(33, SYN | ACK), None);
        assert_eq!(with(33, RST), None);
        assert_eq!(with(9, 17), None);
        assert_eq!(with(6, 0x20), None);
        assert_eq!(with(3, 41), None);
        assert_eq!(with(32, 0x40), None);
        assert_eq!(Packet::new(&syn_v6(&[TCP, 0, 0, 1, 0, 0, 0, 0], 44)), None);
    }

    /// A datagram of 1.2.3.4:1025 to 1.2.3.1:53.
    fn datagram_v4() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, UDP, 0, 0, 1, 2, 3, 4, 1, 2, 3, 1];
        packet.extend([4, 1, 0, 53, 0, 11, 0xab, 0xcd, b'a', b'b', b'c']);
        packet
    }

    #[test]
    fn datagram_keeps_its_data_and_a_checksum_it_never_had() {
        let packet = Packet::new(&datagram_v4()).unwrap();
        let (source, data) = ("1.2.3.4".parse().unwrap(), &packet.bytes()[20..]);
        assert_eq!(checksum(UDP, source, packet.destination(), data), 0);
        assert_eq!(data[8..], *b"abc");
        let mut without = datagram_v4();
        without[26..28].fill(0);
        assert_eq!(Packet::new(&without).unwrap().bytes(), without);
        without[25] = 12;
        assert_eq!(Packet::new(&without), None, "longer than it is");
        for group in [[224, 0, 0, 251], [255; 4]] {
            let mut to_many = datagram_v4();
            to_many[16..20].copy_from_slice(&group);
            assert_eq!(Packet::new(&to_many), None);
        }
    }

    #[test]
    fn client_of_one_link_is_told() {
        let mut link_local = syn_v4();
        assert!(!Packet::new(&link_local).unwrap().is_of_one_link());
        link_local[12..14].copy_from_slice(&[169, 254]);
        assert!(Packet::new(&link_local).unwrap().is_of_one_link());
    }

    #[test]
    fn data_is_left_out_and_both_lengths_follow() {
        let mut v4 = syn_v4();
        v4.extend([b'x'; 7]);
        v4[3] += 7;
        let syn = Packet::new(&v4).unwrap();
        assert_eq!((syn.bytes().len(), syn.bytes()[3]), (40, 40));
        assert_eq!(folded(words(&syn.bytes()[..20])), 0);
        assert!(is_right(&syn, "1.2.3.4", 20));
        let mut v6 = syn_v6(&[], TCP);
        v6.extend([b'x'; 7]);
        v6[5] += 7;
        let syn = Packet::new(&v6).unwrap();
        assert_eq!((syn.bytes().len(), syn.bytes()[5]), (60, 20));
        assert!(is_right(&syn, "2001:db8::1", 40));
    }

    #[test]
    fn frame_is_of_the_packets_kind() {
        let frame = Packet::new(&syn_v4()).unwrap().frame([1; 6]);
        assert_eq!((&frame[..6], &frame[12..15]), (&[1; 6][..], &[0x08, 0x00, 0x45][..]));
        let frame = Packet::new(&syn_v6(&[], TCP)).unwrap().frame([1; 6]);
        assert_eq!(&frame[12..15], &[0x86, 0xdd, 0x60]);
    }

    #[test]
    fn nothing_cut_short_passes() {
        for packet in [syn_v4(), datagram_v4(), syn_v6(&[TCP, 0, 1, 4, 0, 0, 0, 0], 60)] {
            for length in 0..packet.len() {
                assert_eq!(Packet::new(&packet[..length]), None, "{length}");
            }
        }
    }
}
