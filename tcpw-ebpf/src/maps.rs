//! Every map, nothing else.
//!
//! The tables of a policy sit in slots: an outer array with one inner map per
//! slot for each table. User space fills the idle slot and flips [`ACTIVE`]; in the
//! live slot no entry is changed or removed.

use aya_ebpf::{
    bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{self, Array, ArrayOfMaps, HashMap, LpmTrie, SkStorage},
    macros::{btf_map, map},
    maps::{self, LruHashMap, PerCpuArray, ProgramArray, RingBuf, SockHash},
};
use tcpw_common::{
    answer::{Answer, AnswerOnce, ResetOnce},
    ban::{Ban, BanKey, BansInUse, Scopes},
    banner::Banner,
    certified::{self, Certified, CertifiedKey, PortKey},
    challenge::Challenge,
    counter,
    deadline::Deadline,
    decide::Header,
    early::{EarlyKey, EarlyPlace},
    flat::{BucketV4, ChunkV4, LowsV6, NodeV6},
    handshake::Handshake,
    key::{Address, AnswerKey, AttemptKey, BannerKey, Comm, FlowKey, NamesId, OnLinkKey, PeerKey},
    limits::{
        ATTEMPT_BUCKETS, EVENT_RING_BYTES, HELD_RING_BYTES, MAX_ANSWERS, MAX_BAN_SCOPES, MAX_BANNER_SOCKETS,
        MAX_BANNERS, MAX_BANS, MAX_BINDERS, MAX_CERTIFIED, MAX_CHALLENGES, MAX_COMMS, MAX_EARLY_PLACES,
        MAX_FLOWS, MAX_HANDSHAKES, MAX_HELD, MAX_HOLDERS, MAX_LISTENERS, MAX_ON_LINK, MAX_ONCE, MAX_PEERS,
        MAX_PREFIXES, MAX_REDIRECT_LISTENERS, MAX_SOURCES, MAX_UDP_PORTS, MAX_USER_HANDSHAKES, MAX_WAITING,
        SLOTS, UDP_ATTEMPT_BUCKETS,
    },
    refusal::{PacketPlace, RedirectKey, RefusedFlow, ResetLimits},
    seen::{SeenBucket, SeenNumbers},
    tag::Tag,
    user::{Mark, Pending, Waiting},
};

use crate::{
    attempt::Attempt,
    bans::BanLookup,
    lookup::Lookup,
    per_flow::{FlowLru, FlowMap},
    udp::BindRequests,
};

const SLOT_COUNT: usize = SLOTS as usize;
/// Inner arrays may then differ in length from the template. Linux 5.10.
const ANY_LENGTH: usize = BPF_F_INNER_MAP as usize;
/// User space maps it into its memory.
const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// The inner array of a flat table: user space writes it through its memory.
///
/// Its values are declared as words: Linux 6.1 takes an array without BTF, as user space makes them, for one of another kind
/// than a template whose values are a struct (kernel/bpf/map_in_map.c, `bpf_map_meta_equal`: `timer_off`).
type Flat<const WORDS: usize> = Array<[u64; WORDS], 1, { ANY_LENGTH | MMAPABLE }>;

const fn words<V>() -> usize {
    assert!(size_of::<V>().is_multiple_of(8) && align_of::<V>() <= 8);
    size_of::<V>() / 8
}

type TrieV4 = LpmTrie<[u8; 4], u32, MAX_PREFIXES>;
type TrieV6 = LpmTrie<Address, u32, MAX_PREFIXES>;

