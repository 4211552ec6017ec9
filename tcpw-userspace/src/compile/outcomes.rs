//! First match for the gate: the outcome of every cell of the address space.
//!
//! In: regions in rule order. Out: for every cell its outcome, `Ask` where rules that may match differ; over all
//! policies, the class of every cell.
//!
//! One of three implementations of first match; each keeps another thing of a cell, and a common one would keep
//! the largest for all. Here it is one byte: a million rules are compiled for every names-set at each reload.
//! [`super::deciding_rules`] keeps the rules that may match before the deciding one, which takes a list a cell;
//! [`super::remaining_clients`] keeps the rule that matched first, over all services at once. They share
//! [`super::cells`].

use std::collections::HashMap;

use tcpw_common::outcome::{ENTRIES, Outcome, of_entry};

use super::cells::{CellRange, OpenCells, Ranges};

/// A verdict with what the options do beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RuleOutcome {
    /// The outcome with its marks; 0 for what is exempt.
    pub entry: u8,
    /// Equal for rules that do the same.
    pub number: u32,
}

impl RuleOutcome {
    /// That of exempt cells: it goes on first.
    pub(super) const EXEMPT: Self = Self { entry: 0, number: u32::MAX };
}

/// The outcome of each cell of one family under one policy.
pub(super) struct CellOutcomes {
    /// What was seen, as entries.
    seen: Vec<u8>,
    /// The outcome of a cell that has seen one and is open; made at the first doubt.
    rules: Vec<u32>,
    /// Cells that no sure match closed.
    open: OpenCells,
    /// For some rules, open cells that do not have it; made at the outcome's first doubt.
    without: HashMap<u32, OpenCells>,
}

/// Nothing later can change such a cell.
const ASK: u8 = 3;

/// Rules that are remembered cell by cell. Of others, rules in doubt look at each open cell again.
const REMEMBERED: usize = 8;

impl CellOutcomes {
    /// No rule applied yet.
    pub(super) fn new(cells: usize) -> Self {
        Self { seen: vec![0; cells], rules: Vec::new(), open: OpenCells::new(cells), without: HashMap::new() }
    }

    /// Applies the next rule to the cells of its region that no rule before was sure to match.
    pub(super) fn apply(&mut self, ranges: &Ranges, rule_is_sure: bool, outcome: RuleOutcome) {
        for &range in &ranges.sure {
            self.apply_one(range, rule_is_sure, outcome);
        }
        for &range in &ranges.doubtful {
            self.add(range, outcome);
        }
    }

    /// As [`Self::apply`] a rule that is sure to match one range.
    pub(super) fn apply_one(&mut self, range: CellRange, rule_is_sure: bool, outcome: RuleOutcome) {
        if rule_is_sure { self.close(range, outcome) } else { self.add(range, outcome) }
    }

    /// Closes what is open.
    fn close(&mut self, (begin, end): CellRange, outcome: RuleOutcome) {
        let mut cell = self.open.find(begin as usize);
        while cell < end as usize {
            self.mark(cell, outcome);
            self.open.remove(cell);
            cell = self.open.find(cell + 1);
        }
    }

    /// Adds a possible verdict to what is open.
    fn add(&mut self, (begin, end): CellRange, outcome: RuleOutcome) {
        if self.rules.is_empty() {
            self.rules = vec![0; self.seen.len()];
        }
        if !self.without.contains_key(&outcome.number) && self.without.len() < REMEMBERED {
            self.without.insert(outcome.number, self.open.clone());
        }
        let mut without = self.without.remove(&outcome.number);
        let mut from = begin as usize;
        loop {
            let cell = match &mut without {
                Some(without) => without.find(from),
                None => self.open.find(from),
            };
            if cell >= end as usize {
                break;
            }
            if self.open.find(cell) == cell {
                self.mark(cell, outcome);
                if self.seen[cell] == ASK {
                    self.open.remove(cell);
                }
            }
            if let Some(without) = &mut without {
                without.remove(cell);
            }
            from = cell + 1;
        }
        if let Some(without) = without {
            self.without.insert(outcome.number, without);
        }
    }

    /// Two rules on a cell: which one holds is for the evaluator to say.
    fn mark(&mut self, cell: usize, outcome: RuleOutcome) {
        if self.seen[cell] == 0 {
            self.seen[cell] = outcome.entry;
            if let Some(rule) = self.rules.get_mut(cell) {
                *rule = outcome.number;
            }
        } else if self.rules.get(cell) != Some(&outcome.number) {
            self.seen[cell] = ASK;
        }
    }

