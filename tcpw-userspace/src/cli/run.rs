//! `tcpw run`: checks that it can, then becomes the daemon.

use std::{io::Write, time::Duration};

use super::{Failure, Outcome, must_exist};
use crate::{
    config::{Config, RunArgs},
    control::LockError,
    daemon, host,
    log::printable,
};

/// Runs until a signal or a command ends it.
///
/// # Errors
///
/// A missing prerequisite, or why the daemon ended.
pub fn run(arguments: &RunArgs) -> Result<Outcome, Failure> {
    host::privileges().map_err(Failure::usage)?;
    must_exist("--hosts-allow", arguments.tables.hosts_allow.as_deref())?;
    must_exist("--hosts-deny", arguments.tables.hosts_deny.as_deref())?;
    let config = Config::load(arguments.config.as_deref(), arguments).map_err(Failure::usage)?;
    host::kernel(&config.cgroup, config.pin.then_some(&*config.pin_dir)).map_err(Failure::usage)?;
    log_to_stderr();
    let starter = daemon::prepare()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(daemon::run(config, starter));
    // A look-up of users or groups that never returns does not keep the process.
    runtime.shutdown_timeout(LAST_WORDS);
    match result {
        Ok(()) => Ok(Outcome::Fine),
        Err(error) if error.is::<LockError>() => Err(Failure::usage(error)),
        Err(error) => Err(error.into()),
    }
}

/// How long what still runs beside the event loop may take when that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The daemon's own messages; TCPW_LOG=debug shows more of them. Each is one line, whatever names are in it.
fn log_to_stderr() {
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .parse_env("TCPW_LOG")
        .format(|out, record| writeln!(out, "{}", message(record.level(), &record.args().to_string())))
        .init();
}

fn message(level: log::Level, text: &str) -> String {
    format!("tcpw: {}: {}", level.as_str().to_ascii_lowercase(), printable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_others_chose_forges_no_message() {
        let name = "x\ntcpw: info: applied generation 99\u{1b}[2J";
        assert_eq!(
            message(log::Level::Warn, &format!("127.0.0.1:7 of {name}[7] cannot be tagged")),
            "tcpw: warn: 127.0.0.1:7 of x\\ntcpw: info: applied generation 99\\u{1b}[2J[7] cannot be tagged"
        );
    }
}
