//! Inputs of the core: plain data, one value for each thing that happened.
//!
//! In: nothing. Out: [`Input`]. Invariant: an input is complete: the core needs no further call to handle it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tcpw_common::{
    certified::{Certified, CertifiedKey},
    held::Held,
    key::{BannerKey, NamesId},
    metric::Metric,
    probe::ProbeAnswer,
    tag::Tag,
    user::{Pending, Waiting},
};

use super::{action::ExampleClient, policies::Prepared};
use crate::{
    bans::journal,
    compile::Policy,
    control::{MapFill, Request},
    effects::wire::Report,
    evaluate::request::Banner,
    events::Decision,
    host::{Incomplete, LinkNetwork, Network},
    listeners::{Claim, NamePart, NameSource, PortSocket, XinetdService},
    names::NamesSet,
    parse::{
        rule::Text,
        text::{Texts, TextsHash},
    },
    redirect::Family,
    resolve::{Found, Question},
};

/// The time, by every clock that is used.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub at: Instant,
    /// CLOCK_BOOTTIME, nanoseconds: the kernel's.
    pub boot_ns: u64,
    /// For lines.
    pub wall: SystemTime,
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// The programs are loaded, and identify listeners; the gate is not attached yet.
    Started(Started),
    /// The earliest deadline has passed.
    Deadline,
    /// A second has passed: with state of the kernel that is polled.
    Second(Second),
    /// The kernel reports, in this order.
    Events(Vec<KernelEvent>),
    /// The gate holds packets.
    Held(Vec<Held>),
    /// A scan is over.
    Scanned(Box<Scanned>),
    /// Listeners of the last scan were tagged.
    Tagged(Tagged),
    /// Certifying in a namespace failed: why.
    NotCertified {
        /// Cookie of the namespace.
        netns: u64,
        /// For the operator.
        reason: String,
    },
    /// An address of an interface is new or gone.
    AddressesChanged,
    /// Networks on links could not be written: why.
    LinkNetworksNotWritten(String),
    /// A redirect listener was made, with this cookie; or why not.
    RedirectListener {
        /// Cookie of its namespace.
        netns: u64,
        /// Address family of its packets.
        family: Family,
        /// Its cookie.
        made: Result<u64, String>,
    },
    /// A redirected connection has arrived.
    Arrived(Arrived),
    /// The devices of `early-drop`, the local addresses, and whether there is NAT; or why they are not known.
    Network(Result<SeenNetwork, String>),
    /// SYNs are dropped at a device: how; or why not.
    DropsEarly {
        /// Its name.
        name: String,
        /// How its program is attached.
        how: Result<String, String>,
    },
    /// The files may have changed.
    FilesChanged,
    /// The files are not followed at present: why. That is tried again.
    FilesNotFollowed(String),
    /// The files as they were at one moment.
    Texts(Box<ReadTexts>),
    /// Something was kept for the next start, or could not be.
    Stored {
        /// What.
        what: Stored,
        /// Why not.
        result: Result<(), String>,
    },
    /// A text is parsed; the users and groups that it names are being looked up.
    LookingUpAccounts {
        /// Number of the preparation.
        number: u64,
    },
    /// Texts are parsed.
    Parsed {
        /// Number of the preparation.
        number: u64,
        /// The result; or why there is none.
        prepared: Result<Box<Prepared>, String>,
    },
    /// The kernel can, or cannot, make connections wait for their user.
    UsersReady {
        /// Number of the preparation that wanted it.
        number: u64,
        /// Why not.
        ready: Result<(), String>,
    },
    /// The idle slot is filled.
    Filled {
        /// Number of the preparation.
        number: u64,
        /// The policy in it, and its generation; or why there is none.
        filled: Result<Box<Filled>, String>,
    },
    /// A flip succeeded or failed.
    Flipped {
        /// Number of the preparation.
        number: u64,
        /// Its generation; or why the previous policy stays.
        flipped: Result<u32, String>,
        /// Names-sets whose entry did not fit.
        names_left_out: Vec<NamesId>,
    },
    /// No evaluation of the previous policy is left.
    Settled {
        /// Generation of the policy in force.
        generation: u32,
        /// Time the tables took: to fill, flip and settle.
        tables: Duration,
        /// Why that is not certain.
        problem: Option<String>,
    },
    /// The result of a walk over every rule differs from that of the index: the message.
    Walked(String),
    /// A look-up is over; `None` if it could not be begun.
    LookedUp {
        /// What was asked.
        question: Question,
        /// What was found.
        found: Option<Found>,
    },
    /// The addresses in /etc/hosts: their names are looked up without a name server.
    LocalNames(HashSet<IpAddr>),
    /// The look-up of a client's user is over.
    UserTold {
        /// Number of the question.
        number: u64,
        /// The answer.
        answer: UserAnswer,
    },
    /// A refused connection was ended, was gone already (`false`), or could not be ended.
    Destroyed {
        /// The connection.
        waiting: Box<Waiting>,
        /// The result.
        result: Result<bool, String>,
    },
    /// Cookies of the sockets of a namespace.
    Sockets {
        /// Cookie of the namespace.
        netns: u64,
        /// The sockets; or why they are not known.
        cookies: Result<HashSet<u64>, String>,
    },
    /// These sockets have SO_KEEPALIVE now, or are gone; the search is over.
    KeptAlive(HashSet<u64>),
    /// A banner file was read.
    BannerRead {
        /// Its directory and daemon.
        file: (std::path::PathBuf, Vec<u8>),
        /// What was found.
        banner: Banner,
    },
    /// A banner could not be written for a handshake: why.
    BannerNotLeft {
        /// The handshake.
        key: BannerKey,
        /// For the operator.
        reason: String,
    },
    /// A banner was removed, if it was still there.
    BannerTakenBack {
        /// Whether it was still there: its handshake was never completed.
        was_unclaimed: bool,
    },
    /// The helper said something, or is gone.
    Helper {
        /// Its number.
        number: u64,
        /// What it said.
        said: HelperSaid,
    },
    /// Files that commands write to were made after the helper was started.
    CommandFilesMade,
    /// A request at the control socket.
    Request {
        /// Its number.
        request: u64,
        /// What is asked.
        body: Request,
    },
    /// Facts of the host, for a status.
    StatusFacts {
        /// Number of the request.
        request: u64,
        /// The facts.
        facts: Box<StatusFacts>,
    },
    /// Facts of the kernel, for metrics.
    MetricsFacts {
        /// Number of the request.
        request: u64,
        /// The facts.
        facts: MetricsFacts,
    },
    /// Every link, map and pin was removed, or could not be.
    Detached {
        /// Number of the request.
        request: u64,
        /// What was removed; or why it was not.
        removed: Result<Vec<String>, String>,
    },
    /// The gate is attached; or why not.
    GateAttached(Result<Gate, String>),
    /// SIGHUP.
    Hangup,
    /// SIGTERM or SIGINT.
    Terminate,
}