    /// Closes the rest with the default and gives the entry of every cell.
    pub(super) fn finish(mut self, default: RuleOutcome) -> Vec<u8> {
        let all = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        self.close((0, all), default);
        self.seen
    }
}

/// From the outcomes for all names of a listener to those that hold: where they allow, or those for the proven
/// names alone refuse, the latter decide. As [`decide_by_names`](crate::evaluate::decide_by_names).
pub(super) fn close_by_proven(of_all: &mut [u8], of_proven: &[u8]) {
    for (entry, of_proven) in of_all.iter_mut().zip(of_proven) {
        let [of_all, of_proven_alone] =
            [*entry, *of_proven].map(|entry| of_entry(entry).map(|(outcome, _)| outcome));
        let is_closed = of_all == Some(Outcome::Ask) && of_proven_alone == Some(Outcome::Refuse);
        if of_all == Some(Outcome::Allow) || is_closed {
            *entry = *of_proven;
        }
    }
}

/// Cells grouped by what every policy says of them.
pub(super) struct Classes {
    /// Class of each IPv4 cell.
    pub v4: Vec<u32>,
    /// Class of each IPv6 cell.
    pub v6: Vec<u32>,
    /// For each policy: the class before it, and the byte, of every class after it.
    steps: Vec<Vec<(u32, u8)>>,
}

impl Classes {
    /// All cells alike.
    pub(super) fn new(v4: usize, v6: usize) -> Self {
        Self { v4: vec![0; v4], v6: vec![0; v6], steps: Vec::new() }
    }

    /// How many classes there are.
    pub(super) fn count(&self) -> usize {
        self.steps.last().map_or(1, Vec::len)
    }

    /// Splits the classes by one more policy; its bytes are below [`ENTRIES`].
    pub(super) fn split(&mut self, v4: &[u8], v6: &[u8]) {
        let mut known = vec![u32::MAX; self.count() * ENTRIES];
        let mut step = Vec::new();
        let cells = self.v4.iter_mut().zip(v4).chain(self.v6.iter_mut().zip(v6));
        for (class, &byte) in cells {
            let slot = &mut known[*class as usize * ENTRIES + usize::from(byte)];
            if *slot == u32::MAX {
                *slot = u32::try_from(step.len()).unwrap_or(u32::MAX);
                step.push((*class, byte));
            }
            *class = *slot;
        }
        self.steps.push(step);
    }

    /// For each policy, in the order they came, its byte for every class.
    pub(super) fn rows(&self) -> Vec<Vec<u8>> {
        let mut rows = Vec::with_capacity(self.steps.len());
        let mut at: Vec<u32> = (0..self.count()).filter_map(|class| u32::try_from(class).ok()).collect();
        for step in self.steps.iter().rev() {
            rows.push(at.iter().map(|class| step[*class as usize].1).collect());
            for class in &mut at {
                *class = step[*class as usize].0;
            }
        }
        rows.reverse();
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{cells::Cells, region::Region},
        *,
    };

    type SpanSlice<'a> = &'a [(u32, u32)];

    fn of_rules(rules: &[(SpanSlice<'_>, SpanSlice<'_>, u8)], default: u8) -> Vec<(u32, u8)> {
        let regions: Vec<_> =
            rules.iter().map(|(sure, doubtful, _)| Region::new(sure.to_vec(), doubtful.to_vec())).collect();
        let cells = Cells::new(regions.iter());
        let mut outcomes = CellOutcomes::new(cells.len());
        for (region, (_, _, bit)) in regions.iter().zip(rules) {
            outcomes.apply(&cells.ranges(region), true, outcome(*bit));
        }
        cells.starts.iter().copied().zip(outcomes.finish(outcome(default))).collect()
    }

    fn outcome(entry: u8) -> RuleOutcome {
        RuleOutcome { entry, number: entry.into() }
    }

    #[test]
    fn the_first_rule_wins() {
        assert_eq!(
            of_rules(&[(&[(5, 9)], &[], 1), (&[(0, 7), (12, u32::MAX)], &[], 2)], 1),
            [(0, 2), (5, 1), (8, 1), (10, 1), (12, 2)]
        );
    }

    #[test]
    fn doubt_asks_only_where_the_answers_differ() {
        assert_eq!(
            of_rules(&[(&[], &[(0, 9)], 1), (&[(0, 4)], &[], 2), (&[(7, 7)], &[], 1)], 1),
            [(0, 3), (5, 1), (7, 1), (8, 1), (10, 1)]
        );
    }

