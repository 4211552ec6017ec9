//! One record of the ring of held packets.

use crate::event::Event;

/// Most bytes of a held packet: an IP header with options or extension headers, and a TCP
/// header with options. A longer one is not copied: the client has to retransmit it.
pub const MAX_LENGTH: u32 = 512;
const _: () = assert!(MAX_LENGTH.is_power_of_two());

/// Room for it.
pub const PACKET_BYTES: usize = MAX_LENGTH as usize;

/// A SYN that was dropped and waits for user space: its event, and the packet itself.
///
/// Layout: 112 + 2 × 4 + 512 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// [`Kind::Ask`](crate::event::Kind::Ask) or [`Kind::Unidentified`](crate::event::Kind::Unidentified).
    pub event: Event,
    /// Bytes of the packet, 0 if it did not fit.
    pub length: u32,
    /// Initial sequence number, host order.
    pub isn: u32,
    /// The packet, from its IP header on.
    pub packet: [u8; PACKET_BYTES],
}
const _: () = assert!(size_of::<Held>() == 632);

impl Held {
    /// Reads a record; `None` if the bytes are not exactly one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        // SAFETY: the length is right, every bit pattern is valid, unaligned reads are allowed.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }

    /// The packet; empty if it did not fit.
    pub fn bytes(&self) -> &[u8] {
        self.packet.get(..self.length as usize).unwrap_or_default()
    }
}
