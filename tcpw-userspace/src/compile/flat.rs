//! Ranges of clients to the flat tables that [`tcpw_common::flat`] searches.
//!
//! In: where ranges begin, in order, and their classes. Out: buckets and chunks (IPv4), nodes (IPv6).
//! Invariant: for every address the search gives the class of its range.
#![expect(
    clippy::cast_possible_truncation,
    reason = "parts of an address; indexes that a table of 2^28 ranges does not exceed"
)]

use tcpw_common::flat::{
    BUCKETS, BucketV4, CHUNK_STARTS, ChunkV4, FlatTables, LowsV6, MAX_LEVELS, NODE_KEYS, NodeV6, OWN_STARTS,
};

/// The flat table of IPv4 clients.
#[derive(Clone, Debug, Default)]
pub struct FlatV4 {
    /// One for each value of the first 16 bits.
    pub buckets: Vec<BucketV4>,
    /// Ranges of the buckets that have too many of their own.
    pub chunks: Vec<ChunkV4>,
    /// Number of ranges of each class.
    pub ranges_of_class: Vec<usize>,
}

/// The flat table of IPv6 clients.
#[derive(Clone, Debug, Default)]
pub struct FlatV6 {
    /// The root first, then level by level.
    pub nodes: Vec<NodeV6>,
    /// Last 64 bits of the keys of each node.
    pub lows: Vec<LowsV6>,
    /// Number of ranges of each class.
    pub ranges_of_class: Vec<usize>,
}

/// A flat table of one address family.
pub trait FlatTable {
    /// Number of its ranges of each class, by class.
    fn ranges_of_class(&self) -> &[usize];
}

impl FlatTable for FlatV4 {
    fn ranges_of_class(&self) -> &[usize] {
        &self.ranges_of_class
    }
}

impl FlatTable for FlatV6 {
    fn ranges_of_class(&self) -> &[usize] {
        &self.ranges_of_class
    }
}

fn ranges_of_class<W>(ranges: &[(W, u8)]) -> Vec<usize> {
    counts(ranges.iter().map(|(_, class)| usize::from(*class)))
}

/// How often each class occurs, by class.
pub(super) fn counts(classes: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut counts = Vec::new();
    classes.for_each(|class| count(&mut counts, class));
    counts
}

fn count(counts: &mut Vec<usize>, class: usize) {
    if counts.len() <= class {
        counts.resize(class + 1, 0);
    }
    counts[class] += 1;
}

impl FlatV4 {
    /// Lets go of all but the numbers of ranges: the kernel has the rest.
    pub(crate) fn forget_ranges(&mut self) {
        (self.buckets, self.chunks) = (Vec::new(), Vec::new());
    }

    /// From where ranges begin, ascending from 0, and the class of each, at most 255.
    pub(super) fn new(ranges: impl Iterator<Item = (u32, u8)>) -> Self {
        let mut table = Self::default();
        table.buckets.reserve_exact(BUCKETS as usize);
        let mut rest = ranges.peekable();
        let mut class = 0;
        let mut all: Vec<(u16, u8)> = Vec::new();
        for bucket in 0..BUCKETS {
            let first = bucket << 16;
            all.clear();
            // The range that the bucket begins in may begin before it.
            if rest.peek().is_none_or(|(start, _)| *start != first) {
                all.push((0, class));
            }
            while let Some((start, own)) = rest.next_if(|(start, _)| *start <= first | 0xffff) {
                all.push(((start & 0xffff) as u16, own));
                count(&mut table.ranges_of_class, own.into());
                class = own;
            }
            let bucket = table.bucket(&all);
            table.buckets.push(bucket);
        }
        table.chunks.shrink_to_fit();
        table
    }

    fn bucket(&mut self, ranges: &[(u16, u8)]) -> BucketV4 {
        if ranges.len() > OWN_STARTS + 1 {
            return self.chunked(ranges);
        }
        let mut bucket = BucketV4 { starts: [u16::MAX; OWN_STARTS], content: 0 };
        for (slot, (start, _)) in bucket.starts.iter_mut().zip(&ranges[1..]) {
            *slot = *start;
        }
        let last = ranges[ranges.len() - 1];
        for byte in 0..=OWN_STARTS {
            let (_, class) = ranges.get(byte).unwrap_or(&last);
            bucket.content |= u64::from(*class) << (8 * byte);
        }
        bucket
    }

