//! The kernel's side of `decide`: the tables behind the maps.

use aya_ebpf::maps::lpm_trie::Key;
use tcpw_common::{
    ban::{Bans, BansInUse},
    deadline::slot_in_force,
    decide::{Header, Tables},
    flat::{self, BucketV4, ChunkV4, FlatTables, LowsV6, NodeV6, halves},
    key::{Address, NamesId, Query},
};

use crate::{
    bans,
    clock::boot_ns,
    maps::{
        ACTIVE, BANS_IN_USE, CLIENTS_V4, CLIENTS_V6, DEADLINE, FLAT_V4, FLAT_V4_CHUNKS, FLAT_V6,
        FLAT_V6_LOWS, HEADERS, NAMES, OUTCOMES, POLICIES, PORTS, SERVERS_V4, SERVERS_V6,
    },
};

/// The maps as [`Tables`].
///
/// `BY_CALL`: flat tables are searched by a call. If the searches were in every place that decides, the gate would be larger
/// still than a processor's instruction cache, and the verifier would follow each search for every state in which it
/// begins; a global function it follows once.
pub(crate) struct KernelTables<const BY_CALL: bool>;

/// Searched in place: for where each nanosecond counts.
pub(crate) const IN_PLACE: KernelTables<false> = KernelTables;

/// Searched by a call.
pub(crate) const BY_CALL: KernelTables<true> = KernelTables;

impl<const BY_CALL: bool> Tables for KernelTables<BY_CALL> {
    #[inline(always)]
    fn active(&self) -> Option<u32> {
        let deadline = DEADLINE.get(0)?;
        Some(slot_in_force(*ACTIVE.get(0)?, deadline, boot_ns))
    }

    #[inline(always)]
    fn header(&self, slot: u32) -> Option<Header> {
        HEADERS.get(slot).copied()
    }

    #[inline(always)]
    fn client_v4(&self, slot: u32, client: [u8; 4]) -> Option<u32> {
        CLIENTS_V4.get(slot)?.get(&Key::new(32, client)).copied()
    }

    #[inline(always)]
    fn client_v6(&self, slot: u32, client: Address) -> Option<u32> {
        CLIENTS_V6.get(slot)?.get(&Key::new(128, client)).copied()
    }

    #[inline(always)]
    fn flat_v4(&self, slot: u32, client: [u8; 4]) -> Option<u32> {
        if BY_CALL {
            class(flat_class_v4(slot, u32::from_be_bytes(client)))
        } else {
            flat::class_v4(self, slot, client)
        }
    }

    #[inline(always)]
    fn flat_v6(&self, slot: u32, client: Address) -> Option<u32> {
        if BY_CALL {
            let [high, low] = halves(&client);
            class(flat_class_v6(slot, high, low))
        } else {
            flat::class_v6(self, slot, &client)
        }
    }

    #[inline(always)]
    fn server_v4(&self, slot: u32, server: [u8; 4]) -> Option<u32> {
        SERVERS_V4.get(slot)?.get(&Key::new(32, server)).copied()
    }

    #[inline(always)]
    fn server_v6(&self, slot: u32, server: Address) -> Option<u32> {
        SERVERS_V6.get(slot)?.get(&Key::new(128, server)).copied()
    }

    #[inline(always)]
    fn names(&self, slot: u32, names: NamesId) -> Option<u32> {
        // SAFETY: an entry is never removed or changed while its slot is live, so the value is not reused.
        unsafe { NAMES.get(slot)?.get(&names) }.copied()
    }

    #[inline(always)]
    fn port(&self, slot: u32, port: u16) -> Option<u32> {
        // SAFETY: as for `names`.
        unsafe { PORTS.get(slot)?.get(&u32::from(port)) }.copied()
    }

    #[inline(always)]
    fn policy(&self, slot: u32, index: u32) -> Option<u32> {
        POLICIES.get(slot)?.get(index).copied()
    }

    #[inline(always)]
    fn outcome(&self, slot: u32, index: u32) -> Option<u8> {
        OUTCOMES.get(slot)?.get(index).copied()
    }
}

impl<const BY_CALL: bool> Bans for KernelTables<BY_CALL> {
    #[inline(always)]
    fn in_use(&self) -> BansInUse {
        BANS_IN_USE.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn with_bans(&self, entry: u32, query: &Query) -> u64 {
        // Without bans there is no call. The verifier follows the path with one first, of which the other is a part.
        if self.in_use().any == 0 { entry.into() } else { bans::with_bans(entry, query) }
    }
}

impl<const BY_CALL: bool> FlatTables for KernelTables<BY_CALL> {
    #[inline(always)]
    fn bucket_v4(&self, slot: u32, index: u32) -> Option<&BucketV4> {
        Some(value(FLAT_V4.get(slot)?.get(index)?))
    }

    #[inline(always)]
    fn chunk_v4(&self, slot: u32, index: u32) -> Option<&ChunkV4> {
        Some(value(FLAT_V4_CHUNKS.get(slot)?.get(index)?))
    }

    #[inline(always)]
    fn node_v6(&self, slot: u32, index: u32) -> Option<&NodeV6> {
        Some(value(FLAT_V6.get(slot)?.get(index)?))
    }

    #[inline(always)]
    fn lows_v6(&self, slot: u32, index: u32) -> Option<&LowsV6> {
        Some(value(FLAT_V6_LOWS.get(slot)?.get(index)?))
    }
}

/// No class: the tables are broken.
const NO_CLASS: u64 = u64::MAX;

#[inline(always)]
fn class(found: u64) -> Option<u32> {
    u32::try_from(found).ok()
}

/// The class of an IPv4 client in a slot's flat table, or [`NO_CLASS`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flat_class_v4(slot: u32, client: u32) -> u64 {
    flat::class_v4(&IN_PLACE, slot, client.to_be_bytes()).map_or(NO_CLASS, u64::from)
}

/// The class of an IPv6 client, in two halves, in a slot's flat table, or [`NO_CLASS`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flat_class_v6(slot: u32, high: u64, low: u64) -> u64 {
    flat::class_of_halves(&IN_PLACE, slot, high, low).map_or(NO_CLASS, u64::from)
}

/// A value of a flat table, which its map declares as words.
#[inline(always)]
fn value<V: FlatValue, const WORDS: usize>(words: &[u64; WORDS]) -> &V {
    const { assert!(size_of::<V>() == 8 * WORDS) };
    // SAFETY: the size is the same and the alignment at most that of a word; every bit pattern is valid.
    unsafe { &*words.as_ptr().cast() }
}

/// Plain integers, without padding.
trait FlatValue {}
impl FlatValue for BucketV4 {}
impl FlatValue for ChunkV4 {}
impl FlatValue for NodeV6 {}
impl FlatValue for LowsV6 {}
