//! The evaluator: rules and a request to libwrap's verdict.
//!
//! In: parsed tables and one request. Out: a [`Judgement`]. No I/O: names, users, netgroups,
//! banners and the results of commands come through [`Lookup`].
//! Invariant: the compiler calls the same functions ([`list_matches`],
//! [`daemon_matches`], [`outcome_of`], ...) and has no second implementation of them.
//! Source: tcp_wrappers 7.6.q `hosts_access.c`, `hosts_access()`.
#![forbid(unsafe_code)]

mod expand;
mod glob;
mod host;
mod index;
pub mod judgement;
mod observe;
mod options;
mod proven;
pub mod request;
mod self_check;
mod subject;
mod text;
mod unknown;

pub use host::{Host, host_matches, host_matches_unnamed};
pub use index::IndexedTables;
pub use observe::{Miss, Observer};
pub use options::{Consequences, consequences_of, consequences_of_options, outcome_of, outcome_of_options};
pub use proven::{ByNames, decide_by_names};
pub use self_check::{SelfCheck, SelfChecked};
pub use unknown::Unknown;

pub use crate::parse::numeric_host;
pub(crate) use crate::parse::quoted_bytes;
use crate::parse::rule::{
    ClientPattern, Daemon, DaemonPattern, HostPattern, List, PlainRule, Rule, RuleEntry, Table, TableEnd,
    Tables, Text,
};
use host::host_matches_by;
use index::{CandidateRules, Index};
use observe::Nobody;
use options::{Message, Options, RuleResult};
use request::{AccessRequest, Judgement, Lookup, Reason, RuleIndex, Verdict};
use subject::Subject;

/// Whether a list matches, given how one of its patterns does.
///
/// Patterns after a matching one are not asked.
pub fn list_matches<P>(list: &List<P>, matches: impl FnMut(&P) -> bool) -> bool {
    search_list(list, matches).is_match()
}

/// The result of matching a list.
struct ListMatch<'a, P> {
    /// The matching token of the list itself.
    token: Option<&'a P>,
    /// The matching token behind its first EXCEPT.
    except: Option<&'a P>,
    /// Lists between EXCEPTs that match in a row.
    depth: usize,
}

impl<P> ListMatch<'_, P> {
    fn is_match(&self) -> bool {
        // Right-associative, without recursion.
        self.depth % 2 == 1
    }
}

fn search_list<P>(list: &List<P>, mut matches: impl FnMut(&P) -> bool) -> ListMatch<'_, P> {
    let mut found = ListMatch { token: None, except: None, depth: 0 };
    let mut rest = Some(list);
    while let Some(part) = rest
        && let Some(token) = part.patterns.iter().find(|pattern| matches(pattern))
    {
        match found.depth {
            0 => found.token = Some(token),
            1 => found.except = Some(token),
            _ => {}
        }
        found.depth += 1;
        rest = part.except.as_deref();
    }
    found
}

/// Whether the daemon part of a token matches one of the names, or the port.
///
/// If there are no names, only a pattern that matches every name matches.
pub fn daemon_matches(daemon: &Daemon, names: &[Text], port: Option<u16>) -> bool {
    match daemon {
        Daemon::Never => false,
        Daemon::Port(wanted) => port == Some(*wanted),
        Daemon::Name(pattern) if names.is_empty() => pattern.matches_every_name(),
        Daemon::Name(pattern) => names.iter().any(|name| pattern.matches(name)),
    }
}

/// libwrap's verdict on a request.
pub fn evaluate(tables: &Tables, request: &AccessRequest<'_>, lookup: &dyn Lookup) -> Judgement {
    evaluate_with(tables, request, lookup, &mut Nobody)
}

/// As [`evaluate`]; `observer` is told why rules do not match.
pub fn evaluate_with(
    tables: &Tables,
    request: &AccessRequest<'_>,
    lookup: &dyn Lookup,
    observer: &mut dyn Observer,
) -> Judgement {
    search(tables, &Index::default(), request, lookup, observer)
}

fn search(
    tables: &Tables,
    index: &Index,
    request: &AccessRequest<'_>,
    lookup: &dyn Lookup,
    observer: &mut dyn Observer,
) -> Judgement {
    let mut search = RuleSearch {
        tables,
        index,
        subject: Subject::new(request, lookup),
        options: Options::default(),
        observer,
        warnings: Vec::new(),
    };
    let (decision, rule) = match search.table(&tables.allow) {
        TableResult::Yes(decision, rule) => (decision, Some(rule)),
        TableResult::No | TableResult::Error => match search.table(&tables.deny) {
            TableResult::Yes(decision, rule) => (decision, Some(rule)),
            TableResult::No => ((Verdict::Allow, Reason::NoRule), None),
            TableResult::Error => ((Verdict::Refuse, Reason::TableBroken), None),
        },
    };
    let RuleSearch { options: Options { effects, severity, .. }, warnings, subject, .. } = search;
    let client = subject.client_text().into();
    Judgement { verdict: decision.0, reason: decision.1, rule, severity, client, effects, warnings }
}

/// The result of searching one table.
enum TableResult {
    /// A rule, and what it decides.
    Yes((Verdict, Reason), RuleIndex),
    /// None.
    No,
    /// The table could not be read to its end.
    Error,
}

