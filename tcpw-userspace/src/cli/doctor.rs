//! `tcpw doctor`: what keeps tcpw from doing what is expected of it.
//!
//! In: the host, the running daemon, the files. Out: findings.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{Failure, Outcome, PlaceArgs};
use crate::{
    config::{Config, RunArgs},
    control::{AskError, Request, Status, ask_for},
    doctor::{Facts, Finding, Weight, examine},
    host::{self, loaded_library},
    kernel::{Pins, other_programs},
    log::printable,
    parse::{pattern_files, tables, text::Texts},
    source::Source,
};

const PATIENCE: Duration = Duration::from_secs(5);

const AFTER_HELP: &str = "\
Exit code: 0 only notes, or nothing; 1 warnings; 2 problems.";

/// Flags of `tcpw doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The guarded cgroup, if no daemon runs [default: the root of all cgroups]
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Looks and says. Exit code 1 for a warning, 2 for a problem.
///
/// # Errors
/// The settings cannot be read, or the daemon does not answer.
pub fn run(arguments: &DoctorArgs) -> Result<Outcome, Failure> {
    let flags = RunArgs {
        run_dir: arguments.place.run_dir.clone(),
        pin_dir: arguments.place.pin_dir.clone(),
        cgroup: arguments.cgroup.clone(),
        ..RunArgs::default()
    };
    let config = Config::load(arguments.place.config.as_deref(), &flags).map_err(Failure::usage)?;
    let findings = examine(&facts(&config)?);
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &findings).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        show(&findings, &mut out)?;
    }
    Ok(match findings.first().map(|finding| finding.weight) {
        None | Some(Weight::Note) => Outcome::Fine,
        Some(Weight::Warning) => Outcome::Finding,
        Some(Weight::Problem) => Outcome::Wrong,
    })
}

fn facts(config: &Config) -> Result<Facts, Failure> {
    let status = status(&config.run_dir)?;
    let cgroup = status.as_ref().map_or(&config.cgroup, |status| &status.cgroup);
    let pin_dir = config.pin.then_some(config.pin_dir.as_path());
    let missing = [host::privileges(), host::kernel(cgroup, pin_dir)];
    let (programs, programs_unknown) = match other_programs(cgroup) {
        Ok(all) => (all, None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    };
    let [allow, deny] = match &status {
        Some(status) => [&status.tables.allow.path, &status.tables.deny.path],
        None => [&config.hosts_allow, &config.hosts_deny],
    };
    let read = |texts: &Texts| tables(texts);
    let (_, tables) = Source::new(allow.clone(), deny.clone()).read_as(read, pattern_files);
    let uses_libwrap: BTreeMap<u32, PathBuf> = status
        .iter()
        .flat_map(|status| &status.listeners)
        .filter_map(|it| Some((it.pid, loaded_library(it.pid, "libwrap.so")?)))
        .collect();
    Ok(Facts {
        is_pinned: status.is_none()
            && Pins::new(&config.pin_dir).status().is_ok_and(|pinned| pinned.is_some()),
        missing: missing.into_iter().filter_map(|it| it.err()).map(|it| it.to_string()).collect(),
        tables: Some(tables),
        uses_libwrap,
        programs,
        programs_unknown,
        status,
    })
}

/// The daemon's status; `None` if none runs.
fn status(run_dir: &Path) -> Result<Option<Status>, Failure> {
    match ask_for::<Box<Status>>(run_dir, Request::Status, PATIENCE) {
        Ok(status) => Ok(Some(*status)),
        Err(AskError::NotRunning) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn show(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for Finding { weight, check, what, consequence, advice } in findings {
        let weight = match weight {
            Weight::Problem => "problem",
            Weight::Warning => "warning",
            Weight::Note => "note",
        };
        writeln!(out, "{weight}: {} [{check}]", printable(what))?;
        writeln!(out, "  consequence: {}", printable(consequence))?;
        writeln!(out, "  perhaps: {}", printable(advice))?;
    }
    let count = |weight| findings.iter().filter(|it| it.weight == weight).count();
    writeln!(
        out,
        "{} problems, {} warnings, {} notes",
        count(Weight::Problem),
        count(Weight::Warning),
        count(Weight::Note)
    )
}
