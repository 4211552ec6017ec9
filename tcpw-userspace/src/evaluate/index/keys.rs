//! Keys, and the positions (of rules, of patterns) that have them.
//!
//! Invariant: [`KeyMap::find`] yields every position of a key, in order. It may yield others, whose keys
//! have the same hash: the caller looks at the pattern itself. The hash is seeded at random, so no client
//! can choose addresses or names that collide.

use std::{
    hash::{Hash, Hasher},
    mem,
    ops::Range,
};

use ahash::RandomState;

/// What a rule or a pattern is found by.
#[derive(Clone, Copy, Debug)]
pub(super) enum IndexKey<'a> {
    /// Always.
    Always,
    /// By every request whose client's name is not known yet.
    MayAsk,
    /// By an address or a name that is this text.
    Exact(Folded<'a>),
    /// By one that begins so.
    Prefix(Folded<'a>),
    /// By one that ends so.
    Suffix(Folded<'a>),
    /// By an IPv4 address that is `net` under `mask`.
    NetV4 { mask: u32, net: u32 },
    /// By an IPv6 address whose first bits are those of `net`.
    NetV6 { prefix_bits: u8, net: u128 },
    /// By the name of a daemon.
    Daemon(Use, Folded<'a>),
    /// By the port of the server.
    Port(Use, u16),
    /// By any daemon.
    AnyDaemon(Use),
}

impl Hash for IndexKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let kind = mem::discriminant(self);
        match self {
            // Asked for most often: about every client, with every length of a prefix.
            Self::NetV4 { mask, net } => state.write_u64(u64::from(*mask) << 32 | u64::from(*net)),
            Self::Always | Self::MayAsk => kind.hash(state),
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) => (kind, text).hash(state),
            Self::NetV6 { prefix_bits, net } => (kind, prefix_bits, net).hash(state),
            Self::Daemon(used, name) => (kind, used, name).hash(state),
            Self::Port(used, port) => (kind, used, port).hash(state),
            Self::AnyDaemon(used) => (kind, used).hash(state),
        }
    }
}

/// When a key that names a daemon counts.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) enum Use {
    /// Always.
    Always,
    /// While the client's name is not known: the rule may ask for it.
    MayAsk,
}

/// Text whose ASCII case does not count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folded<'a>(pub(super) &'a [u8]);

impl Hash for Folded<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut buffer = [0; 64];
        for chunk in self.0.chunks(buffer.len()) {
            let folded = &mut buffer[..chunk.len()];
            folded.copy_from_slice(chunk);
            folded.make_ascii_lowercase();
            state.write(folded);
        }
        state.write_usize(self.0.len());
    }
}

/// A position, under a part of the hash of one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HashedPosition {
    /// The low half of the hash.
    hash: u32,
    position: u32,
}

impl HashedPosition {
    pub(super) fn position(self) -> usize {
        // It was a usize before.
        usize::try_from(self.position).unwrap_or(usize::MAX)
    }
}

/// Collects keys; positions may come in any order.
#[derive(Debug, Default)]
pub(super) struct KeyMapBuilder {
    hasher: RandomState,
    keys: Vec<HashedKey>,
}

/// The hash of a key and a position that has it, in 12 bytes: of a million rules this list is what takes the most memory
/// while an index is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HashedKey {
    high: u32,
    low: u32,
    position: u32,
}

