//! Rules for a name that a program has in its own configuration, and tcpw does not give it.
//!
//! In: the rules in use, the configurations of programs, the names of the settings. Out: for each such name a warning
//! with the setting that mends it. Invariant: nothing is said of a name that a program of this machine, or a setting,
//! has.

use super::{
    Scope,
    configured::{Configured, configured},
    facts::Facts,
    names::is_of_this_machine,
    place::Places,
};
use crate::parse::{
    code::Code,
    diagnostic::{Diagnostic, Finding, Sink},
    rule::{Daemon, DaemonPattern, List, Tables, TextPattern},
};

/// Adds a warning on the first rule of each table for such a name, in place of what was said of the word.
pub(super) fn check(
    tables: &Tables,
    (facts, scope): (&dyn Facts, Scope),
    diagnostics: &mut Vec<Diagnostic>,
    places: &mut Places<'_>,
    sink: &mut Sink,
) {
    if !scope.in_use {
        return;
    }
    let is_known = |it: &Configured| {
        let is_set = facts.names().iter().any(|name| name.eq_ignore_ascii_case(&it.name));
        is_set || is_of_this_machine(facts, &it.name)
    };
    let all: Vec<Configured> = configured(facts).into_iter().filter(|it| !is_known(it)).collect();
    for table in [&tables.allow, &tables.deny] {
        let mut left: Vec<&Configured> = all.iter().collect();
        for (index, rule) in table.rules.entries().enumerate() {
            if left.is_empty() {
                break;
            }
            let here = left.extract_if(.., |it| token(rule.daemons(), &it.name).is_some());
            for it in here.collect::<Vec<_>>() {
                let span = token(rule.daemons(), &it.name).map(|token| token.span);
                let Some((rule, span)) = table.rules.get(index).zip(span) else { continue };
                let origin = rule.place(span);
                let said = [Code::H100, Code::W101, Code::H102, Code::H172].map(Code::as_str);
                diagnostics.retain(|known| {
                    let is_there = (known.origin.line, known.origin.column) == (origin.line, origin.column);
                    !(is_there && known.origin.path == origin.path && said.contains(&known.code))
                });
                sink.push(places.at(finding(it), origin));
            }
        }
    }
}

fn finding(it: &Configured) -> Finding {
    let Configured { name, program, file, setting } = it;
    let message = format!(
        "{program} asks libwrap as {name:?} (from {}): tcpw does not know it by this name",
        file.display()
    );
    Finding::new(Code::W101, message, "a setting that gives the name", "tcpw matches no daemon of this name")
        .advise(format!("in /etc/tcpw.toml, set {setting}"))
}

/// A token that is this name.
fn token<'a>(list: &'a List<DaemonPattern>, name: &str) -> Option<&'a DaemonPattern> {
    let is_it = |token: &&DaemonPattern| match &token.daemon {
        Daemon::Name(TextPattern::Exact(text)) => text.eq_ignore_ascii_case(name.as_bytes()),
        Daemon::Name(_) | Daemon::Port(_) | Daemon::Never => false,
    };
    list.patterns.iter().find(is_it).or_else(|| token(list.except.as_deref()?, name))
}
