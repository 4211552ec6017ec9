//! `tcpw rollback`: the policy before the one that is not confirmed yet is in force again.

use clap::Args;

use super::{DaemonArgs, Failure, Outcome, applied::ask};
use crate::control::Request;

const AFTER_HELP: &str =
    "Exit code: 0 it is in force again, 1 no policy waits for its confirmation, 2 wrong use.";

/// Flags of `tcpw rollback`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct RollbackArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where.
    #[command(flatten)]
    pub daemon_place: DaemonArgs,
}

/// Asks the daemon.
///
/// # Errors
/// No policy waits for its confirmation, or no daemon runs.
pub fn run(arguments: &RollbackArgs) -> Result<Outcome, Failure> {
    ask(Request::Rollback, &arguments.daemon_place, arguments.json)
}