    fn chunked(&mut self, ranges: &[(u16, u8)]) -> BucketV4 {
        let first = self.chunks.len() as u64;
        self.chunks.extend(ranges.chunks(CHUNK_STARTS).map(chunk));
        let count = ranges.len().div_ceil(CHUNK_STARTS);
        let stride = BucketV4::stride(u32::try_from(count).unwrap_or(u32::MAX)) as usize;
        let mut bucket = BucketV4 { starts: [u16::MAX; OWN_STARTS], content: first | (count as u64) << 48 };
        for (number, slot) in bucket.starts.iter_mut().enumerate() {
            if let Some((start, _)) = ranges.get((number + 1) * stride * CHUNK_STARTS) {
                *slot = *start;
            }
        }
        bucket
    }
}

fn chunk(ranges: &[(u16, u8)]) -> ChunkV4 {
    let last = ranges[ranges.len() - 1].1;
    let mut chunk = ChunkV4 { starts: [u16::MAX; CHUNK_STARTS], classes: [last; CHUNK_STARTS] };
    for (at, (start, class)) in ranges.iter().enumerate() {
        chunk.starts[at] = *start;
        chunk.classes[at] = *class;
    }
    chunk
}

impl FlatV6 {
    /// Lets go of all but the numbers of ranges: the kernel has the rest.
    pub(crate) fn forget_ranges(&mut self) {
        (self.nodes, self.lows) = (Vec::new(), Vec::new());
    }

    /// From where ranges begin, ascending from 0, and the class of each, at most 255. `None` if the tree would
    /// be too deep.
    pub(super) fn new(ranges: &[(u128, u8)]) -> Option<Self> {
        let leaves: Vec<Node> = ranges.chunks(NODE_KEYS).map(leaf).collect();
        let mut levels = vec![leaves];
        while levels[levels.len() - 1].len() > 1 {
            let below = &levels[levels.len() - 1];
            let above = below.chunks(NODE_KEYS).map(parent).collect();
            levels.push(above);
        }
        if levels.len() > MAX_LEVELS as usize {
            return None;
        }
        // The index of a child so far is that within its level.
        let count = levels.iter().map(Vec::len).sum();
        let (mut nodes, mut lows) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for level in levels.into_iter().rev() {
            let below = (nodes.len() + level.len()) as u32;
            for (number, (mut node, lows_of_node)) in level.into_iter().enumerate() {
                if node.children > 0 {
                    node.first_child = below + (number * NODE_KEYS) as u32;
                }
                nodes.push(node);
                lows.push(lows_of_node);
            }
        }
        Some(Self { nodes, lows, ranges_of_class: ranges_of_class(ranges) })
    }
}

/// A node with the last bits of its keys.
type Node = (NodeV6, LowsV6);

fn leaf(ranges: &[(u128, u8)]) -> Node {
    let last = ranges[ranges.len() - 1].1;
    let (mut node, lows) = node(ranges.iter().map(|(start, _)| *start));
    node.classes = [last; NODE_KEYS];
    for (slot, (_, class)) in node.classes.iter_mut().zip(ranges) {
        *slot = *class;
    }
    (node, lows)
}

fn parent(children: &[Node]) -> Node {
    let key = |(node, lows): &Node| u128::from(node.highs[0]) << 64 | u128::from(lows.0[0]);
    let (node, lows) = node(children.iter().map(key));
    (NodeV6 { children: children.len() as u16, ..node }, lows)
}

fn node(keys: impl Iterator<Item = u128>) -> Node {
    let mut node = NodeV6 {
        highs: [u64::MAX; NODE_KEYS],
        classes: [0; NODE_KEYS],
        first_child: 0,
        children: 0,
        has_lows: 0,
    };
    let mut lows = LowsV6([u64::MAX; NODE_KEYS]);
    for (at, key) in keys.enumerate() {
        node.highs[at] = (key >> 64) as u64;
        lows.0[at] = key as u64;
        node.has_lows |= u16::from(lows.0[at] != 0);
    }
    (node, lows)
}

/// The flat tables of one policy, in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct FlatClients {
    pub(super) v4: FlatV4,
    pub(super) v6: FlatV6,
}

