//! The daemon's state, as `tcpw status` gets it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Mode;

/// A running daemon's state. Times are seconds since 1970, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of tcpw.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Enforce or audit.
    pub mode: Mode,
    /// Since when the gate has been attached, by an earlier daemon perhaps.
    pub enforcing_since: u64,
    /// Number of the policy in force.
    pub generation: u32,
    /// When it was put in force.
    pub applied_at: u64,
    /// The tables it was made from.
    pub tables: TablesStatus,
    /// Why the files as they are now are not in force.
    pub problem: Option<String>,
    /// Edits come into force by themselves.
    #[serde(default = "yes")]
    pub follow_files: bool,
    /// The policy in force waits for `tcpw confirm`.
    #[serde(default)]
    pub confirm: Option<ConfirmStatus>,
    /// The guarded cgroup.
    pub cgroup: PathBuf,
    /// Whether the policy outlives the daemon.
    pub pinned: bool,
    /// Why policies are shown as the rules give them, without the kernel's answers.
    #[serde(default)]
    pub kernel_not_asked: Option<String>,
    /// Devices of `early-drop`, and how the SYNs of refused clients are dropped there, or why not.
    #[serde(default)]
    pub early_drop: BTreeMap<String, String>,
    /// Every listening socket, and every UDP socket bound by its owner: those in scope, then the others.
    pub listeners: Vec<ListenerStatus>,
    /// The kernel's counters by name.
    pub counters: BTreeMap<String, u64>,
    /// The log's own counts.
    pub log: LogStatus,
}

fn yes() -> bool {
    true
}

/// A policy that waits for `tcpw confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmStatus {
    /// Number of the policy that comes back without it.
    pub before: u32,
    /// When it comes back.
    pub until: u64,
}

/// Both tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablesStatus {
    /// hosts.allow.
    pub allow: TableStatus,
    /// hosts.deny.
    pub deny: TableStatus,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// Where it was read from.
    pub path: PathBuf,
    /// Rules in it.
    pub rules: usize,
    /// Errors in it.
    pub errors: usize,
    /// SHA-256 of the text in force, in hexadecimal; empty if the file does not exist, or is larger than 1 MiB.
    #[serde(default)]
    pub sha256: String,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its process.
    pub pid: u32,
    /// The ident of its log lines.
    pub ident: String,
    /// The names that daemon lists may use for it.
    pub names: Vec<String>,
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Where it listens.
    pub local: SocketAddr,
    /// `tcp`, `mptcp` or `udp`.
    pub protocol: String,
    /// What proves its names: `root`, `file`, `unit`, `super-server`, `tcpw.toml`.
    #[serde(default)]
    pub proven_by: Vec<String>,
    /// Its names that are not proven, and why: such a name closes and never opens.
    #[serde(default)]
    pub unproven: BTreeMap<String, String>,
    /// Rules that do not open because of that, each with the setting that would.
    #[serde(default)]
    pub not_opened: Vec<String>,
    /// How its names were found: `executable, unit`, `xinetd.conf`, `process name only`, `no process`, ...
    pub found_by: String,
    /// Its policy in a few words.
    pub policy: String,
    /// How its clients are refused at present: `reset`, `icmp`, `drop`; `pass` in audit mode.
    pub on_deny: String,
    /// Its tag.
    pub tag: TagState,
}

/// The state of a listener's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagState {
    /// User space wrote them.
    Written,
    /// The kernel wrote it at bind time, from the process name.
    Provisional,
    /// There is no tag.
    Missing,
    /// The socket was made outside the guarded cgroup: it is not judged.
    Outside,
}

/// The log's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// Lines written, by all sinks together.
    pub written: u64,
    /// Lines that could not be written, likewise.
    pub failed: u64,
    /// Each sink.
    #[serde(default)]
    pub sinks: Vec<SinkStatus>,
}

/// A sink's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Where it writes to, as the settings name it.
    pub target: String,
    /// Lines written.
    pub written: u64,
    /// Lines that could not be written.
    pub lost: u64,
    /// Lines that wait to be written.
    pub waiting: u64,
}
