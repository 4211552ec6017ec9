//! One attempt's outcome, with every field that a line, a sink or a metric may show.
//!
//! In: nothing. Out: [`Record`]; its renderings are files beside this one. No I/O.
//! Invariant: a rendering reads only the record; so a fact that is not in the record is shown nowhere.

mod journal;
mod json;
mod libwrap;
mod privacy;
mod words;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;

pub use privacy::Privacy;

use crate::{
    bans::BanEntry,
    evaluate::judgement::{Reason, RuleIndex, Verdict},
    events::Fate,
    log::{Forms, JournalEntry, JsonLine, LogEntry},
    names::NamesSet,
    parse::rule::{RuleRef, TableKind, Tables, Text},
    resolve::{Found, Question},
};

/// The word that records have for a fate.
pub fn fate_word(fate: Fate) -> &'static str {
    words::fate(fate)
}

/// What sinks are given.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// One attempt's.
    Attempt(Box<Record>),
    /// That of attempts that have no line of their own.
    Count {
        /// The count.
        count: AttemptCount,
        /// What is shown instead of its network.
        hidden: Option<String>,
    },
}

impl Forms for Outcome {
    fn is_written(&self) -> bool {
        match self {
            Self::Attempt(record) => record.has_line,
            Self::Count { .. } => true,
        }
    }

    fn line(&self, host: &str) -> LogEntry {
        match self {
            Self::Attempt(record) => libwrap::entry(record, host),
            Self::Count { count, hidden } => libwrap::entry_of_count(count, hidden.as_deref(), host),
        }
    }

    fn json(&self) -> JsonLine {
        match self {
            Self::Attempt(record) => json::attempt(record),
            Self::Count { count, hidden } => json::count(count, hidden.as_deref()),
        }
    }

    fn journal(&self, host: &str) -> JournalEntry {
        match self {
            Self::Attempt(record) => journal::attempt(record, host),
            Self::Count { count, hidden } => journal::count(count, hidden.as_deref(), host),
        }
    }
}

/// One attempt's outcome.
#[derive(Clone, Debug)]
pub struct Record {
    /// Number of the record, counted from the start of the daemon.
    pub id: u64,
    /// When the attempt was decided.
    pub time: SystemTime,
    /// The outcome.
    pub fate: Fate,
    /// Cookie of its network namespace; 0 if unknown.
    pub netns: u64,
    /// Interface its packet came in on.
    pub ifindex: u32,
    /// 6 (TCP) or 17 (UDP).
    pub protocol: u16,
    /// Both ends.
    pub client: SocketAddr,
    /// Both ends.
    pub server: SocketAddr,
    /// What proves that the client has the address it shows.
    pub source: SourceProof,
    /// It has a line of its own; else it is part of an [`AttemptCount`].
    pub has_line: bool,
    /// The client's address as its daemon sees it: `::ffff:a.b.c.d` on a socket of AF_INET6.
    pub client_address: String,
    /// The client as libwrap prints it: `user@` if known, its name if it was looked up and is verified, else
    /// its address.
    pub client_text: String,
    /// The client's name, if it was looked up and is verified.
    pub client_name: Option<Text>,
    /// The client's user, if it was asked for and is known.
    pub client_user: Option<Text>,
    /// What is shown instead of the client's address: texts that may hold it are then not shown.
    pub hidden_client: Option<String>,
    /// The listener.
    pub listener: ListenerRecord,
    /// The evaluator's judgement; `None` if a ban decided, or the rules that decided are no longer known.
    pub judged: Option<JudgementRecord>,
    /// A ban decided.
    pub is_banned: bool,
    /// That ban; `None` if it has ended meanwhile, or is not to be shown.
    pub ban: Option<BanEntry>,
    /// The look-ups made for it.
    pub lookups: Vec<LookupRecord>,
    /// How long its packet or its data were held.
    pub held_for: Option<Duration>,
    /// Generation of the policy that decided; 0 if no table did.
    pub generation: u32,
    /// Index of the policy within it.
    pub policy: u32,
    /// The command that got the connection instead of the daemon.
    pub twist: Option<Text>,
}

