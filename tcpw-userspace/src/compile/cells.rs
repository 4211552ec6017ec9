//! Cells of the address space.
//!
//! In: regions. Out: the cells that they cut it into; which of them a region covers.
//! Invariant: a cell is an interval in which no pattern distinguishes two addresses.

use super::region::{AddressNumber, Intervals, Region};

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

impl<W: AddressNumber> Cells<W> {
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

/// A set of numbers that only shrinks: finds the next member in nearly constant time.
#[derive(Clone)]
pub(super) struct OpenCells(Vec<u32>);

impl OpenCells {
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
