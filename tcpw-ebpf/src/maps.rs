//! Every map, nothing else.
//!
//! The tables of a policy sit in slots: an outer array with one inner map per
//! slot for each table. User space fills the idle slot and flips [`ACTIVE`]; in the
//! live slot no entry is changed or removed.

use aya_ebpf::{
    bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{self, Array, ArrayOfMaps, HashMap, LpmTrie, SkStorage},
    macros::{btf_map, map},
    maps::{LruHashMap, PerCpuArray, ProgramArray, RingBuf, SockHash},
};
use tcpw_common::{
    answer::Answer,
    banner::Banner,
    decide::Header,
    handshake::Handshake,
    key::{Address, AnswerKey, AttemptKey, Comm, NamesId, PeerKey},
    limits::{
        EVENT_RING_BYTES, HELD_RING_BYTES, MAX_ANSWERS, MAX_ATTEMPTS, MAX_BANNERS, MAX_BINDERS, MAX_COMMS,
        MAX_FLOWS, MAX_HANDSHAKES, MAX_HELD, MAX_HOLDERS, MAX_LISTENERS, MAX_ONCE, MAX_PASSED, MAX_PEERS,
        MAX_PREFIXES, MAX_SERVICES, MAX_SOURCES, MAX_SPEAKERS, MAX_TAKERS, MAX_UDP_PORTS,
        MAX_USER_HANDSHAKES, MAX_WAITING, SLOTS,
    },
    service::{self, Flow, Place, PortKey, Pressure, ResetLimits, Service, ServiceKey, TakerKey},
    tag::Tag,
    user::{Mark, Pending, Waiting},
};

use crate::{gate::Attempt, refuse::Refusal};

const SLOT_COUNT: usize = SLOTS as usize;
/// Inner arrays may then differ in length from the template. Linux 5.10.
const ANY_LENGTH: usize = BPF_F_INNER_MAP as usize;
/// User space maps it into its memory.
const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

type TrieV4 = LpmTrie<[u8; 4], u32, MAX_PREFIXES>;
type TrieV6 = LpmTrie<Address, u32, MAX_PREFIXES>;

/// Slot of the policy in force.
#[btf_map]
pub(crate) static ACTIVE: Array<u32, 1> = Array::new();
/// Facts of the policy in each slot.
#[btf_map]
pub(crate) static HEADERS: Array<Header, SLOT_COUNT> = Array::new();
/// IPv4 client address to class.
#[btf_map]
pub(crate) static CLIENTS_V4: ArrayOfMaps<TrieV4, SLOT_COUNT> = ArrayOfMaps::new();
/// IPv6 client address to class.
#[btf_map]
pub(crate) static CLIENTS_V6: ArrayOfMaps<TrieV6, SLOT_COUNT> = ArrayOfMaps::new();
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
/// Never read: writing it makes user space wait until no program runs that read [`ACTIVE`] before.
#[btf_map]
pub(crate) static GRACE: ArrayOfMaps<Array<u32, 1, ANY_LENGTH>, 1> = ArrayOfMaps::new();

/// Who a listening socket belongs to.
#[btf_map]
pub(crate) static TAGS: SkStorage<Tag> = btf_maps::SkStorage::new();
/// Process name to names-set, for a listener user space has not looked at yet.
#[map]
pub(crate) static COMMS: aya_ebpf::maps::HashMap<Comm, NamesId> =
    aya_ebpf::maps::HashMap::with_max_entries(MAX_COMMS, BPF_F_NO_PREALLOC);

/// Refused attempts, so that a SYN retransmit is not a second one.
#[map]
pub(crate) static ATTEMPTS: LruHashMap<AttemptKey, u64> = LruHashMap::with_max_entries(MAX_ATTEMPTS, 0);
/// Answers of user space.
#[map]
pub(crate) static ANSWERS: LruHashMap<AnswerKey, Answer> = LruHashMap::with_max_entries(MAX_ANSWERS, 0);
/// Answers for one attempt alone: a command decided.
#[map]
pub(crate) static ONCE: LruHashMap<AttemptKey, Answer> = LruHashMap::with_max_entries(MAX_ONCE, 0);
/// Allowed handshakes on their way whose acceptance counts.
#[map]
pub(crate) static HANDSHAKES: LruHashMap<AttemptKey, Handshake> =
    LruHashMap::with_max_entries(MAX_HANDSHAKES, 0);

/// Who listens, by socket cookie, where the socket itself cannot carry a tag.
#[map]
pub(crate) static LISTENERS: aya_ebpf::maps::HashMap<u64, Tag> =
    aya_ebpf::maps::HashMap::with_max_entries(MAX_LISTENERS, BPF_F_NO_PREALLOC);
/// Processes that hold listening sockets: what they or their children execute may take these over.
#[map]
pub(crate) static HOLDERS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(MAX_HOLDERS, 0);
/// User space's last sign of life: CLOCK_BOOTTIME, nanoseconds.
#[btf_map]
pub(crate) static ALIVE: Array<u64, 1> = Array::new();
/// Held attempts and when they were held: CLOCK_BOOTTIME, nanoseconds.
#[map]
pub(crate) static HELD: LruHashMap<AttemptKey, u64> = LruHashMap::with_max_entries(MAX_HELD, 0);
/// Holds of a source: the second, and how many in it.
#[map]
pub(crate) static SOURCES: LruHashMap<Address, [u64; 2]> = LruHashMap::with_max_entries(MAX_SOURCES, 0);
/// Held packets to user space.
#[map]
pub(crate) static HOLDS: RingBuf = RingBuf::with_byte_size(HELD_RING_BYTES, 0);