/// What proves that a client has the address it shows: the source address of a packet can be forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceProof {
    /// It has completed a TCP handshake.
    Handshake,
    /// It has not: it was reset or dropped, or it did not complete its handshake; over UDP there is none.
    Missing,
    /// The administrator says that addresses are not forged here.
    Trusted,
    /// The attempt is not refused.
    NotWanted,
}

/// Attempts that have no line of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptCount {
    /// Until when they were counted.
    pub time: SystemTime,
    /// For how long.
    pub within: Duration,
    /// Why they have none.
    pub counted_for: CountedFor,
    /// Their clients.
    pub clients: CountedClients,
    /// How many.
    pub attempts: u64,
}

/// Why attempts have no line of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedFor {
    /// They are refused, and their source is not proven.
    Unproven,
    /// `[lines]` in tcpw.toml.
    Limit,
}

/// Whose attempts an [`AttemptCount`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedClients {
    /// Those of a network.
    Network(IpNet),
    /// Those of networks that are not told apart.
    Others,
    /// Those whose SYNs were dropped at a device, and not reported one by one.
    AtDevices,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerRecord {
    /// Its names.
    pub names: NamesSet,
    /// The text before `[pid]`.
    pub ident: String,
    /// Its process; 0 for the kernel's own, or if unknown.
    pub pid: u32,
    /// Why its line does not carry its name: any user may have chosen it.
    pub doubt: Option<ListenerDoubt>,
    /// The id of its service, if a super-server with its own line format listens for it.
    pub service: Option<String>,
}

/// Why the line of a listener does not carry its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerDoubt {
    /// It is in another network namespace than the host's, and those of the settings: there anybody may have any address.
    Namespace,
    /// A name of it is not proven.
    Names,
}

/// The evaluator's judgement.
#[derive(Clone, Debug)]
pub struct JudgementRecord {
    /// Allow or refuse.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, if one did.
    pub rule: Option<RuleIndex>,
    /// The tables that rule stands in.
    pub tables: Arc<Tables>,
    /// Facility and level of the rule's `severity`.
    pub severity: Option<i32>,
    /// The options that acted, in order, as hosts_options(5) names them.
    pub effects: Vec<&'static str>,
}

impl Record {
    /// The verdict and why, in words.
    fn decided(&self) -> Option<(&'static str, &'static str)> {
        match &self.judged {
            Some(judged) => Some((words::verdict(judged.verdict), words::reason(judged.reason))),
            None if self.is_banned => Some((words::verdict(Verdict::Refuse), words::BAN)),
            None => None,
        }
    }

    /// The client's address, or what is shown instead.
    fn shown_client(&self) -> String {
        self.hidden_client.clone().unwrap_or_else(|| self.client.ip().to_canonical().to_string())
    }
}

impl JudgementRecord {
    /// The rule that decided, with its file, line, column and text.
    pub fn rule(&self) -> Option<RuleRef<'_>> {
        let index = self.rule?;
        let table = match index.table {
            TableKind::Allow => &self.tables.allow,
            TableKind::Deny => &self.tables.deny,
        };
        table.rules.get(index.index)
    }
}

/// One look-up.
#[derive(Clone, Debug)]
pub struct LookupRecord {
    /// What was asked.
    pub question: Question,
    /// What was found.
    pub found: Found,
    /// How long it took; `None` if the answer came from the cache.
    pub took: Option<Duration>,
}

/// The record of a refused client, for tests.
#[cfg(test)]
pub(crate) fn example() -> Record {
    Record {
        id: 1,
        time: SystemTime::UNIX_EPOCH,
        fate: Fate::Refused,
        netns: 1,
        ifindex: 2,
        protocol: 6,
        client: ([192, 0, 2, 7], 40_000).into(),
        server: ([192, 0, 2, 1], 22).into(),
        source: SourceProof::Handshake,
        has_line: true,
        client_address: "192.0.2.7".into(),
        client_text: "192.0.2.7".into(),
        client_name: None,
        client_user: None,
        hidden_client: None,
        listener: ListenerRecord {
            names: NamesSet::new(["sshd"]),
            ident: "sshd".into(),
            pid: 7,
            doubt: None,
            service: None,
        },
        judged: None,
        is_banned: false,
        ban: None,
        lookups: Vec::new(),
        held_for: None,
        generation: 1,
        policy: 1,
        twist: None,
    }
}
