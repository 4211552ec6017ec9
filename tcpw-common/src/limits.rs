//! Sizes of the maps, each with its reason.

/// Policies in the kernel at once: one in force, one being filled.
pub const SLOTS: u32 = if cfg!(feature = "other-layout") { 3 } else { 2 };

/// Most prefixes of one trie. A template size: inner tries are created as large as the policy needs.
pub const MAX_PREFIXES: usize = 1 << 24;

/// Bytes of the event ring: room for 9,000 events, a second of a fast scan.
pub const EVENT_RING_BYTES: u32 = 1 << 20;

/// Buckets of attempts over TCP that are remembered so that a SYN retransmit is not logged again: 2 MB, room for 262,144.
/// Of 65,536 attempts at once about ten are forgotten, of 20,000 none.
pub const ATTEMPT_BUCKETS: u32 = 1 << 15;

/// SYNs of one port and sequence number within this time, in nanoseconds, after the first are one attempt; a later
/// one is an attempt of its own. Linux retransmits a SYN for at most 67 s after the first and gives up after 131 s,
/// with `tcp_syn_retries` 6 and `tcp_syn_linear_timeouts` 4, its defaults; others give up earlier.
pub const ONE_SYN_NS: u64 = 131_000_000_000;

/// Buckets of attempts of UDP clients that are remembered, each for [`ONE_ATTEMPT_NS`]: 1 MB, room for 131,072.
pub const UDP_ATTEMPT_BUCKETS: u32 = 1 << 14;

/// Answers of user space kept for outcomes the address does not decide.
pub const MAX_ANSWERS: u32 = 1 << 16;

/// Held SYNs whose client was challenged; the oldest is forgotten first.
pub const MAX_CHALLENGES: u32 = 1 << 14;

/// Answers kept for single attempts, and flows of such attempts that are reset.
pub const MAX_ONCE: u32 = 1 << 12;

/// Allowed handshakes that are not complete yet, of connections that are to be logged, to start a command, or to
/// get `keepalive` or a banner. The oldest is forgotten first.
pub const MAX_HANDSHAKES: u32 = 1 << 16;

/// Handshakes under a policy in which users decide: each for the moment between its last ACK and the birth of its
/// socket, or from a SYN that may open it at once.
pub const MAX_USER_HANDSHAKES: u32 = 1 << 14;

/// Connections that wait for their client's user; of those beyond, the user is unknown.
pub const MAX_WAITING: u32 = 1 << 14;

/// Between the last ACK of a handshake and the birth of its socket is less, in nanoseconds.
pub const HANDSHAKE_ENDS_NS: u64 = 1_000_000_000;

/// How much longer than the look-up, in nanoseconds, the kernel waits for user space's answer.
pub const USER_GRACE_NS: u64 = 2_000_000_000;

/// Bytes of the ring of held packets: room for 6,000.
pub const HELD_RING_BYTES: u32 = 1 << 22;

/// Held attempts remembered, so that a SYN sent again meanwhile is not held twice.
pub const MAX_HELD: u32 = 1 << 16;

/// After this long, in nanoseconds, an attempt without an answer is held again: user space may
/// have lost it. Linux retransmits a SYN after a second.
pub const HOLD_AGAIN_NS: u64 = 800_000_000;

/// Most attempts of one source (an IPv4 address, an IPv6 /64) held in a second; more wait for
/// their client to try again.
pub const HOLDS_PER_SOURCE: u64 = 256;

/// Sources whose holds are counted.
pub const MAX_SOURCES: u32 = 1 << 14;

/// Without a sign of life of user space for this long, in nanoseconds, nothing is held: if a daemon
/// died while a client's SYN was held, the client is decided when it retransmits.
pub const ALIVE_NS: u64 = 800_000_000;

/// For this long after its last sign of life, in nanoseconds, user space may be slow, not dead: a client that
/// the tables allow is held once for the banner of its rule, and allowed when it retransmits its SYN.
pub const SLOW_NS: u64 = 3_000_000_000;

/// Processes that hold listening sockets.
pub const MAX_HOLDERS: u32 = 1 << 14;

/// Listeners named by their cookie, because their socket cannot carry a tag. A UDP socket of before the start among
/// them that does not fit is not judged, and user space says so.
pub const MAX_LISTENERS: u32 = 1 << 16;

/// Peers that UDP service sockets sent to, and those they received from.
pub const MAX_PEERS: u32 = 1 << 16;

/// After a UDP service socket wrote to a peer first, datagrams of that peer are replies for this
/// long, in nanoseconds. conntrack gives them 30 s, 120 s once there was one.
pub const REPLIES_NS: u64 = 60_000_000_000;

