//! `tcpw run`: checks that it can, then becomes the daemon.

use std::path::PathBuf;

use clap::Args;

use super::TableArgs;
use crate::log::LogTarget;

/// Flags of `tcpw run`; they win over the configuration file.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Settings [default: /etc/tcpw.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which tables.
    #[command(flatten)]
    pub tables: TableArgs,
    /// Guard the sockets below this cgroup2 directory [default: the root: every socket]
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Where refused attempts are logged: stdout, syslog or file:PATH [default: syslog]
    #[arg(long, value_name = "WHERE")]
    pub log: Option<LogTarget>,
    /// Log accepted connections as well
    #[arg(long)]
    pub log_allowed: bool,
    /// Keep the policy in force when the daemon ends
    #[arg(long)]
    pub pin: bool,
    /// Directory of the lock and the control socket [default: /run/tcpw]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Directory of the pinned policy [default: /sys/fs/bpf/tcpw]
    #[arg(long, value_name = "DIR")]
    pub pin_dir: Option<PathBuf>,
}
