//! Flat tables of clients: address to class by sorted range starts, without a trie.
//!
//! In: a client address, and the flat tables of one slot. Out: its class.
//! IPv4: the first 16 bits select a [`BucketV4`]; its ranges are in the bucket itself, or in chunks of
//! [`CHUNK_STARTS`] ranges. IPv6: a search tree of [`NodeV6`], [`NODE_KEYS`] keys a node, at most [`MAX_LEVELS`] deep.
//! Invariant: the class is that of the last range that begins at or below the address. Kernel and user space run
//! this same code; the tables are built in `tcpw-userspace/src/compile/flat.rs`.
#![expect(clippy::cast_possible_truncation, reason = "parts of a word, and constants, whose size is known")]

use crate::key::Address;

/// Buckets of an IPv4 table: one for each value of the first 16 bits.
pub const BUCKETS: u32 = 1 << 16;

/// Starts in a bucket itself.
pub const OWN_STARTS: usize = 4;

/// Ranges of one chunk.
pub const CHUNK_STARTS: usize = 8;

/// Keys of one node.
pub const NODE_KEYS: usize = 16;

/// Most levels of a tree: room for 2^28 ranges.
pub const MAX_LEVELS: u32 = 7;

/// Most classes that a flat table can tell apart.
pub const MAX_CLASSES: usize = 1 << 8;

/// Most chunks of a bucket: 65,536 addresses, one range each.
pub const MAX_CHUNKS: u32 = (1 << 16) / CHUNK_STARTS as u32;

/// A search in this many steps finds one of the chunks between two starts of a bucket.
const CHUNK_SEARCH_STEPS: u32 = MAX_CHUNKS.div_ceil(OWN_STARTS as u32 + 1).ilog2() + 1;

/// All addresses with the same first 16 bits.
///
/// Layout: 4 × 2 + 8 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketV4 {
    /// Without chunks: where the second and the next ranges begin. With chunks: where every [`BucketV4::stride`]-th
    /// chunk begins, but for the first. The last 16 bits of an address, ascending; 0xffff if unused.
    pub starts: [u16; OWN_STARTS],
    /// Without chunks: the class of range n in byte n, the lowest byte first; unused ones repeat the last class.
    /// With chunks: the index of the first one in the low 32 bits, their number in the high 16 bits.
    pub content: u64,
}
const _: () = assert!(size_of::<BucketV4>() == 16);

impl BucketV4 {
    /// Number of its chunks; 0: the ranges are in the bucket.
    #[inline(always)]
    pub const fn chunks(&self) -> u32 {
        (self.content >> 48) as u32
    }

    /// The index of its first chunk.
    #[inline(always)]
    pub const fn first_chunk(&self) -> u32 {
        self.content as u32
    }

    /// How many chunks are between two of its starts.
    #[inline(always)]
    pub const fn stride(chunks: u32) -> u32 {
        chunks.div_ceil(OWN_STARTS as u32 + 1)
    }
}

/// Ranges of IPv4 addresses that follow each other in one bucket.
///
/// Layout: 8 × 2 + 8 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkV4 {
    /// Where they begin: the last 16 bits of an address, ascending; 0xffff if unused.
    pub starts: [u16; CHUNK_STARTS],
    /// The class of each; unused ones repeat the last class.
    pub classes: [u8; CHUNK_STARTS],
}
const _: () = assert!(size_of::<ChunkV4>() == 24);

/// A node of the tree of IPv6 ranges. The root has index 0.
///
/// Layout: 16 × 8 + 16 + 4 + 2 × 2 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeV6 {
    /// First 64 bits of each key, ascending. The keys of a leaf are where ranges begin, those of any other
    /// node are the first keys of its children. All bits are 1 if unused.
    pub highs: [u64; NODE_KEYS],
    /// In a leaf: the class of each range; unused ones repeat the last class.
    pub classes: [u8; NODE_KEYS],
    /// The index of the first child; the others follow it.
    pub first_child: u32,
    /// Number of children; 0: a leaf.
    pub children: u16,
    /// Not 0 if the last 64 bits of a key are not all 0: see [`LowsV6`].
    pub has_lows: u16,
}
const _: () = assert!(size_of::<NodeV6>() == 152);

/// Last 64 bits of the keys of the node with the same index; all bits are 1 if unused. A search reads them if its
/// node has any, and the first 64 bits of a key are those of the address.
///
/// Layout: 16 × 8 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowsV6(pub [u64; NODE_KEYS]);
const _: () = assert!(size_of::<LowsV6>() == 128);

#[cfg(feature = "user")]
mod plain {
    // SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::BucketV4 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ChunkV4 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::NodeV6 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::LowsV6 {}
}

/// The flat tables of both slots.
pub trait FlatTables {
    /// A bucket; its index is the first 16 bits of the address.
    fn bucket_v4(&self, slot: u32, index: u32) -> Option<&BucketV4>;
    /// A chunk of IPv4 ranges.
    fn chunk_v4(&self, slot: u32, index: u32) -> Option<&ChunkV4>;
    /// A node of the tree of IPv6 ranges.
    fn node_v6(&self, slot: u32, index: u32) -> Option<&NodeV6>;
    /// The last bits of its keys.
    fn lows_v6(&self, slot: u32, index: u32) -> Option<&LowsV6>;
}

