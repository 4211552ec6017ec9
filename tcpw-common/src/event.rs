//! One record of the event ring.

use crate::key::{Address, Comm, NamesId};

/// What an [`Event`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// An attempt was refused. Once per attempt, not per SYN.
    Refused = 1,
    /// Audit mode let an attempt pass that the policy refuses. Once per attempt.
    WouldRefuse = 2,
    /// A connection was accepted (its handshake is complete).
    Accepted = 3,
    /// The SYN waits for user space's answer: the address does not decide.
    Ask = 4,
    /// A process bound or opened a listening socket, which user space has to identify.
    Listening = 5,
    /// The SYN waits until user space has identified the listener.
    Unidentified = 6,
    /// A process with a listening socket, or a child of one, executed another program.
    Executed = 7,
    /// A connection's handshake is complete; its data wait until the user of its client is known.
    /// The cookie is that of the connection's socket.
    WaitsForUser = 8,
    /// As [`Self::WaitsForUser`], but there is no room for one more that waits: the user is unknown.
    NoRoomForUser = 9,
    /// The last ACK of a handshake had data, which have to wait for the user of their client: the ACK was
    /// dropped, and there is no connection yet.
    HandshakeHasData = 10,
    /// An attempt was refused, and its connection is redirected: its rule has a banner or a command for it.
    /// Once per attempt.
    Redirected = 11,
    /// The banner of an allowed connection was sent, or cannot be: its socket can leave the table of
    /// sockets with a banner. The cookie is that socket's.
    BannerDone = 12,
    /// The client of a held SYN answered its challenge. Once a challenge; in the ring of held packets.
    ChallengeAnswered = 13,
    /// As [`Self::NoRoomForUser`], but an unknown user does not decide: the connection is refused.
    CannotWait = 14,
}

impl Kind {
    /// The kind of a record, by its number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Refused),
            2 => Some(Self::WouldRefuse),
            3 => Some(Self::Accepted),
            4 => Some(Self::Ask),
            5 => Some(Self::Listening),
            6 => Some(Self::Unidentified),
            7 => Some(Self::Executed),
            8 => Some(Self::WaitsForUser),
            9 => Some(Self::NoRoomForUser),
            10 => Some(Self::HandshakeHasData),
            11 => Some(Self::Redirected),
            12 => Some(Self::BannerDone),
            13 => Some(Self::ChallengeAnswered),
            14 => Some(Self::CannotWait),
            _ => None,
        }
    }
}

/// One record of the event ring. Fields that a kind does not have are 0.
///
/// Layout: 4 × 8 + 2 × 16 + 6 × 4 + 4 × 2 + 16 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// CLOCK_BOOTTIME, nanoseconds.
    pub time_ns: u64,
    /// Network namespace cookie of the flow, or of the listener where there is no flow; 0 if unknown.
    pub netns: u64,
    /// Names of the listener.
    pub names: NamesId,
    /// Cookie of the listening socket, where the kind does not say otherwise.
    pub cookie: u64,
    /// Client address.
    pub client: Address,
    /// Local address.
    pub server: Address,
    /// A [`Kind`] as number.
    pub kind: u32,
    /// Generation of the policy that decided.
    pub generation: u32,
    /// Policy index within that generation.
    pub policy: u32,
    /// Process id of the listener.
    pub pid: u32,
    /// Interface the packet came in on.
    pub ifindex: u32,
    /// Address family of the listening socket: 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// Client port, host order.
    pub client_port: u16,
    /// Local port, host order.
    pub server_port: u16,
    /// IP protocol of the socket: 6 (TCP) or 17 (UDP).
    pub protocol: u16,
    /// Tag flags of the listener.
    pub flags: u16,
    /// Process name at bind time, for [`Kind::Listening`].
    pub comm: Comm,
}
const _: () = assert!(size_of::<Event>() == 112);

impl Event {
    /// Reads a record; `None` if the bytes are not exactly one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        // SAFETY: the length is right, every bit pattern is valid, unaligned reads are allowed.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}
