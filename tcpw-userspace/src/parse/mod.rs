//! Text to rules.
//!
//! In: the text of both tables and of the pattern files they name. Out:
//! [`Tables`] and every diagnostic. No I/O.
//! Invariant: linear in the size of the texts; no input panics.
//! Source: tcp_wrappers 7.6.q `hosts_access.c`, `options.c`, `misc.c`.
#![forbid(unsafe_code)]

pub(crate) mod advice;
pub mod code;
pub mod diagnostic;
mod display;
pub(crate) mod lexer;
pub(crate) mod line_starts;
pub(crate) mod list;
pub(crate) mod lookalike;
mod nesting;
pub(crate) mod number;
pub(crate) mod options;
pub(crate) mod pattern;
mod pattern_file;
pub mod rule;
mod rules;
mod table;
mod table_text;
pub mod text;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use diagnostic::{Diagnostic, Sink};
pub use display::numeric_host;
pub(crate) use display::quoted_bytes;
use rule::{DaemonPattern, HostPattern, List, Rule, TableKind, Tables};
pub(crate) use table::plain;
use table::{PlainLines, Trial};
use text::Texts;

/// What the parser made of the texts.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The rules.
    pub tables: Tables,
    /// Everything worth saying about them, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses both tables and the pattern files.
///
/// Every text gives rules: a faulty one those that libwrap would see.
pub fn parse(texts: &Texts) -> Parsed {
    read(texts, Trial::No, PlainLines::Taken)
}

/// As [`parse`], with every line read by the parser of all lines: for tests, which hold it against the other.
#[doc(hidden)]
pub fn parse_slowly(texts: &Texts) -> Parsed {
    read(texts, Trial::No, PlainLines::Left)
}

/// The rules alone, as [`parse`] gives them: no fix is tried out, which takes most of its time.
pub fn tables(texts: &Texts) -> Tables {
    read(texts, Trial::Yes, PlainLines::Taken).tables
}

fn read(texts: &Texts, trial: Trial, plain: PlainLines) -> Parsed {
    let mut diagnostics = Sink::default();
    let mut interfaces = pattern::Interfaces::new(&texts.files);
    let mut read = |kind, (path, text): &(_, _)| {
        table::parse(kind, path, text, (trial, plain), &mut interfaces, &mut diagnostics)
    };
    let allow = read(TableKind::Allow, &texts.allow);
    let deny = read(TableKind::Deny, &texts.deny);
    let files = pattern_file::parse(&texts.files, &mut interfaces, &mut diagnostics);
    let mut tables = Tables { allow, deny, files };
    tables.files.extend(interfaces.into_files());
    nesting::check(&tables, &mut diagnostics);
    Parsed { tables, diagnostics: diagnostics.into_found() }
}

/// The files the tables depend on: the pattern files they name, nested ones included
/// as far as they have been read, and the directory in /sys/class/net of every
/// interface that a link-local pattern names (it matches nothing without it).
///
/// Read them, parse again, until nothing new is named.
pub fn pattern_files(tables: &Tables) -> BTreeSet<PathBuf> {
    let mut paths: BTreeSet<PathBuf> = tables.files.keys().cloned().collect();
    let nested = tables.files.values().flat_map(|file| file.patterns.iter().map(|(_, host)| host));
    paths.extend(rule_hosts(tables).chain(nested).filter_map(as_file).map(Path::to_owned));
    paths
}

/// The texts of a rule's option fields, trimmed and without the backslashes before colons.
pub(crate) fn option_texts(rule: &Rule) -> Vec<Vec<u8>> {
    let text = rule.text();
    let colon = |start: usize| Some(start + list::split_at(&text[start..], b':')? + 1);
    let base = colon(0).and_then(colon);
    base.map_or_else(Vec::new, |base| {
        options::parse(&text, base).into_iter().map(|field| field.text).collect()
    })
}

/// The pattern file that a pattern is.
fn as_file(host: &HostPattern) -> Option<&Path> {
    if let HostPattern::File(path) = host { Some(path) } else { None }
}

/// Every host pattern of the rules.
fn rule_hosts(tables: &Tables) -> impl Iterator<Item = &HostPattern> {
    // A plain rule names no file.
    tables.allow.rules.kept().chain(tables.deny.rules.kept()).flat_map(|rule| {
        let servers = tokens(&rule.daemons).filter_map(|token: &DaemonPattern| token.server.as_ref());
        servers.chain(tokens(&rule.clients).map(|token| &token.host))
    })
}

/// Every token of a list, the excepted ones included.
pub(crate) fn tokens<P>(list: &List<P>) -> impl Iterator<Item = &P> {
    let parts = std::iter::successors(Some(list), |list| list.except.as_deref());
    parts.flat_map(|list| &list.patterns)
}
