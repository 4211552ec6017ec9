//! Rules of hosts.allow that change nothing: without them the same clients get in.
//!
//! In: the tables. Out: a finding for each rule that names some clients, while no later rule refuses anybody
//! at the daemons it names. Invariant: without the rule every verdict is the same.

use std::{collections::HashSet, sync::Arc};

use super::{
    Scope,
    place::Places,
    verdicts::{is_every, is_for_ssh, options_lead_to},
};
use crate::{
    compile::Unreachable,
    evaluate::request::RuleIndex,
    parse::{
        code::Code,
        diagnostic::{Diagnostic, Finding, Severity, Sink},
        rule::{
            Daemon, DaemonPattern, List, OptionField, Rule, RuleOption, TableEnd, TableKind, Tables,
            TextPattern,
        },
        tokens,
    },
};

/// Finds them; whether there are any.
pub(super) fn check(
    tables: &Tables,
    unreachable: &[Unreachable],
    scope: Scope,
    places: &mut Places<'_>,
    sink: &mut Sink,
) -> bool {
    if tables.deny.end == TableEnd::Broken {
        return false;
    }
    let never: HashSet<RuleIndex> = unreachable.iter().map(|it| it.rule).collect();
    let rules = &tables.allow.rules;
    let mut later = Later::default();
    for rule in tables.deny.rules.entries().filter(|rule| may_refuse(rule.options(), TableKind::Deny)) {
        later.add(rule.daemons());
    }
    let mut found = Vec::new();
    for ((index, rule), stored) in rules.iter().enumerate().zip(rules.entries().map(Some)).rev() {
        let is_read = !never.contains(&RuleIndex { table: TableKind::Allow, index });
        if is_read
            && only_lets_in(&rule)
            && names_some(&rule)
            && !later.lists.iter().any(|other| meet(&rule.daemons, other))
        {
            found.push((index, later.lists.is_empty()));
        }
        if let Some(rule) = stored.filter(|rule| may_refuse(rule.options(), TableKind::Allow)) {
            later.add(rule.daemons());
        }
    }
    let is_any = !found.is_empty();
    for (index, none_refused) in found.into_iter().rev() {
        let Some(rule) = rules.get(index) else { continue };
        sink.push(places.at_rule(idle(&rule, none_refused, scope), &rule));
    }
    is_any
}

/// Leaves out that a rule changes nothing where something else in its line is wrong: only the rule as it was meant
/// tells whether it changes something.
pub(super) fn leave_out(diagnostics: &mut Vec<Diagnostic>) {
    let place = |it: &Diagnostic| (Arc::clone(&it.origin.path), it.origin.line);
    let is_idle = |it: &Diagnostic| it.code == Code::W158.as_str();
    let wrong: HashSet<_> =
        diagnostics.iter().filter(|it| it.severity > Severity::Hint && !is_idle(it)).map(place).collect();
    diagnostics.retain(|it| !is_idle(it) || !wrong.contains(&place(it)));
}

fn idle(rule: &Rule, nobody_is_refused: bool, scope: Scope) -> Finding {
    let daemons: Vec<String> = tokens(&rule.daemons).filter_map(name).take(3).collect();
    let at = if daemons.is_empty() { "its daemons".to_owned() } else { daemons.join(", ") };
    let message = match rule.clients.except {
        Some(_) => format!("this rule keeps no client out: no rule refuses the excepted clients at {at}"),
        None => format!("this rule changes nothing: no rule refuses any other client at {at}"),
    };
    let message = if nobody_is_refused { format!("{message}, nor anywhere") } else { message };
    let daemons = if daemons.is_empty() { "ALL".to_owned() } else { daemons.join(", ") };
    let care = if is_for_ssh(&rule.daemons) {
        "; before that make sure that a rule of hosts.allow allows your own address, or you are locked out"
    } else {
        ""
    };
    let consequence = if scope.both {
        "all other clients are allowed, too, as no rule refuses them"
    } else {
        "hosts.deny was not named, and is taken as empty: all other clients are allowed, too"
    };
    Finding::new(Code::W158, message, "a rule behind it that refuses the others", consequence)
        .advise(format!("to refuse all others, add this rule to hosts.deny: \"{daemons}: ALL\"{care}"))
}

fn name(token: &DaemonPattern) -> Option<String> {
    match &token.daemon {
        Daemon::Name(TextPattern::Exact(name)) => Some(String::from_utf8_lossy(name).into_owned()),
        Daemon::Port(port) => Some(port.to_string()),
        Daemon::Name(
            TextPattern::All
            | TextPattern::Glob(_)
            | TextPattern::Suffix(_)
            | TextPattern::Known
            | TextPattern::Prefix(_)
            | TextPattern::Bracketed(_),
        )
        | Daemon::Never => None,
    }
}

/// Whether a rule does nothing but let in.
fn only_lets_in(rule: &Rule) -> bool {
    rule.options.iter().all(|field| matches!(field.option, Ok(RuleOption::Allow)))
}

/// Whether it is for some clients only: a rule that allows all of them states the default.
fn names_some(rule: &Rule) -> bool {
    let is_all = rule.clients.patterns.iter().any(|token| token.user.is_none() && is_every(&token.host));
    !is_all || rule.clients.except.is_some()
}

/// The daemon lists of rules that may refuse, behind the rule at hand.
#[derive(Default)]
struct Later<'a> {
    lists: Vec<&'a List<DaemonPattern>>,
    known: HashSet<*const List<DaemonPattern>>,
}

impl<'a> Later<'a> {
    fn add(&mut self, list: &'a List<DaemonPattern>) {
        // Plain rules share theirs.
        if self.known.insert(list) {
            self.lists.push(list);
        }
    }
}

/// Whether a match of a rule with these options may come to a refusal.
fn may_refuse(options: &[OptionField], kind: TableKind) -> bool {
    options_lead_to(options, kind) == TableKind::Deny
        || options.iter().any(|field| matches!(field.option, Ok(RuleOption::Aclexec(_))))
}

/// Whether one daemon may be on the daemon lists of both.
fn meet(one: &List<DaemonPattern>, other: &List<DaemonPattern>) -> bool {
    one.patterns.iter().any(|a| other.patterns.iter().any(|b| may_be_one(&a.daemon, &b.daemon)))
}

fn may_be_one(one: &Daemon, other: &Daemon) -> bool {
    match (one, other) {
        (Daemon::Never, _) | (_, Daemon::Never) => false,
        (Daemon::Port(one), Daemon::Port(other)) => one == other,
        (Daemon::Name(TextPattern::Exact(one)), Daemon::Name(TextPattern::Exact(other))) => {
            one.eq_ignore_ascii_case(other)
        }
        (Daemon::Port(_) | Daemon::Name(_), Daemon::Port(_) | Daemon::Name(_)) => true,
    }
}
