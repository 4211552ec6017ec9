//! Which attempts were seen lately: one cell of 8 bytes for each, found by a keyed hash.
//!
//! In: the key of an attempt, secret random numbers, the time. Out: whether the attempt was seen lately.
//! Invariant: a client that does not know the numbers cannot choose two attempts that are taken for one: for any two the
//! chance is 2^-61 or less. If a bucket is full, its oldest attempt is forgotten. A look-up reads one cache line, and takes
//! no lock.
//! Source: D. Lemire, O. Kaser, Strongly universal string hashing is fast, 2014 (MULTILINEAR).

use crate::key::{AttemptKey, UdpClientKey};

/// Cells of a bucket: a cache line.
pub const CELLS: usize = 8;

/// Cells of the attempts that share a bucket; 0: a cell that was never used.
pub type SeenBucket = [u64; CELLS];

/// Most words of a key.
const MOST_WORDS: usize = size_of::<AttemptKey>() / 4;

/// A constant, and a factor for every word.
pub type Sum = [u64; MOST_WORDS + 1];

/// Random numbers of the hash.
///
/// Layout: 2 × 17 × 8 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenNumbers {
    /// Of its upper half.
    pub high: Sum,
    /// Of its lower half.
    pub low: Sum,
}
const _: () = assert!(size_of::<SeenNumbers>() == 272);

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for SeenNumbers {}

/// A key of attempts: whole words, no padding.
///
/// # Safety
/// The type is `#[repr(C)]`, aligned to 4 bytes or more, without padding, and at most as large as [`AttemptKey`].
pub unsafe trait SeenKey {}
// SAFETY: 48 + 8 + 2 × 4 bytes, aligned to 8.
unsafe impl SeenKey for AttemptKey {}
// SAFETY: 8 + 16 + 2 × 4 bytes, aligned to 8.
unsafe impl SeenKey for UdpClientKey {}

/// The hash of a key.
#[inline(always)]
#[must_use]
pub fn hash<K: SeenKey>(key: &K, numbers: &SeenNumbers) -> u64 {
    let words = core::ptr::from_ref(key).cast::<u32>();
    let [mut high, mut low] = [numbers.high[0], numbers.low[0]];
    let mut at = 0;
    while at < size_of::<K>() / 4 {
        // SAFETY: within the key, see `SeenKey`.
        let word = u64::from(unsafe { words.add(at).read() });
        high = high.wrapping_add(numbers.high[at + 1].wrapping_mul(word));
        low = low.wrapping_add(numbers.low[at + 1].wrapping_mul(word));
        at += 1;
    }
    // Only the upper half of a sum is evenly spread.
    high >> 32 << 32 | low >> 32
}

/// The index of a hash's bucket among that many, a power of two of at most 2^16.
#[inline(always)]
#[must_use]
pub const fn bucket_of(hash: u64, buckets: u32) -> u32 {
    (hash & 0xffff_ffff) as u32 & (buckets - 1)
}

/// A unit of time is 2^30 ns, 1.07 s.
const UNIT_BITS: u32 = 30;

/// A time in whole units, rounded up.
#[must_use]
pub const fn units_in(ns: u64) -> u64 {
    ns.div_ceil(1 << UNIT_BITS)
}

/// Bits of a cell that are the time: it comes round after 19 hours.
const TIME: u64 = 0xffff;

/// Bit of a cell that is in use.
const USED: u64 = 1 << 16;

/// The cell of an attempt that is seen now. The upper 47 bits are of its hash.
#[inline(always)]
const fn cell(hash: u64, now_ns: u64) -> u64 {
    hash & !(TIME | USED) | USED | now_ns >> UNIT_BITS & TIME
}

/// Ranks of cells that are replaced rather than the oldest: beyond every age.
const UNUSED: u64 = TIME + 1;
const OWN: u64 = TIME + 2;

/// How many units ago it was written.
#[inline(always)]
const fn age(cell: u64, now_ns: u64) -> u64 {
    (now_ns >> UNIT_BITS).wrapping_sub(cell) & TIME
}

/// As the cell would be if it had been written that much earlier: for tests.
#[must_use]
pub const fn older(cell: u64, by_ns: u64) -> u64 {
    cell & !TIME | cell.wrapping_sub(units_in(by_ns) + 1) & TIME
}

