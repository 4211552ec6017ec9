//! What both tables together come to: nobody is refused, or nobody gets in.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use super::place::{Places, whole};
use crate::{
    compile::Unreachable,
    evaluate::{daemon_matches, list_matches, request::RuleIndex},
    parse::{
        code::Code,
        diagnostic::{Finding, Sink},
        rule::{
            Daemon, HostPattern, OptionField, Rule, RuleOption, TableEnd, TableKind, Tables, Text,
            TextPattern,
        },
        text::{FileText, Texts},
    },
};

/// Findings on what both tables come to.
pub(super) fn check(
    tables: &Tables,
    unreachable: &[Unreachable],
    texts: &Texts,
    places: &mut Places<'_>,
    sink: &mut Sink,
) {
    let refuses = |rule: &Rule, kind| leads_to(rule, kind) == TableKind::Deny;
    let nobody_is_refused = !tables.allow.rules.iter().any(|rule| refuses(rule, TableKind::Allow))
        && !tables.deny.rules.iter().any(|rule| refuses(rule, TableKind::Deny))
        && tables.deny.end == TableEnd::Complete;
    if nobody_is_refused && texts.deny.1 != FileText::Missing {
        let consequence = "every client may reach every daemon";
        let finding = Finding::new(Code::H143, "no rule refuses anybody", "", consequence);
        sink.push(finding.at(whole(&texts.deny.0), b""));
    }
    let Some(wall) = tables.deny.rules.iter().position(refuses_everybody) else { return };
    let matchless: HashSet<RuleIndex> =
        unreachable.iter().filter(|it| it.by.is_empty()).map(|it| it.rule).collect();
    let is_matchless = |table, index| matchless.contains(&RuleIndex { table, index });
    let allow = tables.allow.rules.iter().enumerate().map(|(index, rule)| (TableKind::Allow, index, rule));
    let before =
        tables.deny.rules[..wall].iter().enumerate().map(|(index, rule)| (TableKind::Deny, index, rule));
    let doors: Vec<&Rule> = allow
        .chain(before)
        .filter(|(kind, index, rule)| {
            leads_to(rule, *kind) == TableKind::Allow && !is_matchless(*kind, *index)
        })
        .map(|(_, _, rule)| rule)
        .collect();
    let finding = if doors.is_empty() {
        everybody(&texts.allow.0)
    } else if doors.iter().any(|rule| is_for_ssh(rule)) {
        return;
    } else {
        ssh(&texts.allow.0)
    };
    sink.push(places.at_rule(finding, &tables.deny.rules[wall]));
}

fn everybody(allow: &Arc<PathBuf>) -> Finding {
    Finding::new(
        Code::W142,
        "everybody is refused, and no rule lets anybody in",
        "a rule in hosts.allow for whoever administers this host",
        "no connection to any daemon is accepted, that of the administrator included",
    )
    .advise("sshd: 192.0.2.0/24 in hosts.allow, with your own network")
    .relate(whole(allow), "no rule here lets anybody in")
}

fn ssh(allow: &Arc<PathBuf>) -> Finding {
    Finding::new(
        Code::H144,
        "everybody is refused, and no rule lets anybody use ssh",
        "",
        "who administers this host through ssh is locked out",
    )
    .advise("sshd: 192.0.2.0/24 in hosts.allow, with your own network")
    .relate(whole(allow), "no rule here is for sshd")
}

/// What a match of a rule comes to.
pub(super) fn leads_to(rule: &Rule, kind: TableKind) -> TableKind {
    for OptionField { option, .. } in &rule.options {
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

/// `ALL: ALL`.
fn refuses_everybody(rule: &Rule) -> bool {
    let all_daemons = rule
        .daemons
        .patterns
        .iter()
        .any(|token| token.server.is_none() && matches!(token.daemon, Daemon::Name(TextPattern::All)));
    let all_clients = rule.clients.patterns.iter().any(|token| {
        token.user.is_none() && matches!(token.host, HostPattern::Text { pattern: TextPattern::All, .. })
    });
    let is_sure = rule.daemons.except.is_none() && rule.clients.except.is_none();
    is_sure && all_daemons && all_clients && leads_to(rule, TableKind::Deny) == TableKind::Deny
}

/// Whether the daemon list may take in the ssh daemon.
fn is_for_ssh(rule: &Rule) -> bool {
    let names: [Text; 2] = [(*b"sshd").into(), (*b"ssh").into()];
    list_matches(&rule.daemons, |token| daemon_matches(&token.daemon, &names, Some(22)))
}
