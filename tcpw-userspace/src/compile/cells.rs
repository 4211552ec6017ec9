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
        Self::of(regions.flat_map(|region| region.sure.iter().chain(region.doubtful.iter())))
    }

    /// Cells that none of the intervals cuts.
    pub(super) fn of(intervals: impl Iterator<Item = (W, W)>) -> Self {
        let mut starts = vec![W::MIN];
        for (first, last) in intervals {
            starts.push(first);
            starts.extend(last.next());
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
                let begin = self.seek(from, |start| start < first);
                from = self.seek(begin, |start| start <= last);
                (begin, from)
            })
            .collect()
    }

    /// The first cell from one on that is not before a place; near ones are found fastest.
    fn seek(&self, from: usize, is_before: impl Fn(W) -> bool) -> usize {
        let starts = &self.starts[from..];
        let mut width = 1;
        while starts.get(width - 1).is_some_and(|start| is_before(*start)) {
            width *= 2;
        }
        let (low, high) = (width / 2, starts.len().min(width));
        from + low + starts[low..high].partition_point(|start| is_before(*start))
    }
}

/// Finds the cells of single IPv4 networks in about constant time.
pub(super) struct CellIndex<'a> {
    starts: &'a [u32],
    /// For each value of the upper half of an address, the first cell there; and how many cells there are.
    first: Vec<u32>,
}

impl<'a> CellIndex<'a> {
    pub(super) fn new(cells: &'a Cells<u32>) -> Self {
        let starts = cells.starts.as_slice();
        let mut first = Vec::with_capacity((1 << 16) + 1);
        for (at, start) in (0u32..).zip(starts) {
            first.resize(first.len().max((start >> 16) as usize + 1), at);
        }
        first.resize((1 << 16) + 1, u32::try_from(starts.len()).unwrap_or(u32::MAX));
        Self { starts, first }
    }

    /// The cells of an interval that cuts none.
    pub(super) fn cut(&self, (first, last): (u32, u32)) -> (usize, usize) {
        let begin = self.seek(first);
        let end = last.checked_add(1).map_or(self.starts.len(), |next| {
            // Most networks are one cell.
            if self.starts.get(begin + 1) == Some(&next) { begin + 1 } else { self.seek(next) }
        });
        (begin, end)
    }

    /// The first cell that does not begin before an address.
    fn seek(&self, address: u32) -> usize {
        let upper = (address >> 16) as usize;
        let [begin, end] = [upper, upper + 1].map(|upper| self.first[upper] as usize);
        begin + self.starts[begin..end].partition_point(|start| *start < address)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_an_interval_are_found_both_ways() {
        let parts = [(0u32, 0), (7, 9), (0xffff, 0x1_0000), (0x10_0000, 0x2f_ffff), (u32::MAX - 3, u32::MAX)];
        let cells = Cells::of(parts.into_iter());
        let index = CellIndex::new(&cells);
        for part in parts {
            let found = index.cut(part);
            let begin = cells.starts.iter().position(|start| *start == part.0).unwrap();
            let count = cells.starts[begin..].iter().take_while(|start| **start <= part.1).count();
            assert_eq!(found, (begin, begin + count), "{part:?}");
            assert_eq!(cells.cut(&Intervals::new(vec![part])), [found], "{part:?}");
        }
        let all = Intervals::new(parts.to_vec());
        assert_eq!(cells.cut(&all), all.iter().map(|part| index.cut(part)).collect::<Vec<_>>());
    }
}
