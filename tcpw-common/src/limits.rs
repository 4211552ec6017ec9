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

/// Handshakes that will wait for their client's user: each for the moment between its last ACK
/// and the birth of its socket, or from a SYN that may open it at once.
pub const MAX_USER_HANDSHAKES: u32 = 1 << 14;

/// Connections that wait for their client's user; of those beyond, the user is unknown.
pub const MAX_WAITING: u32 = 1 << 14;

/// How much longer than the look-up, in nanoseconds, the kernel waits for user space's answer.
pub const USER_GRACE_NS: u64 = 2_000_000_000;

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