impl HashedKey {
    fn hash(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

impl KeyMapBuilder {
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self { hasher: RandomState::new(), keys: Vec::with_capacity(keys) }
    }

    /// `position`: at most `u32::MAX`.
    pub(super) fn add(&mut self, key: IndexKey<'_>, position: usize) {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let hash = self.hasher.hash_one(key);
        self.keys.push(HashedKey { high: low(hash >> 32), low: low(hash), position });
    }

    pub(super) fn build(self) -> KeyMap {
        let Self { hasher, mut keys } = self;
        // A bucket has some four entries: they lie in one line of the cache.
        let bits = (keys.len() / 4).max(1).next_power_of_two().trailing_zeros();
        keys.sort_unstable_by_key(|key| (KeyMap::bucket(key.hash(), bits), key.low, key.position));
        keys.dedup();
        let filter = Filter::new(keys.iter().map(|key| key.hash()), keys.len());
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (at, key) in (0u32..).zip(&keys) {
            while starts.len() <= KeyMap::bucket(key.hash(), bits) {
                starts.push(at);
            }
        }
        starts.resize((1 << bits) + 1, u32::try_from(keys.len()).unwrap_or(u32::MAX));
        // In the memory of the list itself.
        let entries = keys.into_iter();
        let entries = entries.map(|HashedKey { low, position, .. }| HashedPosition { hash: low, position });
        KeyMap { hasher, filter, bits, starts: starts.into(), entries: entries.collect() }
    }
}

/// Positions by key: an array sorted by hash, and where in it the hashes of each bucket begin.
#[derive(Clone, Debug)]
pub(super) struct KeyMap {
    hasher: RandomState,
    filter: Filter,
    /// The leading bits of a hash that number its bucket.
    bits: u32,
    starts: Box<[u32]>,
    entries: Box<[HashedPosition]>,
}

impl KeyMap {
    /// Every position of a key, in order.
    pub(super) fn find(&self, key: IndexKey<'_>) -> &[HashedPosition] {
        self.hash(key).map_or(&[], |hash| self.positions(hash, self.bucket_of(hash)))
    }

    /// The hash of a key, unless no position has it.
    pub(super) fn hash(&self, key: IndexKey<'_>) -> Option<u64> {
        let hash = self.hasher.hash_one(key);
        self.filter.may_have(hash).then_some(hash)
    }

    /// Where the positions of a hash lie among others.
    pub(super) fn bucket_of(&self, hash: u64) -> Range<usize> {
        let bucket = Self::bucket(hash, self.bits);
        let [from, to] = [bucket, bucket + 1].map(|at| usize::try_from(self.starts[at]).unwrap_or(0));
        from..to
    }

    /// The positions of a hash, in order.
    pub(super) fn positions(&self, hash: u64, bucket: Range<usize>) -> &[HashedPosition] {
        let in_bucket = &self.entries[bucket];
        let from = &in_bucket[in_bucket.partition_point(|entry| entry.hash < low(hash))..];
        &from[..from.partition_point(|entry| entry.hash == low(hash))]
    }

    fn bucket(hash: u64, bits: u32) -> usize {
        let bucket = hash.checked_shr(u64::BITS - bits).unwrap_or(0);
        // At most `1 << bits`, which was a usize.
        usize::try_from(bucket).unwrap_or(0)
    }
}

/// A Bloom filter of hashes: most keys that no position has are seen here, in memory that the cache holds.
#[derive(Clone, Debug)]
struct Filter(Box<[u64]>);

impl Filter {
    /// Words for `count` hashes: 8 to 16 bits a hash, of which each sets two in one word.
    fn new(hashes: impl Iterator<Item = u64>, count: usize) -> Self {
        let mut words = vec![0; (count / 8).max(1).next_power_of_two()];
        for hash in hashes {
            let at = Self::word(hash, words.len());
            words[at] |= Self::bits(hash);
        }
        Self(words.into())
    }

    fn may_have(&self, hash: u64) -> bool {
        let bits = Self::bits(hash);
        self.0[Self::word(hash, self.0.len())] & bits == bits
    }

    /// `words`: a power of two.
    fn word(hash: u64, words: usize) -> usize {
        usize::try_from(hash >> 12 & (words as u64 - 1)).unwrap_or(0)
    }

    fn bits(hash: u64) -> u64 {
        1 << (hash & 63) | 1 << (hash >> 6 & 63)
    }
}

/// The low half of a hash.
fn low(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}
