//! Status of, and commands to, a running daemon.
//!
//! Newline-delimited JSON over the Unix socket `control.sock` in the run directory:
//! one [`Request`] a line, one [`Response`] a line. Only root and the daemon's own user
//! are answered. [`Lock`] keeps a second daemon from the same directory.

mod answer;
mod apply;
mod client;
mod live;
mod lock;
mod metrics;
mod recent;
mod server;
mod status;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use answer::{Answer, answer_in};
pub use apply::{ApplyAnswer, ApplyDone, ApplyOrder};
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
    /// To [`Request::Apply`], [`Request::Confirm`] and [`Request::Rollback`].
    Apply(ApplyAnswer),
    /// To the others: what was done, one item each.
    Done(Vec<String>),
    /// The request failed: why, as text.
    Failed(String),
}

/// The socket of a run directory.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}
