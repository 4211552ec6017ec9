//! Rules whose daemon does not listen, and listeners that no rule is for.

use std::collections::BTreeMap;

use super::{Facts, Found, Weight, few, judged};
use crate::{
    control::ListenerStatus,
    parse::{
        quoted_bytes,
        rule::{Daemon, DaemonPattern, Tables, TextPattern},
        tokens,
    },
};

pub(super) fn check(facts: &Facts) -> Vec<Found> {
    let (Some(_), Some(tables)) = (&facts.status, &facts.tables) else { return Vec::new() };
    let listeners: Vec<&ListenerStatus> = judged(facts).collect();
    let mut found = without_listener(tables, &listeners);
    found.extend(without_rule(&listeners));
    found
}

/// Names in daemon lists that nothing which listens has.
fn without_listener(tables: &Tables, listeners: &[&ListenerStatus]) -> Vec<Found> {
    let has = |name: &[u8]| {
        listeners.iter().flat_map(|it| &it.names).any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    };
    let mut missing: BTreeMap<&[u8], (String, usize)> = BTreeMap::new();
    for table in [&tables.allow, &tables.deny] {
        for (index, entry) in table.rules.entries().enumerate() {
            for name in tokens(entry.daemons()).filter_map(whole_name) {
                if let Some((_, count)) = missing.get_mut(name) {
                    *count += 1;
                } else if !has(name)
                    && let Some(rule) = table.rules.get(index)
                {
                    missing.insert(name, (format!("{}:{}", rule.path().display(), rule.line()), 1));
                }
            }
        }
    }
    missing
        .into_iter()
        .map(|(name, (place, count))| Found {
            weight: Weight::Note,
            what: format!(
                "nothing that listens is called {} ({place}{})",
                quoted_bytes(name),
                if count > 1 { format!(", and {} more rules", count - 1) } else { String::new() }
            ),
            consequence: "the rule matches no connection now".into(),
            advice:
                "\"tcpw status\" shows the names; a rule for a daemon that is started later is right as it is"
                    .into(),
        })
        .collect()
}

fn whole_name(token: &DaemonPattern) -> Option<&[u8]> {
    if let Daemon::Name(TextPattern::Exact(name)) = &token.daemon { Some(name) } else { None }
}

/// Listeners that everybody may reach.
fn without_rule(listeners: &[&ListenerStatus]) -> Vec<Found> {
    let is_open = |it: &&&ListenerStatus| it.policy == "allows all" && !it.local.ip().is_loopback();
    let open: Vec<String> =
        listeners.iter().filter(is_open).map(|it| format!("{} at {}", it.ident, it.local)).collect();
    if open.is_empty() {
        return Vec::new();
    }
    vec![Found {
        weight: Weight::Warning,
        what: format!("no rule refuses any client of {}", few(&open)),
        consequence: "everybody may connect".into(),
        advice: "end hosts.deny with \"ALL: ALL\", and allow what is wanted in hosts.allow".into(),
    }]
}
