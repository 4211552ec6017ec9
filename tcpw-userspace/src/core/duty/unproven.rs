//! Rules that do not open for a listener, because its name is not proven.
//!
//! In: a known listener and the tables in force. Out: a sentence for each such rule, with the setting that would
//! prove the name. No state.

use crate::{
    core::{inventory::KnownListener, policies::Rules},
    evaluate::{daemon_matches, list_matches, outcome_of, request::Verdict},
    listeners::Doubt,
    parse::rule::{DaemonPattern, Rule, TableKind, Text},
};

/// Most sentences about one listener.
const MOST: usize = 4;

/// What a listener's unproven names do not open, the first few.
pub(super) fn not_opened(known: &KnownListener, rules: &Rules) -> Vec<String> {
    if known.names.is_proven() {
        return Vec::new();
    }
    let tables = rules.tables();
    let all = [&tables.allow, &tables.deny]
        .into_iter()
        .flat_map(|table| table.rules.iter().map(move |rule| (rule, table.kind)))
        .filter(|(rule, kind)| outcome_of(rule, *kind, &*rules.accounts) == Verdict::Allow)
        .filter_map(|(rule, kind)| sentence(known, &rule, kind));
    all.take(MOST).collect()
}

fn sentence(known: &KnownListener, rule: &Rule, kind: TableKind) -> Option<String> {
    let port = known.local.port();
    let matches = |names: &[Text]| {
        // At some address of the server.
        let token = |token: &DaemonPattern| daemon_matches(&token.daemon, names, Some(port));
        list_matches(&rule.daemons, token)
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
    let table = match kind {
        TableKind::Allow => "hosts.allow",
        TableKind::Deny => "hosts.deny",
    };
    let setting = setting(doubt, port);
    Some(format!(
        "{table}:{} does not open {}[{}] at {}: that it is {name} is not proven, {doubt}; if it is, set {setting} = [{name:?}]",
        rule.line(),
        known.ident,
        known.pid,
        known.local
    ))
}

/// The setting that would prove a name.
fn setting(doubt: &Doubt, port: u16) -> String {
    match doubt {
        Doubt::User(user) | Doubt::SocketOf(user) if *user != 0 => format!("[names.user] {user}"),
        Doubt::User(_)
        | Doubt::SocketOf(_)
        | Doubt::UserNamespace
        | Doubt::SetId
        | Doubt::File(_)
        | Doubt::Cgroup => format!("[names.port] {port}"),
    }
}
