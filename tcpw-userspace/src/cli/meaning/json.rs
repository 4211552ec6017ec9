//! Services and decisions as JSON.

use serde::Serialize;

use super::{
    labels,
    words::{printable, rule_at},
};
use crate::{
    compile::{
        AddressVerdict, DaemonName, Decider, HangsOn, Networks, Port, RuleDecision, ServerAddress, Service,
    },
    evaluate::request::RuleIndex,
    parse::rule::{Origin, Tables},
};

/// A service.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct JsonService {
    /// In words.
    label: String,
    /// Its name; none for daemons that no rule names.
    daemon: Option<String>,
    /// The patterns other daemons match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<String>,
    /// Its port; none for ports that no rule names.
    port: Option<u16>,
    /// Its addresses; none if no rule distinguishes them.
    server: Option<Vec<String>>,
}

impl JsonService {
    /// For one service.
    pub(in crate::cli) fn new(service: &Service) -> Self {
        let Service { daemon, port, server } = service;
        let patterns = match daemon {
            DaemonName::Matching { patterns, .. } => patterns.iter().map(|it| printable(it)).collect(),
            DaemonName::Named(_) | DaemonName::Other { .. } => Vec::new(),
        };
        Self {
            label: labels::name(daemon),
            daemon: match daemon {
                DaemonName::Named(name) => Some(printable(name)),
                DaemonName::Matching { .. } | DaemonName::Other { .. } => None,
            },
            patterns,
            port: match port {
                Port::Number(port) => Some(*port),
                Port::Other | Port::Any => None,
            },
            server: match server {
                ServerAddress::Any => None,
                ServerAddress::In(all) | ServerAddress::Other(all) => Some(networks(all)),
            },
        }
    }
}

/// Networks, one text each.
pub(in crate::cli) fn networks(networks: &Networks) -> Vec<String> {
    networks.iter().map(|network| network.to_string()).collect()
}

/// A decision.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct JsonDecision {
    /// `allow`, `refuse` or `depends`.
    verdict: &'static str,
    /// Where the search ends: `rule`, `no-rule` or `table-broken`.
    via: &'static str,
    /// The rule there.
    rule: Option<JsonRule>,
    /// Rules that may match before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<JsonRule>,
    /// What that depends on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hangs_on: Vec<&'static str>,
}

/// A rule and its place.
#[derive(Debug, Serialize)]
struct JsonRule {
    file: String,
    line: u32,
    column: u32,
    text: String,
}

impl JsonDecision {
    /// For a decision of these tables.
    pub(in crate::cli) fn new(tables: &Tables, decision: &RuleDecision) -> Self {
        let RuleDecision { answer, by, before, hangs_on } = decision;
        let rule = |index: RuleIndex| {
            rule_at(tables, index).map(|rule| {
                let Origin { path, line, column, .. } = rule.origin();
                JsonRule { file: path.display().to_string(), line, column, text: printable(&rule.text()) }
            })
        };
        let (via, decider) = match by {
            Decider::Rule(index) => ("rule", rule(*index)),
            Decider::Rules(run) => ("rule", rule(run.first)),
            Decider::NoRule => ("no-rule", None),
            Decider::TableBroken => ("table-broken", None),
        };
        Self {
            verdict: match answer {
                AddressVerdict::Allow => "allow",
                AddressVerdict::Refuse => "deny",
                AddressVerdict::Depends => "depends",
            },
            via,
            rule: decider,
            before: before.iter().filter_map(|index| rule(*index)).collect(),
            hangs_on: hangs_on_words(*hangs_on),
        }
    }
}

fn hangs_on_words(hangs_on: HangsOn) -> Vec<&'static str> {
    let HangsOn { name, user, server_name, command, address_text } = hangs_on;
    let all = [
        (name, "name"),
        (user, "user"),
        (server_name, "server-name"),
        (command, "command"),
        (address_text, "address-text"),
    ];
    all.iter().filter(|(is_one, _)| *is_one).map(|(_, word)| *word).collect()
}