/// Likewise after it wrote to a group: from any address, of a multicast group from any that is on the link, but from
/// the port written to. DHCP and mDNS answer within 5 s.
pub const GROUP_REPLIES_NS: u64 = 10_000_000_000;

/// Networks on the links of all network namespaces, and own addresses on their loopback devices: 64 namespaces with
/// [`MOST_ON_LINK`] each, or 10,000 containers with six.
pub const MAX_ON_LINK: u32 = 1 << 16;

/// Those of one network namespace: a user can make as many as it likes in one of its own.
pub const MOST_ON_LINK: usize = 1 << 10;

/// If a peer's datagram was judged within this time, in nanoseconds, a datagram of the socket to that peer is
/// an answer and does not make the peer's next datagrams replies. Three times [`REPLIES_NS`]: a refused client
/// gains nothing by a pause.
pub const HEARD_NS: u64 = 180_000_000_000;

/// For this long, in nanoseconds, a UDP socket that was bound before the start may still be
/// answering datagrams it received before.
pub const ANSWERS_FROM_BEFORE_NS: u64 = 5_000_000_000;

/// Refused datagrams of a peer to a socket within this time, in nanoseconds, are one attempt.
pub const ONE_ATTEMPT_NS: u64 = 60_000_000_000;

/// A process that binds UDP sockets, as a resolver does for each query, is reported once in this
/// time, in nanoseconds.
pub const REPORT_BINDS_NS: u64 = 1_000_000_000;

/// Processes whose last report is remembered.
pub const MAX_BINDERS: u32 = 1 << 12;

/// Process names (comm) that the tables mention.
pub const MAX_COMMS: u32 = 1 << 14;

/// IPv6 extension headers the gate walks before it judges by address alone.
/// RFC 8200 names six kinds, each at most once but destination options twice.
pub const MAX_EXTENSION_HEADERS: u32 = 8;

/// Places where sk_lookup may refuse.
pub const MAX_CERTIFIED: u32 = 1 << 16;

/// Devices, each with a local address and port, at which SYNs may be dropped early; all others pass. Enough for 16
/// devices, 32 addresses and 32 services; user space looks at all of them in a few milliseconds when a listener comes or
/// goes.
pub const MAX_EARLY_PLACES: u32 = 1 << 14;

/// SYNs that are dropped early and reported one by one, in a second and on each CPU: more than the lines that follow
/// of them, and few enough that a flood costs the daemon nothing.
pub const EARLY_REPORTS: u64 = 32;

/// IP options that early drop walks in search of a source route; a SYN with more passes.
pub const MAX_IP_OPTIONS: u32 = 10;

/// UDP ports that are watched.
pub const MAX_UDP_PORTS: u32 = 1 << 16;

/// A UDP port that was bound less than this ago, in nanoseconds, is not certified: the bind(2) that changed the
/// stamp may not have returned, and the socket's options may still change.
pub const SETTLED_NS: u64 = 1_000_000_000;

/// How long a flow that was refused goes the same way, in nanoseconds: sk_lookup leaves its packets to the gate if that refused
/// it, and redirects them if it was redirected. The SYNs of one attempt come for at most 127 s. Source: ip-sysctl of the
/// kernel's documentation, `tcp_syn_retries`.
pub const REFUSED_FLOW_NS: u64 = 130_000_000_000;

/// Refused flows remembered, so that the gate and sk_lookup do not both report one attempt.
pub const MAX_FLOWS: u32 = 1 << 15;

/// A SYN of a flow that was reset within this time, in nanoseconds, is the same attempt: the reset was lost, or
/// sk_lookup ran twice. Linux retransmits a SYN after a second.
pub const SAME_ATTEMPT_NS: u64 = 1_500_000_000;

/// A packet of a redirected flow belongs to the same attempt if it comes within this, in
/// nanoseconds, after the one before: a SYN sent again, or the ACK of a SYN cookie.
pub const REDIRECTED_NS: u64 = 10_000_000_000;

/// Redirect listeners: one for each family and network namespace; in more namespaces refused clients
/// are not redirected.
pub const MAX_REDIRECT_LISTENERS: u32 = 1 << 11;

/// Banners of allowed handshakes, each kept until its connection exists; a connection for whose banner
/// there is no room gets none.
pub const MAX_BANNERS: u32 = 1 << 12;

/// Connections whose banner goes out before the first bytes of their daemon; likewise.
pub const MAX_BANNER_SOCKETS: u32 = 1 << 13;

/// Banned networks at once.
pub const MAX_BANS: u32 = 1 << 20;

/// Names-sets with names that bans are for.
pub const MAX_BAN_SCOPES: u32 = 1 << 12;
