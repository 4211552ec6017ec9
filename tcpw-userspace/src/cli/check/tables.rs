//! Which tables are checked, and their texts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{CheckArgs, Failure};
use crate::{
    check::Scope,
    cli::in_use::{EMPTY, tables_in_use},
    parse::{
        Parsed, parse, pattern_files,
        rule::TableKind,
        text::{FileText, Texts},
    },
    source::Source,
};

/// The texts of the tables, and what they are.
pub(super) struct Read {
    pub(super) texts: Texts,
    pub(super) parsed: Parsed,
    pub(super) scope: Scope,
}

/// Reads the tables that were named, or those in use.
pub(super) fn read(arguments: &CheckArgs) -> Result<Read, Failure> {
    let in_use = arguments.files.is_empty();
    let [allow, deny] = if in_use {
        tables_in_use(&arguments.tables, arguments.config.as_deref())?.map(Some)
    } else {
        named(&arguments.files, arguments.kind.map(Into::into))?
    };
    let both = allow.is_some() && deny.is_some();
    let path = |table: &Option<PathBuf>| table.clone().unwrap_or_else(|| EMPTY.into());
    let source = Source::new(path(&allow), path(&deny));
    let as_named = |texts: &Texts| {
        let mut texts = texts.clone();
        for (table, named) in [(&mut texts.allow, &allow), (&mut texts.deny, &deny)] {
            if named.is_none() {
                *table = (Arc::new(PathBuf::new()), FileText::Bytes(Arc::new([])));
            }
        }
        texts
    };
    let parse = |texts: &Texts| parse(&as_named(texts));
    let (texts, parsed) = source.read_as(parse, |parsed| pattern_files(&parsed.tables));
    let texts = as_named(&texts);
    readable(&texts)?;
    Ok(Read { texts, parsed, scope: Scope { both, in_use } })
}

/// Which table each named file is; a directory stands for the two in it, or in its `etc`.
fn named(files: &[PathBuf], kind: Option<TableKind>) -> Result<[Option<PathBuf>; 2], Failure> {
    for file in files {
        std::fs::symlink_metadata(file).map_err(|error| {
            let reason = crate::host::reason(&error);
            Failure::Usage(format!("{}: {reason}: name a file that exists", file.display()))
        })?;
    }
    if let [directory] = files
        && directory.is_dir()
    {
        // The root of a system or of a repository has them in etc.
        for place in [directory.clone(), directory.join("etc")] {
            let inside = ["hosts.allow", "hosts.deny"].map(|name| place.join(name));
            if inside.iter().any(|path| std::fs::symlink_metadata(path).is_ok()) {
                return Ok(inside.map(Some));
            }
        }
        if kind.or_else(|| kind_of(directory)).is_none() {
            return Err(Failure::Usage(format!(
                "{}: neither hosts.allow nor hosts.deny is in it or in its etc: name the tables, or their directory",
                directory.display()
            )));
        }
    }
    let other = |kind| match kind {
        TableKind::Allow => TableKind::Deny,
        TableKind::Deny => TableKind::Allow,
    };
    let told: Vec<Option<TableKind>> = files.iter().map(|file| kind_of(file)).collect();
    let kinds: Vec<Option<TableKind>> = match told.as_slice() {
        [None, None] => vec![kind, kind.map(other)],
        [first @ Some(_), None] => vec![*first, first.map(other)],
        [None, second @ Some(_)] => vec![second.map(other), *second],
        told => told.iter().map(|told| told.or(kind)).collect(),
    };
    let mut tables = [None, None];
    for (file, kind) in files.iter().zip(kinds) {
        let Some(kind) = kind else {
            return Err(Failure::Usage(format!(
                "{}: its name says neither allow nor deny: add \"--as allow\" or \"--as deny\"",
                file.display()
            )));
        };
        let table = match kind {
            TableKind::Allow => &mut tables[0],
            TableKind::Deny => &mut tables[1],
        };
        if table.replace(file.clone()).is_some() {
            return Err(Failure::Usage(format!(
                "{}: both files are the same table: name one of each",
                file.display()
            )));
        }
    }
    Ok(tables)
}

/// What a file's name says it is.
fn kind_of(file: &Path) -> Option<TableKind> {
    let name = file.file_name()?.to_string_lossy().to_ascii_lowercase();
    match (name.contains("allow"), name.contains("deny")) {
        (true, false) => Some(TableKind::Allow),
        (false, true) => Some(TableKind::Deny),
        (true, true) | (false, false) => None,
    }
}

/// Refuses files that only root may read: of them nothing can be said.
fn readable(texts: &Texts) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let denied = |(path, text): (&PathBuf, &FileText)| {
        matches!(text, FileText::Unreadable(why) if why == "Permission denied").then(|| path.clone())
    };
    let tables = [&texts.allow, &texts.deny].into_iter().map(|(path, text)| (path.as_ref(), text));
    match tables.chain(&texts.files).find_map(denied) {
        None => Ok(()),
        Some(path) => Err(Failure::Usage(format!(
            "{}: Permission denied: run \"tcpw check\" as a user who may read it",
            path.display()
        ))),
    }
}