/// Texts that were read.
#[derive(Debug)]
pub struct ReadTexts {
    /// The texts.
    pub texts: Texts,
    /// Their hash.
    pub hash: TextsHash,
    /// The highest number of [`Action::ReadFiles`](super::Action::ReadFiles) that came before they were read.
    pub number: u64,
    /// They are the copy of the policy that was confirmed last, not the files.
    pub is_copy: bool,
}

/// What was kept for the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A copy of texts that are confirmed.
    Confirmed(TextsHash),
    /// The texts that are not to come into force by themselves.
    RolledBack,
    /// Nothing: what was kept is removed.
    Nothing,
}

/// What an earlier process kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// The texts that were confirmed last.
    pub confirmed: Option<Arc<ReadTexts>>,
    /// The hash of texts that were not confirmed: they do not come into force by themselves.
    pub rolled_back: Option<TextsHash>,
    /// Why it is not known.
    pub problem: Option<String>,
    /// The kernel had a policy that was not confirmed; the one before it is in force again.
    pub fell_back: bool,
}

/// What the process found when it started.
#[derive(Debug, Default)]
pub struct Started {
    /// The kernel reports listen(2) itself.
    pub has_listening_hook: bool,
    /// Certificates that an earlier process left.
    pub certified: BTreeMap<CertifiedKey, Certified>,
    /// Clients can be reset or redirected.
    pub has_refusals: bool,
    /// Cookie of the network namespace whose SYNs may be dropped at devices; `None`: none are.
    pub early_netns: Option<u64>,
    /// Banners that an earlier process left for handshakes.
    pub banners: Vec<BannerKey>,
    /// Cookies of the network namespaces whose listeners' lines carry their names.
    pub line_namespaces: BTreeSet<u64>,
    /// The programs that make connections wait are attached: an earlier process pinned them.
    pub has_users: bool,
    /// The bans that are stored.
    pub bans: journal::Stored,
    /// Which tables were missing when the policy in force was made, if there is one.
    pub missing_before: Option<[bool; 2]>,
    /// What an earlier process kept.
    pub kept: Kept,
}

