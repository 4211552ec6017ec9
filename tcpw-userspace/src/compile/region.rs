//! Sets of addresses: where a pattern or a list matches, may match, or does not.
//!
//! In: intervals in any order. Out: [`Region`]s and their algebra.
//! Invariant: intervals are sorted, disjoint and never adjacent; in a region no
//! address is both sure and doubtful.

use std::{fmt::Debug, net::IpAddr};

use super::service::Truth;

/// An address as a number: `u32` for IPv4, `u128` for IPv6.
pub(super) trait AddressNumber: Copy + Ord + Debug + 'static {
    /// Its bytes in network order.
    type Bytes: Copy + Ord + Debug + std::hash::Hash;
    /// Bits of an address.
    const BITS: u8;
    /// The lowest address.
    const MIN: Self;

    /// The address after this one.
    fn next(self) -> Option<Self>;
    /// The address before this one.
    fn previous(self) -> Option<Self>;
    /// The first address of the prefix of `bits` bits that this one is in.
    fn prefix_first(self, bits: u8) -> Self;
    /// The last address of the prefix of `bits` bits that begins here.
    fn prefix_last(self, bits: u8) -> Self;
    /// The first address of the upper half of the prefix of `bits` bits that begins here.
    fn upper_half(self, bits: u8) -> Self;
    /// In network order.
    fn to_bytes(self) -> Self::Bytes;
    /// From network order.
    fn from_bytes(bytes: Self::Bytes) -> Self;
}

macro_rules! word {
    ($word:ty, $bytes:expr) => {
        impl AddressNumber for $word {
            type Bytes = [u8; $bytes];
            const BITS: u8 = $bytes * 8;
            const MIN: Self = 0;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }
            fn prefix_first(self, bits: u8) -> Self {
                self & !<$word>::MAX.checked_shr(bits.into()).unwrap_or(0)
            }
            fn prefix_last(self, bits: u8) -> Self {
                self | <$word>::MAX.checked_shr(bits.into()).unwrap_or(0)
            }
            fn upper_half(self, bits: u8) -> Self {
                self | (1 << u32::from(<Self as AddressNumber>::BITS - 1 - bits))
            }
            fn to_bytes(self) -> Self::Bytes {
                self.to_be_bytes()
            }
            fn from_bytes(bytes: Self::Bytes) -> Self {
                Self::from_be_bytes(bytes)
            }
        }
    };
}
word!(u32, 4);
word!(u128, 16);

/// A set of addresses as inclusive intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intervals<W>(Vec<(W, W)>);

impl<W> Default for Intervals<W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<W: AddressNumber> Intervals<W> {
    /// The union of intervals in any order.
    pub(super) fn new(mut parts: Vec<(W, W)>) -> Self {
        parts.sort_unstable();
        let mut merged = 0;
        for index in 0..parts.len() {
            let (first, last) = parts[index];
            if merged > 0 {
                let before = &mut parts[merged - 1];
                if before.1.next().is_none_or(|after| first <= after) {
                    before.1 = before.1.max(last);
                    continue;
                }
            }
            parts[merged] = (first, last);
            merged += 1;
        }
        parts.truncate(merged);
        Self(parts)
    }

    /// The intervals, lowest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (W, W)> {
        self.0.iter().copied()
    }

    /// Whether no address is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This or the other.
    pub(super) fn union(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        Self::new(self.iter().chain(other.iter()).collect())
    }

    /// This and the other.
    pub(super) fn and(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// Whether every address is in it.
    pub(super) fn is_everything(&self) -> bool {
        matches!(self.0.as_slice(), [(first, last)] if *first == W::MIN && last.next().is_none())
    }

    /// Whether an address is in it.
    pub(super) fn has(&self, address: W) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= address);
        behind.checked_sub(1).is_some_and(|at| address <= self.0[at].1)
    }

    /// This without the other.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let mut rest = Vec::with_capacity(self.0.len());
        let mut holes = other.0.as_slice();
        for (first, last) in self.iter() {
            while let Some((hole, tail)) = holes.split_first()
                && hole.1 < first
            {
                holes = tail;
            }
            let mut open = Some(first);
            for &(hole_first, hole_last) in holes {
                let Some(begin) = open else { break };
                if hole_first > last {
                    break;
                }
                if begin < hole_first
                    && let Some(end) = hole_first.previous()
                {
                    rest.push((begin, end));
                }
                open = hole_last.next().filter(|next| *next <= last);
            }
            if let Some(begin) = open {
                rest.push((begin, last));
            }
        }
        Self(rest)
    }
}

