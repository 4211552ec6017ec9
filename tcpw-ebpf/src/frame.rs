//! Bounds-checked reads of an Ethernet frame: is it a SYN for this host?
//!
//! In: a frame as XDP or tc has it. Out: the flow and sequence number of a SYN, and the Ethernet address that the frame
//! is for; nothing for every other frame, and for one that is not understood in full.
//! Invariant: the addresses and ports are those that the stack will see. Passed are: VLAN tags (the VLAN's device may be
//! in another namespace), fragments, source routes, IPv6 extension headers other than hop-by-hop options and padding.
//! Source: RFC 791, RFC 8200, RFC 9293 section 3.1; linux/net/ipv6/exthdrs.c (destination options change addresses).

use core::mem::offset_of;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::generated::bpf_xdp_load_bytes,
    programs::{TcContext, XdpContext},
};
use tcpw_common::{
    key::{Address, Query, as_v4, mapped},
    limits::{MAX_EXTENSION_HEADERS, MAX_IP_OPTIONS},
};

const ETHERNET: u32 = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const DESTINATION: u8 = 60;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;

/// An IPv4 header without options, and the part of a TCP header up to its flags.
const PLAIN_V4: usize = 14 + 20 + 14;
/// Likewise, IPv6.
const PLAIN_V6: usize = 14 + 40 + 14;

/// A SYN, as the stack will see it.
///
/// The addresses and the server's port go into a query that lies in a map: as variables they would become one for each
/// byte.
pub(crate) struct Syn<'a> {
    pub(crate) query: &'a mut Query,
    /// Where the frame goes.
    pub(crate) ethernet: Ethernet,
    /// Host order.
    pub(crate) client_port: u16,
    /// Its sequence number.
    pub(crate) isn: u32,
}

/// An Ethernet address, its bytes as they are in memory.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ethernet(u32, u16);

impl Ethernet {
    #[inline(always)]
    pub(crate) fn of(bytes: &[u8; 6]) -> Self {
        let [a, b, c, d, e, f] = *bytes;
        Self(u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]))
    }
}

/// A frame at a device.
pub(crate) trait Frame {
    /// Where it begins.
    fn start(&self) -> usize;
    /// Where the part ends that can be read without a call.
    fn end(&self) -> usize;
    /// Some bytes, by a call.
    fn load<const BYTES: usize>(&self, offset: u32) -> Option<[u8; BYTES]>;
    /// Interface index of the device.
    fn ifindex(&self) -> u32;
    /// It had a VLAN tag that is not among its bytes.
    fn has_hidden_tag(&self) -> bool;
}

impl Frame for XdpContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn load<const BYTES: usize>(&self, offset: u32) -> Option<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        let context: *mut xdp_md = self.as_ptr().cast();
        #[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
        let length = BYTES as u32;
        // SAFETY: the buffer is as long as the call is told; the verifier checks the context.
        let failed = unsafe { bpf_xdp_load_bytes(context, offset, bytes.as_mut_ptr().cast(), length) };
        (failed == 0).then_some(bytes)
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: a member of the context; the verifier checks the access.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    /// A device that takes tags off gets no XDP program: user space sees to that.
    #[inline(always)]
    fn has_hidden_tag(&self) -> bool {
        false
    }
}

impl Frame for TcContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn load<const BYTES: usize>(&self, offset: u32) -> Option<[u8; BYTES]> {
        TcContext::load(self, offset as usize).ok()
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: a member of the context; the verifier checks the access.
        unsafe { (*self.skb.skb).ifindex }
    }

    #[inline(always)]
    fn has_hidden_tag(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.skb.skb).vlan_present != 0 }
    }
}