/// The devices of `early-drop`.
#[derive(Debug, Default)]
pub struct SeenNetwork {
    /// Devices and addresses.
    pub network: Network,
    /// Interface indices of those that have the program.
    pub attached: BTreeSet<u32>,
}

/// State that is polled once a second.
#[derive(Debug, Default)]
pub struct Second {
    /// The kernel's counters.
    pub counters: Vec<(Metric, u64)>,
    /// Some certificate is void.
    pub is_any_certificate_void: bool,
    /// Network namespaces whose refused clients are not reset, because of the bound.
    pub namespaces_without_resets: usize,
    /// Connections that wait for their user; `None` where none can.
    pub waiting: Option<Vec<Waiting>>,
    /// Redirected connections ended because the channel to the loop was full, since the start.
    pub turned_away: u64,
}

/// A report of the kernel, with the entries of the kernel's tables that belong to it.
#[derive(Clone, Debug)]
pub enum KernelEvent {
    /// A decision about an attempt.
    Decided(Decision),
    /// A process bound or opened a listening socket.
    Listening {
        /// The process.
        pid: u32,
        /// A UDP socket: not every bind of its process is reported.
        is_udp: bool,
    },
    /// A process executed a program that may have taken over listening sockets.
    Executed {
        /// The process.
        pid: u32,
    },
    /// A connection waits for its client's user.
    WaitsForUser(Box<Waiting>),
    /// The kernel has no room for one more waiting connection: its user is unknown.
    NoRoomForUser(Decision),
    /// Nor does an unknown user decide: the connection is refused.
    CannotWait(Decision),
    /// The last ACK of a handshake had data and was dropped.
    HandshakeHasData(Decision, Pending),
    /// The banner of a connection was sent, or cannot be. By the cookie of its socket.
    BannerDone(u64),
    /// The connection or handshake it reports is already over.
    Outdated,
    /// A record of a kind this version does not know.
    Unknown {
        /// Its kind.
        kind: u32,
    },
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Listeners in scope.
    pub listeners: Vec<Seen>,
    /// It was a full scan.
    pub is_all: bool,
    /// Why it is incomplete, if it is.
    pub incomplete: Option<Incomplete>,
    /// When it began: a listener that is newer may be missing.
    pub began: Option<Instant>,
    /// The network namespaces.
    pub namespaces: Vec<NamespaceSeen>,
    /// UDP sockets that were bound before the start carry a mark.
    pub marks_bound: bool,
}

/// A listener as a scan saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// SO_COOKIE.
    pub cookie: u64,
    /// SO_NETNS_COOKIE.
    pub netns: u64,
    /// The process it is named after; 0 for a listener of the kernel.
    pub pid: u32,
    /// A process in its network namespace.
    pub resident: u32,
    /// Every process that holds the socket.
    pub holders: Vec<u32>,
    /// 6 (TCP), 17 (UDP) or 262 (MPTCP).
    pub protocol: u16,
    /// Local address and port.
    pub local: SocketAddr,
    /// The names a daemon list is compared with.
    pub names: NamesSet,
    /// The same, each with what proves it or why nothing does.
    pub claims: Vec<Claim>,
    /// The text before `[pid]` in the line.
    pub ident: String,
    /// Where the names come from.
    pub found: NameSource,
    /// Which facts of the process they come from.
    pub parts: Vec<NamePart>,
    /// Whether it is in scope.
    pub is_guarded: bool,
    /// A UDP socket whose datagrams the kernel itself consumes before any filter sees them.
    pub is_tunnel: bool,
    /// The service, if a super-server listens for it and has its own line format.
    pub service: Option<XinetdService>,
    /// A process was found that holds its socket.
    pub is_shown: bool,
    /// The tag of its socket; `Err` if the socket is gone or cannot carry a tag.
    pub tag: Result<Option<Tag>, ()>,
}