/// Whether an attempt is the first of its hash within that many units of time, or one more; remembers it, if so.
///
/// # Safety
/// `bucket` points to a bucket. Others may read and write its cells meanwhile: if two CPUs choose one cell, one of their
/// attempts is forgotten.
#[inline(always)]
pub unsafe fn is_first(bucket: *mut SeenBucket, hash: u64, now_ns: u64, within: u64) -> bool {
    let new = cell(hash, now_ns);
    let cells = bucket.cast::<u64>();
    let (mut replaced, mut most_rank) = (0, 0);
    let mut at = 0;
    while at < CELLS {
        // SAFETY: within the bucket.
        let found = unsafe { cells.add(at).read_volatile() };
        let is_same = (found ^ new) & !TIME == 0;
        let age = age(found, now_ns);
        if is_same && age <= within {
            return false;
        }
        // An attempt has one cell: its own is replaced; else one that was never used, else the oldest.
        let rank = if is_same {
            OWN
        } else if found == 0 {
            UNUSED
        } else {
            age
        };
        if rank >= most_rank {
            (replaced, most_rank) = (at, rank);
        }
        at += 1;
    }
    // SAFETY: as above.
    unsafe { cells.add(replaced).write_volatile(new) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        key::{FlowKey, mapped},
        limits::ATTEMPT_BUCKETS,
    };

    const SECOND: u64 = 1_000_000_000;

    /// xorshift64.
    fn next(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn numbers(mut state: u64) -> SeenNumbers {
        let mut sum = || Sum::default().map(|_| next(&mut state));
        SeenNumbers { high: sum(), low: sum() }
    }

    fn key(client: [u8; 4], isn: u32) -> AttemptKey {
        let flow = FlowKey::tcp(1, (mapped(client), 40_000), (mapped([192, 0, 2, 1]), 22));
        AttemptKey { flow, listener: 7, isn, reserved: 0 }
    }

    #[test]
    fn every_bit_of_a_key_counts() {
        let numbers = numbers(1);
        let key = key([203, 0, 113, 7], 1);
        for bit in 0..size_of::<AttemptKey>() * 8 {
            let mut other = key;
            // SAFETY: every bit pattern is a key.
            unsafe { *core::ptr::from_mut(&mut other).cast::<u8>().add(bit / 8) ^= 1 << (bit % 8) };
            let (one, two) = (hash(&key, &numbers), hash(&other, &numbers));
            assert!(one >> 32 != two >> 32 && one << 32 != two << 32, "bit {bit}");
        }
    }

    #[test]
    fn retransmits_are_of_the_first_for_their_time_and_not_longer() {
        let within = units_in(131 * SECOND);
        for begin in [0, 5 * SECOND, (TIME << UNIT_BITS) - SECOND, u64::MAX >> 8] {
            let mut bucket = SeenBucket::default();
            let mut is_first = |hash, seconds: u64| {
                let now_ns = begin + seconds * SECOND;
                // SAFETY: a live bucket.
                unsafe { super::is_first(&raw mut bucket, hash, now_ns, within) }
            };
            let (one, two) = (0x1234_5678_0000_0000, 0x1234_5679_0000_0000);
            assert!(is_first(one, 0) && is_first(two, 0));
            assert!([0, 1, 67, 131].iter().all(|second| !is_first(one, *second)));
            assert!(is_first(one, 134), "an attempt of its own");
            assert!(!is_first(one, 135) && !is_first(two, 131) && is_first(two, 135));
        }
    }

    #[test]
    fn full_bucket_forgets_its_oldest_attempt() {
        let mut bucket = SeenBucket::default();
        // SAFETY: a live bucket.
        let mut is_first = |number: u64, second: u64| unsafe {
            super::is_first(&raw mut bucket, number << 32, second * SECOND, units_in(131 * SECOND))
        };
        assert!((0..8).all(|number| is_first(number, 10 + 2 * number)), "each has a cell");
        assert!((0..8).all(|number| !is_first(number, 30)));
        assert!(is_first(8, 30));
        assert!((1..9).all(|number| !is_first(number, 30)));
        assert!(is_first(0, 30), "forgotten");
    }

    /// docs/limits.md says so.
    #[test]
    fn of_65536_attempts_about_ten_have_no_room_and_of_20000_none() {
        let numbers = numbers(3);
        let without_room = |attempts: u32| {
            let mut counts = [0_u8; ATTEMPT_BUCKETS as usize];
            let mut state = 4;
            let had_no_room = |_: &u32| {
                let [client, isn] = [0, 32].map(|shift| (next(&mut state) >> shift & 0xffff_ffff) as u32);
                let bucket = bucket_of(hash(&key(client.to_be_bytes(), isn), &numbers), ATTEMPT_BUCKETS);
                let count = &mut counts[bucket as usize];
                *count += 1;
                usize::from(*count) > CELLS
            };
            (0..attempts).filter(had_no_room).count()
        };
        assert_eq!(without_room(20_000), 0);
        let of_all = without_room(65_536);
        // Poisson: 9.5.
        assert!((1..=25).contains(&of_all), "{of_all}");
    }
}
