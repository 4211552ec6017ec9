//! Tables from files.

use std::path::{Path, PathBuf};

use crate::{
    parse::{diagnostic::Severity, parse, pattern_files, rule::Tables},
    source::Source,
};

/// A pair of tables.
pub(in crate::cli) struct ReadTables {
    /// Parsed, with their pattern files.
    pub(in crate::cli) tables: Tables,
    /// How many errors they have.
    pub(in crate::cli) errors: usize,
}

/// Reads a pair of tables; one that is missing has no rules.
pub(in crate::cli) fn read([allow, deny]: &[PathBuf; 2]) -> ReadTables {
    let source = Source::new(Path::to_owned(allow), Path::to_owned(deny));
    let (_, parsed) = source.read_as(parse, |parsed| pattern_files(&parsed.tables));
    let errors = parsed.diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
    ReadTables { tables: parsed.tables, errors }
}