/// A network namespace as a scan saw it.
#[derive(Clone, Debug)]
pub struct NamespaceSeen {
    /// Its cookie; never 0.
    pub netns: u64,
    /// Every socket that listens for TCP there.
    pub sockets: Vec<PortSocket>,
    /// Every UDP socket that has a port there.
    pub datagrams: Vec<PortSocket>,
    /// The range the kernel assigns ports from (`ip_local_port_range`).
    pub given_away: RangeInclusive<u16>,
    /// Networks on the links of its interfaces; `None` if they are not known.
    pub link_networks: Option<BTreeSet<LinkNetwork>>,
    /// A listener came or went during the scan.
    pub is_unsteady: bool,
    /// When the stamps were read: CLOCK_BOOTTIME, nanoseconds.
    pub stamped_ns: u64,
    /// Stamps of the ports of these sockets, by protocol and port; and of the whole namespace (port 0).
    pub stamps: HashMap<(u16, u16), u64>,
    /// UDP ports that were watched already when the stamps were read.
    pub watched: BTreeSet<u16>,
}

/// Listeners were tagged.
#[derive(Clone, Debug, Default)]
pub struct Tagged {
    /// Names-sets that the live policy had no room for: their listeners were not tagged.
    pub names_left_out: Vec<NamesId>,
    /// Listeners whose tag could not be written: why.
    pub failed: Vec<(u64, String)>,
}

/// A redirected connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub connection: u64,
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Its client.
    pub client: SocketAddr,
    /// The address and port its client connected to.
    pub server: SocketAddr,
}

/// A policy in the idle slot.
#[derive(Debug)]
pub struct Filled {
    /// The compiled tables.
    pub policy: Policy,
    /// Its generation.
    pub generation: u32,
    /// How many answers of its tables, read back, were compared with those of the rules.
    pub compared: usize,
}

/// The result of a user look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserAnswer {
    /// The user.
    Known(Text),
    /// No user, no answer in time, or an error: the reason, for the debug log.
    Unknown(Option<String>),
    /// The connection is itself a user look-up of tcpw: no look-up is made for it.
    Own,
    /// The namespace of the connection cannot be entered: why.
    NoNamespace(String),
}

/// What happened to the helper.
#[derive(Clone, Debug)]
pub enum HelperSaid {
    /// A report.
    Report(Report),
    /// It has the connection that an order is about.
    GotConnection {
        /// The id of the order.
        id: u64,
    },
    /// It is gone: why, unless it just exited.
    Gone(Option<String>),
    /// It could not be started: why.
    NotStarted(String),
}

/// Facts that a status needs and the core does not have.
#[derive(Debug)]
pub struct StatusFacts {
    /// Every listening socket of the host, in scope or not.
    pub all: Vec<Seen>,
    /// How the kernel decides at listeners; or why it was not asked.
    pub answers: Result<KernelAnswers, String>,
    /// Number of a policy, and SHA-256 of its two tables, in hexadecimal.
    pub hashes: Option<(u32, [String; 2])>,
    /// UDP sockets that were bound before the start carry a mark.
    pub marks_bound: bool,
    /// The kernel's counters.
    pub counters: Vec<(Metric, u64)>,
    /// Network namespaces with resets, and without because of the bound.
    pub reset_namespaces: (usize, usize),
    /// Places whose refused clients are reset at present.
    pub reset_places: HashSet<CertifiedKey>,
    /// Connections that wait for their user.
    pub waiting: u64,
    /// Sockets that have not sent their banner yet.
    pub banner_sockets: u64,
    /// Lines written and lost, of each sink.
    pub lines: Vec<crate::log::SinkCounts>,
    /// Redirected connections ended because the channel to the loop was full, since the start.
    pub turned_away: u64,
}

/// Facts that metrics need and the core does not have.
#[derive(Debug, Default)]
pub struct MetricsFacts {
    /// The kernel's counters.
    pub counters: Vec<(Metric, u64)>,
    /// How full tables of the kernel are.
    pub maps: Vec<MapFill>,
    /// Lines written and lost, of each sink.
    pub lines: Vec<crate::log::SinkCounts>,
}

/// The kernel's answers to [`KernelQuestions`](super::action::KernelQuestions).
#[derive(Debug)]
pub struct KernelAnswers {
    /// Number of the policy that decided.
    pub generation: u32,
    /// Clients, and the kernel's decision about each at that listener, by cookie; `None`: a look-up failed.
    pub listeners: HashMap<u64, Vec<(ExampleClient, Option<ProbeAnswer>)>>,
}

/// How the gate was attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// An earlier process had pinned it.
    pub is_adopted: bool,
    /// Other versions whose gates were detached.
    pub retired: Vec<u32>,
    /// What failed.
    pub problem: Option<String>,
}
