//! Which clients reach which services, and which rule decides that.
//!
//! In: parsed tables. Out: for every service that the rules distinguish, the client addresses as
//! networks, each with what decides there.
//! Invariant: every client address is in one area of every service, but for the last one of
//! its family; no area says more than the evaluator would, whatever names and users are.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::{
    Names,
    cells::Cells,
    classes::check,
    conditions::{ConditionNumbers, HangsOn, ListPart, Reader},
    deciding_rules::{Decider, DecidingRules, Records, RuleDecision, RuleEffect, RulePart, RuleRun, hash},
    distinct_services::{self, MatchedLists, Service, ServiceFilter},
    error::{CompileError, MAX_CELLS},
    networks::{Networks, runs},
    pattern::PatternRegions,
    region::Regions,
    rule_runs,
    service::{DaemonLists, Truth},
};
use crate::{
    evaluate::{
        outcome_of_options,
        request::{Lookup, RuleIndex, Verdict},
    },
    parse::rule::{HostPattern, OptionField, RuleOption, TableEnd, TableKind, Tables},
};

/// Some services, and what the tables say of their clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Services that are treated alike.
    pub services: Vec<Service>,
    /// Their clients, in the order of the networks.
    pub areas: Vec<Area>,
}

/// Clients that are treated alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Area {
    /// Their addresses.
    pub networks: Networks,
    /// What decides about them.
    pub decision: RuleDecision,
}

/// Says which clients may reach which services.
///
/// `lookup` is asked whether the users and groups of options exist.
///
/// # Errors
///
/// There is too much to say.
pub fn survey(
    tables: &Tables,
    lookup: &dyn Lookup,
    only: &ServiceFilter,
    detail: Detail,
) -> Result<Vec<Surveyed>, CompileError> {
    let mut records = Records::default();
    let mut lists = DaemonLists::default();
    let mut conditions = ConditionNumbers::default();
    let rules = SurveyedRules::read(tables, lookup, &mut lists, &mut conditions, detail);
    let servers = servers(&lists, &[tables]);
    let mut joined: BTreeMap<Vec<Area>, Vec<Service>> = BTreeMap::new();
    let by_lists = distinct_services::services(&lists, &servers, only, &mut records)?;
    for (matched, services) in by_lists {
        let parts = rules.parts(&matched, &mut conditions);
        let v4 = Cells::new(parts.iter().map(|it| &it.part.regions.v4));
        let v6 = Cells::new(parts.iter().map(|it| &it.part.regions.v6));
        check("IPv4", v4.len(), MAX_CELLS)?;
        check("IPv6", v6.len(), MAX_CELLS)?;
        let deciding = DecidingRules::of((&v4, &v6), &parts, rules.default, &mut records)?;
        // Records that differ may be of one decision: each decision has a number of its own.
        let mut numbers: HashMap<&RuleDecision, usize> = HashMap::new();
        let mut number_of: Vec<Option<usize>> = vec![None; records.all.len()];
        let mut of = |record: &u32| {
            let record = *record as usize;
            *number_of[record].get_or_insert_with(|| {
                let next = numbers.len();
                *numbers.entry(&records.all[record].decision).or_insert(next)
            })
        };
        let of_v4: Vec<usize> = deciding.v4.iter().map(&mut of).collect();
        let of_v6: Vec<usize> = deciding.v6.iter().map(&mut of).collect();
        let mut networks = vec![Networks::default(); numbers.len()];
        for (number, run) in runs(&v4.starts, &of_v4) {
            networks[number].add_v4(run);
        }
        for (number, run) in runs(&v6.starts, &of_v6) {
            networks[number].add_v6(run);
        }
        let area = |(decision, number): (&RuleDecision, usize)| {
            let networks = std::mem::take(&mut networks[number]);
            if networks.is_empty() { Vec::new() } else { areas_of(tables, decision, networks) }
        };
        let mut areas: Vec<Area> = numbers.into_iter().flat_map(area).collect();
        areas.sort_unstable();
        joined.entry(areas).or_default().extend(services);
    }
    let mut all: Vec<Surveyed> =
        joined.into_iter().map(|(areas, services)| Surveyed { services, areas }).collect();
    for surveyed in &mut all {
        surveyed.services.sort_unstable();
    }
    all.sort_unstable_by(|a, b| a.services.cmp(&b.services));
    Ok(all)
}

