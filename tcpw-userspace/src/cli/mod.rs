//! Arguments, exit codes and messages; one file per subcommand.
//!
//! Exit codes: 0 done; 1 it failed, or there is something to look at; 2 wrong use or a
//! missing prerequisite, said in one line: `tcpw: error: WHAT: DO THIS`.

mod applied;
pub mod apply;
pub mod ban;
pub mod bans;
pub mod check;
pub mod confirm;
pub mod detach;
pub mod diff;
pub mod doctor;
pub mod events;
pub mod fmt;
mod in_use;
pub mod list;
pub mod match_cmd;
mod meaning;
mod recent;
pub mod rollback;
pub mod run;
pub mod status;
mod time_span;
pub mod top;
pub mod why;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

use crate::{
    config::{self, RunArgs},
    control, effects, host,
    log::printable,
    resolver,
};

/// TCP Wrappers in the kernel: enforces hosts.allow and hosts.deny for every daemon.
#[derive(Debug, Parser)]
#[command(name = "tcpw", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: SubcommandArgs,
}

#[derive(Debug, Subcommand)]
enum SubcommandArgs {
    /// Enforce the tables and follow their edits, in the foreground
    Run(RunArgs),
    /// Show what is in force, and for which listeners
    Status(status::StatusArgs),
    /// Show the last attempts, and those that come
    Events(events::EventsArgs),
    /// Show services, clients, rules and refusals as they come, in the terminal
    Top(top::TopArgs),
    /// Tell what decided the last attempts of a client: rule, look-ups, times
    Why(why::WhyArgs),
    /// Say what keeps tcpw from doing what is expected of it, on this host as it is
    Doctor(doctor::DoctorArgs),
    /// Refuse clients from now on, whatever the files say, for a time or for good
    Ban(ban::BanArgs),
    /// End bans
    Unban(ban::UnbanArgs),
    /// Show the bans
    Bans(bans::BansArgs),
    /// Put the files in force as they are now, for good or until they are confirmed
    Apply(apply::ApplyArgs),
    /// Keep the policy that "tcpw apply --confirm" put in force
    Confirm(confirm::ConfirmArgs),
    /// End it now: the policy before comes back
    Rollback(rollback::RollbackArgs),
    /// Stop enforcing: remove everything that tcpw put into the kernel
    Detach(detach::DetachArgs),
    /// Check the tables and say what is wrong with them
    Check(check::CheckArgs),
    /// Print the tables in canonical form, or rewrite them in it
    Fmt(fmt::FmtArgs),
    /// Show the verdict of the tables on a client, and why
    Match(match_cmd::MatchArgs),
    /// Show the verdict on a client by the files, by the running daemon and by the kernel, and why
    Explain(match_cmd::ExplainArgs),
    /// Show which clients may reach which services, as networks
    List(list::ListArgs),
    /// Show which verdicts differ between two pairs of tables
    Diff(diff::DiffArgs),
}

/// Where a daemon, or what it left in force, is found: as `tcpw run` was told.
#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    /// Settings of the daemon [default: /etc/tcpw.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the daemon's control socket [default: /run/tcpw]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Directory of the pinned policy [default: /sys/fs/bpf/tcpw]
    #[arg(long, value_name = "DIR")]
    pub pin_dir: Option<PathBuf>,
}

impl PlaceArgs {
    /// Run directory and pin directory.
    ///
    /// # Errors
    /// The settings cannot be read.
    fn resolve(&self) -> Result<(PathBuf, PathBuf), Failure> {
        let flags =
            RunArgs { run_dir: self.run_dir.clone(), pin_dir: self.pin_dir.clone(), ..RunArgs::default() };
        let config = config::Config::load(self.config.as_deref(), &flags).map_err(Failure::usage)?;
        Ok((config.run_dir, config.pin_dir))
    }
}

/// Where a running daemon is found.
#[derive(Args, Clone, Debug)]
pub struct DaemonArgs {
    /// Settings of the daemon [default: /etc/tcpw.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the daemon's control socket [default: /run/tcpw]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
}

impl DaemonArgs {
    /// Its run directory.
    ///
    /// # Errors
    /// The settings cannot be read.
    fn run_dir(&self) -> Result<PathBuf, Failure> {
        let place = PlaceArgs { config: self.config.clone(), run_dir: self.run_dir.clone(), pin_dir: None };
        place.resolve().map(|(run_dir, _)| run_dir)
    }
}

/// How a subcommand ended that did what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing to look at: exit code 0.
    Fine,
    /// Something to look at, and it was shown: exit code 1.
    Finding,
    /// Wrong in itself, and it was shown: exit code 2.
    Wrong,
}

/// Why a subcommand did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// Wrong use or a missing prerequisite: what, and what to do. Exit code 2.
    Usage(String),
    /// Exit code 1.
    Runtime(anyhow::Error),
}

