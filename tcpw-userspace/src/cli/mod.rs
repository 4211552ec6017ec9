//! Arguments, exit codes and messages; one file per subcommand.

pub mod preflight;
pub mod run;

use std::path::PathBuf;

use clap::Args;

/// Which tables.
#[derive(Args, Clone, Debug, Default)]
pub struct TableArgs {
    /// The table of who may connect [default: /etc/hosts.allow]
    #[arg(long, value_name = "FILE")]
    pub hosts_allow: Option<PathBuf>,
    /// The table of who may not [default: /etc/hosts.deny]
    #[arg(long, value_name = "FILE")]
    pub hosts_deny: Option<PathBuf>,
}
