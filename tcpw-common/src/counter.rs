//! Counters the kernel keeps; they survive reloads and, pinned, restarts.

/// Index into the per-CPU counter array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// SYNs allowed; one that is sent again counts again.
    Allowed = 0,
    /// Connection attempts refused, each counted once.
    Refused = 1,
    /// Attempts audit mode let pass that the policy refuses.
    WouldRefuse = 2,
    /// Retransmitted SYNs of attempts already refused.
    Retransmits = 3,
    /// Attempts held until user space has decided.
    Asked = 4,
    /// Attempts from or to something exempt.
    Exempt = 5,
    /// Attempts at a listener that nobody has identified.
    Untagged = 6,
    /// Packets to a listener that could not be parsed, judged by address.
    Unparsable = 7,
    /// Events that found the ring full: not logged, only counted here.
    RingFull = 8,
    /// SYNs dropped because a table look-up failed: a defect of tcpw.
    Broken = 9,
    /// SYNs not held because their source had too many: they wait for the client to try again.
    HoldLimited = 10,
    /// SYNs not held because the ring of held packets was full, likewise.
    HoldRingFull = 11,
    /// Datagrams from a peer the socket itself wrote to: not judged.
    Replies = 12,
    /// Refused datagrams of attempts already refused.
    Repeats = 13,
    /// ACKs to a listener that belong to no handshake it knows and were dropped: the policy refuses
    /// their client, who may have guessed or kept a SYN cookie.
    Strays = 14,
    /// Refused attempts answered with a reset.
    Reset = 15,
    /// Refused attempts left to the gate, which drops them, because of a limit on resets.
    ResetLimited = 16,
    /// Likewise, because an allowed handshake of theirs may have been forgotten.
    ResetUnsure = 17,
    /// Connections whose data wait, or waited, until the user of their client is known.
    UserWaits = 18,
    /// Segments with data dropped meanwhile; they are sent again.
    UserSegments = 19,
    /// SYNs with data dropped because the user decides: the client sends one without.
    UserSyns = 20,
    /// Connections whose user was taken for unknown because user space was gone.
    UserExpired = 21,
    /// Connections whose user was taken for unknown because too many waited.
    UserNoRoom = 22,
    /// Refused attempts led to user space, for a banner or a `twist`.
    Steered = 23,
    /// Banners sent to clients that were let in.
    BannersSent = 24,
    /// Connections that were let in without the banner of their rule.
    BannersMissed = 25,
}

impl Counter {
    /// Every counter with its name in status and metrics.
    pub const ALL: [(Self, &'static str); 26] = [
        (Self::Allowed, "allowed"),
        (Self::Refused, "refused"),
        (Self::WouldRefuse, "would_refuse"),
        (Self::Retransmits, "retransmits"),
        (Self::Asked, "asked"),
        (Self::Exempt, "exempt"),
        (Self::Untagged, "untagged"),
        (Self::Unparsable, "unparsable"),
        (Self::RingFull, "ring_full"),
        (Self::Broken, "broken"),
        (Self::HoldLimited, "hold_limited"),
        (Self::HoldRingFull, "hold_ring_full"),
        (Self::Replies, "replies"),
        (Self::Repeats, "repeats"),
        (Self::Strays, "strays"),
        (Self::Reset, "reset"),
        (Self::ResetLimited, "reset_limited"),
        (Self::ResetUnsure, "reset_unsure"),
        (Self::UserWaits, "user_waits"),
        (Self::UserSegments, "user_segments"),
        (Self::UserSyns, "user_syns"),
        (Self::UserExpired, "user_expired"),
        (Self::UserNoRoom, "user_no_room"),
        (Self::Steered, "steered"),
        (Self::BannersSent, "banners_sent"),
        (Self::BannersMissed, "banners_missed"),
    ];
}
