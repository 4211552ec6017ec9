//! What the core is told: plain data, one value for each thing that happened.
//!
//! In: nothing. Out: [`Input`]. Invariant: an input is complete: the core asks nobody back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    ops::RangeInclusive,
    time::{Duration, Instant, SystemTime},
};

use tcpw_common::{
    certified::{Certified, CertifiedKey},
    held::Held,
    key::{BannerKey, NamesId},
    tag::Tag,
    user::{Pending, Waiting},
};

use super::policies::Prepared;
use crate::{
    compile::Policy,
    control::Request,
    effects::wire::Report,
    evaluate::request::Banner,
    events::Decision,
    listeners::{Incomplete, NamePart, NameSource, PortSocket, XinetdService},
    names::NamesSet,
    parse::{rule::Text, text::Texts},
    resolve::{Found, Question},
};

/// The time, by every clock that counts.
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
    /// The programs are loaded, and identify listeners; nothing is judged by this process yet.
    Started(Started),
    /// The earliest deadline is there.
    Deadline,
    /// Another second: what the kernel can only count.
    Second(Second),
    /// The kernel reports, in this order.
    Events(Vec<Event>),
    /// The gate holds packets.
    Held(Vec<Held>),
    /// A look for listeners is over.
    Scanned(Box<Scanned>),
    /// Listeners of the last scan were tagged.
    Tagged(Tagged),
    /// A place was not certified: why.
    NotCertified {
        /// Cookie of the namespace.
        netns: u64,
        /// For the operator.
        reason: String,
    },
    /// A redirect listener is there, under this cookie; or why not.
    RedirectListener {
        /// Cookie of its namespace.
        netns: u64,
        /// What it takes.
        family: Family,
        /// Its cookie.
        made: Result<u64, String>,
    },
    /// A redirected connection has arrived.
    Arrived(Arrived),
    /// The files may have changed.
    FilesChanged,
    /// The files as they were at one moment.
    Texts(Box<Texts>),
    /// A text is parsed; the users and groups that it names are being looked up.
    LookingUpAccounts {
        /// Number of the preparation.
        number: u64,
    },
    /// Texts are parsed.
    Parsed {
        /// Number of the preparation.
        number: u64,
        /// What came of it; or why nothing did.
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
    /// A filled slot is in force, or is not.
    Flipped {
        /// Number of the preparation.
        number: u64,
        /// Its generation; or why the policy before stays.
        flipped: Result<u32, String>,
        /// Names-sets whose entry did not fit.
        names_left_out: Vec<NamesId>,
    },
    /// No evaluation of the policy before is left.
    Settled {
        /// Generation of the policy in force.
        generation: u32,
        /// Time the tables took: to fill, flip and settle.
        tables: Duration,
        /// Why that is not certain.
        problem: Option<String>,
    },
    /// A walk over every rule came to something else than the index: what to say.
    Walked(String),
    /// A look-up is over; `None` if it could not be begun.
    LookedUp {
        /// What was asked.
        question: Question,
        /// What was found.
        found: Option<Found>,
    },
    /// A client's host was asked for its user.
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
        /// What came of it.
        result: Result<bool, String>,
    },
    /// Cookies of the sockets of a namespace.
    Sockets {
        /// Cookie of the namespace.
        netns: u64,
        /// The sockets; or why they are not known.
        cookies: Result<HashSet<u64>, String>,
    },
    /// These sockets have SO_KEEPALIVE now, or are gone; the look for the others is over.
    KeptAlive(HashSet<u64>),
    /// A banner file was read.
    BannerRead {
        /// Its directory and daemon.
        file: (std::path::PathBuf, Vec<u8>),
        /// What was found.
        banner: Banner,
    },
    /// A text was not left for a handshake: why.
    BannerNotLeft {
        /// The handshake.
        key: BannerKey,
        /// For the operator.
        reason: String,
    },
    /// A text was taken back; whether it was there still.
    BannerTakenBack {
        /// Whether its handshake never came to its end.
        was_unclaimed: bool,
    },
    /// The helper said something, or is gone.
    Helper {
        /// Its number.
        number: u64,
        /// What it said.
        said: HelperSaid,
    },
    /// Files that commands write to were made since the helper was started.
    CommandFilesMade,
    /// A request at the control socket.
    Request {
        /// Its number.
        request: u64,
        /// What is asked.
        body: Request,
    },
    /// What the host knows, for a status.
    StatusFacts {
        /// Number of the request.
        request: u64,
        /// The facts.
        facts: Box<StatusFacts>,
    },
    /// Everything was removed, or was not.
    Detached {
        /// Number of the request.
        request: u64,
        /// What was removed; or why it was not.
        removed: Result<Vec<String>, String>,
    },
    /// The gate judges; or why it does not.
    GateAttached(Result<Gate, String>),
    /// SIGHUP.
    Hangup,
    /// SIGTERM or SIGINT.
    Terminate,
}

