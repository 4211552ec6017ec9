//! `tcpw run`: checks that it can, then becomes the daemon.

use std::{io::Write, path::PathBuf, time::Duration};

use clap::Args;

use super::{Failure, Outcome, TableArgs, must_exist};
use crate::{
    config::{Config, OnDeny},
    control::LockError,
    daemon, host,
    log::LogTarget,
};

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
    /// How to refuse: reset or drop; for every daemon [default: reset]
    #[arg(long, value_name = "HOW")]
    pub on_deny: Option<OnDeny>,
    /// Directory of the lock and the control socket [default: /run/tcpw]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Directory of the pinned policy [default: /sys/fs/bpf/tcpw]
    #[arg(long, value_name = "DIR")]
    pub pin_dir: Option<PathBuf>,
}

/// Runs until it is told to end.
///
/// # Errors
///
/// A missing prerequisite, or why the daemon ended.
pub fn run(arguments: &RunArgs) -> Result<Outcome, Failure> {
    host::privileges().map_err(Failure::usage)?;
    must_exist("--hosts-allow", arguments.tables.hosts_allow.as_deref())?;
    must_exist("--hosts-deny", arguments.tables.hosts_deny.as_deref())?;
    let config = Config::load(arguments.config.as_deref(), arguments).map_err(Failure::usage)?;
    host::kernel(&config.cgroup, config.pin.then_some(config.pin_dir.as_path())).map_err(Failure::usage)?;
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(daemon::run(config));
    // A look-up that hangs, wherever users and groups are, does not keep the process.
    runtime.shutdown_timeout(LAST_WORDS);
    match result {
        Ok(()) => Ok(Outcome::Fine),
        Err(error) if error.is::<LockError>() => Err(Failure::usage(error)),
        Err(error) => Err(error.into()),
    }
}

/// How long what still runs beside the event loop may take when that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The daemon's own messages; TCPW_LOG=debug shows more of them.
fn log_to_stderr() {
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .parse_env("TCPW_LOG")
        .format(|out, record| {
            let level = record.level().as_str().to_ascii_lowercase();
            writeln!(out, "tcpw: {level}: {}", record.args())
        })
        .init();
}
