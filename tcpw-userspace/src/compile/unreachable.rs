//! Rules that no request can reach.
//!
//! In: parsed tables. Out: the rules whose clients are all matched by earlier rules, and
//! these earlier rules.
//! Invariant: a rule is named only if it decides no possible request, whatever the names of
//! the listener, its port and address, the client, its name and user, and the results of
//! commands. Of rules that depend on addresses alone none is missing, unless there are
//! too many services.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use super::{
    Names,
    cells::{CellIndex, CellRange, Cells, Ranges},
    classes, daemons,
    distinct_services::MatchedLists,
    error::MAX_CELLS,
    pattern::{PatternRegions, network},
    region::{Collector, Regions},
    remaining_clients::{MAX_OWNERS, RemainingClients, Spans},
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
                clients: match rule {
                    RuleEntry::Kept(rule) => Clients::Regions(patterns.list(&rule.clients)),
                    RuleEntry::Plain(rule) => Clients::Network(network(rule)),
                },
                unknown: match rule {
                    RuleEntry::Kept(rule) => patterns.list_without_address(&rule.clients),
                    RuleEntry::Plain(_) => Truth::No,
                },
                takes: if may_end_table(rule.options()) { Takes::FromTable } else { Takes::All },
            });
        }
    }
    let (mut v4, mut v6) = (Vec::with_capacity(lines.len()), Vec::new());
    for line in &lines {
        line.clients.cut(&mut v4, &mut v6);
    }
    let (v4, v6) = (Cells::of(v4.into_iter()), Cells::of(v6.into_iter()));
    // A policy of so many cells is refused by the compiler, with an error that says so.
    if v4.len() > MAX_CELLS || v6.len() > MAX_CELLS {
        return Vec::new();
    }
    let index = CellIndex::new(&v4);
    let mut shared: HashMap<*const Regions, Rc<[Ranges; 2]>> = HashMap::new();
    let ranges = lines.iter().map(|line| match &line.clients {
        Clients::Network(network) => RuleRanges::Network([index.cut(*network)]),
        Clients::Regions(regions) => {
            let ranges = || Rc::new([v4.ranges(&regions.v4), v6.ranges(&regions.v6)]);
            RuleRanges::Shared(Rc::clone(shared.entry(Rc::as_ptr(regions)).or_insert_with(ranges)))
        }
    });
    let ranges: Vec<_> = ranges.collect();

    let servers: Vec<_> = lists.servers.iter().map(|server| patterns.host(server)).collect();
    let unknown_server = lists.servers.iter().map(|server| patterns.without_address(server)).collect();
    let Ok((_, mut servers)) = classes::servers(&servers) else { return Vec::new() };
    servers.push(unknown_server);

    let cells = [v4.len(), v6.len()];
    let mut weights = vec![0; lists.len()];
    for (line, ranges) in lines.iter().zip(&ranges) {
        weights[line.list] += ranges.count() + 1;
    }
    let ends_allow =
        |line: &&CoveringRule| line.rule.table == TableKind::Allow && line.takes == Takes::FromTable;
    let ending: BTreeSet<usize> = lines.iter().filter(ends_allow).map(|line| line.list).collect();
    let policies = policies(&lists, &ending, &servers, (cells[0] + cells[1], &weights))
        .unwrap_or_else(|| vec![one_policy(&lists)]);
    UnreachableSearch { lines: &lines, ranges: &ranges, cells, budget: MAX_STEPS }.run(&policies)
}

/// A rule, and the clients that it covers.
struct CoveringRule {
    rule: RuleIndex,
    list: usize,
    clients: Clients,
    /// Whether it matches a client whose address is not known.
    unknown: Truth,
    takes: Takes,
}

/// Where a rule matches.
enum Clients {
    /// In one IPv4 network.
    Network((u32, u32)),
    /// Here.
    Regions(Rc<Regions>),
}

impl Clients {
    /// Adds the intervals where it matches or may.
    fn cut(&self, v4: &mut Vec<(u32, u32)>, v6: &mut Vec<(u128, u128)>) {
        match self {
            Self::Network(network) => v4.push(*network),
            Self::Regions(regions) => {
                v4.extend(regions.v4.sure.iter().chain(regions.v4.doubtful.iter()));
                v6.extend(regions.v6.sure.iter().chain(regions.v6.doubtful.iter()));
            }
        }
    }

    fn regions(&self) -> Rc<Regions> {
        match self {
            Self::Network(network) => {
                Rc::new(Collector { v4: vec![*network], ..Collector::default() }.finish())
            }
            Self::Regions(regions) => Rc::clone(regions),
        }
    }

    /// Whether the other is sure to match wherever this may.
    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Network((first, last)), Self::Network((begin, end))) => begin <= first && last <= end,
            (one, other) => one.regions().is_within(&other.regions()),
        }
    }
}

