//! `tcpw run`: checks that it can, then becomes the daemon.

use std::{io::Write, time::Duration};

use super::{Failure, Outcome, must_exist};
use crate::{
    config::{Config, RunArgs},
    control::LockError,
    daemon, host,
};

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
