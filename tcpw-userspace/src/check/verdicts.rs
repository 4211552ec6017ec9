//! What both tables together lead to: no client is refused, or none gets in.
//!
//! A table that was not named is taken as empty.

use std::collections::HashSet;

use super::{
    Scope,
    place::{Places, whole},
};
use crate::{
    compile::Unreachable,
    evaluate::{daemon_matches, list_matches, request::RuleIndex},
    parse::{
        advice::is_placeholder,
        code::Code,
        diagnostic::{Diagnostic, Finding, Severity, Sink},
        list::{split_at, tokens as list_tokens},
        rule::{
            Daemon, DaemonPattern, HostPattern, List, OptionField, Rule, RuleEntry, RuleOption, Table,
            TableEnd, TableKind, Tables, Text, TextPattern,
        },
        text::{FileText, Texts},
    },
};

/// What is looked at.
pub(super) struct Subject<'a> {
    pub(super) tables: &'a Tables,
    pub(super) unreachable: &'a [Unreachable],
    pub(super) texts: &'a Texts,
    pub(super) scope: Scope,
    /// This machine may have an ssh daemon.
    pub(super) has_ssh: bool,
    /// It was said already that no rule refuses the clients of some rules.
    pub(super) is_told: bool,
}

/// Findings on what both tables lead to; a mistake among those that were said may be why.
pub(super) fn check(
    subject: &Subject<'_>,
    said: &mut [Diagnostic],
    places: &mut Places<'_>,
    sink: &mut Sink,
) {
    let &Subject { tables, unreachable, texts, scope, has_ssh, is_told } = subject;
    let refuses = |table: &Table| {
        table.rules.entries().any(|rule| options_lead_to(rule.options(), table.kind) == TableKind::Deny)
    };
    let nobody_is_refused =
        !refuses(&tables.allow) && !refuses(&tables.deny) && tables.deny.end == TableEnd::Complete;
    if nobody_is_refused && !is_told && texts.deny.1 != FileText::Missing {
        let (path, consequence) = if scope.both {
            (&texts.deny.0, "every client may reach every daemon")
        } else {
            (&texts.allow.0, "without a hosts.deny, which was not named, every client may reach every daemon")
        };
        let finding = Finding::new(Code::H143, "no rule refuses any client", "", consequence);
        sink.push(finding.at(whole(path), b""));
    }
    let matchless: HashSet<RuleIndex> =
        unreachable.iter().filter(|it| it.by.is_empty()).map(|it| it.rule).collect();
    let is_matchless = |table, index| matchless.contains(&RuleIndex { table, index });
    let (mut has_door, mut has_ssh_door) = (false, false);
    let mut wall = None;
    for (kind, index, rule) in numbered(&tables.allow).chain(numbered(&tables.deny)) {
        // A plain rule is for one network: no client of it is a placeholder.
        let is_unfilled = match rule {
            RuleEntry::Plain(_) => false,
            RuleEntry::Kept(rule) if refuses_everybody(rule, kind) => {
                wall = Some(rule);
                break;
            }
            RuleEntry::Kept(rule) => is_unfilled(rule),
        };
        let allows = options_lead_to(rule.options(), kind) == TableKind::Allow;
        if allows && !is_unfilled && !is_matchless(kind, index) {
            has_door = true;
            has_ssh_door |= is_for_ssh(rule.daemons());
        }
    }
    let Some(rule) = wall else { return };
    if !has_door && let Some(mistake) = mistake(tables, rule, said) {
        let (path, line) = (rule.path(), rule.line());
        let refused = format!("as no other rule allows any client, {}:{line} refuses all", path.display());
        mistake.consequence = format!("{}; {refused}", mistake.consequence).into();
        return;
    }
    let finding = if !has_door {
        everybody()
    } else if !has_ssh || has_ssh_door {
        return;
    } else {
        ssh()
    };
    sink.push(places.at_rule(finding, rule));
}

/// The mistake because of which no client gets past a rule that refuses all: mended, it ends that, too.
fn mistake<'a>(tables: &Tables, wall: &Rule, said: &'a mut [Diagnostic]) -> Option<&'a mut Diagnostic> {
    let is_in = |it: &Diagnostic, table: &Table| *it.origin.path == *table.path;
    let is_own = |it: &Diagnostic| it.severity == Severity::Error && it.origin.line == wall.line();
    let is_template = |it: &Diagnostic| it.code == Code::W170.as_str();
    said.iter_mut().find(|it| {
        let is_why = **wall.path() == *tables.deny.path || is_own(it);
        it.severity > Severity::Hint && is_in(it, &tables.allow) && is_why && !is_template(it)
    })
}