/// What is told of rules that do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Each rule by itself.
    Rules,
    /// Many rules in a row together: [`Decider::Rules`].
    Runs,
}

/// The networks with what decides about them: of a few networks it is told which rule of a run does.
fn areas_of(tables: &Tables, decision: &RuleDecision, networks: Networks) -> Vec<Area> {
    let area = |(by, networks)| Area { networks, decision: RuleDecision { by, ..decision.clone() } };
    single_rules(tables, decision, networks).into_iter().map(area).collect()
}

/// The networks by what decides about them: of a few networks that is the rule of a run.
pub(super) fn single_rules(
    tables: &Tables,
    decision: &RuleDecision,
    networks: Networks,
) -> Vec<(Decider, Networks)> {
    match decision.by {
        Decider::Rules(run) if networks.len() <= rule_runs::SINGLE => {
            let table = match run.first.table {
                TableKind::Allow => &tables.allow,
                TableKind::Deny => &tables.deny,
            };
            rule_runs::split(table, run, &networks, &mut PatternRegions::new(tables, Names::LookedUp))
        }
        by @ (Decider::Rule(_) | Decider::Rules(_) | Decider::NoRule | Decider::TableBroken) => {
            vec![(by, networks)]
        }
    }
}

/// Where each server pattern matches.
pub(super) fn servers(lists: &DaemonLists<'_>, of: &[&Tables]) -> Vec<Rc<Regions>> {
    let has = |tables: &&&Tables, pattern: &HostPattern| match pattern {
        HostPattern::File(path) => tables.files.contains_key(path),
        HostPattern::Netgroup(_)
        | HostPattern::Known
        | HostPattern::Local
        | HostPattern::NetV4 { .. }
        | HostPattern::NetV6 { .. }
        | HostPattern::Never
        | HostPattern::Text { .. } => true,
    };
    let region = |pattern: &&HostPattern| {
        let tables = of.iter().find(|tables| has(tables, pattern))?;
        let mut patterns = PatternRegions::new(tables, Names::LookedUp);
        Some(Rc::new(patterns.host(pattern).as_ref().clone()))
    };
    lists.servers.iter().map(|pattern| region(pattern).unwrap_or_default()).collect()
}

/// The rules of a pair of tables, read for a survey.
pub(super) struct SurveyedRules {
    /// In order.
    rules: Vec<SurveyedRule>,
    /// For each daemon list, its rules.
    by_list: HashMap<usize, Vec<usize>>,
    /// What decides about clients that no rule matches.
    pub default: (Decider, Verdict),
}

struct SurveyedRule {
    rule: RuleIndex,
    by: Decider,
    parts: Vec<ListPart>,
    kind: RuleEffect,
    effects: u64,
}

