//! A held packet, checked and prepared for re-injection.
//!
//! In: bytes from an IP header on. Out: a SYN or datagram with correct checksums, and its destination.
//! Invariant: only two kinds are accepted: a complete, unfragmented SYN, from which data is removed, and a
//! unicast datagram. The bytes are changed in place, so that bits which etherparse does not know are kept.
//! Source: RFC 768, RFC 791, RFC 8200 section 4, RFC 9293 section 3.1.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4HeaderSlice, Ipv6Header, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, TcpHeaderSlice, UdpHeader, checksum::Sum16BitWords,
};

/// A SYN or datagram that can be re-injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
    source: IpAddr,
    destination: IpAddr,
}

impl Packet {
    /// Reads a packet; `None` if it cannot be re-injected.
    ///
    /// The checksum is recomputed: a packet that came from a veth device has a partial one, which the
    /// network card was to complete.
    pub fn new(packet: &[u8]) -> Option<Self> {
        let header = match packet.first()? >> 4 {
            4 => read_v4(packet)?,
            6 => read_v6(packet)?,
            _ => return None,
        };
        let mut bytes = packet.to_vec();
        match header.protocol {
            IpNumber::TCP => finish_syn(&header, &mut bytes)?,
            // A datagram to a group would also be sent to the network, and the members there would receive it twice.
            IpNumber::UDP if !is_group(header.destination()) => finish_datagram(&header, &mut bytes)?,
            _ => return None,
        }
        Some(Self { bytes, source: header.source(), destination: header.destination() })
    }

    /// Whether its client's or server's address is link-local: it has to be received on the device it came by.
    pub fn is_link_local(&self) -> bool {
        is_link_local(self.source) || is_link_local(self.destination)
    }

