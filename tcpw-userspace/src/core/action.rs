//! What the core wants done: plain data, carried out by the daemon, or by the simulation.
//!
//! In: nothing. Out: [`Action`]. Invariant: an action that takes longer than a system call or two is only
//! started; its result is an [`Input`](super::input::Input). File descriptors stay with the code that
//! carries actions out; here they are numbers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use tcpw_common::{
    answer::{AnswerOnce, ResetOnce},
    ban::{BansInUse, Scopes},
    banner::Banner,
    certified::{Certified, CertifiedKey},
    held::Held,
    key::{Address, AnswerKey, AttemptKey, BannerKey, Comm, NamesId, Query},
    tag::Tag,
    user::{Pending, Waiting},
};

pub use super::judge::Walk;
use super::{input::ReadTexts, policies::Rules};
use crate::{
    bans::{KernelChange, journal::Line as BanLine},
    compile::{Names, Policy},
    control::{BanResult, LiveAnswer, RecentQuestion, Response},
    effects::wire::Order,
    events::Decision,
    host::{DeviceAddress, LinkNetwork},
    names::NamesSet,
    parse::{
        rule::TableText,
        text::{Texts, TextsHash},
    },
    record::{AttemptCount, Record},
    redirect::Family,
    resolve::Question,
};

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Log a message for the operator.
    Say(Level, String),
    /// Write the record of an attempt to every sink.
    Record(Box<Record>),
    /// Write the count of attempts that have no line of their own.
    RecordCount(AttemptCount),
    /// Reopen the log's destinations.
    ReopenLog,
    /// Write to the kernel's tables; if every write succeeds, re-inject the packet.
    Release {
        /// In this order.
        writes: Vec<Write>,
        /// The packet.
        packet: Option<Reinject>,
    },
    /// Write to the kernel's tables, each write by itself.
    Write(Write),
    /// Send an acknowledgement in the client's place.
    Acknowledge(Box<Acknowledge>),
    /// Challenge the client of a held SYN. Its answer is a record of [`Input::Held`](super::input::Input::Held).
    Challenge(Box<Challenge>),
    /// Look for listeners. The result is [`Input::Scanned`](super::input::Input::Scanned).
    Scan(Scan),
    /// Make names known to the live policy and tag listeners of the scan. The result is
    /// [`Input::Tagged`](super::input::Input::Tagged).
    Tag {
        /// Names-sets that are new to the live policy, with their class.
        names: Vec<(NamesId, u32)>,
        /// Names-sets that are new to the policy before, which may come back, with their class in it.
        names_before: Vec<(NamesId, u32)>,
        /// The listeners.
        tags: Vec<TagOrder>,
    },
    /// Forget everything the kernel knows of listeners by cookie, but of these, and of sockets of before the start in
    /// network namespaces that were not listed.
    KeepListeners {
        /// Cookies of the listeners.
        cookies: Arc<HashSet<u64>>,
        /// Cookies of the network namespaces that were listed.
        listed: Arc<HashSet<u64>>,
    },
    /// Close the file of every network namespace except these.
    KeepNamespaces(Arc<HashSet<u64>>),
    /// Certify these places of a network namespace, and no others of it.
    Certify {
        /// Cookie of the namespace.
        netns: u64,
        /// The places; empty where the namespace is gone.
        places: BTreeMap<CertifiedKey, Certified>,
        /// The namespace is there: it was among those of the last scan.
        is_there: bool,
    },
    /// Withdraw every certificate of a port.
    Withdraw {
        /// Cookie of the namespace.
        netns: u64,
        /// The port.
        port: u16,
    },
    /// Watch for bind(2) to these UDP ports of a network namespace.
    WatchUdpPorts {
        /// Cookie of the namespace.
        netns: u64,
        /// The ports.
        ports: BTreeSet<u16>,
    },
    /// These networks are on the links of interfaces, and no others, by the cookie of their network namespace. A
    /// failure is [`Input::LinkNetworksNotWritten`](super::input::Input::LinkNetworksNotWritten).
    WriteLinkNetworks(Arc<BTreeSet<(u64, LinkNetwork)>>),
    /// Look at these devices. The result is [`Input::Network`](super::input::Input::Network).
    LookAtNetwork(Vec<String>),
    /// These are the local addresses that SYNs may be dropped for, and no others.
    SetEarlyAddresses(BTreeSet<IpAddr>),
    /// Drop SYNs at a device, or tell its program of a change of it. The result is
    /// [`Input::DropsEarly`](super::input::Input::DropsEarly).
    DropEarly {
        /// Its name.
        name: String,
        /// Its interface index.
        index: u32,
        /// What its program must know.
        device: DeviceAddress,
        /// XDP sees every VLAN tag.
        shows_tags: bool,
    },
    /// Drop no SYNs at a device any more.
    EndEarlyDrop {
        /// Its interface index.
        index: u32,
    },
    /// Make a redirect listener. The result is
    /// [`Input::RedirectListener`](super::input::Input::RedirectListener).
    OpenRedirect {
        /// Cookie of its namespace.
        netns: u64,
        /// Address family of its packets.
        family: Family,
    },
    /// Close a redirect listener.
    CloseRedirect {
        /// Cookie of its namespace.
        netns: u64,
        /// Address family of its packets.
        family: Family,
    },
    /// End a redirected connection with a reset.
    Abort(u64),
    /// Close a redirected connection.
    Close(u64),
    /// Read the files, and watch them. The result is [`Input::Texts`](super::input::Input::Texts), with the highest
    /// number of those that one read serves.
    ReadFiles(u64),
    /// Parse texts and look up the accounts they name. The result is
    /// [`Input::Parsed`](super::input::Input::Parsed).
    Parse {
        /// Number of this preparation; the highest one counts.
        number: u64,
        /// What was read.
        texts: Box<Texts>,
        /// The rules in force, to compare with, and their generation.
        against: Option<(u32, Rules)>,
    },
    /// Make the kernel ready for connections that wait for their user. The result is
    /// [`Input::UsersReady`](super::input::Input::UsersReady).
    PrepareUsers {
        /// Number of the preparation that wants it.
        number: u64,
    },
    /// No policy needs users any more.
    EndUsers,
    /// Compile and fill the idle slot. The result is [`Input::Filled`](super::input::Input::Filled).
    Fill(Box<Fill>),
    /// Switch to a filled slot. The result is [`Input::Flipped`](super::input::Input::Flipped).
    Flip(Flip),
    /// The policy in force has no deadline any more.
    Confirm {
        /// Its process names.
        comms: Vec<(Comm, NamesId)>,
    },
    /// The policy before one with a deadline is in force again.
    FallBack {
        /// Its process names.
        comms: Vec<(Comm, NamesId)>,
    },
    /// Keep something for the next start. The result is [`Input::Stored`](super::input::Input::Stored).
    Store(Store),
    /// Judge again by a walk over every rule. A disagreement is
    /// [`Input::Walked`](super::input::Input::Walked).
    Walk(Box<Walk>),
    /// Free something large, on a thread: that takes time.
    Free(Freed),
    /// A filled slot is not wanted.
    Discard {
        /// Number of the preparation.
        number: u64,
    },
    /// Look something up. The result is [`Input::LookedUp`](super::input::Input::LookedUp).
    LookUp(Question),
    /// Ask the client's host for its user. The result is
    /// [`Input::UserTold`](super::input::Input::UserTold).
    AskUser {
        /// Number of the question.
        number: u64,
        /// The connection.
        decision: Box<Decision>,
        /// Processes that may be in its namespace.
        pids: Vec<u32>,
        /// Time limit, in seconds.
        timeout_s: u32,
    },
    /// End a refused connection. The result is [`Input::Destroyed`](super::input::Input::Destroyed).
    Destroy {
        /// The connection.
        waiting: Box<Waiting>,
        /// Processes that may be in its namespace.
        pids: Vec<u32>,
    },
    /// List the sockets of a namespace. The result is [`Input::Sockets`](super::input::Input::Sockets).
    ListSockets {
        /// Cookie of the namespace.
        netns: u64,
        /// A process that was in it.
        pid: u32,
    },
    /// Set SO_KEEPALIVE on accepted sockets. The result is
    /// [`Input::KeptAlive`](super::input::Input::KeptAlive).
    KeepAlive {
        /// Cookie of each socket, its namespace, and processes that may be in that.
        sockets: Vec<(u64, u64, Vec<u32>)>,
    },
    /// Read a banner file. The result is [`Input::BannerRead`](super::input::Input::BannerRead).
    ReadBanner {
        /// The directory of the option.
        directory: PathBuf,
        /// The daemon whose banner it is.
        daemon: Vec<u8>,
    },
    /// An order for the helper.
    Helper(HelperAction),
    /// Check the commands of the tables, and warn of those that cannot work.
    CheckCommands(Rules),
    /// Read what `tcpw status` needs from the host. The result is
    /// [`Input::StatusFacts`](super::input::Input::StatusFacts).
    GatherStatus {
        /// Number of the request.
        request: u64,
        /// What the kernel is asked about listeners.
        questions: KernelQuestions,
        /// The texts in force, of which hashes are computed.
        texts: Option<TextsInForce>,
    },
    /// Read what metrics need from the kernel. The result is
    /// [`Input::MetricsFacts`](super::input::Input::MetricsFacts).
    GatherMetrics {
        /// Number of the request.
        request: u64,
    },
    /// Answer a request.
    Reply {
        /// Its number.
        request: u64,
        /// The answer.
        response: Box<Response>,
    },
    /// Write bans to the kernel's table.
    WriteBans(Box<BanWrites>),
    /// Store changes of bans, then reply.
    StoreBans {
        /// The changes, in their order.
        lines: Vec<BanLine>,
        /// Number of the request, and what came of it.
        reply: Option<(u64, BanResult)>,
    },
    /// Answer a request for the last records.
    ReplyRecent {
        /// Its number.
        request: u64,
        /// Which are asked for.
        question: RecentQuestion,
    },
    /// Ask the kernel for its decision, then answer a request for a verdict with both.
    ReplyMatch {
        /// Its number.
        request: u64,
        /// The answer, without the kernel's.
        answer: Box<LiveAnswer>,
        /// What the kernel is asked; or why it cannot be.
        query: Result<Query, String>,
    },
    /// End enforcement: remove every link, map and pin. The result is
    /// [`Input::Detached`](super::input::Input::Detached).
    Detach {
        /// Number of the request.
        request: u64,
    },
    /// Everything is ready: attach the gate. The result is
    /// [`Input::GateAttached`](super::input::Input::GateAttached).
    AttachGate,
    /// Stop reporting accepted connections.
    ForgetAccepted,
    /// Leave the loop.
    Exit(Result<(), String>),
}