impl Failure {
    /// A wrong use, in the words of `error`.
    pub fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Runtime(error.into())
    }
}

impl From<control::AskError> for Failure {
    fn from(error: control::AskError) -> Self {
        match error {
            control::AskError::NotAllowed => Self::usage(error),
            control::AskError::NotRunning | control::AskError::NoAnswer(_) | control::AskError::Failed(_) => {
                Self::Runtime(error.into())
            }
        }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    // Before anything else runs: it is about to give up root.
    if let Some(first) = std::env::args_os().nth(1) {
        if first == host::COMMANDS {
            return effects::helper::main();
        }
        if first == host::STARTER {
            return host::starter_main();
        }
        if first == host::NAME_LOOKUPS {
            return resolver::main();
        }
    }
    let result = match Arguments::try_parse() {
        Ok(arguments) => dispatch(arguments.command),
        Err(error) => refuse_arguments(&error),
    };
    match result {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Finding) => ExitCode::from(1),
        Ok(Outcome::Wrong) => ExitCode::from(2),
        // `tcpw status | head`: the reader has closed the pipe.
        Err(Failure::Runtime(error)) if is_broken_pipe(&error) => ExitCode::from(1),
        Err(Failure::Runtime(error)) => {
            complain(&format!("{error:#}"));
            ExitCode::from(1)
        }
        Err(Failure::Usage(message)) => {
            complain(&message);
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: SubcommandArgs) -> Result<Outcome, Failure> {
    match command {
        SubcommandArgs::Run(arguments) => run::run(&arguments),
        SubcommandArgs::Status(arguments) => status::run(&arguments),
        SubcommandArgs::Events(arguments) => events::run(&arguments),
        SubcommandArgs::Top(arguments) => top::run(&arguments),
        SubcommandArgs::Why(arguments) => why::run(&arguments),
        SubcommandArgs::Doctor(arguments) => doctor::run(&arguments),
        SubcommandArgs::Ban(arguments) => ban::run(&arguments),
        SubcommandArgs::Unban(arguments) => ban::end_bans(&arguments),
        SubcommandArgs::Bans(arguments) => bans::run(&arguments),
        SubcommandArgs::Apply(arguments) => apply::run(&arguments),
        SubcommandArgs::Confirm(arguments) => confirm::run(&arguments),
        SubcommandArgs::Rollback(arguments) => rollback::run(&arguments),
        SubcommandArgs::Detach(arguments) => detach::run(&arguments),
        SubcommandArgs::Check(arguments) => check::run(&arguments),
        SubcommandArgs::Fmt(arguments) => fmt::run(&arguments),
        SubcommandArgs::Diff(arguments) => diff::run(&arguments),
        SubcommandArgs::List(arguments) => list::run(&arguments),
        SubcommandArgs::Match(arguments) => match_cmd::run(&arguments),
        SubcommandArgs::Explain(arguments) => match_cmd::explain_in_force(&arguments),
    }
}

fn complain(message: &str) {
    // There is no other place to report to if this fails.
    let _ = writeln!(std::io::stderr(), "tcpw: error: {}", printable(message));
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Shows help if that was asked for; else clap's message in one line.
fn refuse_arguments(error: &clap::Error) -> Result<Outcome, Failure> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        error.print()?;
        return Ok(Outcome::Fine);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Err(Failure::Usage(
            "no subcommand: write one, as \"tcpw check\"; see \"tcpw --help\"".into(),
        ));
    }
    let text = error.to_string();
    let message = text.split("\n\nUsage:").next().unwrap_or(&text);
    let message = message.split("\n\nFor more information").next().unwrap_or(message);
    let words: Vec<&str> = message.trim_start_matches("error: ").split_whitespace().collect();
    Err(Failure::Usage(format!("{}: see \"tcpw --help\"", words.join(" "))))
}

/// Refuses to report or remove pins of a running daemon that uses another run directory.
fn refuse_followed(pin_dir: &Path) -> Result<(), Failure> {
    control::Lock::refuse_held_pins(pin_dir).map_err(|error| match error {
        control::LockError::Held { pid, .. } => Failure::Usage(format!(
            "the policy pinned in {} belongs to another running daemon{}: name its --run-dir",
            pin_dir.display(),
            pid.map(|pid| format!(", pid {pid}")).unwrap_or_default()
        )),
        control::LockError::Orphan { .. }
        | control::LockError::Unsafe { .. }
        | control::LockError::Unusable { .. } => Failure::usage(error),
    })
}

/// Refuses a file that was named on the command line and is not there.
fn must_exist(flag: &str, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    std::fs::metadata(path).map(drop).map_err(|error| {
        let reason = crate::host::reason(&error);
        Failure::Usage(format!("{flag} {}: {reason}: name one that exists", path.display()))
    })
}