/// Peers a UDP service socket wrote to first, and until when they reply: CLOCK_BOOTTIME, nanoseconds.
#[map]
pub(crate) static WROTE: LruHashMap<PeerKey, u64> = LruHashMap::with_max_entries(MAX_PEERS, 0);
/// Peers a UDP service socket heard, judged and allowed, and when last: CLOCK_BOOTTIME, nanoseconds.
#[map]
pub(crate) static HEARD: LruHashMap<PeerKey, u64> = LruHashMap::with_max_entries(MAX_PEERS, 0);
/// Since when the gate judges: CLOCK_BOOTTIME, nanoseconds. 0: not yet.
#[btf_map]
pub(crate) static WATCHING: Array<u64, 1> = Array::new();
/// When a process's last bind of a UDP socket was reported: CLOCK_BOOTTIME, nanoseconds.
#[map]
pub(crate) static BINDERS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(MAX_BINDERS, 0);
/// The peer a CPU is looking up in the gate.
#[map]
pub(crate) static PEERS: PerCpuArray<PeerKey> = PerCpuArray::with_max_entries(1, 0);
/// Who listens where, as user space certifies it.
#[map]
pub(crate) static SERVICES: aya_ebpf::maps::HashMap<ServiceKey, Service> =
    aya_ebpf::maps::HashMap::with_max_entries(MAX_SERVICES, BPF_F_NO_PREALLOC);
/// UDP ports whose binds leave a stamp.
#[map]
pub(crate) static UDP_PORTS: aya_ebpf::maps::HashMap<PortKey, u64> =
    aya_ebpf::maps::HashMap::with_max_entries(MAX_UDP_PORTS, BPF_F_NO_PREALLOC);
/// When a listener last came or went, by [`service::change_index`]: CLOCK_BOOTTIME, nanoseconds.
#[btf_map]
pub(crate) static CHANGES: Array<u64, { service::CHANGES }, MMAPABLE> = Array::new();
/// Bounds on resets.
#[btf_map]
pub(crate) static RESET_LIMITS: Array<ResetLimits, 1> = Array::new();
/// Resets of all: the second, and how many in it.
#[btf_map]
pub(crate) static RESETS: Array<[u64; 2], 1> = Array::new();
/// Resets of a source, likewise.
#[map]
pub(crate) static RESET_SOURCES: LruHashMap<Address, [u64; 2]> = LruHashMap::with_max_entries(MAX_SOURCES, 0);
/// Flows whose SYN the gate let pass, and when.
#[map]
pub(crate) static PASSED: LruHashMap<AttemptKey, u64> = LruHashMap::with_max_entries(MAX_PASSED, 0);
/// Whether one of them may be forgotten.
#[btf_map]
pub(crate) static PRESSURE: Array<Pressure, 1> = Array::new();
/// Flows that were refused.
#[map]
pub(crate) static FLOWS: LruHashMap<AttemptKey, Flow> = LruHashMap::with_max_entries(MAX_FLOWS, 0);
/// The namespace whose program runs on this CPU.
#[map]
pub(crate) static PLACE: PerCpuArray<Place> = PerCpuArray::with_max_entries(1, 0);
/// The program that those of all namespaces go on with.
#[map]
pub(crate) static REFUSALS: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// User space's own sockets, for connections that are led to it.
#[map]
pub(crate) static TAKERS: SockHash<TakerKey> = SockHash::with_max_entries(MAX_TAKERS, 0);
/// The look-up a CPU is at.
#[map]
pub(crate) static LOOKUP: PerCpuArray<Refusal> = PerCpuArray::with_max_entries(1, 0);
/// Not 0 while users decide, and for a while after: the last ACK of a handshake is judged too.
#[btf_map]
pub(crate) static USERS: Array<u32, 1> = Array::new();
/// Handshakes whose connection will wait for its client's user, by both ends.
#[map]
pub(crate) static USER_HANDSHAKES: LruHashMap<AttemptKey, Pending> =
    LruHashMap::with_max_entries(MAX_USER_HANDSHAKES, 0);
/// Connections that wait for their client's user, by socket cookie. User space takes an entry away to
/// let the connection pass: none may go by itself.
#[map]
pub(crate) static WAITING: aya_ebpf::maps::HashMap<u64, Waiting> =
    aya_ebpf::maps::HashMap::with_max_entries(MAX_WAITING, BPF_F_NO_PREALLOC);
/// What a waiting connection's socket carries.
#[btf_map]
pub(crate) static MARKS: SkStorage<Mark> = btf_maps::SkStorage::new();

/// Banners of handshakes that are let in, by both ends, the client's initial sequence number and, in the
/// place of a socket's cookie, that of the network namespace.
#[map]
pub(crate) static BANNERS: aya_ebpf::maps::HashMap<AttemptKey, Banner> =
    aya_ebpf::maps::HashMap::with_max_entries(MAX_BANNERS, BPF_F_NO_PREALLOC);
/// What a connection's socket carries until it was sent.
#[btf_map]
pub(crate) static SPEECHES: SkStorage<Banner> = btf_maps::SkStorage::new();
/// These sockets, by their cookie: what they send passes by a program.
#[map]
pub(crate) static SPEAKERS: SockHash<u64> = SockHash::with_max_entries(MAX_SPEAKERS, 0);

/// The attempt a CPU is judging.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Attempt> = PerCpuArray::with_max_entries(1, 0);

/// Events to user space.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);
/// Counters, indexed by `tcpw_common::counter::Counter`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(64, 0);