impl SurveyedRules {
    /// Reads them. `lists` and `conditions` may be shared with other tables.
    pub(super) fn read<'a>(
        tables: &'a Tables,
        lookup: &dyn Lookup,
        lists: &mut DaemonLists<'a>,
        conditions: &mut ConditionNumbers,
        detail: Detail,
    ) -> Self {
        let mut patterns = PatternRegions::new(tables, Names::LookedUp);
        let mut files = HashMap::new();
        let mut reader = Reader { patterns: &mut patterns, conditions, files: &mut files };
        let default = match tables.deny.end {
            TableEnd::Complete => (Decider::NoRule, Verdict::Allow),
            TableEnd::Broken => (Decider::TableBroken, Verdict::Refuse),
        };
        let mut all = Self { rules: Vec::new(), by_list: HashMap::new(), default };
        for table in [&tables.allow, &tables.deny] {
            let mut told_until = 0;
            for (index, rule) in table.rules.entries().enumerate() {
                if index < told_until {
                    continue;
                }
                let list = lists.number(rule.daemons());
                let mut by = Decider::Rule(RuleIndex { table: table.kind, index });
                let run = match detail {
                    Detail::Runs => rule_runs::run_at(table, index, lists),
                    Detail::Rules => None,
                };
                let parts = match run {
                    Some(run) => {
                        told_until = run.end;
                        let first = RuleIndex { table: table.kind, index };
                        by = Decider::Rules(RuleRun { first, last: run.end - 1 });
                        vec![ListPart::sure(rule_runs::regions(table, &run, reader.patterns))]
                    }
                    None => reader.rule(rule),
                };
                if parts.is_empty() {
                    continue;
                }
                all.by_list.entry(list).or_default().push(all.rules.len());
                let rule_index = RuleIndex { table: table.kind, index };
                let kind = kind_of(rule.options(), table.kind, lookup);
                all.rules.push(SurveyedRule {
                    rule: rule_index,
                    by,
                    parts,
                    kind,
                    effects: effects_of(rule.options()),
                });
            }
        }
        all
    }

    /// The rules that match a service, in order.
    pub(super) fn parts(
        &self,
        matched: &MatchedLists,
        conditions: &mut ConditionNumbers,
    ) -> Vec<RulePart<'_>> {
        let mut order: Vec<(usize, usize, Truth)> = Vec::new();
        for (list, truth) in matched {
            order.extend(self.by_list.get(list).into_iter().flatten().map(|index| (*index, *list, *truth)));
        }
        order.sort_unstable();
        let mut parts = Vec::with_capacity(order.len());
        for (index, list, truth) in order {
            let line = &self.rules[index];
            for part in &line.parts {
                let (conditions, hangs_on) = match truth {
                    Truth::Yes | Truth::No => (Rc::clone(&part.conditions), part.hangs_on),
                    Truth::Perhaps => {
                        let text = format!("server of {list} and {:?}", part.conditions);
                        let server_name = HangsOn { server_name: true, ..part.hangs_on };
                        (Rc::from([conditions.number(text)]), server_name)
                    }
                };
                let SurveyedRule { rule, by, kind, effects, .. } = *line;
                parts.push(RulePart { rule, by, part, conditions, hangs_on, kind, effects });
            }
        }
        parts
    }
}

fn kind_of(options: &[OptionField], table: TableKind, lookup: &dyn Lookup) -> RuleEffect {
    // A rule without a verdict of its own has that of its table.
    let is_own = outcome_of_options(options, TableKind::Allow, lookup)
        == outcome_of_options(options, TableKind::Deny, lookup);
    let has_command = options.iter().any(|field| matches!(field.option, Ok(RuleOption::Aclexec(_))));
    match table {
        _ if is_own => RuleEffect::Verdict(outcome_of_options(options, table, lookup)),
        _ if has_command => RuleEffect::Command,
        TableKind::Deny if !options.is_empty() => RuleEffect::Spoilable,
        TableKind::Allow | TableKind::Deny => RuleEffect::Verdict(outcome_of_options(options, table, lookup)),
    }
}

/// Side effects: every option but `allow` and `deny`, up to a wrong one, which is one too.
pub(super) fn effects_of(options: &[OptionField]) -> u64 {
    let mut text = String::new();
    for field in options {
        match &field.option {
            Ok(RuleOption::Allow | RuleOption::Deny) => {}
            Ok(option) => text.push_str(&format!("{option:?};")),
            Err(error) => {
                text.push_str(error);
                break;
            }
        }
    }
    if text.is_empty() { 0 } else { hash(&text).max(1) }
}
