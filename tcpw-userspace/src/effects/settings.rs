//! Rights and limits of commands: `[effects]` of tcpw.toml.

use std::{path::PathBuf, time::Duration};

/// Settings of side effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The user that runs the commands; `None`: [`USER`] if there is such a user, else [`FALLBACK`].
    pub user: Option<String>,
    /// Set-uid programs work: a mailer may become root.
    pub allow_set_uid: bool,
    /// Commands have the group of a set-gid mailer, which then works without its set-gid bit.
    pub mailer_group: bool,
    /// Directories and files the commands may change, if their user may.
    pub writable: Vec<PathBuf>,
    /// Files that are created for the commands' user, or given to that user if they are root's, if a command names
    /// them.
    pub files: Vec<PathBuf>,
    /// Commands that run at once.
    pub at_once: u32,
    /// Time for one command.
    pub time_limit: Duration,
    /// Commands in a minute.
    pub per_minute: u32,
    /// Commands in a minute because of one network: an IPv4 /24, an IPv6 /64.
    pub per_minute_and_source: u32,
    /// Time between two reports of commands that were not run.
    pub report_every: Duration,
}

/// The user of the commands.
pub const USER: &str = "tcpw";

/// The user where there is no [`USER`].
pub const FALLBACK: &str = "nobody";

impl Default for Settings {
    fn default() -> Self {
        Self {
            user: None,
            allow_set_uid: false,
            mailer_group: true,
            writable: vec!["/tmp".into(), "/var/tmp".into()],
            files: vec!["/var/log/tcp.deny.log".into()],
            at_once: 8,
            time_limit: Duration::from_secs(30),
            per_minute: 120,
            per_minute_and_source: 12,
            report_every: Duration::from_secs(60),
        }
    }
}
