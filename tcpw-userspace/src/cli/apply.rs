//! `tcpw apply`: the files as they are now come into force, for good or until they are confirmed.

use std::time::Duration;

use clap::Args;

use super::{DaemonArgs, Failure, Outcome, applied::print};
use crate::{
    control::{ApplyAnswer, ApplyOrder, Request, ask_for},
    host,
};

/// The files may name users of a name service, and be large.
const PATIENCE: Duration = Duration::from_secs(120);

const AFTER_HELP: &str = "\
Exit code: 0 the files are in force, 1 they are not, 2 wrong use.

With --confirm the policy before comes back at the deadline unless \"tcpw confirm\" is run, whatever becomes of the daemon.";

/// Flags of `tcpw apply`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ApplyArgs {
    /// For so long, unless \"tcpw confirm\" is run: 5 to 86400
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(5..=86_400))]
    pub confirm: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where.
    #[command(flatten)]
    pub daemon_place: DaemonArgs,
}

/// Has the daemon put the files in force.
///
/// # Errors
/// They are not in force.
pub fn run(arguments: &ApplyArgs) -> Result<Outcome, Failure> {
    host::privileges().map_err(Failure::usage)?;
    let run_dir = arguments.daemon_place.run_dir()?;
    let order = ApplyOrder { confirm_s: arguments.confirm };
    print(&ask_for::<ApplyAnswer>(&run_dir, Request::Apply(order), PATIENCE)?, arguments.json)
}