/// How the process began.
#[derive(Debug, Default)]
pub struct Started {
    /// The kernel reports listen(2) itself.
    pub has_listening_hook: bool,
    /// Certificates that an earlier process left.
    pub certified: BTreeMap<CertifiedKey, Certified>,
    /// Clients can be reset or redirected.
    pub has_refusals: bool,
    /// Texts that an earlier process left for handshakes.
    pub banners: Vec<BannerKey>,
    /// An earlier process made connections wait for their user.
    pub has_users: bool,
    /// Which tables were missing when the policy in force was made, if there is one.
    pub missing_before: Option<[bool; 2]>,
}

/// A packet family of a redirect listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What is looked at once a second.
#[derive(Debug, Default)]
pub struct Second {
    /// The kernel's counters.
    pub counters: Vec<(&'static str, u64)>,
    /// Some certificate is void.
    pub is_any_certificate_void: bool,
    /// Network namespaces whose refused clients are not reset, because of the bound.
    pub namespaces_without_resets: usize,
    /// Connections that wait for their user; `None` where none can.
    pub waiting: Option<Vec<Waiting>>,
    /// Redirected connections that found no room on their way here, since the start.
    pub turned_away: u64,
}

/// A report of the kernel, with what the kernel's tables say of it.
#[derive(Clone, Debug)]
pub enum Event {
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
    /// There was no room for one more that waits: its user is unknown.
    NoRoomForUser(Decision),
    /// The last ACK of a handshake had data and was dropped.
    HandshakeHasData(Decision, Pending),
    /// The banner of a connection is out, or cannot be sent. By the cookie of its socket.
    BannerDone(u64),
    /// What it is about is over.
    Outdated,
    /// A record of another version.
    Unknown {
        /// Its kind.
        kind: u32,
    },
}

/// What a look for listeners found.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Listeners in scope.
    pub listeners: Vec<Seen>,
    /// Everything was to be looked at.
    pub is_all: bool,
    /// Why something was not.
    pub incomplete: Option<Incomplete>,
    /// When it began: what came later may not be in it.
    pub began: Option<Instant>,
    /// The network namespaces, if places can be certified.
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
    /// What stands before `[pid]` in the line.
    pub ident: String,
    /// Where the names come from.
    pub found: NameSource,
    /// What of the process they come from.
    pub parts: Vec<NamePart>,
    /// Whether it is in scope.
    pub is_guarded: bool,
    /// A UDP socket that the kernel takes datagrams from before anybody filters them.
    pub is_tunnel: bool,
    /// The service of a super-server that logs in a form of its own.
    pub service: Option<XinetdService>,
    /// A process shows its socket.
    pub is_shown: bool,
    /// The tag that its socket carried; `Err` if the socket is gone or keeps none.
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
    /// Ports the kernel gives to sockets that did not ask for one.
    pub given_away: RangeInclusive<u16>,
    /// Somebody began or ended to listen while it was looked at.
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
    /// Names-sets the live policy had no room for: their listeners were left alone.
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
    /// Where the client wanted to.
    pub server: SocketAddr,
}

/// A policy in the idle slot.
#[derive(Debug)]
pub struct Filled {
    /// The compiled tables.
    pub policy: Policy,
    /// Its generation.
    pub generation: u32,
}

/// What a client's host said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserAnswer {
    /// The user.
    Known(Text),
    /// No user, no answer in time, or an error: for those who look for a defect.
    Unknown(Option<String>),
    /// The connection is one of ours, which asks another host for a user: it is not asked about.
    Own,
    /// The namespace of the connection cannot be entered: why.
    NoNamespace(String),
}

/// What was heard of the helper.
#[derive(Clone, Debug)]
pub enum HelperSaid {
    /// A report.
    Report(Report),
    /// It is gone: why, if it did not just end.
    Gone(Option<String>),
    /// It could not be started: why.
    NotStarted(String),
}

/// What a status needs and the core does not know.
#[derive(Debug, Default)]
pub struct StatusFacts {
    /// Every listening socket of the host, in scope or not.
    pub all: Vec<Seen>,
    /// UDP sockets that were bound before the start carry a mark.
    pub marks_bound: bool,
    /// The kernel's counters.
    pub counters: Vec<(&'static str, u64)>,
    /// Network namespaces with resets, and without because of the bound.
    pub reset_namespaces: (usize, usize),
    /// Places whose refused clients are reset as things stand.
    pub reset_places: HashSet<CertifiedKey>,
    /// Connections that wait for their user.
    pub waiting: u64,
    /// Sockets that will send a banner first.
    pub banner_sockets: u64,
    /// Lines written and lost.
    pub lines: crate::log::Counts,
    /// Redirected connections that found no room on their way here, since the start.
    pub turned_away: u64,
}

/// How the gate was attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// An earlier process had attached it.
    pub is_adopted: bool,
    /// Versions whose gates were ended.
    pub retired: Vec<u32>,
    /// What of it went wrong.
    pub problem: Option<String>,
}
