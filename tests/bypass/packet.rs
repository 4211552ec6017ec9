//! Packets byte by byte: TCP segments, UDP datagrams, and what can be wrapped around them.
//!
//! Source: RFC 768, RFC 791, RFC 3828, RFC 8200, RFC 9293, RFC 4302.

use std::net::IpAddr;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const UDP_LITE: u8 = 136;
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const AUTHENTICATION: u8 = 51;
pub(crate) const DESTINATION: u8 = 60;

/// A TCP segment with its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Segment {
    /// Header and data, with the checksum.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.from_port.to_be_bytes());
        bytes.extend(self.to_port.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.push(small(20 + self.options.len()) << 2);
        bytes.push(self.flags);
        bytes.extend([0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(&self.options);
        bytes.extend(&self.data);
        let mut pseudo = [octets(self.from), octets(self.to)].concat();
        pseudo.extend([0, TCP]);
        pseudo.extend(length(&bytes));
        let sum = checksum(&[pseudo.as_slice(), bytes.as_slice()].concat());
        bytes[16..18].copy_from_slice(&sum);
        bytes
    }

    /// What an IP packet carries of it.
    fn payload(&self) -> Payload {
        Payload { from: self.from, to: self.to, id: self.from_port, kind: TCP, bytes: self.bytes() }
    }

    /// In a plain IP packet.
    pub(crate) fn plain(&self) -> Vec<u8> {
        self.payload().plain()
    }

    /// As [`Payload::with_options`].
    pub(crate) fn with_options(&self, options: &[u8]) -> Vec<u8> {
        self.payload().with_options(options)
    }

    /// As [`Payload::behind`].
    pub(crate) fn behind(&self, headers: &[(u8, &[u8])]) -> Vec<u8> {
        self.payload().behind(headers)
    }

    /// As [`Payload::fragments`].
    pub(crate) fn fragments(&self, pieces: &[(usize, usize)]) -> Vec<Vec<u8>> {
        self.payload().fragments(pieces)
    }

    /// As [`Payload::fragment`].
    pub(crate) fn fragment(&self, next: u8, offset: usize, more: bool, piece: &[u8]) -> Vec<u8> {
        self.payload().fragment(next, offset, more, piece)
    }
}

/// A UDP datagram with its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    pub(crate) data: Vec<u8>,
}

impl Datagram {
    /// What an IP packet carries of it: header, with the checksum, and data.
    pub(crate) fn payload(&self) -> Payload {
        self.of(UDP, 8 + self.data.len())
    }

    /// As a datagram of another kind, and of the length that its header claims.
    pub(crate) fn of(&self, kind: u8, claimed: usize) -> Payload {
        let mut bytes = Vec::new();
        bytes.extend(self.from_port.to_be_bytes());
        bytes.extend(self.to_port.to_be_bytes());
        bytes.extend(u16::try_from(claimed).expect("small").to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(&self.data);
        // What is behind the length is not summed up.
        let whole = if claimed < 8 { bytes.len() } else { claimed.min(bytes.len()) };
        let mut pseudo = [octets(self.from), octets(self.to)].concat();
        pseudo.extend([0, kind]);
        pseudo.extend(length(&bytes[..whole]));
        let sum = checksum(&[pseudo.as_slice(), &bytes[..whole]].concat());
        bytes[6..8].copy_from_slice(&sum);
        Payload { from: self.from, to: self.to, id: self.from_port, kind, bytes }
    }

    /// In a plain IP packet.
    pub(crate) fn plain(&self) -> Vec<u8> {
        self.payload().plain()
    }
}

/// The data of a UDP answer to `sent`, from whichever address, if the packet is one.
pub(crate) fn answer<'a>(packet: &'a [u8], sent: &Datagram) -> Option<&'a [u8]> {
    let (next, to, header) = match packet.first()? >> 4 {
        4 => (*packet.get(9)?, packet.get(16..20)?, usize::from(packet[0] & 15) * 4),
        6 => (*packet.get(6)?, packet.get(24..40)?, 40),
        _ => return None,
    };
    let ports = [sent.to_port.to_be_bytes(), sent.from_port.to_be_bytes()].concat();
    let is_answer = next == UDP && to == octets(sent.from) && packet.get(header..header + 4)? == ports;
    if is_answer { packet.get(header + 8..) } else { None }
}