/// Class of an IPv4 client; `None` if the tables are broken.
#[inline(always)]
pub fn class_v4<T: FlatTables>(tables: &T, slot: u32, client: [u8; 4]) -> Option<u32> {
    let bucket = tables.bucket_v4(slot, u32::from(u16::from_be_bytes([client[0], client[1]])))?;
    let address = u16::from_be_bytes([client[2], client[3]]);
    let mut own = 0;
    let mut at = 0;
    while at < OWN_STARTS {
        if bucket.starts[at] <= address {
            own += 1;
        }
        at += 1;
    }
    let chunks = bucket.chunks();
    if chunks == 0 {
        return Some(((bucket.content >> (8 * own)) & 0xff) as u32);
    }
    let first = bucket.first_chunk();
    let stride = BucketV4::stride(chunks);
    // Unused starts are passed by the last address alone, which is in the last chunk.
    let mut chunk = min(stride.wrapping_mul(own), chunks - 1);
    let mut size = min(stride, chunks - chunk);
    let mut step = 0;
    while step < CHUNK_SEARCH_STEPS {
        if size <= 1 {
            break;
        }
        let half = size / 2;
        if tables.chunk_v4(slot, first.wrapping_add(chunk + half))?.starts[0] <= address {
            chunk += half;
        }
        size -= half;
        step += 1;
    }
    let chunk = tables.chunk_v4(slot, first.wrapping_add(chunk))?;
    let at = last_of_8(|at| is_less(u64::from(chunk.starts[at]), u64::from(address) + 1));
    Some(u32::from(chunk.classes[at]))
}

/// Class of an IPv6 client; `None` if the tables are broken.
#[inline(always)]
pub fn class_v6<T: FlatTables>(tables: &T, slot: u32, client: &Address) -> Option<u32> {
    let [high, low] = halves(client);
    class_of_halves(tables, slot, high, low)
}

/// First and last 64 bits of an address.
#[inline(always)]
#[must_use]
pub const fn halves(address: &Address) -> [u64; 2] {
    let (mut high, mut low, mut at) = (0, 0, 0);
    while at < 8 {
        high = high << 8 | address[at] as u64;
        low = low << 8 | address[at + 8] as u64;
        at += 1;
    }
    [high, low]
}

/// As [`class_v6`], of an address in [`halves`].
#[inline(always)]
pub fn class_of_halves<T: FlatTables>(tables: &T, slot: u32, high: u64, low: u64) -> Option<u32> {
    let mut index = 0;
    let mut level = 0;
    while level < MAX_LEVELS {
        let node = tables.node_v6(slot, index)?;
        let mut at = last_of_16(|at| 1 - is_less(high, node.highs[at]));
        if node.has_lows != 0 && node.highs[at] == high {
            let lows = tables.lows_v6(slot, index)?;
            at = last_of_16(|at| {
                let (is_lower, is_higher) = (is_less(node.highs[at], high), is_less(high, node.highs[at]));
                is_lower | (1 - is_higher) & (1 - is_less(low, lows.0[at]))
            });
        }
        if node.children == 0 {
            return Some(u32::from(node.classes[at]));
        }
        // Unused keys are passed by the last address alone, which is in the last child.
        index = node.first_child.wrapping_add(min(at as u32, u32::from(node.children) - 1));
        level += 1;
    }
    None
}

/// The last of 8 sorted places of which this is 1, or the first one.
#[inline(always)]
fn last_of_8(is_at_or_below: impl Fn(usize) -> u64) -> usize {
    let at = place::<8>(4 * is_at_or_below(4));
    let at = place::<8>(at as u64 + 2 * is_at_or_below(place::<8>(at as u64 + 2)));
    place::<8>(at as u64 + is_at_or_below(place::<8>(at as u64 + 1)))
}

/// The last of 16 sorted places of which this is 1, or the first one.
///
/// Half of the comparisons are true: a branch for each would be mispredicted as often.
#[inline(always)]
fn last_of_16(is_at_or_below: impl Fn(usize) -> u64) -> usize {
    let at = place::<16>(8 * is_at_or_below(8));
    let at = place::<16>(at as u64 + 4 * is_at_or_below(place::<16>(at as u64 + 4)));
    let at = place::<16>(at as u64 + 2 * is_at_or_below(place::<16>(at as u64 + 2)));
    place::<16>(at as u64 + is_at_or_below(place::<16>(at as u64 + 1)))
}

/// A number that is less than `PLACES`, a power of two.
///
/// The verifier of Linux 6.1 loses the bounds of a sum that the compiler turns into an OR, and the compiler drops a mask that
/// it proves needless: this one it cannot.
#[inline(always)]
pub(crate) fn place<const PLACES: usize>(number: u64) -> usize {
    core::hint::black_box(number) as usize & (PLACES - 1)
}

/// 1 if `a` is less than `b`, else 0: the borrow of `a - b`.
/// Source: Warren: Hacker's Delight, 2-12.
#[inline(always)]
pub(crate) const fn is_less(a: u64, b: u64) -> u64 {
    (!a & b | (!a | b) & a.wrapping_sub(b)) >> 63
}

#[inline(always)]
const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}
