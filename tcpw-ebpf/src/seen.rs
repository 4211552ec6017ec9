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
    is_first_in(&ATTEMPTS, key, now_ns, const { units_in(ONE_SYN_NS) })
}

/// Whether this datagram is the first of its attempt; remembers it.
#[inline(always)]
pub(crate) fn is_first_datagram(key: &UdpClientKey, now_ns: u64) -> bool {
    is_first_in(&UDP_ATTEMPTS, key, now_ns, const { units_in(ONE_ATTEMPT_NS) })
}

#[inline(always)]
fn is_first_in<K: SeenKey, const BUCKETS: usize>(
    table: &Array<SeenBucket, BUCKETS>,
    key: &K,
    now_ns: u64,
    within: u64,
) -> bool {
    let Some(hash) = SEEN_NUMBERS.get(0).map(|numbers| hash(key, numbers)) else { return true };
    #[expect(clippy::cast_possible_truncation, reason = "a map has at most 2^32 elements")]
    let buckets = BUCKETS as u32;
    let bucket = table.get_ptr_mut(bucket_of(hash, buckets));
    // SAFETY: the pointer is into the map.
    bucket.is_none_or(|bucket| unsafe { is_first(bucket, hash, now_ns, within) })
}
