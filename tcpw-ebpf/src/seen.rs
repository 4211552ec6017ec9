//! Attempts that were refused lately.
//!
//! In: an attempt. Out: whether it is the first SYN or datagram of it, which is logged; the others are counted.
//! Invariant: if an attempt is forgotten, or the table is not there, the next one is logged as one more.

use tcpw_common::{
    key::{AttemptKey, UdpClientKey},
    limits::{ATTEMPT_BUCKETS, ONE_ATTEMPT_NS, ONE_SYN_NS, UDP_ATTEMPT_BUCKETS},
    seen::{SeenBucket, bucket_of, hash, is_first, ticks_in},
};

use crate::maps::{ATTEMPTS, SEEN_NUMBERS, UDP_ATTEMPTS};

/// Whether this SYN is the first of its attempt; remembers it.
#[inline(always)]
pub(crate) fn is_first_syn(key: &AttemptKey, now_ns: u64) -> bool {
    let Some(hash) = SEEN_NUMBERS.get(0).map(|numbers| hash(key, numbers)) else { return true };
    let bucket = ATTEMPTS.get_ptr_mut(bucket_of(hash, ATTEMPT_BUCKETS));
    is_first_of(bucket, hash, now_ns, const { ticks_in(ONE_SYN_NS) })
}

/// Whether this datagram is the first of its attempt; remembers it.
#[inline(always)]
pub(crate) fn is_first_datagram(key: &UdpClientKey, now_ns: u64) -> bool {
    let Some(hash) = SEEN_NUMBERS.get(0).map(|numbers| hash(key, numbers)) else { return true };
    let bucket = UDP_ATTEMPTS.get_ptr_mut(bucket_of(hash, UDP_ATTEMPT_BUCKETS));
    is_first_of(bucket, hash, now_ns, const { ticks_in(ONE_ATTEMPT_NS) })
}

#[inline(always)]
fn is_first_of(bucket: Option<*mut SeenBucket>, hash: u64, now_ns: u64, within: u64) -> bool {
    // SAFETY: the pointer is into the map.
    bucket.is_none_or(|bucket| unsafe { is_first(bucket, hash, now_ns, within) })
}