/// Slot of the policy in force.
#[btf_map]
pub(crate) static ACTIVE: Array<u32, 1> = Array::new();
/// Until when it is, unless it is confirmed, and the slot that comes back then.
#[btf_map]
pub(crate) static DEADLINE: Array<Deadline, 1> = Array::new();
/// Facts of the policy in each slot.
#[btf_map]
pub(crate) static HEADERS: Array<Header, SLOT_COUNT> = Array::new();
/// IPv4 client address to class.
#[btf_map]
pub(crate) static CLIENTS_V4: ArrayOfMaps<TrieV4, SLOT_COUNT> = ArrayOfMaps::new();
/// IPv6 client address to class.
#[btf_map]
pub(crate) static CLIENTS_V6: ArrayOfMaps<TrieV6, SLOT_COUNT> = ArrayOfMaps::new();
/// First 16 bits of an IPv4 client address to its bucket.
#[btf_map]
pub(crate) static FLAT_V4: ArrayOfMaps<Flat<{ words::<BucketV4>() }>, SLOT_COUNT> = ArrayOfMaps::new();
/// Chunks of IPv4 ranges.
#[btf_map]
pub(crate) static FLAT_V4_CHUNKS: ArrayOfMaps<Flat<{ words::<ChunkV4>() }>, SLOT_COUNT> = ArrayOfMaps::new();
/// Nodes of the tree of IPv6 ranges.
#[btf_map]
pub(crate) static FLAT_V6: ArrayOfMaps<Flat<{ words::<NodeV6>() }>, SLOT_COUNT> = ArrayOfMaps::new();
/// Last 64 bits of their keys.
#[btf_map]
pub(crate) static FLAT_V6_LOWS: ArrayOfMaps<Flat<{ words::<LowsV6>() }>, SLOT_COUNT> = ArrayOfMaps::new();
/// IPv4 local address to class.
#[btf_map]
pub(crate) static SERVERS_V4: ArrayOfMaps<TrieV4, SLOT_COUNT> = ArrayOfMaps::new();
/// IPv6 local address to class.
#[btf_map]
pub(crate) static SERVERS_V6: ArrayOfMaps<TrieV6, SLOT_COUNT> = ArrayOfMaps::new();
/// Names-set to class.
#[btf_map]
pub(crate) static NAMES: ArrayOfMaps<HashMap<NamesId, u32, 1, ON_DEMAND>, SLOT_COUNT> = ArrayOfMaps::new();
/// Local port to class.
#[btf_map]
pub(crate) static PORTS: ArrayOfMaps<HashMap<u32, u32, 1, ON_DEMAND>, SLOT_COUNT> = ArrayOfMaps::new();
/// (Names, port, server) class to policy.
#[btf_map]
pub(crate) static POLICIES: ArrayOfMaps<Array<u32, 1, ANY_LENGTH>, SLOT_COUNT> = ArrayOfMaps::new();
/// (Policy, client class) to outcome.
#[btf_map]
pub(crate) static OUTCOMES: ArrayOfMaps<Array<u8, 1, ANY_LENGTH>, SLOT_COUNT> = ArrayOfMaps::new();
/// Banned networks, by scope.
#[btf_map]
pub(crate) static BANS: LpmTrie<BanKey, Ban, { MAX_BANS as usize }> = LpmTrie::new();
/// Whether there are any.
#[btf_map]
pub(crate) static BANS_IN_USE: Array<BansInUse, 1> = Array::new();
/// Names-set, as a prefix of all its bits, to the scopes of its names: an entry of a hash table may be reused while a program
/// still reads it, one of a trie is not.
#[btf_map]
pub(crate) static BAN_SCOPES: LpmTrie<NamesId, Scopes, { MAX_BAN_SCOPES as usize }> = LpmTrie::new();
/// The ban that a CPU looks up.
#[map]
pub(crate) static BAN_LOOKUP: PerCpuArray<BanLookup> = PerCpuArray::with_max_entries(1, 0);
/// Never read. Writing it makes user space wait until every program that read [`ACTIVE`] before has ended.
#[btf_map]
pub(crate) static GRACE: ArrayOfMaps<Array<u32, 1, ANY_LENGTH>, 1> = ArrayOfMaps::new();

/// Tags of listening sockets, and of UDP sockets that were bound.
#[btf_map]
pub(crate) static TAGS: SkStorage<Tag> = btf_maps::SkStorage::new();
/// What was asked of bind(2) for UDP sockets.
#[btf_map]
pub(crate) static BINDS: SkStorage<BindRequests> = btf_maps::SkStorage::new();
/// Process name to names-set, for provisional tags.
#[map]
pub(crate) static COMMS: maps::HashMap<Comm, NamesId> =
    maps::HashMap::with_max_entries(MAX_COMMS, BPF_F_NO_PREALLOC);