fn everybody() -> Finding {
    Finding::new(
        Code::W142,
        "every client is refused, and no rule allows one",
        "a rule in hosts.allow for the network from which this host is administered",
        "no connection to any daemon is accepted, that of the administrator included",
    )
    .advise(OWN_NETWORK)
}

/// What to write.
const OWN_NETWORK: &str = "add a rule to hosts.allow, such as \"sshd: 192.0.2.0/24\", with your own network in place of 192.0.2.0/24";

fn ssh() -> Finding {
    Finding::new(
        Code::W144,
        "every client is refused, and no rule allows a client to use ssh",
        "",
        "an administrator that uses ssh is locked out",
    )
    .advise(OWN_NETWORK)
}

/// What a match of a rule leads to.
pub(super) fn leads_to(rule: &Rule, kind: TableKind) -> TableKind {
    options_lead_to(&rule.options, kind)
}

/// What a match of a rule with these options leads to.
pub(super) fn options_lead_to(options: &[OptionField], kind: TableKind) -> TableKind {
    for OptionField { option, .. } in options {
        match option {
            Err(_) | Ok(RuleOption::Twist(_) | RuleOption::Deny) => return TableKind::Deny,
            Ok(RuleOption::Allow) => return TableKind::Allow,
            Ok(
                RuleOption::Severity(_)
                | RuleOption::Spawn(_)
                | RuleOption::Aclexec(_)
                | RuleOption::Keepalive
                | RuleOption::Linger(_)
                | RuleOption::Rfc931(_)
                | RuleOption::Setenv(_)
                | RuleOption::Nice(_)
                | RuleOption::Umask(_)
                | RuleOption::User(_)
                | RuleOption::Group(_)
                | RuleOption::Banners(_),
            ) => {}
        }
    }
    kind
}

/// The rules of a table with their numbers.
fn numbered(table: &Table) -> impl Iterator<Item = (TableKind, usize, RuleEntry<'_>)> {
    table.rules.entries().enumerate().map(|(index, rule)| (table.kind, index, rule))
}

/// Whether every client of a rule is a placeholder.
fn is_unfilled(rule: &Rule) -> bool {
    let text = &rule.text();
    let colon = split_at(text, b':').map_or(text.len(), |at| at + 1);
    let end = split_at(&text[colon..], b':').map_or(text.len(), |at| colon + at);
    let mut clients = list_tokens(&text[colon..end], 0).map(|(_, word)| word).peekable();
    clients.peek().is_some() && clients.all(is_placeholder)
}

/// `ALL: ALL`.
fn refuses_everybody(rule: &Rule, kind: TableKind) -> bool {
    let all_daemons = rule
        .daemons
        .patterns
        .iter()
        .any(|token| token.server.is_none() && matches!(token.daemon, Daemon::Name(TextPattern::All)));
    let all_clients = rule.clients.patterns.iter().any(|token| token.user.is_none() && is_every(&token.host));
    let is_sure = rule.daemons.except.is_none() && rule.clients.except.is_none();
    is_sure && all_daemons && all_clients && leads_to(rule, kind) == TableKind::Deny
}

/// `ALL`, or `*`, which is the same.
pub(super) fn is_every(host: &HostPattern) -> bool {
    match host {
        HostPattern::Text { pattern: TextPattern::All, .. } => true,
        HostPattern::Text { pattern: TextPattern::Glob(glob), .. } => **glob == *b"*",
        HostPattern::Text { .. }
        | HostPattern::Netgroup(_)
        | HostPattern::File(_)
        | HostPattern::Known
        | HostPattern::Local
        | HostPattern::NetV4 { .. }
        | HostPattern::NetV6 { .. }
        | HostPattern::Never => false,
    }
}

/// Whether the daemon list may take in the ssh daemon.
pub(super) fn is_for_ssh(daemons: &List<DaemonPattern>) -> bool {
    let names: [Text; 2] = [(*b"sshd").into(), (*b"ssh").into()];
    list_matches(daemons, |token| daemon_matches(&token.daemon, &names, Some(22)))
}