/// What the kernel is asked about listeners: how it decides about clients, at the address and with the tag of each.
#[derive(Clone, Debug, Default)]
pub struct KernelQuestions {
    /// Number of the policy that the clients are of.
    pub generation: u32,
    /// Clients for the known listeners, by cookie.
    pub of_known: HashMap<u64, Arc<[ExampleClient]>>,
    /// Clients for any other listener.
    pub of_others: Arc<[ExampleClient]>,
}

/// Changes of the kernel's table of bans.
#[derive(Clone, Debug, Default)]
pub struct BanWrites {
    /// Bans to set and to end.
    pub changes: Vec<KernelChange>,
    /// What the kernel must know of all of them.
    pub in_use: BansInUse,
    /// Names-sets, and the scopes of their names; `None`: they are forgotten.
    pub scopes: Vec<(NamesId, Option<Scopes>)>,
    /// Bans that are not among the changes end.
    pub replace_all: bool,
}

/// The texts of a policy.
#[derive(Clone, Debug)]
pub struct TextsInForce {
    /// Number of the policy.
    pub generation: u32,
    /// hosts.allow and hosts.deny.
    pub texts: [Arc<TableText>; 2],
}

/// A client the kernel is asked about.
#[derive(Clone, Copy, Debug)]
pub struct ExampleClient {
    /// Its address.
    pub client: Address,
    /// Its class in the policy in force.
    pub class: u32,
}