/// Refused attempts over TCP, and when: a SYN retransmit is not a second attempt.
#[btf_map]
pub(crate) static ATTEMPTS: Array<SeenBucket, { ATTEMPT_BUCKETS as usize }> = Array::new();
/// Attempts of UDP clients, and when they began.
#[btf_map]
pub(crate) static UDP_ATTEMPTS: Array<SeenBucket, { UDP_ATTEMPT_BUCKETS as usize }> = Array::new();
/// Random numbers that these are found by.
#[btf_map]
pub(crate) static SEEN_NUMBERS: Array<SeenNumbers, 1> = Array::new();
/// Answers of user space.
#[map]
pub(crate) static ANSWERS: LruHashMap<AnswerKey, Answer> = LruHashMap::with_max_entries(MAX_ANSWERS, 0);
/// Answers for one attempt only: a command decided, or a banner is ready.
#[map]
pub(crate) static ANSWERS_ONCE: FlowLru<AttemptKey, AnswerOnce> = FlowLru::new(MAX_ONCE);
/// Flows with an answer that refuses one attempt only: its SYN, which user space re-injects, is reset.
#[map]
pub(crate) static RESET_ONCE: FlowLru<FlowKey, ResetOnce> = FlowLru::new(MAX_ONCE);
/// Allowed handshakes that are not complete yet, for whose connection something is to be done.
#[map]
pub(crate) static HANDSHAKES: FlowLru<FlowKey, Handshake> = FlowLru::new(MAX_HANDSHAKES);

/// Tags of listeners by socket cookie, where the socket itself cannot carry a tag.
#[map]
pub(crate) static LISTENERS: maps::HashMap<u64, Tag> =
    maps::HashMap::with_max_entries(MAX_LISTENERS, BPF_F_NO_PREALLOC);
/// Whether UDP sockets that were bound before the programs ran cannot carry a tag: a value of `tcpw_common::tag`.
#[btf_map]
pub(crate) static UNMARKED: Array<u32, 1> = Array::new();
/// Processes that hold listening sockets: a program that they or their children execute may take these over.
#[map]
pub(crate) static HOLDERS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(MAX_HOLDERS, 0);
/// User space's last sign of life: CLOCK_BOOTTIME, nanoseconds.
#[btf_map]
pub(crate) static ALIVE: Array<u64, 1> = Array::new();
/// Held attempts and when they were held: CLOCK_BOOTTIME, nanoseconds.
#[map]
pub(crate) static HELD: FlowLru<AttemptKey, u64> = FlowLru::new(MAX_HELD);
/// Flows of held SYNs whose client was challenged.
#[map]
pub(crate) static CHALLENGES: FlowLru<FlowKey, Challenge> = FlowLru::new(MAX_CHALLENGES);
/// Holds of a source: the second, and how many in it.
#[map]
pub(crate) static SOURCES: LruHashMap<Address, [u64; 2]> = LruHashMap::with_max_entries(MAX_SOURCES, 0);
/// Held packets to user space.
#[map]
pub(crate) static HOLDS: RingBuf = RingBuf::with_byte_size(HELD_RING_BYTES, 0);

/// Peers a UDP service socket sent to first, and until when their datagrams are replies: CLOCK_BOOTTIME,
/// nanoseconds.
#[map]
pub(crate) static WROTE: LruHashMap<PeerKey, u64> = LruHashMap::with_max_entries(MAX_PEERS, 0);
/// Peers a UDP service socket heard, judged and allowed, and when last: CLOCK_BOOTTIME, nanoseconds.
#[map]
pub(crate) static HEARD: LruHashMap<PeerKey, u64> = LruHashMap::with_max_entries(MAX_PEERS, 0);
/// Networks that are on the link of an interface.
#[map]
pub(crate) static ON_LINK: maps::LpmTrie<OnLinkKey, u32> =
    maps::LpmTrie::with_max_entries(MAX_ON_LINK, BPF_F_NO_PREALLOC);
/// Since when the gate judges: CLOCK_BOOTTIME, nanoseconds. 0: not yet.
#[btf_map]
pub(crate) static WATCHING: Array<u64, 1> = Array::new();
/// When a process's last bind of a UDP socket was reported: CLOCK_BOOTTIME, nanoseconds.
#[map]
pub(crate) static BINDERS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(MAX_BINDERS, 0);
/// The peer a CPU is looking up in the gate.
#[map]
pub(crate) static PEERS: PerCpuArray<PeerKey> = PerCpuArray::with_max_entries(1, 0);
/// Certified places.
#[map]
pub(crate) static CERTIFIED: maps::HashMap<CertifiedKey, Certified> =
    maps::HashMap::with_max_entries(MAX_CERTIFIED, BPF_F_NO_PREALLOC);
/// UDP ports whose binds leave a stamp.
#[map]
pub(crate) static UDP_PORTS: maps::HashMap<PortKey, u64> =
    maps::HashMap::with_max_entries(MAX_UDP_PORTS, BPF_F_NO_PREALLOC);
