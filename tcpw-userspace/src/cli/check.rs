//! `tcpw check`: what is wrong with the tables.

use std::{collections::BTreeSet, io::Write, path::PathBuf};

use clap::Args;

use super::{Failure, Outcome, TableArgs, must_exist};
use crate::{
    config::{DEFAULT_HOSTS_ALLOW, DEFAULT_HOSTS_DENY},
    parse::{diagnostic::Severity, parse, pattern_files, text::Texts},
    source::Source,
};

/// Flags of `tcpw check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Which tables.
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Prints every diagnostic of both tables. Exit code 1 for warnings, 2 for errors.
///
/// # Errors
///
/// A table that was named is not there.
pub fn run(arguments: &CheckArgs) -> Result<Outcome, Failure> {
    let TableArgs { hosts_allow, hosts_deny } = &arguments.tables;
    must_exist("--hosts-allow", hosts_allow.as_deref())?;
    must_exist("--hosts-deny", hosts_deny.as_deref())?;
    let path = |flag: &Option<PathBuf>, default: &str| flag.clone().unwrap_or_else(|| default.into());
    let source = Source::new(path(hosts_allow, DEFAULT_HOSTS_ALLOW), path(hosts_deny, DEFAULT_HOSTS_DENY));
    let named = |texts: &Texts| -> BTreeSet<PathBuf> { pattern_files(&parse(texts).tables) };
    let parsed = parse(&source.read(named));

    let mut out = std::io::stdout().lock();
    for diagnostic in &parsed.diagnostics {
        writeln!(out, "{diagnostic}\n")?;
    }
    let count = |severity| parsed.diagnostics.iter().filter(|it| it.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    for table in [&parsed.tables.allow, &parsed.tables.deny] {
        writeln!(out, "{}: {} rules", table.path.display(), table.rules.len())?;
    }
    writeln!(out, "{errors} errors, {warnings} warnings")?;
    Ok(match (errors, warnings) {
        (0, 0) => Outcome::Fine,
        (0, _) => Outcome::Finding,
        _ => Outcome::Wrong,
    })
}