/// Something large that is not needed any more.
#[derive(Clone, Debug)]
pub enum Freed {
    /// Rules.
    Rules(Rules),
    /// A policy.
    Policy(Arc<Policy>),
}

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something needs a look.
    Warn,
    /// Worth knowing.
    Info,
    /// For debugging.
    Debug,
}

/// One write to the kernel's tables.
#[derive(Clone, Debug)]
pub enum Write {
    /// An answer for every attempt that shares the key.
    Answer {
        /// The key.
        key: AnswerKey,
        /// The answer's number.
        answer: u32,
        /// Marks of an outcome.
        marks: u8,
        /// CLOCK_BOOTTIME, nanoseconds.
        expires_ns: u64,
    },
    /// An answer for one attempt only.
    AnswerOnce {
        /// The attempt.
        key: AttemptKey,
        /// The answer.
        once: AnswerOnce,
    },
    /// The next SYN of the attempt is answered with a reset, if its listener is certified.
    ResetOnce {
        /// The attempt.
        key: AttemptKey,
        /// The refusal.
        once: ResetOnce,
    },
    /// Allows the attempt to be held again at once.
    ForgetHeld(AttemptKey),
    /// Tags a listener by its cookie: its socket cannot carry a tag.
    NameListener {
        /// Its cookie.
        cookie: u64,
        /// Its tag.
        tag: Tag,
    },
    /// A text for a handshake. If it is not written, the writes behind it are made all the same; the
    /// failure is [`Input::BannerNotLeft`](super::input::Input::BannerNotLeft).
    LeaveBanner {
        /// The handshake.
        key: BannerKey,
        /// The text.
        banner: Box<Banner>,
    },
    /// Removes the banner of a handshake that was never completed. The result is
    /// [`Input::BannerTakenBack`](super::input::Input::BannerTakenBack).
    TakeBackBanner(BannerKey),
    /// Removes a socket whose banner was sent from the table of sockets with a banner.
    DismissBannerSocket(u64),
    /// Refuses a waiting connection: none of its data pass as long as its socket exists.
    RefuseWaiting(Box<Waiting>),
    /// Removes the entry of a waiting connection: its data pass, or it is gone. By the cookie of its socket.
    StopWaiting(u64),
}