/// The state while one request is judged.
struct RuleSearch<'a> {
    tables: &'a Tables,
    index: &'a Index,
    subject: Subject<'a>,
    options: Options,
    observer: &'a mut dyn Observer,
    warnings: Vec<String>,
}

impl RuleSearch<'_> {
    fn table(&mut self, table: &Table) -> TableResult {
        let mut complaints = table.complaints.iter().peekable();
        let mut rules = CandidateRules::new(table, self.index);
        while let Some((index, rule)) = rules.next(&self.subject) {
            while let Some(complaint) = complaints.next_if(|complaint| complaint.before <= index) {
                self.warnings.push(complaint.text.clone());
            }
            let position = index;
            let index = RuleIndex { table: table.kind, index };
            let is_match = match rule {
                RuleEntry::Plain(plain) => match self.subject.client.is_in(plain.net, plain.bits) {
                    Some(false) => {
                        self.plain_missed(plain, index);
                        Some(false)
                    }
                    Some(true) => self.plain_matches(plain),
                    None => None,
                },
                RuleEntry::Kept(_) => None,
            };
            let rule = match is_match {
                Some(false) => continue,
                // No option is to be done, and nothing else is asked of it.
                Some(true) => None,
                None => {
                    let rule = table.rules.get(position).filter(|rule| self.matches(table, rule, index));
                    let Some(rule) = rule else { continue };
                    Some(rule)
                }
            };
            let fields = rule.as_deref().map_or(&[][..], |rule| &rule.options);
            let Self { subject, options, warnings, .. } = self;
            let outcome = options.process(fields, index, subject, &mut |message| {
                let place = rule.as_deref().map(|rule| context(table, rule)).unwrap_or_default();
                warnings.push(match message {
                    Message::Warning(text) => format!("warning: {place}{text}"),
                    Message::Error(text) => format!("error: {place}{text}"),
                });
            });
            return match outcome {
                RuleResult::Decide(verdict, reason) => TableResult::Yes((verdict, reason), index),
                RuleResult::EndTable => {
                    self.observer.missed(index, Miss::Aclexec);
                    TableResult::No
                }
            };
        }
        self.warnings.extend(complaints.map(|complaint| complaint.text.clone()));
        match table.end {
            TableEnd::Complete => TableResult::No,
            TableEnd::Broken => TableResult::Error,
        }
    }

    /// Tells the observer of a plain rule that does not match the client: it needs no look-up and warns of nothing.
    fn plain_missed(&mut self, plain: PlainRule<'_>, index: RuleIndex) {
        let Self { subject, observer, .. } = self;
        if !observer.listens() {
            return;
        }
        let port = subject.request.server_port;
        let daemons =
            search_list(plain.daemons, |token| daemon_matches(&token.daemon, subject.daemons(), port));
        let miss = match daemons.token.filter(|_| daemons.is_match()) {
            Some(_) => Miss::Client,
            None => daemons.except.map_or(Miss::Daemon, Miss::DaemonExcept),
        };
        observer.missed(index, miss);
    }

    /// Whether a plain rule for the client matches; `None` where an observer is told of it, a host has to be looked at, or
    /// it has an option: then the rule itself is made and tried.
    fn plain_matches(&self, plain: PlainRule<'_>) -> Option<bool> {
        let Self { subject, observer, .. } = self;
        let mut lists = std::iter::successors(Some(&**plain.daemons), |list| list.except.as_deref());
        let has_server = lists.any(|list| list.patterns.iter().any(|token| token.server.is_some()));
        if observer.listens() || has_server || !plain.options.is_empty() {
            return None;
        }
        let port = subject.request.server_port;
        Some(list_matches(plain.daemons, |token| daemon_matches(&token.daemon, subject.daemons(), port)))
    }

    fn matches(&mut self, table: &Table, rule: &Rule, index: RuleIndex) -> bool {
        let Self { tables, index: indexed, subject, observer, warnings, .. } = self;
        let mut host = |pattern: &HostPattern, end: &Host<'_>| {
            host_matches_by(pattern, end, &tables.files, indexed, &mut |path, why| {
                warnings.push(format!("warning: {}open {}: {why}", context(table, rule), path.display()));
            })
        };
        let port = subject.request.server_port;
        let daemons = search_list(&rule.daemons, |token: &DaemonPattern| {
            daemon_matches(&token.daemon, subject.daemons(), port)
                && token.server.as_ref().is_none_or(|pattern| host(pattern, &subject.server))
        });
        let Some(daemon) = daemons.token.filter(|_| daemons.is_match()) else {
            observer.missed(index, daemons.except.map_or(Miss::Daemon, Miss::DaemonExcept));
            return false;
        };
        let clients = search_list(&rule.clients, |token: &ClientPattern| {
            host(&token.host, &subject.client)
                && token.user.as_ref().is_none_or(|pattern| subject.user_matches(pattern))
        });
        let Some(client) = clients.token.filter(|_| clients.is_match()) else {
            observer.missed(index, clients.except.map_or(Miss::Client, Miss::ClientExcept));
            return false;
        };
        observer.matched(index, daemon, client);
        true
    }
}

/// The place in the tables, as libwrap's messages begin with it.
fn context(table: &Table, rule: &Rule) -> String {
    format!("{}, line {}: ", table.path.display(), rule.number)
}

#[cfg(test)]
mod tests;
