//! Attempts that were refused lately.
//!
//! In: an attempt. Out: whether it is the first SYN or datagram of it, which is logged; the others are counted.
//! Invariant: if an attempt is forgotten, or the table is not there, the next one is logged as one more.

use aya_ebpf::btf_maps::Array;
use tcpw_common::{
    key::{AttemptKey, UdpClientKey},
    limits::{ONE_ATTEMPT_NS, ONE_SYN_NS},
    seen::{SeenBucket, SeenKey, bucket_of, hash, is_first, units_in},
};

use crate::maps::{ATTEMPTS, SEEN_NUMBERS, UDP_ATTEMPTS};

/// Whether this SYN is the first of its attempt; remembers it.
#[inline(always)]
pub(crate) fn is_first_syn(key: &AttemptKey, now_ns: u64) -> bool {
    hash_of(key).is_none_or(|hash| is_first_in(&ATTEMPTS, hash, now_ns, const { units_in(ONE_SYN_NS) }))
}

/// As [`is_first_syn`], by a call; see [`BY_CALL`](crate::tables::BY_CALL).
#[inline(always)]
pub(crate) fn is_first_syn_by_call(key: &AttemptKey, now_ns: u64) -> bool {
    hash_of(key).is_none_or(|hash| is_first_syn_of_hash(hash, now_ns) != 0)
}

/// Whether this datagram is the first of its attempt; remembers it.
#[inline(always)]
pub(crate) fn is_first_datagram(key: &UdpClientKey, now_ns: u64) -> bool {
    hash_of(key).is_none_or(|hash| is_first_datagram_of_hash(hash, now_ns) != 0)
}

/// Not 0: the SYN of this hash is the first of its attempt.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_first_syn_of_hash(hash: u64, now_ns: u64) -> u64 {
    is_first_in(&ATTEMPTS, hash, now_ns, const { units_in(ONE_SYN_NS) }).into()
}

/// Not 0: the datagram of this hash is the first of its attempt.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_first_datagram_of_hash(hash: u64, now_ns: u64) -> u64 {
    is_first_in(&UDP_ATTEMPTS, hash, now_ns, const { units_in(ONE_ATTEMPT_NS) }).into()
}

#[inline(always)]
fn hash_of<K: SeenKey>(key: &K) -> Option<u64> {
    SEEN_NUMBERS.get(0).map(|numbers| hash(key, numbers))
}

#[inline(always)]
fn is_first_in<const BUCKETS: usize>(
    table: &Array<SeenBucket, BUCKETS>,
    hash: u64,
    now_ns: u64,
    within: u64,
) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "a map has at most 2^32 elements")]
    let buckets = BUCKETS as u32;
    let bucket = table.get_ptr_mut(bucket_of(hash, buckets));
    // SAFETY: the pointer is into the map.
    bucket.is_none_or(|bucket| unsafe { is_first(bucket, hash, now_ns, within) })
}
