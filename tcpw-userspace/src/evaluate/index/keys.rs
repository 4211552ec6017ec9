//! Keys, and the positions (of rules, of patterns) that have them.
//!
//! Invariant: [`KeyMap::find`] yields every position of a key, in order. It may yield others, whose keys
//! have the same hash: who asks looks at the pattern itself. The hash is seeded at random, so no client
//! can choose addresses or names that collide.

use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};

/// What a rule or a pattern is found by.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Key<'a> {
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

/// A position, under the hash of one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    hash: u64,
    pub(super) position: usize,
}

/// Collects keys; positions may come in any order.
#[derive(Debug, Default)]
pub(super) struct KeyMapBuilder {
    hasher: RandomState,
    entries: Vec<Entry>,
}

impl KeyMapBuilder {
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self { hasher: RandomState::new(), entries: Vec::with_capacity(keys) }
    }

    pub(super) fn add(&mut self, key: Key<'_>, position: usize) {
        self.entries.push(Entry { hash: self.hasher.hash_one(key), position });
    }

    pub(super) fn build(mut self) -> KeyMap {
        self.entries.sort_unstable();
        self.entries.dedup();
        // A bucket has some four entries: they lie in one or two lines of the cache.
        let bits = (self.entries.len() / 4).max(1).next_power_of_two().trailing_zeros();
        let bucket_of = |hash: u64| KeyMap::bucket(hash, bits);
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (at, entry) in self.entries.iter().enumerate() {
            while starts.len() <= bucket_of(entry.hash) {
                starts.push(at);
            }
        }
        starts.resize((1 << bits) + 1, self.entries.len());
        KeyMap { hasher: self.hasher, bits, starts: starts.into(), entries: self.entries.into() }
    }
}

/// Positions by key: an array sorted by hash, and where in it the hashes of each bucket begin.
#[derive(Clone, Debug)]
pub(super) struct KeyMap {
    hasher: RandomState,
    /// The leading bits of a hash that number its bucket.
    bits: u32,
    starts: Box<[usize]>,
    entries: Box<[Entry]>,
}

impl KeyMap {
    /// Every position of a key, in order.
    pub(super) fn find(&self, key: Key<'_>) -> &[Entry] {
        let hash = self.hasher.hash_one(key);
        let bucket = Self::bucket(hash, self.bits);
        let in_bucket = &self.entries[self.starts[bucket]..self.starts[bucket + 1]];
        let from = &in_bucket[in_bucket.partition_point(|entry| entry.hash < hash)..];
        &from[..from.partition_point(|entry| entry.hash == hash)]
    }

    fn bucket(hash: u64, bits: u32) -> usize {
        let bucket = hash.checked_shr(u64::BITS - bits).unwrap_or(0);
        // At most `1 << bits`, which was a usize.
        usize::try_from(bucket).unwrap_or(0)
    }
}
