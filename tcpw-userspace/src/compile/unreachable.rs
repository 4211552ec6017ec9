//! Rules that no request can reach.
//!
//! In: parsed tables. Out: the rules whose clients are all matched by earlier rules, and
//! these earlier rules.
//! Invariant: a rule is named only if it decides no possible request, whatever the names of
//! the listener, its port and address, the client, its name and user, and the results of
//! commands. Of rules that depend on addresses alone none is missing, unless there are
//! too many services.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use super::{
    Names,
    cells::Ranges,
    classes::{self, CellClasses},
    daemons,
    distinct_services::MatchedLists,
    pattern::PatternRegions,
    region::Regions,
    remaining_clients::{MAX_OWNERS, RemainingClients},
    service::{DaemonLists, Truth},
};
use crate::{
    evaluate::request::RuleIndex,
    names::NamesSet,
    parse::rule::{OptionField, RuleEntry, RuleOption, TableKind, Tables},
};

/// A rule that is never reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The rule.
    pub rule: RuleIndex,
    /// The rules, in order, that together take every client of every service the rule matches;
    /// of more than a hundred the first. None if the rule matches no request at all.
    pub by: Vec<RuleIndex>,
}

/// Most sets of names, ports and server addresses that are tried.
const MAX_SERVICES: usize = 1 << 14;

/// Most steps, of a few nanoseconds each, before services are no longer told apart.
const MAX_STEPS: usize = 1 << 27;

/// The rules that no request can reach, in order.
pub fn unreachable(tables: &Tables) -> Vec<Unreachable> {
    let mut patterns = PatternRegions::new(tables, Names::LookedUp);
    let mut lists = DaemonLists::default();
    let mut lines = Vec::new();
    for table in [&tables.allow, &tables.deny] {
        for (index, rule) in table.rules.entries().enumerate() {
            lines.push(CoveringRule {
                rule: RuleIndex { table: table.kind, index },
                list: lists.number(rule.daemons()),
                regions: patterns.rule(rule),
                unknown: match rule {
                    RuleEntry::Kept(rule) => patterns.list_without_address(&rule.clients),
                    RuleEntry::Plain(_) => Truth::No,
                },
                takes: if may_end_table(rule.options()) { Takes::FromTable } else { Takes::All },
            });
        }
    }
    // A policy of so many cells is refused by the compiler, with an error that says so.
    let Ok(cell_classes) = CellClasses::new(lines.iter().map(|line| line.regions.as_ref())) else {
        return Vec::new();
    };
    let mut shared: HashMap<*const Regions, Rc<[Ranges; 2]>> = HashMap::new();
    let ranges = lines.iter().map(|line| {
        Rc::clone(
            shared
                .entry(Rc::as_ptr(&line.regions))
                .or_insert_with(|| Rc::new(cell_classes.ranges(&line.regions))),
        )
    });
    let ranges: Vec<_> = ranges.collect();

    let servers: Vec<_> = lists.servers.iter().map(|server| patterns.host(server)).collect();
    let unknown_server = lists.servers.iter().map(|server| patterns.without_address(server)).collect();
    let Ok((_, mut servers)) = classes::servers(&servers) else { return Vec::new() };
    servers.push(unknown_server);

    let cells = cell_classes.v4.len() + cell_classes.v6.len();
    let mut weights = vec![0; lists.len()];
    for (line, ranges) in lines.iter().zip(&ranges) {
        weights[line.list] += ranges.iter().map(|it| it.sure.len() + it.doubtful.len()).sum::<usize>() + 1;
    }
    let policies = policies(&lists, &servers, cells, &weights).unwrap_or_else(|| vec![one_policy(&lists)]);
    UnreachableSearch {
        lines: &lines,
        ranges: &ranges,
        cells: [cell_classes.v4.len(), cell_classes.v6.len()],
        budget: MAX_STEPS,
    }
    .run(&policies)
}

/// A rule, and the clients that it covers.
struct CoveringRule {
    rule: RuleIndex,
    list: usize,
    regions: Rc<Regions>,
    /// Whether it matches a client whose address is not known.
    unknown: Truth,
    takes: Takes,
}

/// From which rules behind it a rule takes its clients.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// From all.
    All,
    /// From those of its table: where its command fails, the search goes on in hosts.deny.
    FromTable,
}

/// Whether a rule that matches may end the search of its table without a verdict.
pub(super) fn may_end_table(options: &[OptionField]) -> bool {
    let mut commands = false;
    for field in options {
        match &field.option {
            Err(_) | Ok(RuleOption::Allow | RuleOption::Deny | RuleOption::Twist(_)) => return false,
            Ok(RuleOption::Aclexec(_)) => commands = true,
            Ok(
                RuleOption::Severity(_)
                | RuleOption::Spawn(_)
                | RuleOption::Keepalive
                | RuleOption::Linger(_)
                | RuleOption::Rfc931(_)
                | RuleOption::Setenv { .. }
                | RuleOption::Nice(_)
                | RuleOption::Umask(_)
                | RuleOption::User(_)
                | RuleOption::Group(_)
                | RuleOption::Banners(_),
            ) => {}
        }
    }
    commands
}