/// Whether a frame is a SYN and nothing else: cheap, for most frames are none.
#[inline(always)]
pub(crate) fn may_be_syn(frame: &impl Frame) -> bool {
    match near::<2>(frame, 12).copied() {
        Some(IPV4) => match near::<PLAIN_V4>(frame, 0) {
            Some(head) if head[14] == 0x45 => head[14 + 9] == TCP && opens(head[PLAIN_V4 - 1]),
            // Options, or not among the first bytes: the walk finds out.
            Some(_) | None => true,
        },
        Some(IPV6) => match near::<PLAIN_V6>(frame, 0) {
            Some(head) if head[14 + 6] == TCP => opens(head[PLAIN_V6 - 1]),
            Some(_) | None => true,
        },
        Some(_) => false,
        // tc: a driver that left everything in pages.
        None => true,
    }
}

/// Reads a SYN; false for every other frame.
#[inline(always)]
pub(crate) fn read_syn(frame: &impl Frame, syn: &mut Syn<'_>) -> bool {
    !frame.has_hidden_tag() && (read_plain_v4(frame, syn) || read_any(frame, syn))
}

/// Reads a SYN of IPv4 without options, as nearly all are, by few loads.
#[inline(always)]
fn read_plain_v4(frame: &impl Frame, syn: &mut Syn<'_>) -> bool {
    let Some(head) = near::<PLAIN_V4>(frame, 0) else {
        return false;
    };
    let is_plain = half::<12>(head) == u16::from_ne_bytes(IPV4)
        && head[14] == 0x45
        && half::<{ 14 + 6 }>(head) & FRAGMENT.to_be() == 0
        && head[14 + 9] == TCP
        && opens(head[PLAIN_V4 - 1]);
    if !is_plain {
        return false;
    }
    syn.ethernet = Ethernet(word::<0>(head), half::<4>(head));
    write_mapped(&mut syn.query.client, word::<{ 14 + 12 }>(head));
    write_mapped(&mut syn.query.server, word::<{ 14 + 16 }>(head));
    syn.client_port = u16::from_be(half::<34>(head));
    syn.query.port = u16::from_be(half::<36>(head));
    syn.isn = u32::from_be(word::<38>(head));
    true
}

/// Reads any SYN.
#[inline(always)]
fn read_any(frame: &impl Frame, syn: &mut Syn<'_>) -> bool {
    let Some(head) = first::<14>(frame, 0) else {
        return false;
    };
    let [a, b, c, d, e, f, ..] = head;
    syn.ethernet = Ethernet::of(&[a, b, c, d, e, f]);
    let tcp = match [head[12], head[13]] {
        IPV4 => ipv4(frame, syn),
        IPV6 => ipv6(frame, syn),
        _ => None,
    };
    let Some(tcp) = tcp else {
        return false;
    };
    syn.client_port = u16::from_be_bytes([tcp[0], tcp[1]]);
    syn.query.port = u16::from_be_bytes([tcp[2], tcp[3]]);
    syn.isn = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    opens(tcp[13])
}

/// Reads the addresses; the TCP header up to its flags, if the packet is whole and goes no detour.
#[inline(always)]
fn ipv4(frame: &impl Frame, syn: &mut Syn<'_>) -> Option<[u8; 14]> {
    let head = first::<20>(frame, ETHERNET)?;
    let length = u32::from(head[0] & 0x0f) * 4;
    let is_whole = u16::from_be_bytes([head[6], head[7]]) & FRAGMENT == 0;
    if head[0] >> 4 != 4 || length < 20 || !is_whole || head[9] != TCP {
        return None;
    }
    syn.query.client = mapped([head[12], head[13], head[14], head[15]]);
    syn.query.server = mapped([head[16], head[17], head[18], head[19]]);
    if length == 20 {
        return first(frame, ETHERNET + 20);
    }
    let end = ETHERNET + length;
    if is_direct(frame, end) { frame.load(end) } else { None }
}

/// Whether the IP options that end there have no source route.
#[inline(always)]
fn is_direct(frame: &impl Frame, end: u32) -> bool {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const LOOSE_ROUTE: u8 = 131;
    const STRICT_ROUTE: u8 = 137;
    let mut offset = ETHERNET + 20;
    for _ in 0..MAX_IP_OPTIONS {
        if offset >= end {
            return true;
        }
        // There is a TCP header behind the last option.
        let Some([kind, length]) = frame.load::<2>(offset) else {
            return false;
        };
        offset += match kind {
            END => return true,
            NOTHING => 1,
            LOOSE_ROUTE | STRICT_ROUTE => return false,
            _ if length < 2 => return false,
            _ => u32::from(length),
        };
    }
    offset >= end
}