impl FlatTables for FlatClients {
    fn bucket_v4(&self, _: u32, index: u32) -> Option<&BucketV4> {
        self.v4.buckets.get(index as usize)
    }
    fn chunk_v4(&self, _: u32, index: u32) -> Option<&ChunkV4> {
        self.v4.chunks.get(index as usize)
    }
    fn node_v6(&self, _: u32, index: u32) -> Option<&NodeV6> {
        self.v6.nodes.get(index as usize)
    }
    fn lows_v6(&self, _: u32, index: u32) -> Option<&LowsV6> {
        self.v6.lows.get(index as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tcpw_common::flat::{class_v4, class_v6};

    use super::*;

    /// The class of the last range that begins at or below an address.
    fn class_of<W: Ord + Copy>(ranges: &[(W, u8)], address: W) -> u32 {
        u32::from(ranges[ranges.partition_point(|(start, _)| *start <= address) - 1].1)
    }

    fn check_v4(ranges: &[(u32, u8)]) {
        let tables = FlatClients { v4: FlatV4::new(ranges.iter().copied()), v6: FlatV6::default() };
        let starts = ranges.iter().map(|(start, _)| *start);
        for address in starts.flat_map(|start| [start.wrapping_sub(1), start, start.wrapping_add(1)]) {
            for address in [address, address | 0xffff, address & 0xffff_0000] {
                let found = class_v4(&tables, 0, address.to_be_bytes());
                assert_eq!(found, Some(class_of(ranges, address)), "{address:x} in {} ranges", ranges.len());
            }
        }
    }

    fn check_v6(ranges: &[(u128, u8)]) {
        let tables = FlatClients { v4: FlatV4::default(), v6: FlatV6::new(ranges).unwrap() };
        let starts = ranges.iter().map(|(start, _)| *start);
        for address in starts.flat_map(|start| [start.wrapping_sub(1), start, start.wrapping_add(1)]) {
            let found = class_v6(&tables, 0, &address.to_be_bytes());
            assert_eq!(found, Some(class_of(ranges, address)), "{address:x} in {} ranges", ranges.len());
        }
    }

    /// Ranges with neighbours of different classes, from starts in any order.
    fn ranges<W: Ord + Copy + Default>(starts: Vec<W>, classes: u8) -> Vec<(W, u8)> {
        let mut starts = [vec![W::default()], starts].concat();
        starts.sort_unstable();
        starts.dedup();
        starts.into_iter().zip((0..classes).cycle()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ranges_anywhere_are_found(starts in prop::collection::vec(any::<u32>(), 0..3000)) {
            check_v4(&ranges(starts, 3));
        }

        #[test]
        fn ranges_of_few_buckets_are_found(
            starts in prop::collection::vec(0xc0a8_0000_u32..0xc0aa_ffff, 0..3000),
            classes in 2_u8..=255,
        ) {
            check_v4(&ranges(starts, classes));
        }

        #[test]
        fn ranges_of_ipv6_are_found(
            starts in prop::collection::vec(
                prop_oneof![
                    any::<u128>(),
                    (any::<u16>()).prop_map(|low| 0x2001_0db8 << 96 | u128::from(low)),
                    (any::<u16>()).prop_map(|high| u128::from(high) << 64),
                    (any::<u16>()).prop_map(|low| u128::MAX - u128::from(low)),
                ],
                0..3000,
            ),
            classes in 2_u8..=255,
        ) {
            check_v6(&ranges(starts, classes));
        }
    }

    #[test]
    fn every_number_of_ranges_in_a_bucket_is_found() {
        for count in (1..200).chain([1279, 1280, 1281, 4095, 30_000, 65_535, 65_536]) {
            let step = 65_536 / count;
            check_v4(&ranges((0..count).map(|number| 0x0a00_0000 + number * step).collect(), 200));
            check_v4(&ranges((0..count).map(|number| 0xffff_ffff - number).collect(), 2));
        }
    }

    #[test]
    fn every_number_of_levels_is_found() {
        for count in (1..600).chain([4095, 4096, 4097, 70_000]) {
            check_v6(&ranges((0..count).map(|number| u128::from(number) << 60).collect(), 200));
            check_v6(&ranges((0..count).map(|number: u32| u128::MAX - u128::from(number)).collect(), 2));
        }
    }
}