/// The cells of a rule.
enum RuleRanges {
    /// Those of one IPv4 network.
    Network([CellRange; 1]),
    /// Of both families; rules that name the same file share them.
    Shared(Rc<[Ranges; 2]>),
}

impl RuleRanges {
    fn spans(&self) -> [Spans<'_>; 2] {
        match self {
            Self::Network(network) => [Spans { sure: network, doubtful: &[] }, Spans::default()],
            Self::Shared(ranges) => ranges.each_ref().map(Spans::from),
        }
    }

    /// How many ranges there are.
    fn count(&self) -> usize {
        self.spans().iter().map(|spans| spans.sure.len() + spans.doubtful.len()).sum()
    }
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
/// A second name of a listener makes lists match less (EXCEPT), or clients go from hosts.allow on to hosts.deny that would
/// not: `ending` are the lists of rules that may end hosts.allow.
/// `weights` is what it costs to go through the rules of each list.
fn policies(
    lists: &DaemonLists<'_>,
    ending: &BTreeSet<usize>,
    servers: &[Vec<Truth>],
    (cells, weights): (usize, &[usize]),
) -> Option<Vec<MatchedLists>> {
    let kinds = lists.names.kinds();
    if kinds.is_cut {
        return None;
    }
    let ports: Vec<Option<u16>> =
        std::iter::once(None).chain(lists.ports.iter().copied().map(Some)).collect();
    let limit = MAX_SERVICES / ports.len() / servers.len();
    let none = lists.names.matches(&NamesSet::default());
    let mut matter = lists.excepted();
    matter.extend(ending.iter().flat_map(|list| lists.names_in(*list)));
    let hangs_on_more_names = |list: usize| lists.has_except(list) || ending.contains(&list);
    let (names, are_all_sure) = match daemons::unions(&kinds, &matter, none.clone(), limit) {
        Some(names) => (names, true),
        None => (daemons::unions(&kinds, &BTreeSet::new(), none, limit)?, false),
    };
    let mut policies = BTreeSet::new();
    let mut steps = 0usize;
    for names in &names {
        for port in &ports {
            for server in servers {
                let mut matched = lists.matched(names, *port, server);
                if !are_all_sure {
                    // Which names a listener has beside these is not known.
                    matched.retain(|(list, _)| !hangs_on_more_names(*list));
                    matched.extend(
                        (0..lists.len())
                            .filter(|list| hangs_on_more_names(*list))
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
type Look<'a> = &'a mut dyn FnMut(usize, &mut RemainingClients, [Spans<'_>; 2], &CoveringRule);

struct UnreachableSearch<'a> {
    lines: &'a [CoveringRule],
    ranges: &'a [RuleRanges],
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
        // Of rules that no policy so far reaches, the rules that took their clients.
        let mut by: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut budget = self.budget;
        for (policy, order) in orders.iter().enumerate() {
            self.paint(order, &mut |index, remaining, ranges, line| {
                if reached[index] {
                    // Another policy does.
                } else if remaining.is_open(ranges, line.unknown) {
                    reached[index] = true;
                    if policy > 0 {
                        by.remove(&index);
                    }
                } else {
                    remaining.owners(ranges, line.unknown, by.entry(index).or_default(), &mut budget);
                }
            });
        }
        self.budget = budget;
        let lines = self.lines;
        let rule = |index: usize| lines[index].rule;
        let mut found = Vec::new();
        for index in (0..self.lines.len()).filter(|index| !reached[*index]) {
            let by = by.remove(&index).unwrap_or_default();
            let all = by.iter().take(MAX_OWNERS).map(|by| rule(*by)).collect();
            let one = self.one_that_takes_all(index, &by, &orders);
            let by = one.map_or(all, |one| vec![rule(one)]);
            found.push(Unreachable { rule: rule(index), by });
        }
        found
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
            let cost = orders.len() + self.ranges[index].count();
            self.budget = self.budget.checked_sub(cost)?;
            let always = orders
                .iter()
                .filter(|order| has(order, index, Truth::Yes) || has(order, index, Truth::Perhaps))
                .all(|order| has(order, other, Truth::Yes));
            let without_address = rule.unknown == Truth::No || line.unknown == Truth::Yes;
            if always && without_address && rule.clients.is_within(&line.clients) {
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
            let (line, ranges) = (&self.lines[index], self.ranges[index].spans());
            if line.rule.table != table {
                table = line.rule.table;
                remaining = std::mem::replace(&mut lasting, RemainingClients::new([0, 0]));
                remaining.give_back();
            }
            look(index, &mut remaining, ranges, line);
            if table == TableKind::Allow && line.takes == Takes::FromTable {
                // Its clients come to hosts.deny where its command fails, whatever stands behind it.
                lasting.spare(ranges, line.unknown);
            }
            if truth == Truth::Yes {
                remaining.close(index, ranges, line.unknown);
                if table == TableKind::Allow && line.takes == Takes::All {
                    lasting.close(index, ranges, line.unknown);
                }
            }
        }
    }
}
