//! Sizes of the maps, each with its reason.

/// Policies in the kernel at once: one in force, one being filled.
pub const SLOTS: u32 = 2;

/// Most prefixes of one trie. A template size: inner tries are created as large as the policy needs.
pub const MAX_PREFIXES: usize = 1 << 24;

/// Bytes of the event ring: room for 9,000 events, a second of a fast scan.
pub const EVENT_RING_BYTES: u32 = 1 << 20;

/// Attempts remembered so that a SYN retransmit is not logged again. Linux
/// retransmits a SYN for about two minutes; the oldest attempt is forgotten first.
pub const MAX_ATTEMPTS: u32 = 1 << 16;

/// Answers of user space kept for outcomes the address does not decide.
pub const MAX_ANSWERS: u32 = 1 << 16;

/// Handshakes between an allowed SYN and its last ACK, for the accepted line.
pub const MAX_HANDSHAKES: u32 = 1 << 14;

/// Bytes of the ring of held packets: room for 6,000.
pub const HELD_RING_BYTES: u32 = 1 << 22;

/// Held attempts remembered, so that a SYN sent again meanwhile is not held twice.
pub const MAX_HELD: u32 = 1 << 16;

/// After this long, in nanoseconds, an attempt without an answer is held again: user space may
/// have lost it. Linux sends a SYN again after a second.
pub const HOLD_AGAIN_NS: u64 = 800_000_000;

/// Most attempts of one source (an IPv4 address, an IPv6 /64) held in a second; more wait for
/// their client to try again.
pub const HOLDS_PER_SOURCE: u64 = 256;

/// Sources whose holds are counted.
pub const MAX_SOURCES: u32 = 1 << 14;

/// Without a sign of life of user space for this long, in nanoseconds, nothing is held: a client
/// whose first SYN was held by a daemon that died is decided when it sends it again.
pub const ALIVE_NS: u64 = 800_000_000;

/// Processes that hold listening sockets.
pub const MAX_HOLDERS: u32 = 1 << 14;

/// Listeners named by their cookie, because their socket cannot carry a tag.
pub const MAX_LISTENERS: u32 = 1 << 16;

/// Process names (comm) that the tables mention.
pub const MAX_COMMS: u32 = 1 << 14;

/// IPv6 extension headers the gate walks before it judges by address alone.
/// RFC 8200 names six kinds, each at most once but destination options twice.
pub const MAX_EXTENSION_HEADERS: u32 = 8;

/// Services whose refused clients may be reset.
pub const MAX_SERVICES: u32 = 1 << 16;

/// Allowed handshakes remembered, so that the last packet of one is not reset.
pub const MAX_PASSED: u32 = 1 << 16;

/// How long they are, in nanoseconds. Linux takes a SYN cookie for two minutes at most.
/// Source: linux/include/net/tcp.h, `MAX_SYNCOOKIE_AGE`.
pub const PASSED_NS: u64 = 130_000_000_000;

/// More allowed handshakes than this in [`PASSED_NS`], and one of them may have been forgotten: the
/// kernel's LRU evicts early. A quarter, as two such spans may follow each other.
pub const MANY_PASSED: u64 = MAX_PASSED as u64 / 4;

/// Refused flows remembered, so that gate and reset do not both report one attempt.
pub const MAX_FLOWS: u32 = 1 << 15;

/// A SYN of a reset flow that comes again within this, in nanoseconds, is the same attempt: its reset
/// was lost, or the lookup ran twice. Linux sends a SYN again after a second.
pub const SAME_ATTEMPT_NS: u64 = 1_500_000_000;