/// A packet to re-inject.
#[derive(Clone, Debug)]
pub struct Reinject {
    /// Cookie of the network namespace.
    pub netns: u64,
    /// A process in it.
    pub pid: u32,
    /// The interface it came in on.
    pub ifindex: u32,
    /// It has to be received on that interface (its addresses are link-local).
    pub by_device: bool,
    /// The packet.
    pub held: Box<Held>,
}

/// An acknowledgement to send in a client's place.
#[derive(Clone, Debug)]
pub struct Acknowledge {
    /// A process in the namespace.
    pub pid: u32,
    /// The connection.
    pub decision: Decision,
    /// What the gate read of the client's last ACK.
    pub pending: Pending,
    /// Sequence number to send.
    pub seq: u32,
}

/// A client to challenge.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// A process in the namespace.
    pub pid: u32,
    /// The attempt.
    pub decision: Decision,
    /// Sequence number of its SYN.
    pub isn: u32,
}

/// Which listeners to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// All of the host that are in scope.
    All,
    /// Those of some processes.
    Processes(Vec<u32>),
}

/// A listener to tag.
#[derive(Clone, Debug)]
pub struct TagOrder {
    /// Cookie of its socket.
    pub cookie: u64,
    /// Its tag.
    pub tag: Tag,
    /// Its socket cannot carry a tag: it is tagged by its cookie.
    pub by_cookie: bool,
    /// Processes that hold it.
    pub holders: Vec<u32>,
}

/// A slot to fill.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Number of the preparation.
    pub number: u64,
    /// The rules.
    pub rules: Rules,
    /// Names-sets to compute in advance.
    pub names: Vec<NamesSet>,
    /// What can be looked up.
    pub looked_up: Names,
    /// Flags of the header.
    pub flags: u32,
    /// The hash of its texts, if they are to be confirmed: when the slot is filled, it is kept that they are not yet.
    pub unconfirmed: Option<TextsHash>,
}

/// What is kept for the next start.
#[derive(Clone, Debug)]
pub enum Store {
    /// These texts are confirmed: a copy of them, in place of all else.
    Confirmed(Arc<ReadTexts>),
    /// These texts are not to come into force by themselves; or none.
    RolledBack(Option<TextsHash>),
    /// Nothing: the files are followed.
    Nothing,
}

/// A switch to a filled slot.
#[derive(Clone, Debug)]
pub struct Flip {
    /// Number of the preparation.
    pub number: u64,
    /// Names-sets that became known since it was compiled, with their class.
    pub names: Vec<(NamesId, u32)>,
    /// The policy needs reports of accepted connections.
    pub watch_accepted: bool,
    /// A rule has a banner for clients it allows.
    pub banners: bool,
    /// It has to be confirmed.
    pub until: Option<Until>,
}

/// The deadline of a policy.
#[derive(Clone, Debug)]
pub struct Until {
    /// CLOCK_BOOTTIME, nanoseconds: then the policy before comes back.
    pub boot_ns: u64,
    /// Process names that mean the same in both.
    pub comms: Vec<(Comm, NamesId)>,
}

/// An order for the helper.
#[derive(Clone, Debug)]
pub enum HelperAction {
    /// Start one, under this number. What it says is [`Input::Helper`](super::input::Input::Helper).
    Start(u64),
    /// End it, and what it runs.
    End,
    /// The texts of the commands in force: the files they name are made.
    Files(Vec<PathBuf>),
    /// Run a command.
    Run(Order),
    /// Give it a redirected connection.
    Serve {
        /// The connection.
        connection: u64,
        /// What to do with it.
        order: Order,
    },
}
