//! The running daemon's verdict on a client.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A client, and the daemon it would connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveQuestion {
    /// A name of the daemon, or its port in digits.
    pub daemon: String,
    /// Client address.
    pub client: IpAddr,
    /// Local address, if it matters.
    pub server: Option<IpAddr>,
    /// Local port, if the daemon has several.
    pub port: Option<u16>,
}

/// The daemon's verdict, and the reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveAnswer {
    /// `allow` or `deny`.
    pub verdict: String,
    /// What decided: `rule`, `option`, `error`, `table-error`, `default`, or `exempt`.
    pub via: String,
    /// The rule: `allow:LINE`, `deny:LINE` or `none`.
    pub matched: String,
    /// The file it stands in.
    pub file: Option<String>,
    /// The line it begins at.
    pub line: Option<u32>,
    /// The client as its log line would name it.
    pub client: String,
    /// The listener: `sshd[123] 0.0.0.0:22`; none listens under that name.
    pub listener: Option<String>,
    /// The names that daemon lists may use for it.
    pub names: Vec<String>,
    /// Number of the policy in force.
    pub generation: u32,
    /// The look-ups that were needed, in order.
    pub lookups: Vec<LiveLookup>,
    /// The time limit passed: a name that is not among the look-ups was taken as unknown.
    pub gave_up: bool,
    /// No name is looked up at this port: it is a name server's.
    pub unnamed: bool,
}

/// A look-up behind a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveLookup {
    /// `name of ADDRESS`, or `netgroup NAME of HOST`.
    pub what: String,
    /// The name, `unknown` or `paranoid`; `member` or `no member`.
    pub answer: String,
    /// Whether the name was verified, or why it was not.
    pub confirmation: Option<String>,
    /// Milliseconds since it was looked up.
    pub age_ms: u64,
    /// Milliseconds for which it is kept.
    pub holds_ms: u64,
}
