//! Which rule matches each client first, over all services at once.
//!
//! In: rules in order, as ranges of cells. Out: whether a rule matches a client that no earlier rule matched, and
//! which earlier rules matched its clients. One of three implementations of first match;
//! [`super::outcomes`] says why there are three.

use std::collections::BTreeSet;

use super::{
    cells::{CellRange, OpenCells, Ranges},
    service::Truth,
};

/// Most owners that are told of one rule.
pub(super) const MAX_OWNERS: usize = 100;

/// The cells of a rule in one family, as half-open ranges.
#[derive(Clone, Copy, Default)]
pub(super) struct Spans<'a> {
    /// Where it matches.
    pub sure: &'a [CellRange],
    /// Where it may.
    pub doubtful: &'a [CellRange],
}

impl<'a> From<&'a Ranges> for Spans<'a> {
    fn from(ranges: &'a Ranges) -> Self {
        Self { sure: &ranges.sure, doubtful: &ranges.doubtful }
    }
}

/// Clients that no rule has matched yet, and which rule matched each of the others.
pub(super) struct RemainingClients {
    families: [FamilyOwners; 2],
    unknown: Option<usize>,
    /// Clients without address are spared.
    unknown_is_spared: bool,
}

impl RemainingClients {
    /// No client is matched yet.
    pub(super) fn new(cells: [usize; 2]) -> Self {
        Self { families: cells.map(FamilyOwners::new), unknown: None, unknown_is_spared: false }
    }

    /// Whether a rule may match a remaining client; `unknown`: whether it matches clients without address.
    pub(super) fn is_open(&mut self, ranges: [Spans<'_>; 2], unknown: Truth) -> bool {
        (unknown != Truth::No && self.unknown.is_none())
            || self.families.iter_mut().zip(ranges).any(|(family, ranges)| family.is_open(ranges))
    }

    /// No rule takes what is left of the clients that a rule matches or may match, until they are
    /// [given back](Self::give_back).
    pub(super) fn spare(&mut self, ranges: [Spans<'_>; 2], unknown: Truth) {
        self.unknown_is_spared |= unknown != Truth::No && self.unknown.is_none();
        for (family, ranges) in self.families.iter_mut().zip(ranges) {
            family.spare(ranges);
        }
    }

    /// Those that were spared can be taken from now on.
    pub(super) fn give_back(&mut self) {
        self.unknown_is_spared = false;
        self.families.iter_mut().for_each(FamilyOwners::give_back);
    }

    /// Takes what is left of those a rule is sure to match.
    pub(super) fn close(&mut self, rule: usize, ranges: [Spans<'_>; 2], unknown: Truth) {
        if unknown == Truth::Yes && !self.unknown_is_spared {
            self.unknown.get_or_insert(rule);
        }
        for (family, ranges) in self.families.iter_mut().zip(ranges) {
            family.close(rule, ranges);
        }
    }

    /// Adds the rules that took the clients of a rule, until there are enough or time is up.
    pub(super) fn owners(
        &self,
        ranges: [Spans<'_>; 2],
        unknown: Truth,
        by: &mut BTreeSet<usize>,
        budget: &mut usize,
    ) {
        if unknown != Truth::No {
            by.extend(self.unknown);
        }
        for (family, ranges) in self.families.iter().zip(ranges) {
            family.owners(ranges, by, budget);
        }
    }
}

struct FamilyOwners {
    open: OpenCells,
    owners: Vec<u32>,
    spared: Vec<usize>,
}

impl FamilyOwners {
    fn new(cells: usize) -> Self {
        Self { open: OpenCells::new(cells), owners: vec![u32::MAX; cells], spared: Vec::new() }
    }

    fn is_open(&mut self, ranges: Spans<'_>) -> bool {
        let is_open = |(begin, end): &CellRange| self.open.find(*begin as usize) < *end as usize;
        ranges.sure.iter().chain(ranges.doubtful).any(is_open)
    }

    fn spare(&mut self, ranges: Spans<'_>) {
        for &(begin, end) in ranges.sure.iter().chain(ranges.doubtful) {
            let mut cell = self.open.find(begin as usize);
            while cell < end as usize {
                self.spared.push(cell);
                self.open.remove(cell);
                cell = self.open.find(cell + 1);
            }
        }
    }

    fn give_back(&mut self) {
        for cell in self.spared.drain(..) {
            self.open.insert(cell);
        }
    }

    fn close(&mut self, rule: usize, ranges: Spans<'_>) {
        for &(begin, end) in ranges.sure {
            let mut cell = self.open.find(begin as usize);
            while cell < end as usize {
                self.owners[cell] = u32::try_from(rule).unwrap_or(u32::MAX);
                self.open.remove(cell);
                cell = self.open.find(cell + 1);
            }
        }
    }

    fn owners(&self, ranges: Spans<'_>, by: &mut BTreeSet<usize>, budget: &mut usize) {
        let mut before = u32::MAX;
        for &(begin, end) in ranges.sure.iter().chain(ranges.doubtful) {
            for &owner in &self.owners[begin as usize..end as usize] {
                if *budget == 0 || by.len() > MAX_OWNERS {
                    return;
                }
                *budget -= 1;
                if owner != before {
                    by.insert(owner as usize);
                    before = owner;
                }
            }
        }
    }
}
