//! `tcpw fmt`: tables in canonical form.
//!
//! Invariant: nothing is written that would decide otherwise than what was read.

mod replace;

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use clap::Args;

use super::{Failure, Outcome, in_use::tables_in_use};
use crate::{
    config::TableArgs,
    format::{Formatted, format, same_rules},
    parse::{
        rule::Table,
        tables,
        text::{FileText, Texts},
    },
};

/// Flags of `tcpw fmt`.
#[derive(Args, Clone, Debug)]
pub struct FmtArgs {
    /// Tables; `-` is standard input [default: those of the tables in use that exist]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print only the names of files that would change; exit code 1 if there are any
    #[arg(long)]
    pub check: bool,
    /// Rewrite the files in place, each as a whole
    #[arg(long, conflicts_with = "check")]
    pub write: bool,
}

/// Prints the tables in canonical form, or does what the flags say.
///
/// Lines that have to stay as they are are told on stderr. Exit code: 0 done, 1 a file would change (`--check`), 2 a
/// line that libwrap rejects, or a file that cannot be read or written.
///
/// # Errors
///
/// Nothing can be printed.
pub fn run(arguments: &FmtArgs) -> Result<Outcome, Failure> {
    let files = match &arguments.files[..] {
        [] => {
            let in_use = tables_in_use(&TableArgs::default(), None)?;
            in_use.into_iter().filter(|path| path.exists()).collect()
        }
        files => files.to_vec(),
    };
    let mut outcome = Outcome::Fine;
    let mut has_errors = false;
    for path in &files {
        let done = read(path).and_then(|text| {
            let formatted = canonical(&text)?;
            tell_kept(path, &formatted);
            let is_changed = formatted.text != text;
            has_errors |= formatted.kept.iter().any(|kept| kept.why.is_error());
            if arguments.write && is_changed {
                replace::replace(path, &text, &formatted.text)?;
            }
            Ok((formatted, is_changed))
        });
        let (formatted, is_changed) = match done {
            Ok(done) => done,
            Err(error) => {
                super::complain(&format!("{}: {error:#}", path.display()));
                outcome = Outcome::Wrong;
                continue;
            }
        };
        let mut out = std::io::stdout().lock();
        if arguments.check && is_changed {
            writeln!(out, "{}", path.display())?;
            outcome = if outcome == Outcome::Fine { Outcome::Finding } else { outcome };
        } else if !arguments.check && !arguments.write {
            if files.len() > 1 {
                writeln!(out, "==> {} <==", path.display())?;
            }
            out.write_all(&formatted.text)?;
        }
    }
    Ok(if has_errors { Outcome::Wrong } else { outcome })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return std::fs::read(path).map_err(unreadable);
    }
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text).context("cannot be read")?;
    Ok(text)
}

/// What is said of a table that cannot be read.
fn unreadable(error: io::Error) -> anyhow::Error {
    let may_not = error.kind() == io::ErrorKind::PermissionDenied;
    let fix = if may_not { "run \"tcpw fmt\" as a user who may read it" } else { "name a table" };
    anyhow::Error::new(error).context(format!("cannot be read: {fix}"))
}

/// The canonical form, held against what was read once more.
fn canonical(text: &[u8]) -> anyhow::Result<Formatted> {
    let formatted = format(text);
    if same_rules(&table(text), &table(&formatted.text)) {
        Ok(formatted)
    } else {
        anyhow::bail!("the canonical form would decide otherwise: left as it is; please report this table")
    }
}

fn table(text: &[u8]) -> Table {
    let path = Arc::new(PathBuf::from("table"));
    let texts = Texts {
        allow: (Arc::clone(&path), FileText::Bytes(text.into())),
        deny: (path, FileText::Missing),
        files: std::collections::BTreeMap::new(),
    };
    tables(&texts).allow
}

fn tell_kept(path: &Path, formatted: &Formatted) {
    let mut err = std::io::stderr().lock();
    let path = if path.as_os_str() == "-" { Path::new("(standard input)") } else { path };
    for kept in &formatted.kept {
        // Nobody is left to be told if this fails.
        let _ = writeln!(err, "{}:{}:1: left as it is: {}", path.display(), kept.line, kept.why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_read_a_table_is_told_so() {
        let text = |kind: io::ErrorKind| format!("{:#}", unreadable(kind.into()));
        assert!(
            text(io::ErrorKind::PermissionDenied).contains("as a user who may read it: permission denied")
        );
        assert!(text(io::ErrorKind::IsADirectory).contains("name a table: is a directory"));
    }
}
