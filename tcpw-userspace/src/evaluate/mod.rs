//! The reference: rules and a request to libwrap's verdict.
//!
//! In: parsed tables and one request. Out: a [`Judgement`]. No I/O: names, users
//! and netgroups come through [`Lookup`].
//! Invariant: what the compiler shares with this room ([`list_matches`],
//! [`daemon_matches`], [`outcome_of`], ...) is the only opinion on it.
//! Source: tcp_wrappers 7.6.q `hosts_access.c`, `hosts_access()`.
#![forbid(unsafe_code)]

mod address;
mod glob;
mod host;
mod options;
pub mod request;
mod text;
mod unknown;

pub use address::numeric_host;
pub use host::{Host, host_matches, host_matches_unnamed};
pub use options::outcome_of;
pub use unknown::Unknown;

use std::cell::OnceCell;

use crate::parse::rule::{
    ClientPattern, Daemon, DaemonPattern, HostPattern, List, Rule, Table, TableEnd, Tables, Text,
};
use options::{Effect, Options};
use request::{Judgement, Lookup, Reason, Request, RuleIndex, Verdict};

/// Whether a list matches, given how one of its patterns does.
///
/// Patterns after a matching one are not asked.
pub fn list_matches<P>(list: &List<P>, mut matches: impl FnMut(&P) -> bool) -> bool {
    // Right-associative, without recursion: the parity of the lists that match in a row.
    let parts = std::iter::successors(Some(list), |list| list.except.as_deref());
    let matching = parts.take_while(|part| part.patterns.iter().any(&mut matches)).count();
    matching % 2 == 1
}

/// Whether the daemon part of a token matches one of the names, or the port.
///
/// Without names only a pattern that every name matches does.
pub fn daemon_matches(daemon: &Daemon, names: &[Text], port: Option<u16>) -> bool {
    match daemon {
        Daemon::Never => false,
        Daemon::Port(wanted) => port == Some(*wanted),
        Daemon::Name(pattern) if names.is_empty() => pattern.matches_every_name(),
        Daemon::Name(pattern) => names.iter().any(|name| pattern.matches(name)),
    }
}

/// libwrap's verdict on a request.
pub fn evaluate(tables: &Tables, request: &Request<'_>, lookup: &dyn Lookup) -> Judgement {
    let mut search = Search {
        tables,
        request,
        client: Host::client(request, lookup),
        server: Host::server(request, lookup),
        user: OnceCell::new(),
        options: Options::new(lookup),
        warnings: Vec::new(),
    };
    let (decision, rule) = match search.table(&tables.allow) {
        Found::Yes(decision, rule) => (decision, Some(rule)),
        Found::No | Found::Error => match search.table(&tables.deny) {
            Found::Yes(decision, rule) => (decision, Some(rule)),
            Found::No => ((Verdict::Allow, Reason::NoRule), None),
            Found::Error => ((Verdict::Refuse, Reason::TableBroken), None),
        },
    };
    let Search { options, warnings, .. } = search;
    Judgement { verdict: decision.0, reason: decision.1, rule, severity: options.severity(), warnings }
}

/// What the search of one table finds.
enum Found {
    /// A rule, and what it decides.
    Yes((Verdict, Reason), RuleIndex),
    /// None.
    No,
    /// The table could not be read to its end.
    Error,
}

/// One request on its way through the tables.
struct Search<'a> {
    tables: &'a Tables,
    request: &'a Request<'a>,
    client: Host<'a>,
    server: Host<'a>,
    user: OnceCell<Text>,
    options: Options<'a>,
    warnings: Vec<String>,
}

impl Search<'_> {
    fn table(&mut self, table: &Table) -> Found {
        let mut complaints = table.complaints.iter().peekable();
        for (index, rule) in table.rules.iter().enumerate() {
            while let Some(complaint) = complaints.next_if(|complaint| complaint.before <= index) {
                self.warnings.push(complaint.text.clone());
            }
            if !self.matches(table, rule) {
                continue;
            }
            let (effect, warning) = self.options.process(rule, table.kind);
            self.warnings.extend(warning.map(|text| format!("error: {}{text}", context(table, rule))));
            return match effect {
                Effect::Decide(verdict, reason) => {
                    Found::Yes((verdict, reason), RuleIndex { table: table.kind, index })
                }
                Effect::EndTable => Found::No,
            };
        }
        self.warnings.extend(complaints.map(|complaint| complaint.text.clone()));
        match table.end {
            TableEnd::Complete => Found::No,
            TableEnd::Broken => Found::Error,
        }
    }

    fn matches(&mut self, table: &Table, rule: &Rule) -> bool {
        let Self { tables, request, client, server, user, options, warnings } = self;
        let mut host = |pattern: &HostPattern, end: &Host<'_>| {
            host_matches(pattern, end, &tables.files, &mut |path, why| {
                warnings.push(format!("warning: {}open {}: {why}", context(table, rule), path.display()));
            })
        };
        let mut daemon = |token: &DaemonPattern| {
            daemon_matches(&token.daemon, request.daemons, request.server_port)
                && token.server.as_ref().is_none_or(|pattern| host(pattern, server))
        };
        if !list_matches(&rule.daemons, &mut daemon) {
            return false;
        }
        list_matches(&rule.clients, |token: &ClientPattern| {
            host(&token.host, client)
                && token
                    .user
                    .as_ref()
                    .is_none_or(|pattern| pattern.matches(user.get_or_init(|| options.user())))
        })
    }
}

/// Where libwrap stands, as its messages begin.
fn context(table: &Table, rule: &Rule) -> String {
    format!("{}, line {}: ", table.path.display(), rule.number)
}

#[cfg(test)]
mod tests;