/// What IP packets carry.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    /// Of the fragments.
    pub(crate) id: u16,
    /// IP protocol.
    pub(crate) kind: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Payload {
    /// In a plain IP packet.
    pub(crate) fn plain(&self) -> Vec<u8> {
        self.with(self.kind, &self.bytes)
    }

    /// With IPv4 options, a multiple of four bytes.
    pub(crate) fn with_options(&self, options: &[u8]) -> Vec<u8> {
        v4(self.from, self.to, options, 0, self.kind, &self.bytes)
    }

    /// Behind IPv6 extension headers: each its kind, and its bytes from the second on.
    pub(crate) fn behind(&self, headers: &[(u8, &[u8])]) -> Vec<u8> {
        let mut payload = Vec::new();
        for (at, (_, rest)) in headers.iter().enumerate() {
            payload.push(headers.get(at + 1).map_or(self.kind, |(kind, _)| *kind));
            payload.extend(*rest);
        }
        payload.extend(&self.bytes);
        self.with(headers.first().map_or(self.kind, |(kind, _)| *kind), &payload)
    }

    /// In fragments: pieces by (first byte, byte behind it), sent in this order. All but the piece
    /// with the last byte say that more follow.
    pub(crate) fn fragments(&self, pieces: &[(usize, usize)]) -> Vec<Vec<u8>> {
        let piece = |&(begin, end): &(usize, usize)| {
            let end = end.min(self.bytes.len());
            self.fragment(self.kind, begin, end < self.bytes.len(), &self.bytes[begin..end])
        };
        pieces.iter().map(piece).collect()
    }

    /// One fragment: `offset` in bytes, a multiple of eight.
    pub(crate) fn fragment(&self, next: u8, offset: usize, more: bool, piece: &[u8]) -> Vec<u8> {
        if self.from.is_ipv4() {
            let field = u16::try_from(offset / 8).expect("small") | if more { 0x2000 } else { 0 };
            return v4_of(self.from, self.to, &[], self.id, field, next, piece);
        }
        let field = u16::try_from(offset).expect("small") | u16::from(more);
        let [high, low] = field.to_be_bytes();
        let [id_high, id_low] = self.id.to_be_bytes();
        let header = [next, 0, high, low, 0, 0, id_high, id_low];
        v6(self.from, self.to, FRAGMENT, &[&header, piece].concat())
    }

    fn with(&self, next: u8, payload: &[u8]) -> Vec<u8> {
        match self.from {
            IpAddr::V4(_) => v4(self.from, self.to, &[], 0, next, payload),
            IpAddr::V6(_) => v6(self.from, self.to, next, payload),
        }
    }
}

/// An IPv4 packet; `fragment` is flags and offset.
pub(crate) fn v4(
    from: IpAddr,
    to: IpAddr,
    options: &[u8],
    fragment: u16,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    v4_of(from, to, options, 0, fragment, protocol, payload)
}

fn v4_of(
    from: IpAddr,
    to: IpAddr,
    options: &[u8],
    id: u16,
    fragment: u16,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | small(header / 4), 0];
    packet.extend(u16::try_from(header + payload.len()).expect("small").to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(octets(from));
    packet.extend(octets(to));
    packet.extend(options);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    packet
}

/// An IPv6 packet.
pub(crate) fn v6(from: IpAddr, to: IpAddr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length(payload));
    packet.extend([next, 64]);
    packet.extend(octets(from));
    packet.extend(octets(to));
    packet.extend(payload);
    packet
}

/// What came back: a TCP segment of an IP packet without extension headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) data: &'a [u8],
}

/// Reads a packet from its IP header on, if it answers `sent`.
pub(crate) fn reply<'a>(packet: &'a [u8], sent: &Segment) -> Option<Reply<'a>> {
    let (next, from, to, header) = match packet.first()? >> 4 {
        4 => (*packet.get(9)?, packet.get(12..16)?, packet.get(16..20)?, usize::from(packet[0] & 15) * 4),
        6 => (*packet.get(6)?, packet.get(8..24)?, packet.get(24..40)?, 40),
        _ => return None,
    };
    let total = match packet[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        _ => usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40,
    };
    let segment = packet.get(header..total)?;
    let number =
        |at: usize| -> Option<u32> { Some(u32::from_be_bytes(segment.get(at..at + 4)?.try_into().ok()?)) };
    let ports = u32::from(sent.to_port) << 16 | u32::from(sent.from_port);
    let is_answer = next == TCP && from == octets(sent.to) && to == octets(sent.from) && number(0)? == ports;
    let data = usize::from(*segment.get(12)? >> 4) * 4;
    is_answer.then_some(Reply {
        flags: segment[13],
        seq: number(4)?,
        ack: number(8)?,
        data: segment.get(data..)?,
    })
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).expect("small").to_be_bytes()
}

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("small")
}

/// The Internet checksum.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}
