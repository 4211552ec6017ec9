//! First match wins, painted on cells of the address space.
//!
//! In: regions in rule order. Out: for every cell the set of possible verdicts;
//! over all policies, the class of every cell.
//! Invariant: a cell is an interval in which no pattern tells two addresses apart.

use std::collections::HashMap;

use tcpw_common::outcome::ENTRIES;

use super::region::{Intervals, Region, Word};

/// The cells of one family, by their first addresses.
#[derive(Debug)]
pub(super) struct Cells<W> {
    /// First address of each cell; the first one is 0.
    pub starts: Vec<W>,
}

/// A region as half-open ranges of cells.
#[derive(Debug)]
pub(super) struct Ranges {
    /// Where it matches.
    pub sure: Vec<(usize, usize)>,
    /// Where it may.
    pub doubtful: Vec<(usize, usize)>,
}

impl<W: Word> Cells<W> {
    /// Cells that none of the regions cuts.
    pub(super) fn new<'a>(regions: impl Iterator<Item = &'a Region<W>>) -> Self {
        let mut starts = vec![W::MIN];
        for region in regions {
            for (first, last) in region.sure.iter().chain(region.doubtful.iter()) {
                starts.push(first);
                starts.extend(last.next());
            }
        }
        starts.sort_unstable();
        starts.dedup();
        Self { starts }
    }

    /// How many cells there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The cells of a region that cuts none.
    pub(super) fn ranges(&self, region: &Region<W>) -> Ranges {
        Ranges { sure: self.cut(&region.sure), doubtful: self.cut(&region.doubtful) }
    }

    /// The cells of intervals that cut none.
    pub(super) fn cut(&self, intervals: &Intervals<W>) -> Vec<(usize, usize)> {
        let mut from = 0;
        intervals
            .iter()
            .map(|(first, last)| {
                let begin = from + self.starts[from..].partition_point(|start| *start < first);
                from = begin + self.starts[begin..].partition_point(|start| *start <= last);
                (begin, from)
            })
            .collect()
    }
}

/// A verdict with what the options do beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink {
    /// The outcome with its marks; 0 for what is exempt.
    pub entry: u8,
    /// Equal for rules that do the same.
    pub number: u32,
}

impl Ink {
    /// That of exempt cells: it goes on first.
    pub(super) const EXEMPT: Self = Self { entry: 0, number: u32::MAX };
}

/// The cells of one family while one policy is painted.
pub(super) struct Canvas {
    /// What was seen, as entries.
    seen: Vec<u8>,
    /// The ink of a cell that has seen one.
    inks: Vec<u32>,
    /// Cells that no sure match closed.
    open: Skip,
    /// For some inks, open cells that do not have it; made at the ink's first doubt.
    without: HashMap<u32, Skip>,
}

/// Nothing later can change such a cell.
const ASK: u8 = 3;

/// Inks that are remembered cell by cell. Of others, rules in doubt look at each open cell again.
const REMEMBERED: usize = 8;

impl Canvas {
    /// Nothing painted.
    pub(super) fn new(cells: usize) -> Self {
        Self { seen: vec![0; cells], inks: vec![0; cells], open: Skip::new(cells), without: HashMap::new() }
    }

    /// Paints what is still open of a rule's region.
    pub(super) fn paint(&mut self, ranges: &Ranges, rule_is_sure: bool, ink: Ink) {
        for &range in &ranges.sure {
            if rule_is_sure { self.close(range, ink) } else { self.add(range, ink) }
        }
        for &range in &ranges.doubtful {
            self.add(range, ink);
        }
    }

    /// Closes what is open.
    fn close(&mut self, (begin, end): (usize, usize), ink: Ink) {
        let mut cell = self.open.find(begin);
        while cell < end {
            self.mark(cell, ink);
            self.open.remove(cell);
            cell = self.open.find(cell + 1);
        }
    }

    /// Adds a possible verdict to what is open.
    fn add(&mut self, (begin, end): (usize, usize), ink: Ink) {
        if !self.without.contains_key(&ink.number) && self.without.len() < REMEMBERED {
            self.without.insert(ink.number, self.open.clone());
        }
        let mut without = self.without.remove(&ink.number);
        let mut from = begin;
        loop {
            let cell = match &mut without {
                Some(without) => without.find(from),
                None => self.open.find(from),
            };
            if cell >= end {
                break;
            }
            if self.open.find(cell) == cell {
                self.mark(cell, ink);
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
            self.without.insert(ink.number, without);
        }
    }

    /// Two inks on a cell: which one holds is for the evaluator to say.
    fn mark(&mut self, cell: usize, ink: Ink) {
        if self.seen[cell] == 0 {
            self.seen[cell] = ink.entry;
            self.inks[cell] = ink.number;
        } else if self.inks[cell] != ink.number {
            self.seen[cell] = ASK;
        }
    }

    /// Closes the rest with the default and gives the entry of every cell.
    pub(super) fn finish(mut self, default: Ink) -> Vec<u8> {
        self.close((0, self.seen.len()), default);
        self.seen
    }
}

/// A set of numbers that only shrinks: finds the next member in nearly constant time.
#[derive(Clone)]
pub(super) struct Skip(Vec<u32>);

impl Skip {
    /// All numbers below `len`.
    pub(super) fn new(len: usize) -> Self {
        Self((0..=u32::try_from(len).unwrap_or(u32::MAX)).collect())
    }

