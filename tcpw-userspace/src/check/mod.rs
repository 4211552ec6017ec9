//! What is wrong with the tables as a whole.
//!
//! In: the texts, and what this machine says of files and users. Out: every diagnostic, the
//! parser's and those that need more than one line: rules nothing reaches, lockouts, files
//! others may write. Invariant: nothing is looked up and no command is run; a rule is
//! called unreachable only if it is.

mod commands;
mod configured;
pub mod facts;
mod files;
pub mod foresee;
mod group;
mod idle;
mod names;
mod own_names;
mod place;
mod reached;
pub mod registry;
mod rules;
mod verdicts;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    compile,
    parse::{
        self,
        code::Code,
        diagnostic::{Diagnostic, Severity, Sink},
        rule::Tables,
        text::Texts,
    },
};
use facts::Facts;
use place::Places;

/// What is checked.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Both tables are at hand; else what one table says of the other is left out.
    pub both: bool,
    /// These are the tables in use, so that it matters which users may write them and what commands may do.
    pub in_use: bool,
}

/// What the check found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The rules.
    pub tables: Tables,
    /// Everything worth saying, by file and line: hosts.allow, hosts.deny, pattern files.
    pub diagnostics: Vec<Diagnostic>,
}

/// How many of each there are, those that are not listed included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Errors.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// Hints.
    pub hints: usize,
}

impl Counts {
    /// Counts diagnostics.
    pub fn of(diagnostics: &[Diagnostic]) -> Self {
        let mut counts = Self::default();
        for diagnostic in diagnostics {
            *match diagnostic.severity {
                Severity::Error => &mut counts.errors,
                Severity::Warning => &mut counts.warnings,
                Severity::Hint => &mut counts.hints,
            } += 1 + diagnostic.more;
        }
        counts
    }
}

/// Checks the tables and the pattern files.
pub fn check(texts: &Texts, facts: &dyn Facts, scope: Scope) -> Checked {
    check_parsed(texts, parse::parse(texts), facts, scope)
}

/// As [`check`], with what [`parse::parse`] made of the texts.
pub fn check_parsed(texts: &Texts, parsed: parse::Parsed, facts: &dyn Facts, scope: Scope) -> Checked {
    let parse::Parsed { tables, mut diagnostics } = parsed;
    let mut sink = Sink::default();
    let mut places = Places::new(texts);
    let unreachable = compile::unreachable(&tables);
    names::judge(facts, scope, &mut diagnostics);
    own_names::check(&tables, (facts, scope), &mut diagnostics, &mut places, &mut sink);
    rules::leave_out_hints(&tables, &unreachable, &mut diagnostics);
    rules::leave_out_hosts(&tables.deny, &mut diagnostics);
    rules::check(&tables, &unreachable, &diagnostics, &mut places, &mut sink);
    commands::check(&tables, facts, &mut places, &mut sink);
    commands::foresee(&tables, facts, scope, &mut places, &mut sink);
    let templates: Vec<_> = diagnostics
        .iter()
        .filter(|it| it.code == Code::W170.as_str())
        .map(|it| Arc::clone(&it.origin.path))
        .collect();
    let is_template = !templates.is_empty();
    // Lines of a template's own language are no rules.
    diagnostics.retain(|it| it.code != Code::E005.as_str() || !templates.contains(&it.origin.path));
    if !is_template {
        // hosts.allow alone may hold the whole policy; hosts.deny alone says little of which clients get in.
        let has_allow = !texts.allow.0.as_os_str().is_empty();
        if has_allow {
            let is_told = idle::check(&tables, &unreachable, scope, &mut places, &mut sink);
            let has_ssh = !scope.in_use || names::has_ssh(facts);
            let subject = verdicts::Subject {
                tables: &tables,
                unreachable: &unreachable,
                texts,
                scope,
                has_ssh,
                is_told,
            };
            verdicts::check(&subject, &mut diagnostics, &mut places, &mut sink);
        }
    }
    files::check(texts, facts, scope, &mut diagnostics, &mut sink);
    diagnostics.extend(sink.into_found());
    idle::leave_out(&mut diagnostics);
    sort(&mut diagnostics, texts);
    group::group(&mut diagnostics);
    reached::tell(&tables, texts, &mut diagnostics);
    Checked { tables, diagnostics }
}

/// By file, then line: hosts.allow, hosts.deny, pattern files.
fn sort(diagnostics: &mut [Diagnostic], texts: &Texts) {
    let tables = [texts.allow.0.as_path(), texts.deny.0.as_path()];
    let paths = tables.into_iter().chain(texts.files.keys().map(std::path::PathBuf::as_path));
    let mut ranks: BTreeMap<&Path, usize> = BTreeMap::new();
    for (rank, path) in paths.enumerate() {
        ranks.entry(path).or_insert(rank);
    }
    diagnostics.sort_by_key(|it| {
        let rank = ranks.get(it.origin.path.as_path()).copied().unwrap_or(usize::MAX);
        (rank, it.origin.line, it.origin.column)
    });
}