/// Where something matches: surely, or perhaps; elsewhere it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region<W> {
    /// Addresses that match.
    pub sure: Intervals<W>,
    /// Addresses of which only the evaluator can tell.
    pub doubtful: Intervals<W>,
}

impl<W> Default for Region<W> {
    fn default() -> Self {
        Self { sure: Intervals::default(), doubtful: Intervals::default() }
    }
}

impl<W: AddressNumber> Region<W> {
    /// From intervals in any order; what is in both is sure.
    pub(super) fn new(sure: Vec<(W, W)>, doubtful: Vec<(W, W)>) -> Self {
        let sure = Intervals::new(sure);
        let doubtful = Intervals::new(doubtful).minus(&sure);
        Self { sure, doubtful }
    }

    /// Matches nowhere, surely.
    pub(super) fn is_empty(&self) -> bool {
        self.sure.is_empty() && self.doubtful.is_empty()
    }

    /// `self EXCEPT other`.
    pub(super) fn except(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        let sure = self.sure.minus(&other.possible());
        let doubtful = self.possible().minus(&other.sure).minus(&sure);
        Self { sure, doubtful }
    }

    fn sure_by(&self, other: &Self) -> [Self; 3] {
        let only = |sure| Self { sure, doubtful: Intervals::default() };
        [
            only(self.sure.and(&other.sure)),
            only(self.sure.and(&other.doubtful)),
            only(self.sure.minus(&other.possible())),
        ]
    }

    fn truth_at(&self, address: W) -> Truth {
        if self.sure.has(address) {
            Truth::Yes
        } else if self.doubtful.has(address) {
            Truth::Perhaps
        } else {
            Truth::No
        }
    }

    /// The same addresses, none of them sure.
    fn in_doubt(&self) -> Self {
        Self { sure: Intervals::default(), doubtful: self.possible() }
    }

    /// All its intervals, in no order.
    pub(super) fn intervals(&self) -> impl Iterator<Item = (W, W)> {
        self.sure.iter().chain(self.doubtful.iter())
    }

    /// Where it matches or may.
    pub(super) fn possible(&self) -> Intervals<W> {
        self.sure.union(&self.doubtful)
    }
}

/// A region of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Regions {
    /// IPv4 clients, v4-mapped ones included.
    pub v4: Region<u32>,
    /// IPv6 clients.
    pub v6: Region<u128>,
}

impl Regions {
    /// Matches nowhere, surely.
    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// `self EXCEPT other`.
    pub(super) fn except(&self, other: &Self) -> Self {
        Self { v4: self.v4.except(&other.v4), v6: self.v6.except(&other.v6) }
    }

    /// Whether the other is sure to match wherever this may.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.v4.possible().minus(&other.v4.sure).is_empty()
            && self.v6.possible().minus(&other.v6.sure).is_empty()
    }

    /// Every address.
    pub(super) fn everything() -> Self {
        let mut out = Collector::default();
        out.add_all();
        out.finish()
    }

    /// Whether it is sure to match everywhere.
    pub(super) fn is_everything(&self) -> bool {
        self.v4.sure.is_everything() && self.v6.sure.is_everything()
    }

    /// What is sure here, as far as it is in the other's sure, doubtful or remaining part.
    pub(super) fn sure_by(&self, other: &Self) -> [Self; 3] {
        let v4 = self.v4.sure_by(&other.v4);
        let v6 = self.v6.sure_by(&other.v6);
        let [a, b, c] = v4;
        let [d, e, f] = v6;
        [(a, d), (b, e), (c, f)].map(|(v4, v6)| Self { v4, v6 })
    }

    /// Where it is sure to match.
    pub(super) fn sure_only(&self) -> Self {
        Self::of(self.v4.sure.clone(), self.v6.sure.clone())
    }

    /// Where it may match, as sure.
    pub(super) fn doubtful_only(&self) -> Self {
        Self::of(self.v4.doubtful.clone(), self.v6.doubtful.clone())
    }

    fn of(v4: Intervals<u32>, v6: Intervals<u128>) -> Self {
        Self {
            v4: Region { sure: v4, doubtful: Intervals::default() },
            v6: Region { sure: v6, doubtful: Intervals::default() },
        }
    }

    /// Whether it matches an address.
    pub(super) fn truth_at(&self, address: IpAddr) -> Truth {
        match address {
            IpAddr::V4(v4) => self.v4.truth_at(v4.to_bits()),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => self.v4.truth_at(v4.to_bits()),
                None => self.v6.truth_at(v6.to_bits()),
            },
        }
    }

    /// The same addresses, none of them sure.
    pub(super) fn in_doubt(&self) -> Self {
        Self { v4: self.v4.in_doubt(), v6: self.v6.in_doubt() }
    }
}

