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

/// Reads the addresses and ports of a packet of this protocol into `flow`, its TCP header into `header`.
///
/// Written in place: a copy of the addresses would not fit the 512 bytes of stack.
#[inline(always)]
pub(crate) fn read(ctx: &SkBuffContext, flow: &mut FlowKey, protocol: u8, header: &mut Header) -> Shape {
    flow.protocol = protocol.into();
    flow.reserved = 0;
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

/// Reads the addresses; returns where the header behind the IP header is.
#[inline(always)]
fn addresses(ctx: &SkBuffContext, flow: &mut FlowKey, protocol: u8) -> Option<Option<usize>> {
    let version: u8 = ctx.load(0).ok()?;
    if version >> 4 == 4 {
        flow.client = mapped(ctx.load(12).ok()?);
        flow.server = mapped(ctx.load(16).ok()?);
        let next: u8 = ctx.load(9).ok()?;
        let offset = usize::from(version & 0x0f) * 4;
        Some(if next == protocol { Some(offset) } else { None })
    } else {
        flow.client = ctx.load(8).ok()?;
        flow.server = ctx.load(24).ok()?;
        Some(offset_v6(ctx, protocol))
    }
}

#[inline(always)]
fn tcp_header(ctx: &SkBuffContext, offset: usize, flow: &mut FlowKey, header: &mut Header) -> Option<Shape> {
    let head: [u8; 16] = ctx.load(offset).ok()?;
    flow.client_port = u16::from_be_bytes([head[0], head[1]]);
    flow.server_port = u16::from_be_bytes([head[2], head[3]]);
    header.seq = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    header.ack = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    header.window = u16::from_be_bytes([head[14], head[15]]).into();
    let end_of_header = offset + usize::from(head[12] >> 4) * 4;
    header.has_data = (ctx.len() as usize != end_of_header || head[13] & FIN != 0).into();
    Some(match head[13] & (SYN | ACK | RST) {
        SYN => Shape::Opens,
        ACK => Shape::Acknowledges,
        RST => Shape::Resets,
        _ => Shape::Continues,
    })
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
fn offset_v6(ctx: &SkBuffContext, protocol: u8) -> Option<usize> {
    let mut next: u8 = ctx.load(6).ok()?;
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
