//! Rate limits: a number of events per second.
//!
//! In: a source, and the time. Out: whether one more is within the bound. Two CPUs that count at once may
//! be off by one. A source that does not fit the table has no bound of its own: the bound of all sources
//! together, where there is one, still holds.

use aya_ebpf::maps::LruHashMap;
use tcpw_common::key::{Address, as_v4};

const NS_PER_S: u64 = 1_000_000_000;

/// Counts one more in the current second.
#[inline(always)]
pub(crate) fn is_within(counted: &mut [u64; 2], bound: u64, now_ns: u64) -> bool {
    let second = now_ns / NS_PER_S;
    if counted[0] == second {
        counted[1] += 1;
    } else {
        *counted = [second, 1];
    }
    counted[1] <= bound
}

/// Counts one more of a source: an IPv4 address, or an IPv6 /64, which is one host's.
#[inline(always)]
pub(crate) fn is_source_within(
    sources: &LruHashMap<Address, [u64; 2]>,
    client: &Address,
    bound: u64,
    now_ns: u64,
) -> bool {
    let source = source_of(client);
    if let Some(counted) = sources.get_ptr_mut(&source) {
        // SAFETY: the pointer is into the map; see the head for two CPUs at once.
        return is_within(unsafe { &mut *counted }, bound, now_ns);
    }
    let _ = sources.insert(&source, &[now_ns / NS_PER_S, 1], 0);
    bound > 0
}

/// Whether the bound is reached in this second; counts nothing.
#[inline(always)]
pub(crate) fn is_reached(counted: &[u64; 2], bound: u64, now_ns: u64) -> bool {
    counted[0] == now_ns / NS_PER_S && counted[1] >= bound
}

/// The same of a source.
#[inline(always)]
pub(crate) fn is_source_reached(
    sources: &LruHashMap<Address, [u64; 2]>,
    client: &Address,
    bound: u64,
    now_ns: u64,
) -> bool {
    let source = source_of(client);
    sources.get_ptr(&source).is_some_and(|counted| {
        // SAFETY: the pointer is into the map; see the head for a CPU that counts meanwhile.
        is_reached(unsafe { &*counted }, bound, now_ns)
    })
}

/// An IPv4 address, or the /64 of an IPv6 address.
#[inline(always)]
fn source_of(client: &Address) -> Address {
    let mut source = *client;
    if as_v4(client).is_none() {
        for byte in source.iter_mut().skip(8) {
            *byte = 0;
        }
    }
    source
}