/// Intervals of a region while its patterns are read.
#[derive(Debug, Default)]
pub(super) struct Collector {
    /// Sure IPv4 intervals.
    pub v4: Vec<(u32, u32)>,
    /// Doubtful IPv4 intervals.
    pub v4_doubtful: Vec<(u32, u32)>,
    /// Sure IPv6 intervals.
    pub v6: Vec<(u128, u128)>,
    /// Doubtful IPv6 intervals.
    pub v6_doubtful: Vec<(u128, u128)>,
}

impl Collector {
    /// Adds every address.
    pub(super) fn add_all(&mut self) {
        self.v4.push((u32::MIN, u32::MAX));
        self.v6.push((u128::MIN, u128::MAX));
    }

    /// Leaves every address in doubt that nothing else makes sure.
    pub(super) fn doubt_all(&mut self) {
        self.v4_doubtful.push((u32::MIN, u32::MAX));
        self.v6_doubtful.push((u128::MIN, u128::MAX));
    }

    /// Adds a finished region.
    pub(super) fn add(&mut self, regions: &Regions) {
        self.v4.extend(regions.v4.sure.iter());
        self.v4_doubtful.extend(regions.v4.doubtful.iter());
        self.v6.extend(regions.v6.sure.iter());
        self.v6_doubtful.extend(regions.v6.doubtful.iter());
    }

    /// The union of what was added.
    pub(super) fn finish(self) -> Regions {
        Regions { v4: Region::new(self.v4, self.v4_doubtful), v6: Region::new(self.v6, self.v6_doubtful) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(parts: &[(u32, u32)]) -> Intervals<u32> {
        Intervals::new(parts.to_vec())
    }

    #[test]
    fn adjacent_and_overlapping_intervals_become_one() {
        assert_eq!(set(&[(5, 9), (0, 4), (7, 12), (14, 14)]).0, [(0, 12), (14, 14)]);
        assert_eq!(set(&[(0, u32::MAX), (3, 4)]).0, [(0, u32::MAX)]);
        assert_eq!(set(&[(u32::MAX, u32::MAX), (0, u32::MAX - 1)]).0, [(0, u32::MAX)]);
    }

    #[test]
    fn minus_keeps_both_sides_of_a_hole() {
        assert_eq!(
            set(&[(0, 9), (20, 29)]).minus(&set(&[(3, 4), (8, 21), (29, 40)])).0,
            [(0, 2), (5, 7), (22, 28)]
        );
        assert_eq!(set(&[(0, u32::MAX)]).minus(&set(&[(0, 0), (u32::MAX, u32::MAX)])).0, [(1, u32::MAX - 1)]);
        assert!(set(&[(3, 4)]).minus(&set(&[(0, u32::MAX)])).is_empty());
    }

    #[test]
    fn one_hole_may_cut_several_intervals() {
        assert_eq!(set(&[(0, 3), (5, 7), (9, 12)]).minus(&set(&[(2, 10)])).0, [(0, 1), (11, 12)]);
    }

    #[test]
    fn except_doubt_is_doubt() {
        let all = Region::new(vec![(0u32, 100)], vec![]);
        let hole = Region::new(vec![(10, 19)], vec![(20, 29)]);
        let rest = all.except(&hole);
        assert_eq!(rest.sure.0, [(0, 9), (30, 100)]);
        assert_eq!(rest.doubtful.0, [(20, 29)]);
    }

    #[test]
    fn doubt_except_sure_is_nothing() {
        let doubt = Region::new(vec![], vec![(0u32, 9)]);
        let rest = doubt.except(&Region::new(vec![(0, 4)], vec![(5, 6)]));
        assert!(rest.sure.is_empty());
        assert_eq!(rest.doubtful.0, [(5, 9)]);
    }
}
