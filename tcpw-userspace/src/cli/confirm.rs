//! `tcpw confirm`: the policy in force stays.

use std::time::Duration;

use clap::Args;

use super::{DaemonArgs, Failure, Outcome, applied::print};
use crate::{
    control::{ApplyAnswer, Request, ask_for},
    host,
};

/// A slow disk takes a moment.
const PATIENCE: Duration = Duration::from_secs(30);

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
    host::privileges().map_err(Failure::usage)?;
    let run_dir = arguments.daemon_place.run_dir()?;
    print(&ask_for::<ApplyAnswer>(&run_dir, Request::Confirm, PATIENCE)?, arguments.json)
}
