//! Status of, and commands to, a running daemon.
//!
//! Newline-delimited JSON over the Unix socket `control.sock` in the run directory:
//! one [`Request`] a line, one [`Response`] a line. Root and the daemon's own user
//! are answered; so are the members of the group of readers, if they only ask. [`Lock`] keeps a second daemon from the same directory.

mod answer;
mod apply;
mod bans;
mod client;
mod live;
mod lock;
mod metrics;
mod recent;
mod server;
mod status;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bans::BanOf;

pub use answer::{Answer, answer_in};
pub use apply::{ApplyAnswer, ApplyDone, ApplyOrder};
pub use bans::{BANS_PER_REQUEST, BanList, BanOrder, BanResult, Banned, LONGEST_REASON, ListedBan};
pub use client::{AskError, ask, ask_for};
pub use live::{LiveAnswer, LiveKernel, LiveLookup, LiveQuestion};
pub use lock::{Lock, LockError};
pub use metrics::{AttemptCount, BUCKETS_US, Histogram, MapFill, Metrics, NamedCount, RuleCount};
pub use recent::{RecentAnswer, RecentQuestion};
pub use server::{Asker, Reply, Server};
pub use status::{
    ConfirmStatus, ListenerStatus, LogStatus, SinkStatus, Status, TableStatus, TablesStatus, TagState,
};

/// A request to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// The daemon's state.
    Status,
    /// What the daemon has counted.
    Metrics,
    /// The verdict on a client.
    Match(LiveQuestion),
    /// The last records.
    Recent(RecentQuestion),
    /// Set bans.
    Ban(BanOrder),
    /// End bans.
    Unban(Banned),
    /// A part of the list of bans.
    Bans {
        /// Those after this one.
        after: Option<BanOf>,
    },
    /// Put the files in force.
    Apply(ApplyOrder),
    /// The policy in force stays.
    Confirm,
    /// The policy before is in force again.
    Rollback,
    /// Stop enforcing: remove links, maps and pins, then exit.
    Detach,
    /// Exit; a pinned policy stays in force.
    Stop,
}

impl Request {
    /// Whether it changes nothing: then the readers are answered, too.
    pub fn only_reads(&self) -> bool {
        match self {
            Self::Status | Self::Metrics | Self::Match(_) | Self::Recent(_) | Self::Bans { .. } => true,
            Self::Ban(_)
            | Self::Unban(_)
            | Self::Apply(_)
            | Self::Confirm
            | Self::Rollback
            | Self::Detach
            | Self::Stop => false,
        }
    }
}

/// The daemon's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", content = "value", rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Metrics`].
    Metrics(Box<Metrics>),
    /// To [`Request::Match`].
    Match(Box<LiveAnswer>),
    /// To [`Request::Recent`].
    Recent(RecentAnswer),
    /// To [`Request::Ban`] and [`Request::Unban`].
    Banned(BanResult),
    /// To [`Request::Bans`].
    Bans(BanList),
    /// To [`Request::Apply`], [`Request::Confirm`] and [`Request::Rollback`].
    Apply(ApplyAnswer),
    /// To the others: what was done, one item each.
    Done(Vec<String>),
    /// The request failed: why, as text.
    Failed(String),
}

/// The name of the socket.
const SOCKET: &str = "control.sock";

/// The socket of a run directory.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join(SOCKET)
}
