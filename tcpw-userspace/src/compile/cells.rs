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

/// The first cell of a range, and the cell behind it. There are never 2^32 cells: see
/// [`MAX_CELLS`](super::error::MAX_CELLS).
pub(super) type CellRange = (u32, u32);

/// A region as half-open ranges of cells.
#[derive(Debug)]
pub(super) struct Ranges {
    /// Where it matches.
    pub sure: Vec<CellRange>,
    /// Where it may.
    pub doubtful: Vec<CellRange>,
}

impl<W: AddressNumber> Cells<W> {
    /// Cells that none of the regions cuts.
    pub(super) fn new<'a>(regions: impl Iterator<Item = &'a Region<W>>) -> Self {
        Self::of(regions.flat_map(Region::intervals))
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
        starts.shrink_to_fit();
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
    pub(super) fn cut(&self, intervals: &Intervals<W>) -> Vec<CellRange> {
        let mut from = 0;
        intervals
            .iter()
            .map(|(first, last)| {
                let begin = self.seek(from, |start| start < first);
                from = self.seek(begin, |start| start <= last);
                (number(begin), number(from))
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

fn number(cell: usize) -> u32 {
    u32::try_from(cell).unwrap_or(u32::MAX)
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
    pub(super) fn cut(&self, (first, last): (u32, u32)) -> CellRange {
        let begin = self.seek(first);
        let end = last.checked_add(1).map_or(self.starts.len(), |next| {
            // Most networks are one cell.
            if self.starts.get(begin + 1) == Some(&next) { begin + 1 } else { self.seek(next) }
        });
        (number(begin), number(end))
    }

    /// The first cell that does not begin before an address.
    fn seek(&self, address: u32) -> usize {
        let upper = (address >> 16) as usize;
        let [begin, end] = [upper, upper + 1].map(|upper| self.first[upper] as usize);
        begin + self.starts[begin..end].partition_point(|start| *start < address)
    }
}

/// A set of numbers that only shrinks: finds the next member in nearly constant time.
///
/// A bit for each number, and above each level a bit for each of its words that is not empty: of a million cells it
/// lies in the processor's caches.
#[derive(Clone)]
pub(super) struct OpenCells {
    len: usize,
    levels: Vec<Vec<u64>>,
}

/// Bits of a word.
const WORD: usize = 64;

impl OpenCells {
    /// All numbers below `len`.
    pub(super) fn new(len: usize) -> Self {
        let mut levels = Vec::new();
        let mut bits = len;
        while bits > 0 {
            let mut words = vec![u64::MAX; bits.div_ceil(WORD)];
            if let Some(last) = words.last_mut().filter(|_| !bits.is_multiple_of(WORD)) {
                *last >>= WORD - bits % WORD;
            }
            bits = if words.len() > 1 { words.len() } else { 0 };
            levels.push(words);
        }
        Self { len, levels }
    }

    /// The first member at or after `from`; the length if there is none.
    pub(super) fn find(&self, from: usize) -> usize {
        let mut at = from;
        for (depth, words) in self.levels.iter().enumerate() {
            let rest = words.get(at / WORD).map_or(0, |word| word >> (at % WORD));
            if rest != 0 {
                let found = at + rest.trailing_zeros() as usize;
                let down = self.levels[..depth].iter().rev();
                return down.fold(found, |at, words| at * WORD + words[at].trailing_zeros() as usize);
            }
            at = at / WORD + 1;
        }
        self.len
    }

    /// Puts a number below the length in.
    pub(super) fn insert(&mut self, member: usize) {
        let mut at = member;
        for words in &mut self.levels {
            words[at / WORD] |= 1 << (at % WORD);
            at /= WORD;
        }
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, member: usize) {
        let mut at = member;
        for words in &mut self.levels {
            let word = &mut words[at / WORD];
            *word &= !(1 << (at % WORD));
            if *word != 0 {
                return;
            }
            at /= WORD;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
            assert_eq!(found, (number(begin), number(begin + count)), "{part:?}");
            assert_eq!(cells.cut(&Intervals::new(vec![part])), [found], "{part:?}");
        }
        let all = Intervals::new(parts.to_vec());
        assert_eq!(cells.cut(&all), all.iter().map(|part| index.cut(part)).collect::<Vec<_>>());
    }

    #[test]
    fn open_cells_are_found_until_they_are_removed() {
        for len in [0, 1, 63, 64, 65, 4095, 4096, 4097, 300_000] {
            let mut open = OpenCells::new(len);
            let mut want: BTreeSet<usize> = (0..len).collect();
            // Whole stretches, and what is left between them.
            let members: Vec<usize> =
                (len / 3..len / 2).chain((0..len).step_by(7)).chain(len / 5..len).collect();
            for (turn, member) in members.into_iter().enumerate() {
                open.remove(member);
                want.remove(&member);
                if turn % 97 == 0 || len < 100 {
                    for from in [0, member, member + 1, len / 2, len.saturating_sub(1), len] {
                        let next = want.range(from..).next().copied().unwrap_or(len);
                        assert_eq!(open.find(from), next, "from {from} of {len}");
                    }
                }
            }
        }
    }
}
