//! Bounds-checked reads of a packet that starts at its IP header.
//!
//! In: the packet a TCP socket is about to receive or sends, or that a UDP socket is about to
//! receive. Out: its addresses, ports and TCP header, whether it opens a connection, whether
//! it carries data.
//! Source: RFC 768, RFC 791, RFC 8200 section 4, RFC 9293 section 3.1.

use aya_ebpf::programs::SkBuffContext;
use tcpw_common::{
    key::{FlowKey, mapped},
    limits::MAX_EXTENSION_HEADERS,
};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// The first byte of an IPv4 header without options.
const IPV4_OF_20_BYTES: u8 = 0x45;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a packet to a listening socket or a UDP socket is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It opens a connection, or is a datagram.
    Opens,
    /// An ACK: the last of a handshake, or one that belongs to none.
    Acknowledges,
    /// A reset that acknowledges nothing.
    Resets,
    /// Neither: a packet that a listener ignores.
    Continues,
    /// No TCP or UDP header was found; the addresses are there.
    Unparsable,
    /// Not even an IP header.
    NotIp,
}

/// What a packet of a connection carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Nothing: an acknowledgement, a reset.
    Empty,
    /// Data, or the end of them; or a packet that cannot be read.
    Data,
}

/// What is read of a TCP header beside the ports; 0 for a datagram.
#[repr(C)]
pub(crate) struct Header {
    /// Sequence number, host order.
    pub(crate) seq: u32,
    /// Acknowledgement number, host order.
    pub(crate) ack: u32,
    /// Window, as it stands in the header.
    pub(crate) window: u32,
    /// Not 0: [`Segment::Data`].
    pub(crate) has_data: u32,
}

/// A TCP packet over IPv4.
pub(crate) struct Plain {
    pub(crate) client: [u8; 4],
    pub(crate) server: [u8; 4],
    pub(crate) client_port: u16,
    pub(crate) server_port: u16,
    /// Sequence number, host order.
    pub(crate) seq: u32,
    pub(crate) shape: Shape,
}

/// Reads the addresses and ports of a packet of this protocol into `flow`, its TCP header into `header`.
///
/// Written in place: a copy of the addresses would not fit the 512 bytes of stack.
#[inline(always)]
pub(crate) fn read(ctx: &SkBuffContext, flow: &mut FlowKey, protocol: u8, header: &mut Header) -> Shape {
    flow.protocol = protocol.into();
    flow.reserved = 0;
    if protocol == TCP
        && let Some(shape) = usual(ctx, flow, header)
    {
        return shape;
    }
    match addresses(ctx, flow, protocol) {
        Some(Some(offset)) if protocol == TCP => {
            tcp_header(ctx, offset, flow, header).unwrap_or(Shape::Unparsable)
        }
        Some(Some(offset)) => udp_header(ctx, offset, flow, header).unwrap_or(Shape::Unparsable),
        Some(None) => Shape::Unparsable,
        None => Shape::NotIp,
    }
}

/// Reads a connection's packet: into `flow` as [`read`] does, and whether it carries data.
#[inline(always)]
pub(crate) fn segment(ctx: &SkBuffContext, flow: &mut FlowKey) -> Segment {
    let mut header = Header { seq: 0, ack: 0, window: 0, has_data: 1 };
    match read(ctx, flow, TCP, &mut header) {
        Shape::Opens | Shape::Acknowledges | Shape::Resets | Shape::Continues if header.has_data == 0 => {
            Segment::Empty
        }
        Shape::Opens
        | Shape::Acknowledges
        | Shape::Resets
        | Shape::Continues
        | Shape::Unparsable
        | Shape::NotIp => Segment::Data,
    }
}

/// The server's port and the shape of a TCP packet over IPv4 without options, with its ends; `None` of any other.
#[inline(always)]
pub(crate) fn plain(ctx: &SkBuffContext) -> Option<Plain> {
    let words: [u32; 9] = ctx.load(0).ok()?;
    if words[0].to_ne_bytes()[0] != IPV4_OF_20_BYTES || words[2].to_ne_bytes()[1] != TCP {
        return None;
    }
    let [_, flags, ..] = words[8].to_ne_bytes();
    let ports = u32::from_be(words[5]);
    Some(Plain {
        client: words[3].to_ne_bytes(),
        server: words[4].to_ne_bytes(),
        client_port: (ports >> 16) as u16,
        server_port: (ports & 0xffff) as u16,
        seq: u32::from_be(words[6]),
        shape: shape(flags),
    })
}