/// Reads the addresses; the TCP header up to its flags, if no header before it changes them.
#[inline(always)]
fn ipv6(frame: &impl Frame, syn: &mut Syn<'_>) -> Option<[u8; 14]> {
    let [version, _, _, _, _, _, mut next, _] = first::<8>(frame, ETHERNET)?;
    if version >> 4 != 6 {
        return None;
    }
    syn.query.client = first(frame, ETHERNET + 8)?;
    syn.query.server = first(frame, ETHERNET + 24)?;
    // In a packet such an address is not the IPv4 address that it has the form of.
    if as_v4(&syn.query.client).is_some() || as_v4(&syn.query.server).is_some() {
        return None;
    }
    if next == TCP {
        return first(frame, ETHERNET + 40);
    }
    let mut offset = ETHERNET + 40;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if next == TCP {
            return frame.load(offset);
        }
        let [after, length, kind, size, ..] = frame.load::<8>(offset)?;
        match next {
            HOP_BY_HOP => {}
            DESTINATION if length == 0 && is_padding(kind, size) => {}
            _ => return None,
        }
        offset += (u32::from(length) + 1) * 8;
        next = after;
    }
    if next == TCP { frame.load(offset) } else { None }
}

/// Whether the six bytes of options behind an extension header's first two are one option that pads them.
#[inline(always)]
fn is_padding(kind: u8, size: u8) -> bool {
    const PAD_N: u8 = 1;
    kind == PAD_N && size == 4
}

#[inline(always)]
fn opens(flags: u8) -> bool {
    flags & (FIN | SYN | RST | ACK) == SYN
}

/// Some of the first bytes, at an offset that the compiler knows: without a call if they are among those that can be
/// read so.
#[inline(always)]
fn first<const BYTES: usize>(frame: &impl Frame, offset: u32) -> Option<[u8; BYTES]> {
    match near::<BYTES>(frame, offset as usize) {
        Some(bytes) => Some(*bytes),
        None => frame.load(offset),
    }
}

/// Some of the first bytes, read without a call; `None` if they are not among those that can be.
#[inline(always)]
fn near<const BYTES: usize>(frame: &impl Frame, offset: usize) -> Option<&[u8; BYTES]> {
    let from = frame.start() + offset;
    if from + BYTES > frame.end() {
        return None;
    }
    // SAFETY: the bytes are inside the frame, and of any value.
    Some(unsafe { &*(from as *const [u8; BYTES]) })
}

/// Four bytes as they are in memory, by one load. Where the kernel allows no load at such an address, it does not load
/// the program.
#[inline(always)]
fn word<const AT: usize>(head: &[u8; PLAIN_V4]) -> u32 {
    const { assert!(AT + 4 <= PLAIN_V4) };
    // SAFETY: inside the head; BPF has no stricter rule than the kernel's, see above.
    unsafe { head.as_ptr().add(AT).cast::<u32>().read_volatile() }
}

/// Two bytes, likewise.
#[inline(always)]
fn half<const AT: usize>(head: &[u8; PLAIN_V4]) -> u16 {
    const { assert!(AT + 2 <= PLAIN_V4) };
    // SAFETY: as above.
    unsafe { head.as_ptr().add(AT).cast::<u16>().read_volatile() }
}

/// Writes the form that an IPv4 address has in keys.
#[inline(always)]
fn write_mapped(to: &mut Address, address: u32) {
    const { assert!(offset_of!(Query, client) % 4 == 0 && offset_of!(Query, server) % 4 == 0) };
    let words: [u32; 4] = [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), address];
    // SAFETY: of this size, and as a member of a query aligned.
    unsafe { (&raw mut *to).cast::<[u32; 4]>().write(words) };
}