    /// The packet in an Ethernet frame to `mac`.
    pub fn frame(&self, mac: [u8; 6]) -> Vec<u8> {
        /// Locally administered; no device has it.
        const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
        let ether_type = if self.destination.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        let header = Ethernet2Header { source: SENDER, destination: mac, ether_type };
        [&header.to_bytes()[..], &self.bytes].concat()
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

/// Source and destination address.
#[derive(Clone, Copy)]
enum Addresses {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

/// The IP header with its options or extension headers.
struct IpHeader {
    addresses: Addresses,
    /// Protocol behind the IP header and its extensions.
    protocol: IpNumber,
    /// Bytes of the IP header with its extensions.
    length: usize,
}

impl IpHeader {
    fn source(&self) -> IpAddr {
        match self.addresses {
            Addresses::V4(source, _) => source.into(),
            Addresses::V6(source, _) => source.into(),
        }
    }

    fn destination(&self) -> IpAddr {
        match self.addresses {
            Addresses::V4(_, destination) => destination.into(),
            Addresses::V6(_, destination) => destination.into(),
        }
    }

    /// Sets the length field of `packet` to its length, and the checksum of an IPv4 header.
    fn set_length(&self, packet: &mut [u8]) -> Option<()> {
        match self.addresses {
            Addresses::V4(..) => {
                let total = u16::try_from(packet.len()).ok()?;
                packet.get_mut(2..4)?.copy_from_slice(&total.to_be_bytes());
                packet.get_mut(10..12)?.fill(0);
                let sum = Sum16BitWords::new().add_slice(packet.get(..self.length)?).ones_complement();
                packet.get_mut(10..12)?.copy_from_slice(&sum.to_ne_bytes());
            }
            Addresses::V6(..) => {
                let payload = u16::try_from(packet.len().checked_sub(Ipv6Header::LEN)?).ok()?;
                packet.get_mut(4..6)?.copy_from_slice(&payload.to_be_bytes());
            }
        }
        Some(())
    }
}

fn read_v4(packet: &[u8]) -> Option<IpHeader> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    if usize::from(header.total_len()) != packet.len() || header.is_fragmenting_payload() {
        return None;
    }
    Some(IpHeader {
        addresses: Addresses::V4(header.source(), header.destination()),
        protocol: header.protocol(),
        length: header.slice().len(),
    })
}

/// Accepts hop-by-hop and destination options; no other extension header.
fn read_v6(packet: &[u8]) -> Option<IpHeader> {
    const OPTIONS: [IpNumber; 2] = [IpNumber::IPV6_HEADER_HOP_BY_HOP, IpNumber::IPV6_DESTINATION_OPTIONS];
    let header = Ipv6HeaderSlice::from_slice(packet).ok()?;
    if usize::from(header.payload_length()) + Ipv6Header::LEN != packet.len() {
        return None;
    }
    let (mut protocol, mut length) = (header.next_header(), Ipv6Header::LEN);
    while OPTIONS.contains(&protocol) {
        let options = Ipv6RawExtHeaderSlice::from_slice(packet.get(length..)?).ok()?;
        protocol = options.next_header();
        length += options.slice().len();
    }
    Some(IpHeader { addresses: Addresses::V6(header.source(), header.destination()), protocol, length })
}

/// Removes the data of a SYN (TCP Fast Open): the server does not acknowledge them, so the client sends them again.
fn finish_syn(header: &IpHeader, packet: &mut Vec<u8>) -> Option<()> {
    let tcp = TcpHeaderSlice::from_slice(packet.get(header.length..)?).ok()?;
    if !tcp.syn() || tcp.ack() || tcp.rst() {
        return None;
    }
    let sum = match header.addresses {
        Addresses::V4(source, destination) => tcp.calc_checksum_ipv4_raw(source, destination, &[]),
        Addresses::V6(source, destination) => tcp.calc_checksum_ipv6_raw(source, destination, &[]),
    };
    let end = header.length + tcp.slice().len();
    put_checksum(packet, header.length + 16, sum.ok()?)?;
    packet.truncate(end);
    header.set_length(packet)
}

fn finish_datagram(header: &IpHeader, packet: &mut [u8]) -> Option<()> {
    let datagram = packet.get(header.length..)?;
    let (udp, data) = UdpHeader::from_slice(datagram).ok()?;
    if usize::from(udp.length) != datagram.len() {
        return None;
    }
    // 0: no checksum, which only IPv4 permits.
    if udp.checksum == 0 {
        return matches!(header.addresses, Addresses::V4(..)).then_some(());
    }
    let sum = match header.addresses {
        Addresses::V4(source, destination) => udp.calc_checksum_ipv4_raw(source, destination, data),
        Addresses::V6(source, destination) => udp.calc_checksum_ipv6_raw(source, destination, data),
    };
    put_checksum(packet, header.length + 6, sum.ok()?)
}

fn put_checksum(packet: &mut [u8], at: usize, sum: u16) -> Option<()> {
    packet.get_mut(at..at + 2)?.copy_from_slice(&sum.to_be_bytes());
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

/// The checksum over a pseudo header and a segment, the checksum field included: 0 if that is right.
#[cfg(test)]
pub(super) fn checksum(protocol: u8, source: IpAddr, destination: IpAddr, segment: &[u8]) -> u16 {
    let add = |mut sum: Sum16BitWords, address: IpAddr| match address {
        IpAddr::V4(address) => sum.add_4bytes(address.octets()),
        IpAddr::V6(address) => sum.add_16bytes(address.octets()),
    };
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX).to_be_bytes();
    add(add(Sum16BitWords::new(), source), destination)
        .add_2bytes([0, protocol])
        .add_2bytes(length)
        .add_slice(segment)
        .ones_complement()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

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
    fn datagram_keeps_its_data_and_has_a_checksum_only_if_it_had_one() {
        let packet = Packet::new(&datagram_v4()).unwrap();
        let (source, data) = ("1.2.3.4".parse().unwrap(), &packet.bytes()[20..]);
        assert_eq!(checksum(UDP, source, packet.destination(), data), 0);
        assert_eq!(data[8..], *b"abc");
        let mut without = datagram_v4();
        without[26..28].fill(0);
        assert_eq!(Packet::new(&without).unwrap().bytes(), without);
        without[25] = 12;
        assert_eq!(Packet::new(&without), None, "the length in the header exceeds the datagram");
        for group in [[224, 0, 0, 251], [255; 4]] {
            let mut to_many = datagram_v4();
            to_many[16..20].copy_from_slice(&group);
            assert_eq!(Packet::new(&to_many), None);
        }
    }

    #[test]
    fn link_local_client_is_recognised() {
        let mut link_local = syn_v4();
        assert!(!Packet::new(&link_local).unwrap().is_link_local());
        link_local[12..14].copy_from_slice(&[169, 254]);
        assert!(Packet::new(&link_local).unwrap().is_link_local());
    }

    #[test]
    fn data_is_left_out_and_both_lengths_follow() {
        let mut v4 = syn_v4();
        v4.extend([b'x'; 7]);
        v4[3] += 7;
        let syn = Packet::new(&v4).unwrap();
        assert_eq!((syn.bytes().len(), syn.bytes()[3]), (40, 40));
        assert_eq!(Sum16BitWords::new().add_slice(&syn.bytes()[..20]).ones_complement(), 0);
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
