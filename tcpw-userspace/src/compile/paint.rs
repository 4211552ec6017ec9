//! First match wins, painted on cells of the address space.
//!
//! In: regions in rule order. Out: for every cell the set of possible verdicts;
//! over all policies, the class of every cell.
//! Invariant: a cell is an interval in which no pattern tells two addresses apart.

use tcpw_common::outcome::{KEEPALIVE, Outcome, REPORT};

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

/// What may become of a client, each a bit of a set.
pub(super) mod bits {
    /// Allowed.
    pub(in super::super) const ALLOW: u8 = 1;
    /// Refused.
    pub(in super::super) const REFUSE: u8 = 1 << 1;
    /// Allowed, and a command is run.
    pub(in super::super) const SPAWN: u8 = 1 << 2;
    /// Allowed, with SO_KEEPALIVE.
    pub(in super::super) const KEEP: u8 = 1 << 3;
    /// Allowed, with both.
    pub(in super::super) const SPAWN_KEEP: u8 = 1 << 4;
    /// Whatever a command says.
    pub(in super::super) const COMMAND: u8 = 1 << 5;
    /// How many there are.
    pub(super) const COUNT: usize = 6;
}

/// The entry of a set of what may happen; the empty set is that of exempt cells.
///
/// Verdicts that differ ask, and so does SO_KEEPALIVE, which the kernel sets by itself. A
/// command that may be run is only reported: user space knows whether it is.
fn entry(seen: u8) -> u8 {
    let has = |bits: u8| seen & bits != 0;
    let (plain, kept) = (has(bits::ALLOW | bits::SPAWN), has(bits::KEEP | bits::SPAWN_KEEP));
    if has(bits::COMMAND) || (has(bits::REFUSE) && (plain || kept)) || (plain && kept) {
        return Outcome::Ask as u8;
    }
    if has(bits::REFUSE) {
        return Outcome::Refuse as u8;
    }
    if !plain && !kept {
        return Outcome::Exempt as u8;
    }
    let report = if has(bits::SPAWN | bits::SPAWN_KEEP) { REPORT } else { 0 };
    Outcome::Allow as u8 | report | if kept { KEEPALIVE } else { 0 }
}

/// The cells of one family while one policy is painted.
pub(super) struct Canvas {
    /// What may happen, as sets of [`bits`].
    seen: Vec<u8>,
    /// Cells that no sure match closed.
    open: Skip,
    /// For each bit, open cells that do not have it; made at the first doubt.
    without: [Option<Skip>; bits::COUNT],
}

impl Canvas {
    /// Nothing painted.
    pub(super) fn new(cells: usize) -> Self {
        Self { seen: vec![0; cells], open: Skip::new(cells), without: [const { None }; bits::COUNT] }
    }

    /// Paints what is still open of a rule's region with its bit.
    pub(super) fn paint(&mut self, ranges: &Ranges, rule_is_sure: bool, bit: u8) {
        for &range in &ranges.sure {
            if rule_is_sure { self.close(range, bit) } else { self.add(range, bit) }
        }
        for &range in &ranges.doubtful {
            self.add(range, bit);
        }
    }

    /// Closes what is open; 0 is the bit of exempt cells.
    fn close(&mut self, (begin, end): (usize, usize), bit: u8) {
        let mut cell = self.open.find(begin);
        while cell < end {
            self.seen[cell] |= bit;
            self.open.remove(cell);
            cell = self.open.find(cell + 1);
        }
    }

    /// Adds what may happen to what is open.
    fn add(&mut self, (begin, end): (usize, usize), bit: u8) {
        let Some(without) = self.without.get_mut(bit.trailing_zeros() as usize) else { return };
        let without = without.get_or_insert_with(|| self.open.clone());
        let mut cell = without.find(begin);
        while cell < end {
            if self.open.find(cell) == cell {
                self.seen[cell] |= bit;
                // Nothing later can change such a cell.
                if entry(self.seen[cell]) == Outcome::Ask as u8 {
                    self.open.remove(cell);
                }
            }
            without.remove(cell);
            cell = without.find(cell + 1);
        }
    }

    /// Closes the rest with the default and gives the entry of every cell.
    pub(super) fn finish(mut self, default: u8) -> Vec<u8> {
        self.close((0, self.seen.len()), default);
        self.seen.iter().map(|seen| entry(*seen)).collect()
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

    /// Splits the classes by one more policy; its bytes are below 16.
    pub(super) fn split(&mut self, v4: &[u8], v6: &[u8]) {
        let mut known = vec![u32::MAX; self.count() * 16];
        let mut step = Vec::new();
        let cells = self.v4.iter_mut().zip(v4).chain(self.v6.iter_mut().zip(v6));
        for (class, &byte) in cells {
            let slot = &mut known[*class as usize * 16 + usize::from(byte)];
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
            canvas.paint(&cells.ranges(region), true, *bit);
        }
        cells.starts.iter().copied().zip(canvas.finish(default)).collect()
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
    fn doubt_about_keepalive_asks_and_about_a_command_reports() {
        assert_eq!(
            painted(&[(&[], &[(0, 9)], bits::KEEP), (&[(5, 20)], &[], bits::ALLOW)], bits::KEEP),
            [(0, 9), (5, 3), (10, 1), (21, 9)]
        );
        assert_eq!(
            painted(&[(&[], &[(0, 9)], bits::SPAWN), (&[(5, 20)], &[], bits::ALLOW)], bits::ALLOW),
            [(0, 5), (5, 5), (10, 1), (21, 1)]
        );
        assert_eq!(
            painted(&[(&[(0, 4)], &[], bits::SPAWN_KEEP), (&[], &[(3, 9)], bits::COMMAND)], bits::REFUSE),
            [(0, 13), (3, 13), (5, 3), (10, 2)]
        );
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
