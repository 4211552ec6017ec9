//! Tables from files.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    cli::{Failure, TableArgs, must_exist},
    config::{DEFAULT_HOSTS_ALLOW, DEFAULT_HOSTS_DENY},
    parse::{diagnostic::Severity, parse, pattern_files, rule::Tables, text::Texts},
    source::Source,
};

/// A pair of tables.
pub(in crate::cli) struct Read {
    /// Parsed, with their pattern files.
    pub(in crate::cli) tables: Tables,
    /// How many errors they have.
    pub(in crate::cli) errors: usize,
}

/// The tables the flags name, else those of the host.
///
/// # Errors
///
/// One that is named is not there.
pub(in crate::cli) fn paths(arguments: &TableArgs) -> Result<[PathBuf; 2], Failure> {
    let TableArgs { hosts_allow, hosts_deny } = arguments;
    must_exist("--hosts-allow", hosts_allow.as_deref())?;
    must_exist("--hosts-deny", hosts_deny.as_deref())?;
    let path = |flag: &Option<PathBuf>, default: &str| flag.clone().unwrap_or_else(|| default.into());
    Ok([path(hosts_allow, DEFAULT_HOSTS_ALLOW), path(hosts_deny, DEFAULT_HOSTS_DENY)])
}

/// Reads a pair of tables; one that is missing has no rules.
pub(in crate::cli) fn read([allow, deny]: &[PathBuf; 2]) -> Read {
    let source = Source::new(Path::to_owned(allow), Path::to_owned(deny));
    let named = |texts: &Texts| -> BTreeSet<PathBuf> { pattern_files(&parse(texts).tables) };
    let parsed = parse(&source.read(named));
    let errors = parsed.diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
    Read { tables: parsed.tables, errors }
}
