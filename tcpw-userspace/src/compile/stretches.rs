//! Stretches of rules that do the same, each as one rule for each daemon list.
//!
//! In: rules in order: daemon list, outcome, where the client list matches. Out: fewer rules, with the union of these.
//! Invariant: every client gets the outcome that it got from the single rules. Rules of one outcome that follow each
//! other may stand in any order: which of them is first makes no difference, and where one is sure the others, in
//! doubt or not, add nothing.
//!
//! A list of a million bans is one rule: it is sorted once, not applied a million times.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::{
    classes::{RuleClients, RuleRegions},
    outcomes::RuleOutcome,
    region::{Collector, Regions},
};

/// The rules so far, and the stretch at hand.
#[derive(Default)]
pub(super) struct Stretches {
    done: Vec<RuleRegions>,
    /// What all rules of the stretch do.
    outcome: Option<RuleOutcome>,
    /// Its daemon lists, in order.
    open: Vec<Gathered>,
    /// Where each list is among them.
    numbers: HashMap<usize, usize, fnv::FnvBuildHasher>,
}

/// The rules of one daemon list in a stretch.
struct Gathered {
    list: usize,
    /// Networks, whatever names are.
    networks: Vec<(u32, u32)>,
    /// Other regions, and where these match if every name is unknown.
    regions: Vec<[Rc<Regions>; 2]>,
    seen: HashSet<*const Regions, fnv::FnvBuildHasher>,
}

impl Stretches {
    /// Adds a rule for one IPv4 network.
    pub(super) fn add_network(&mut self, list: usize, outcome: RuleOutcome, network: (u32, u32)) {
        self.gathered(list, outcome).networks.push(network);
    }

    /// Adds a rule: where its client list matches, and where it does if every name is unknown.
    pub(super) fn add(&mut self, list: usize, outcome: RuleOutcome, regions: [Rc<Regions>; 2]) {
        let gathered = self.gathered(list, outcome);
        // Rules that name the same file share its region.
        if gathered.seen.insert(Rc::as_ptr(&regions[0])) {
            gathered.regions.push(regions);
        }
    }

    /// All rules.
    pub(super) fn finish(mut self) -> Vec<RuleRegions> {
        self.close();
        self.done
    }

    fn gathered(&mut self, list: usize, outcome: RuleOutcome) -> &mut Gathered {
        if self.outcome != Some(outcome) {
            self.close();
            self.outcome = Some(outcome);
        }
        let open = &mut self.open;
        let number = *self.numbers.entry(list).or_insert_with(|| {
            open.push(Gathered { list, networks: Vec::new(), regions: Vec::new(), seen: HashSet::default() });
            open.len() - 1
        });
        &mut open[number]
    }

    fn close(&mut self) {
        self.numbers.clear();
        let Some(outcome) = self.outcome else { return };
        for gathered in self.open.drain(..) {
            let list = gathered.list;
            self.done.push(RuleRegions { list, clients: gathered.union(), outcome });
        }
    }
}

impl Gathered {
    fn union(self) -> RuleClients {
        let Self { networks, mut regions, .. } = self;
        match (networks.as_slice(), regions.len()) {
            ([network], 0) => return RuleClients::Network(*network),
            ([], 1) => return RuleClients::Regions(regions.swap_remove(0)),
            _ => {}
        }
        let differ = regions.iter().any(|[named, unnamed]| !Rc::ptr_eq(named, unnamed));
        let of = |which: usize, networks: Vec<(u32, u32)>| {
            let mut all = Collector { v4: networks, ..Collector::default() };
            regions.iter().for_each(|pair| all.add(&pair[which]));
            Rc::new(all.finish())
        };
        RuleClients::Regions(if differ {
            [of(0, networks.clone()), of(1, networks)]
        } else {
            let both = of(0, networks);
            [Rc::clone(&both), both]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(first: u32, last: u32) -> [Rc<Regions>; 2] {
        let region = Rc::new(Collector { v4: vec![(first, last)], ..Collector::default() }.finish());
        [Rc::clone(&region), region]
    }

    #[test]
    fn a_stretch_is_one_rule_for_each_list() {
        let [refuse, allow] = [(2, 0), (1, 1)].map(|(entry, number)| RuleOutcome { entry, number });
        let mut stretches = Stretches::default();
        stretches.add_network(0, refuse, (5, 9));
        stretches.add_network(1, refuse, (0, 1));
        stretches.add(0, refuse, region(3, 4));
        stretches.add(0, allow, region(0, 7));
        stretches.add_network(0, refuse, (1, 1));
        let told: Vec<_> = stretches
            .finish()
            .into_iter()
            .map(|rule| match rule.clients {
                RuleClients::Network(network) => (rule.list, rule.outcome, vec![network]),
                RuleClients::Regions([named, _]) => {
                    (rule.list, rule.outcome, named.v4.sure.iter().collect::<Vec<_>>())
                }
            })
            .collect();
        let want = [
            (0, refuse, vec![(3, 9)]),
            (1, refuse, vec![(0, 1)]),
            (0, allow, vec![(0, 7)]),
            (0, refuse, vec![(1, 1)]),
        ];
        assert_eq!(told, want);
    }
}