    /// The first member at or after `from`; the length if there is none.
    pub(super) fn find(&mut self, from: usize) -> usize {
        let mut at = from.min(self.0.len() - 1);
        loop {
            let next = self.0[at] as usize;
            if next == at {
                return at;
            }
            self.0[at] = self.0[next];
            at = next;
        }
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, member: usize) {
        self.0[member] = self.0[member + 1];
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
    use super::*;

    type Spans<'a> = &'a [(u32, u32)];

    fn painted(rules: &[(Spans<'_>, Spans<'_>, u8)], default: u8) -> Vec<(u32, u8)> {
        let regions: Vec<_> =
            rules.iter().map(|(sure, doubtful, _)| Region::new(sure.to_vec(), doubtful.to_vec())).collect();
        let cells = Cells::new(regions.iter());
        let mut canvas = Canvas::new(cells.len());
        for (region, (_, _, bit)) in regions.iter().zip(rules) {
            canvas.paint(&cells.ranges(region), true, ink(*bit));
        }
        cells.starts.iter().copied().zip(canvas.finish(ink(default))).collect()
    }

    fn ink(entry: u8) -> Ink {
        Ink { entry, number: entry.into() }
    }

    #[test]
    fn the_first_rule_wins() {
        assert_eq!(
            painted(&[(&[(5, 9)], &[], 1), (&[(0, 7), (12, u32::MAX)], &[], 2)], 1),
            [(0, 2), (5, 1), (8, 1), (10, 1), (12, 2)]
        );
    }

    #[test]
    fn doubt_asks_only_where_the_answers_differ() {
        assert_eq!(
            painted(&[(&[], &[(0, 9)], 1), (&[(0, 4)], &[], 2), (&[(7, 7)], &[], 1)], 1),
            [(0, 3), (5, 1), (7, 1), (8, 1), (10, 1)]
        );
    }

    #[test]
    fn doubts_of_both_verdicts_ask_and_later_rules_are_not_read() {
        assert_eq!(
            painted(&[(&[], &[(0, 9)], 1), (&[], &[(5, 12)], 2), (&[(0, 20)], &[], 1)], 2)[..4],
            [(0, 1), (5, 3), (10, 3), (13, 1)]
        );
    }

    #[test]
    fn doubt_about_what_options_do_asks_also_where_verdicts_agree() {
        let regions = [Region::new(vec![], vec![(0u32, 9)]), Region::new(vec![(0, 4)], vec![])];
        let cells = Cells::new(regions.iter());
        let mut canvas = Canvas::new(cells.len());
        canvas.paint(&cells.ranges(&regions[0]), true, Ink { entry: 2, number: 7 });
        canvas.paint(&cells.ranges(&regions[1]), true, Ink { entry: 2, number: 8 });
        let outcomes = canvas.finish(Ink { entry: 2, number: 7 });
        assert_eq!(cells.starts.iter().copied().zip(outcomes).collect::<Vec<_>>(), [(0, 3), (5, 2), (10, 2)]);
    }

    #[test]
    fn doubt_about_marks_asks_and_what_asks_by_itself_is_never_decided() {
        assert_eq!(
            painted(&[(&[], &[(0, 9)], 9), (&[(5, 20)], &[], 1)], 9),
            [(0, 9), (5, 3), (10, 1), (21, 9)]
        );
        assert_eq!(
            painted(&[(&[(0, 4)], &[], 13), (&[], &[(3, 9)], 3)], 2),
            [(0, 13), (3, 13), (5, 3), (10, 2)]
        );
    }

    #[test]
    fn many_inks_are_told_apart() {
        let everywhere = Region::new(vec![], vec![(0u32, u32::MAX)]);
        let [low, high] = [(0, 4), (5, 9)].map(|part| Region::new(vec![], vec![part]));
        let cells = Cells::new([&everywhere, &low, &high].into_iter());
        for first in 0..20 {
            let mut canvas = Canvas::new(cells.len());
            for number in 0..first {
                canvas.paint(&cells.ranges(&low), true, Ink { entry: 1, number });
            }
            for _ in 0..3 {
                canvas.paint(&cells.ranges(&high), true, Ink { entry: 1, number: 50 });
            }
            let outcomes = canvas.finish(Ink { entry: 1, number: 50 });
            assert_eq!(outcomes, [if first == 0 { 1 } else { 3 }, 1, 1], "{first}");
        }
    }

    #[test]
    fn exempt_cells_keep_no_verdict() {
        assert_eq!(painted(&[(&[(3, 4)], &[], 0), (&[(0, u32::MAX)], &[], 2)], 1), [(0, 2), (3, 0), (5, 2)]);
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
