//! Rules to a [`Policy`]: first match becomes longest match. No I/O, no aya.
//!
//! In: parsed tables, the names-sets of the listeners, what is exempt. Out: the
//! tables of one slot.
//! Invariant: for every service and client address the tables give the verdict of
//! the evaluator, or `Ask`; `Ask` only where a pattern could not be spelled out as
//! prefixes, or needs a name or user that is looked up ([`Names`]), and the verdict or the
//! effects depend on it; and where a command decides.
//!
//! The way there: every client list becomes a region of the address space
//! (`pattern`, `text`, `region`), every service the list of rules whose daemon list
//! it matches (`service`, `services`); rules in a row that do the same are one (`stretches`); rules are
//! applied in order (`cells`, `outcomes`, `classes`), cells with the same outcome under every policy are one
//! class, and the classes become the smallest tries (`prefix`) or flat tables (`flat`).
#![forbid(unsafe_code)]

mod automaton;
mod cells;
mod classes;
mod client_table;
mod compare;
mod conditions;
mod daemons;
mod deciding_rules;
mod diff;
mod distinct_services;
mod error;
mod flat;
mod networks;
mod outcomes;
mod pattern;
mod policy;
mod prefix;
mod region;
mod remaining_clients;
mod rule_runs;
mod service;
mod services;
mod stretches;
mod survey;
mod tables;
mod text;
mod text_v6;
mod unreachable;
mod users;

use std::{collections::HashMap, rc::Rc};

pub use client_table::{ClientTable, ClientTableKind, FLAT_FROM_V4, FLAT_FROM_V6};
pub use compare::{Difference, MAX_BORDERS, compare};
pub use conditions::HangsOn;
pub use deciding_rules::{AddressVerdict, Decider, RuleDecision, RuleRun};
pub use diff::{Change, ChangeKind, diff};
pub use distinct_services::{DaemonName, Port, ServerAddress, Service, ServiceFilter};
pub use error::CompileError;
pub use flat::{FlatTable, FlatV4, FlatV6};
use ipnet::IpNet;
pub use networks::Networks;
use outcomes::RuleOutcome;
use pattern::PatternRegions;
pub use policy::Policy;
use policy::Sizes;
pub use prefix::{Prefix, PrefixTable};
use service::DaemonLists;
use services::{Ports, Services};
use stretches::Stretches;
use survey::effects_of;
pub use survey::{Area, Detail, Surveyed, survey};
pub use tables::PolicyTables;
pub use unreachable::{Unreachable, unreachable};
pub use users::{ask_for_users, users_choose};

use tcpw_common::outcome::{BANNER, KEEPALIVE, Outcome, REDIRECT, REPORT};

use crate::{
    evaluate::{
        Consequences, consequences_of_options,
        request::{Lookup, Verdict},
    },
    names::NamesSet,
    parse::rule::{OptionField, RuleEntry, TableEnd, Tables},
};

/// What is taken of names, users and netgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Every name and user is unknown, nobody is in a netgroup: a pattern that needs one
    /// does what libwrap does when a look-up fails.
    Unknown,
    /// Names of hosts and netgroups are looked up: a pattern that needs one is in doubt.
    /// Every user is unknown.
    HostsLookedUp,
    /// They are looked up: a pattern that needs one is in doubt.
    LookedUp,
}

/// What a policy is compiled from.
#[derive(Clone, Copy)]
pub struct PolicySource<'a> {
    /// The rules.
    pub tables: &'a Tables,
    /// Names-sets to compute in advance: those of the listeners.
    pub listeners: &'a [NamesSet],
    /// Clients that are never judged. An IPv6 network inside `::ffff:0:0/96` is an IPv4 one.
    pub exempt_networks: &'a [IpNet],
    /// Ports that are never judged.
    pub exempt_ports: &'a [u16],
    /// Asked whether the users and groups of options exist, and for nothing else.
    pub lookup: &'a (dyn Lookup + Sync),
    /// What is taken of names and users.
    pub names: Names,
    /// Local ports at which every name is unknown all the same: those of name servers, which a
    /// look-up may have to ask.
    pub unnamed_ports: &'a [u16],
    /// The form of the tables of clients.
    pub client_tables: ClientTableKind,
}

