//! Rules in a row that do the same, for a person who reads what tables mean.
//!
//! In: the rules of a table. Out: runs of them that are told of as one; and which of the rules decides about a few
//! networks. Invariant: the rules of a run have one daemon list, one address or network each, and no options.

use std::{ops::Range, rc::Rc};

use super::{
    deciding_rules::{Decider, RuleRun},
    networks::Networks,
    pattern::{PatternRegions, network},
    region::{Collector, Intervals, Regions},
    service::DaemonLists,
};
use crate::{
    evaluate::request::RuleIndex,
    parse::rule::{HostPattern, RuleEntry, Table, TextPattern},
};

/// Runs of up to this many rules are told of rule by rule; and of so many networks the rules that decide.
pub(super) const SINGLE: usize = 10;

/// The run that begins with a rule, if it is longer than [`SINGLE`].
pub(super) fn run_at<'a>(
    table: &'a Table,
    first: usize,
    lists: &mut DaemonLists<'a>,
) -> Option<Range<usize>> {
    let mut rules = table.rules.entries_in(first..table.rules.len());
    let list = lists.number(rules.next().filter(|rule| is_ban(*rule))?.daemons());
    let more = rules.take_while(|rule| is_ban(*rule) && lists.number(rule.daemons()) == list).count();
    (more >= SINGLE).then_some(first..first + 1 + more)
}

/// Where the rules of a run match.
pub(super) fn regions<'a>(
    table: &'a Table,
    run: &Range<usize>,
    patterns: &mut PatternRegions<'a>,
) -> Rc<Regions> {
    let mut out = Collector::default();
    for rule in table.rules.entries_in(run.clone()) {
        match rule {
            RuleEntry::Plain(rule) => out.v4.push(network(rule)),
            RuleEntry::Kept(rule) => out.add(&patterns.list(&rule.clients)),
        }
    }
    Rc::new(out.finish())
}

/// The networks by the rule of a run that decides about each; those that several rules share are left to the run.
pub(super) fn split<'a>(
    table: &'a Table,
    run: RuleRun,
    networks: &Networks,
    patterns: &mut PatternRegions<'a>,
) -> Vec<(Decider, Networks)> {
    let spans = |networks: &Networks| {
        let v4 = networks.v4.iter().map(|net| (net.network().to_bits(), net.broadcast().to_bits())).collect();
        let v6 = networks.v6.iter().map(|net| (net.network().to_bits(), net.broadcast().to_bits())).collect();
        Collector { v4, v6, ..Collector::default() }.finish()
    };
    let single = |v4, v6| Networks { v4, v6 };
    let parts = networks.v4.iter().map(|net| single(vec![*net], Vec::new()));
    let parts = parts.chain(networks.v6.iter().map(|net| single(Vec::new(), vec![*net])));
    let mut open: Vec<(Networks, Regions)> = parts.map(|part| (part.clone(), spans(&part))).collect();
    let mut found: Vec<(Decider, Networks)> = Vec::new();
    let mut add = |decider, part: &Networks| match found.iter_mut().find(|(known, _)| *known == decider) {
        Some((_, all)) => {
            all.v4.extend(&part.v4);
            all.v6.extend(&part.v6);
        }
        None => found.push((decider, part.clone())),
    };
    let rules = table.rules.entries_in(run.first.index..run.last + 1);
    for (index, rule) in (run.first.index..).zip(rules) {
        if open.is_empty() {
            break;
        }
        let may_meet = |(_, part): &(Networks, Regions)| match rule {
            RuleEntry::Plain(rule) => meets(&part.v4.sure, network(rule)),
            RuleEntry::Kept(_) => true,
        };
        if !open.iter().any(may_meet) {
            continue;
        }
        let regions = match rule {
            RuleEntry::Plain(rule) => {
                Rc::new(Collector { v4: vec![network(rule)], ..Collector::default() }.finish())
            }
            RuleEntry::Kept(rule) => patterns.list(&rule.clients),
        };
        open.retain(|(part, spans)| {
            if spans.is_within(&regions) {
                let rule = RuleIndex { table: table.kind, index };
                add(Decider::Rule(rule), part);
                return false;
            }
            let is_shared = !spans.v4.sure.and(&regions.v4.possible()).is_empty()
                || !spans.v6.sure.and(&regions.v6.possible()).is_empty();
            if is_shared {
                add(Decider::Rules(run), part);
            }
            !is_shared
        });
    }
    open.iter().for_each(|(part, _)| add(Decider::Rules(run), part));
    for (_, networks) in &mut found {
        networks.v4.sort_unstable();
        networks.v6.sort_unstable();
    }
    found
}

fn meets(one: &Intervals<u32>, (first, last): (u32, u32)) -> bool {
    one.iter().any(|(begin, end)| begin <= last && first <= end)
}

/// Whether a rule is for one address or network at daemons by name alone, and has no options.
fn is_ban(rule: RuleEntry<'_>) -> bool {
    let rule = match rule {
        RuleEntry::Plain(rule) => return rule.options.is_empty(),
        RuleEntry::Kept(rule) => rule,
    };
    let [client] = rule.clients.patterns.as_slice() else { return false };
    let is_address = match &client.host {
        // Another mask may be too many networks to be spelled out.
        HostPattern::NetV4 { mask, .. } => mask.to_bits().leading_ones() == mask.to_bits().count_ones(),
        HostPattern::NetV6 { .. } => true,
        HostPattern::Text { pattern: TextPattern::Exact(_) | TextPattern::Prefix(_), numeric } => *numeric,
        HostPattern::Text { pattern: TextPattern::Bracketed(address), .. } => address.is_some(),
        HostPattern::Text { .. }
        | HostPattern::Netgroup(_)
        | HostPattern::File(_)
        | HostPattern::Known
        | HostPattern::Local
        | HostPattern::Never => false,
    };
    let daemons = std::iter::successors(Some(&*rule.daemons), |list| list.except.as_deref());
    // A server may have a name, which is looked up.
    let has_server = daemons.flat_map(|list| &list.patterns).any(|daemon| daemon.server.is_some());
    is_address
        && !has_server
        && client.user.is_none()
        && rule.clients.except.is_none()
        && rule.options.is_empty()
}
