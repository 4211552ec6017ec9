//! `tcpw confirm`: the policy in force stays.

use clap::Args;

use super::{DaemonArgs, Failure, Outcome, applied::ask};
use crate::control::Request;

const AFTER_HELP: &str =
    "Exit code: 0 it stays, 1 no policy waits for that, or it is not kept for the next start, 2 wrong use.";

/// Flags of `tcpw confirm`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ConfirmArgs {
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
pub fn run(arguments: &ConfirmArgs) -> Result<Outcome, Failure> {
    ask(Request::Confirm, &arguments.daemon_place, arguments.json)
}