    #[test]
    fn doubts_of_both_verdicts_ask_and_later_rules_are_not_read() {
        assert_eq!(
            of_rules(&[(&[], &[(0, 9)], 1), (&[], &[(5, 12)], 2), (&[(0, 20)], &[], 1)], 2)[..4],
            [(0, 1), (5, 3), (10, 3), (13, 1)]
        );
    }

    #[test]
    fn doubt_about_what_options_do_asks_also_where_verdicts_agree() {
        let regions = [Region::new(vec![], vec![(0u32, 9)]), Region::new(vec![(0, 4)], vec![])];
        let cells = Cells::new(regions.iter());
        let mut outcomes = CellOutcomes::new(cells.len());
        outcomes.apply(&cells.ranges(&regions[0]), true, RuleOutcome { entry: 2, number: 7 });
        outcomes.apply(&cells.ranges(&regions[1]), true, RuleOutcome { entry: 2, number: 8 });
        let outcomes = outcomes.finish(RuleOutcome { entry: 2, number: 7 });
        assert_eq!(cells.starts.iter().copied().zip(outcomes).collect::<Vec<_>>(), [(0, 3), (5, 2), (10, 2)]);
    }

    #[test]
    fn doubt_about_marks_asks_and_what_asks_by_itself_is_never_decided() {
        assert_eq!(
            of_rules(&[(&[], &[(0, 9)], 9), (&[(5, 20)], &[], 1)], 9),
            [(0, 9), (5, 3), (10, 1), (21, 9)]
        );
        assert_eq!(
            of_rules(&[(&[(0, 4)], &[], 13), (&[], &[(3, 9)], 3)], 2),
            [(0, 13), (3, 13), (5, 3), (10, 2)]
        );
    }

    #[test]
    fn many_inks_are_told_apart() {
        let everywhere = Region::new(vec![], vec![(0u32, u32::MAX)]);
        let [low, high] = [(0, 4), (5, 9)].map(|part| Region::new(vec![], vec![part]));
        let cells = Cells::new([&everywhere, &low, &high].into_iter());
        for first in 0..20 {
            let mut outcomes = CellOutcomes::new(cells.len());
            for number in 0..first {
                outcomes.apply(&cells.ranges(&low), true, RuleOutcome { entry: 1, number });
            }
            for _ in 0..3 {
                outcomes.apply(&cells.ranges(&high), true, RuleOutcome { entry: 1, number: 50 });
            }
            let outcomes = outcomes.finish(RuleOutcome { entry: 1, number: 50 });
            assert_eq!(outcomes, [if first == 0 { 1 } else { 3 }, 1, 1], "{first}");
        }
    }

    #[test]
    fn exempt_cells_keep_no_verdict() {
        assert_eq!(of_rules(&[(&[(3, 4)], &[], 0), (&[(0, u32::MAX)], &[], 2)], 1), [(0, 2), (3, 0), (5, 2)]);
    }

    #[test]
    fn what_all_names_allow_or_ask_the_proven_ones_may_close() {
        let [allow, refuse, ask, exempt] =
            [Outcome::Allow, Outcome::Refuse, Outcome::Ask, Outcome::Exempt].map(|outcome| outcome as u8);
        let mut of_all = [allow, allow | 4, allow, refuse | 16, ask, exempt];
        close_by_proven(&mut of_all, &[refuse, allow | 8, ask, allow, refuse, exempt]);
        assert_eq!(of_all, [refuse, allow | 8, ask, refuse | 16, refuse, exempt]);
    }

    #[test]
    fn rows_give_back_what_split() {
        let mut classes = Classes::new(4, 2);
        let policies: [([u8; 4], [u8; 2]); 3] =
            [([1, 1, 2, 2], [1, 2]), ([1, 2, 1, 2], [1, 1]), ([3, 3, 3, 3], [3, 0])];
        for (v4, v6) in &policies {
            classes.split(v4, v6);
        }
        let rows = classes.rows();
        for (row, (v4, v6)) in rows.iter().zip(&policies) {
            let told: Vec<u8> =
                classes.v4.iter().chain(&classes.v6).map(|class| row[*class as usize]).collect();
            assert_eq!(told, [&v4[..], &v6[..]].concat());
        }
        assert_eq!(classes.count(), 5);
    }
}