/// Compiles the tables.
///
/// # Errors
///
/// If the policy does not fit the kernel's tables.
pub fn compile(input: &PolicySource<'_>) -> Result<Policy, CompileError> {
    let mut patterns = PatternRegions::new(input.tables, input.names);
    let mut lists = DaemonLists::default();
    let mut outcomes = OutcomeNumbers::default();
    let is_looked_up = input.names != Names::Unknown && patterns.hang_on_names();
    let mut unnamed = is_looked_up.then(|| PatternRegions::new(input.tables, Names::Unknown));
    let mut stretches = Stretches::default();
    let (mut acts_on_accepted, mut redirects, mut has_allow_banners) = (false, false, false);
    for table in [&input.tables.allow, &input.tables.deny] {
        let mut outcome = |options: &[OptionField]| {
            let consequences = consequences_of_options(options, table.kind, input.lookup);
            acts_on_accepted |= consequences.act_on_accepted();
            redirects |= consequences.redirects();
            has_allow_banners |= consequences.has_allow_banners();
            let entry = match input.names {
                // The user does not change the verdict, but the line that is logged. A redirected client has
                // a connection, by which its user can be looked up.
                Names::LookedUp if users::options_ask(options) && !consequences.redirects() => {
                    Outcome::Ask as u8
                }
                Names::LookedUp | Names::HostsLookedUp | Names::Unknown => entry_of(consequences),
            };
            // Where no name decides, the address alone tells later which options apply.
            outcomes.number(entry, if is_looked_up { effects_of(options) } else { 0 })
        };
        let mut of_plain: HashMap<u16, RuleOutcome, fnv::FnvBuildHasher> = HashMap::default();
        for rule in table.rules.entries() {
            let list = lists.number(rule.daemons());
            match rule {
                RuleEntry::Plain(rule) => {
                    let outcome = *of_plain.entry(rule.form).or_insert_with(|| outcome(rule.options));
                    stretches.add_network(list, outcome, pattern::network(rule));
                }
                RuleEntry::Kept(rule) => {
                    let regions = patterns.list(&rule.clients);
                    let unnamed = match &mut unnamed {
                        Some(patterns) => patterns.list(&rule.clients),
                        None => Rc::clone(&regions),
                    };
                    if !regions.is_empty() || !unnamed.is_empty() {
                        stretches.add(list, outcome(&rule.options), [regions, unnamed]);
                    }
                }
            }
        }
    }
    let rules = stretches.finish();
    let default = match input.tables.deny.end {
        TableEnd::Complete => ALLOW,
        TableEnd::Broken => REFUSE,
    };

    // Where no user is asked for, answers are others.
    let has_unnamed = is_looked_up || input.names == Names::LookedUp && ask_for_users(input.tables);
    let mut server_regions: Vec<_> = lists.servers.iter().map(|server| patterns.host(server)).collect();
    if has_unnamed {
        let unnamed = unnamed.as_mut().unwrap_or(&mut patterns);
        server_regions.extend(lists.servers.iter().map(|server| unnamed.host(server)));
    }
    let (servers, truths) = classes::servers(&server_regions)?;
    let ports =
        Ports { exempt: input.exempt_ports, unnamed: if has_unnamed { input.unnamed_ports } else { &[] } };
    let mut services = Services::new(&lists, &truths, input.listeners, ports)?;
    let default = outcomes.number(default, 0);
    let clients = classes::of_services(&rules, &services, input.exempt_networks, default)?;
    drop(rules);

    let (borders, examples) = (clients.borders(), clients.examples());
    let mut rows = clients.rows();
    let server_classes = services.join(&mut rows);
    let clients = clients.client_tables(input.client_tables)?;
    let servers = servers.tries(|class| server_classes[class as usize])?;
    Ok(Policy {
        sizes: Sizes::new(&rows, services.sizes),
        clients_v4: clients.v4,
        clients_v6: clients.v6,
        servers_v4: servers.v4,
        servers_v6: servers.v6,
        names: services
            .names_sets
            .iter()
            .filter(|(_, class)| *class != 0)
            .map(|(set, class)| (set.id(), *class))
            .collect(),
        ports: services.ports,
        policies: services.policies,
        outcomes: rows.concat(),
        comms: services.comms,
        names_sets: services.names_sets,
        borders,
        examples,
        patterns: lists.names,
        classes_of_matches: services.classes_of_matches,
        acts_on_accepted,
        redirects,
        has_allow_banners,
    })
}

/// Numbers of the distinct outcomes: two differ if their verdicts or what their options do differ.
#[derive(Default)]
struct OutcomeNumbers(HashMap<(u8, u64), u32>);

impl OutcomeNumbers {
    fn number(&mut self, entry: u8, effects: u64) -> RuleOutcome {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        RuleOutcome { entry, number: *self.0.entry((entry, effects)).or_insert(next) }
    }
}

const ALLOW: u8 = Outcome::Allow as u8;
const REFUSE: u8 = Outcome::Refuse as u8;

/// A rule's entry, with its marks.
fn entry_of(rule: Consequences) -> u8 {
    if rule.asks_command {
        return Outcome::Ask as u8;
    }
    let mark = |is_set, mark| if is_set { mark } else { 0 };
    match rule.verdict {
        // The early drop must not take an attempt whose command has to run.
        Verdict::Refuse => REFUSE | mark(rule.redirects(), REDIRECT) | mark(rule.spawns, REPORT),
        Verdict::Allow => {
            ALLOW
                | mark(rule.spawns, REPORT)
                | mark(rule.keepalive, KEEPALIVE)
                | mark(rule.has_allow_banners(), BANNER)
        }
    }
}

#[cfg(test)]
mod tests;