/// As [`read`], of a TCP packet over IPv4 without options; `None` of any other. Both headers at once: each load is a
/// call.
#[inline(always)]
fn usual(ctx: &SkBuffContext, flow: &mut FlowKey, header: &mut Header) -> Option<Shape> {
    let words: [u32; 9] = ctx.load(0).ok()?;
    if words[0].to_ne_bytes()[0] != IPV4_OF_20_BYTES || words[2].to_ne_bytes()[1] != TCP {
        return None;
    }
    flow.client = mapped(words[3].to_ne_bytes());
    flow.server = mapped(words[4].to_ne_bytes());
    let [.., ports, seq, ack, rest] = words;
    Some(of_words(ctx, 20, [ports, seq, ack, rest], flow, header))
}

/// Reads the addresses; returns where the header behind the IP header is.
#[inline(always)]
fn addresses(ctx: &SkBuffContext, flow: &mut FlowKey, protocol: u8) -> Option<Option<usize>> {
    // Every IP header is at least as long.
    let head: [u32; 5] = ctx.load(0).ok()?;
    let version = head[0].to_ne_bytes()[0];
    if version >> 4 == 4 {
        flow.client = mapped(head[3].to_ne_bytes());
        flow.server = mapped(head[4].to_ne_bytes());
        let next = head[2].to_ne_bytes()[1];
        let offset = usize::from(version & 0x0f) * 4;
        Some(if next == protocol { Some(offset) } else { None })
    } else {
        flow.client = ctx.load(8).ok()?;
        flow.server = ctx.load(24).ok()?;
        Some(offset_v6(ctx, head[1].to_ne_bytes()[2], protocol))
    }
}

#[inline(always)]
fn tcp_header(ctx: &SkBuffContext, offset: usize, flow: &mut FlowKey, header: &mut Header) -> Option<Shape> {
    Some(of_words(ctx, offset, ctx.load(offset).ok()?, flow, header))
}

/// Reads the first 16 bytes of a TCP header at an offset.
#[inline(always)]
fn of_words(
    ctx: &SkBuffContext,
    offset: usize,
    [ports, seq, ack, rest]: [u32; 4],
    flow: &mut FlowKey,
    header: &mut Header,
) -> Shape {
    let ports = u32::from_be(ports);
    flow.client_port = (ports >> 16) as u16;
    flow.server_port = (ports & 0xffff) as u16;
    header.seq = u32::from_be(seq);
    header.ack = u32::from_be(ack);
    let [length, flags, window @ ..] = rest.to_ne_bytes();
    header.window = u16::from_be_bytes(window).into();
    let end_of_header = offset + usize::from(length >> 4) * 4;
    header.has_data = (ctx.len() as usize != end_of_header || flags & FIN != 0).into();
    shape(flags)
}

#[inline(always)]
fn shape(flags: u8) -> Shape {
    match flags & (SYN | ACK | RST) {
        SYN => Shape::Opens,
        ACK => Shape::Acknowledges,
        RST => Shape::Resets,
        _ => Shape::Continues,
    }
}

#[inline(always)]
fn udp_header(ctx: &SkBuffContext, offset: usize, flow: &mut FlowKey, header: &mut Header) -> Option<Shape> {
    let head: [u8; 4] = ctx.load(offset).ok()?;
    flow.client_port = u16::from_be_bytes([head[0], head[1]]);
    flow.server_port = u16::from_be_bytes([head[2], head[3]]);
    *header = Header { seq: 0, ack: 0, window: 0, has_data: 1 };
    Some(Shape::Opens)
}

/// Walks the extension headers; `None` if there is no header of this protocol behind them.
#[inline(always)]
fn offset_v6(ctx: &SkBuffContext, mut next: u8, protocol: u8) -> Option<usize> {
    let mut offset = 40_usize;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if next == protocol {
            return Some(offset);
        }
        let head: [u8; 2] = ctx.load(offset).ok()?;
        offset += match next {
            HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(head[1]) + 1) * 8,
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(head[1]) + 2) * 4,
            _ => return None,
        };
        next = head[0];
    }
    if next == protocol { Some(offset) } else { None }
}