/// What matches each service there can be; `None` if these are too many.
///
/// `weights` is what it costs to go through the rules of each list.
fn policies(
    lists: &DaemonLists<'_>,
    servers: &[Vec<Truth>],
    cells: usize,
    weights: &[usize],
) -> Option<Vec<MatchedLists>> {
    let kinds = lists.names.kinds();
    if kinds.is_cut {
        return None;
    }
    let ports: Vec<Option<u16>> =
        std::iter::once(None).chain(lists.ports.iter().copied().map(Some)).collect();
    let limit = MAX_SERVICES / ports.len() / servers.len();
    let none = lists.names.matches(&NamesSet::default());
    let (names, except_is_sure) = match daemons::unions(&kinds, &lists.excepted(), none.clone(), limit) {
        Some(names) => (names, true),
        None => (daemons::unions(&kinds, &BTreeSet::new(), none, limit)?, false),
    };
    let mut policies = BTreeSet::new();
    let mut steps = 0usize;
    for names in &names {
        for port in &ports {
            for server in servers {
                let mut matched = lists.matched(names, *port, server);
                if !except_is_sure {
                    // Which names a listener has beside these is not known.
                    matched.retain(|(list, _)| !lists.has_except(*list));
                    matched.extend(
                        (0..lists.len())
                            .filter(|list| lists.has_except(*list))
                            .map(|list| (list, Truth::Perhaps)),
                    );
                    matched.sort_unstable();
                }
                steps += lists.len();
                let cost: usize = matched.iter().map(|(list, _)| weights[*list]).sum();
                if policies.insert(matched) {
                    steps = steps.saturating_add(cells + cost);
                }
                if steps > MAX_STEPS {
                    return None;
                }
            }
        }
    }
    Some(policies.into_iter().collect())
}

/// One policy for all services: only a list that matches them all is sure to match.
fn one_policy(lists: &DaemonLists<'_>) -> MatchedLists {
    let truth = |list: usize| if lists.matches_everything(list) { Truth::Yes } else { Truth::Perhaps };
    (0..lists.len()).map(|list| (list, truth(list))).collect()
}

/// Hears of a rule, and of what the rules before it left.
type Look<'a> = &'a mut dyn FnMut(usize, &mut RemainingClients, &[Ranges; 2], &CoveringRule);

struct UnreachableSearch<'a> {
    lines: &'a [CoveringRule],
    ranges: &'a [Rc<[Ranges; 2]>],
    cells: [usize; 2],
    budget: usize,
}

impl UnreachableSearch<'_> {
    fn run(mut self, policies: &[MatchedLists]) -> Vec<Unreachable> {
        let mut by_list: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, line) in self.lines.iter().enumerate() {
            by_list.entry(line.list).or_default().push(index);
        }
        let orders: Vec<Vec<(usize, Truth)>> = policies
            .iter()
            .map(|matched| {
                let rules = |(list, truth): &(usize, Truth)| {
                    let truth = *truth;
                    by_list.get(list).into_iter().flatten().map(move |index| (*index, truth))
                };
                let mut order: Vec<_> = matched.iter().flat_map(rules).collect();
                order.sort_unstable();
                order
            })
            .collect();
        let mut reached = vec![false; self.lines.len()];
        for order in &orders {
            self.paint(order, &mut |index, remaining, ranges, line| {
                reached[index] = reached[index] || remaining.is_open(ranges, line.unknown);
            });
        }
        let mut by: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.lines.len()];
        if reached.contains(&false) {
            let mut budget = self.budget;
            for order in &orders {
                self.paint(order, &mut |index, remaining, ranges, line| {
                    if !reached[index] {
                        remaining.owners(ranges, line.unknown, &mut by[index], &mut budget);
                    }
                });
            }
            self.budget = budget;
        }
        for index in (0..self.lines.len()).filter(|index| !reached[*index]) {
            if let Some(one) = self.one_that_takes_all(index, &by[index], &orders) {
                by[index] = BTreeSet::from([one]);
            }
        }
        let unreached = (0..self.lines.len()).filter(|index| !reached[*index]);
        let rule = |index: usize| self.lines[index].rule;
        unreached
            .map(|index| Unreachable {
                rule: rule(index),
                by: by[index].iter().take(MAX_OWNERS).map(|by| rule(*by)).collect(),
            })
            .collect()
    }

    /// One rule that would take everything alone, if there is one: easier to look at than many.
    fn one_that_takes_all(
        &mut self,
        index: usize,
        by: &BTreeSet<usize>,
        orders: &[Vec<(usize, Truth)>],
    ) -> Option<usize> {
        if by.len() < 2 {
            return None;
        }
        let has = |order: &[(usize, Truth)], index, truth| order.binary_search(&(index, truth)).is_ok();
        let rule = &self.lines[index];
        for &other in by.iter().take(MAX_OWNERS) {
            let line = &self.lines[other];
            let cost = orders.len()
                + self.ranges[index].iter().map(|it| it.sure.len() + it.doubtful.len()).sum::<usize>();
            self.budget = self.budget.checked_sub(cost)?;
            let always = orders
                .iter()
                .filter(|order| has(order, index, Truth::Yes) || has(order, index, Truth::Perhaps))
                .all(|order| has(order, other, Truth::Yes));
            let without_address = rule.unknown == Truth::No || line.unknown == Truth::Yes;
            if always && without_address && rule.regions.is_within(&line.regions) {
                return Some(other);
            }
        }
        None
    }

    /// Shows `look` each rule of a policy, with what the rules before it left.
    fn paint(&self, order: &[(usize, Truth)], look: Look<'_>) {
        let mut remaining = RemainingClients::new(self.cells);
        let mut lasting = RemainingClients::new(self.cells);
        let mut table = TableKind::Allow;
        for &(index, truth) in order {
            let (line, ranges) = (&self.lines[index], self.ranges[index].as_ref());
            if line.rule.table != table {
                table = line.rule.table;
                remaining = std::mem::replace(&mut lasting, RemainingClients::new([0, 0]));
            }
            look(index, &mut remaining, ranges, line);
            if truth == Truth::Yes {
                remaining.close(index, ranges, line.unknown);
                if table == TableKind::Allow && line.takes == Takes::All {
                    lasting.close(index, ranges, line.unknown);
                }
            }
        }
    }
}