/// When a listener last came or went, by [`certified::change_index`]: CLOCK_BOOTTIME, nanoseconds.
#[btf_map]
pub(crate) static CHANGES: Array<u64, { certified::CHANGES }, MMAPABLE> = Array::new();
/// Bounds on resets.
#[btf_map]
pub(crate) static RESET_LIMITS: Array<ResetLimits, 1> = Array::new();
/// Resets of all: the second, and how many in it.
#[btf_map]
pub(crate) static RESETS: Array<[u64; 2], 1> = Array::new();
/// Resets of a source, likewise.
#[map]
pub(crate) static RESET_SOURCES: LruHashMap<Address, [u64; 2]> = LruHashMap::with_max_entries(MAX_SOURCES, 0);
/// Flows that were refused.
#[map]
pub(crate) static FLOWS: FlowLru<FlowKey, RefusedFlow> = FlowLru::new(MAX_FLOWS);
/// The namespace whose program runs on this CPU, passed to the shared program.
#[map]
pub(crate) static PLACE: PerCpuArray<PacketPlace> = PerCpuArray::with_max_entries(1, 0);
/// The shared program, which those of all namespaces call.
#[map]
pub(crate) static REFUSALS: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// The redirect listeners.
#[map]
pub(crate) static REDIRECT_LISTEN: SockHash<RedirectKey> =
    SockHash::with_max_entries(MAX_REDIRECT_LISTENERS, 0);
/// The look-up a CPU is at.
#[map]
pub(crate) static LOOKUP: PerCpuArray<Lookup> = PerCpuArray::with_max_entries(1, 0);
/// Whether users decide: the last ACK of a handshake is judged too, while they do and for a while after. Elements:
/// `tcpw_common::user`.
#[btf_map]
pub(crate) static USERS: Array<u64, 2> = Array::new();
/// While users decide: handshakes that may go on, and whether their connection will wait for its client's user.
#[map]
pub(crate) static USER_HANDSHAKES: FlowLru<FlowKey, Pending> = FlowLru::new(MAX_USER_HANDSHAKES);
/// Those of them whose last ACK had data, and when that was reported: CLOCK_BOOTTIME, nanoseconds.
#[map]
pub(crate) static DATA_REPORTED: FlowLru<FlowKey, u64> = FlowLru::new(MAX_USER_HANDSHAKES);
/// Connections that wait for their client's user, by socket cookie. User space removes an entry to let the
/// connection's data pass: the map must not drop one by itself.
#[map]
pub(crate) static WAITING: maps::HashMap<u64, Waiting> =
    maps::HashMap::with_max_entries(MAX_WAITING, BPF_F_NO_PREALLOC);
/// Marks of waiting connections' sockets.
#[btf_map]
pub(crate) static MARKS: SkStorage<Mark> = btf_maps::SkStorage::new();

/// Banners of allowed handshakes.
#[map]
pub(crate) static BANNERS: FlowMap<BannerKey, Banner> = FlowMap::new(MAX_BANNERS);
/// The banner in a connection's socket, until it is sent.
#[btf_map]
pub(crate) static BANNER_TEXTS: SkStorage<Banner> = btf_maps::SkStorage::new();
/// These sockets, by cookie: their data pass through the program that sends the banner.
#[map]
pub(crate) static BANNER_SOCKETS: SockHash<u64> = SockHash::with_max_entries(MAX_BANNER_SOCKETS, 0);

/// The attempt a CPU is judging.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Attempt> = PerCpuArray::with_max_entries(1, 0);

/// Where SYNs may be dropped at a device.
#[map]
pub(crate) static EARLY_PLACES: maps::HashMap<EarlyKey, EarlyPlace> =
    maps::HashMap::with_max_entries(MAX_EARLY_PLACES, BPF_F_NO_PREALLOC);
/// As [`ALIVE`], by CLOCK_MONOTONIC_COARSE, which is read faster. It stops while the host is suspended: so does whatever
/// could change meanwhile.
#[btf_map]
pub(crate) static EARLY_ALIVE: Array<u64, 1> = Array::new();
/// SYNs that a CPU dropped early and reported: the second, and how many in it.
#[map]
pub(crate) static EARLY_REPORTED: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);
/// The SYN that a CPU judges at a device.
#[map]
pub(crate) static EARLY_SYN: PerCpuArray<Lookup> = PerCpuArray::with_max_entries(1, 0);

/// Events to user space.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);
/// Counters, indexed by `tcpw_common::counter::Counter`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNTERS, 0);
