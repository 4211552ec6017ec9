//! Rules that do not open for a listener, because its name is not proven.
//!
//! In: a known listener and the tables in force. Out: a sentence for each such rule, with the setting that would
//! prove the name. No state.

use crate::{
    core::{inventory::KnownListener, policies::Rules},
    evaluate::{daemon_matches, list_matches, outcome_of_options, request::Verdict},
    listeners::Doubt,
    parse::rule::{DaemonPattern, List, RuleEntry, Table, TableKind, Text},
};

/// Most sentences about one listener.
const MOST: usize = 4;

/// What a listener's unproven names do not open, the first few.
pub(super) fn not_opened(known: &KnownListener, rules: &Rules) -> Vec<String> {
    if known.names.is_proven() {
        return Vec::new();
    }
    let tables = rules.tables();
    let mut all = [&tables.allow, &tables.deny]
        .into_iter()
        .flat_map(|table| table.rules.entries().enumerate().map(move |(index, rule)| (index, rule, table)))
        .filter(|(_, rule, table)| allows(*rule, table.kind, rules))
        .filter_map(|(index, rule, table)| sentence(known, rule.daemons(), (table, index)));
    let mut sentences: Vec<String> = all.by_ref().take(MOST).collect();
    if all.next().is_some() {
        sentences
            .push(format!("further rules do not open {}[{}] at {}", known.ident, known.pid, known.local));
    }
    sentences
}

fn allows(rule: RuleEntry<'_>, kind: TableKind, rules: &Rules) -> bool {
    outcome_of_options(rule.options(), kind, &*rules.accounts) == Verdict::Allow
}

/// The sentence on the rule with these daemons, which has an index in a table.
fn sentence(
    known: &KnownListener,
    daemons: &List<DaemonPattern>,
    (table, index): (&Table, usize),
) -> Option<String> {
    let port = known.local.port();
    let matches = |names: &[Text]| {
        // At some address of the server.
        let token = |token: &DaemonPattern| daemon_matches(&token.daemon, names, Some(port));
        list_matches(daemons, token)
    };
    let proven = known.names.proven().to_vec();
    if matches(&proven) || !matches(&known.names.to_vec()) {
        return None;
    }
    let closed = known.claims.iter().find_map(|claim| {
        let doubt = claim.proof.as_ref().err()?;
        let with: Vec<Text> = proven.iter().cloned().chain([claim.name.clone()]).collect();
        matches(&with).then_some((&claim.name, doubt))
    });
    let (name, doubt) = closed?;
    let name = String::from_utf8_lossy(name);
    let line = table.rules.get(index)?.line();
    let table = match table.kind {
        TableKind::Allow => "hosts.allow",
        TableKind::Deny => "hosts.deny",
    };
    let setting = setting(doubt, port);
    Some(format!(
        "{table}:{line} does not open {}[{}] at {}: that it is {name} is not proven, {doubt}; if it is, set {setting} = [{name:?}]",
        known.ident, known.pid, known.local
    ))
}

/// The setting that would prove a name.
fn setting(doubt: &Doubt, port: u16) -> String {
    match doubt {
        Doubt::User(user) => format!("[names.user] {user}"),
        Doubt::Users(_)
        | Doubt::SocketOf(_)
        | Doubt::Changing
        | Doubt::UserNamespace(_)
        | Doubt::SetId
        | Doubt::File(_)
        | Doubt::Cgroup => format!("[names.port] {port}"),
    }
}
