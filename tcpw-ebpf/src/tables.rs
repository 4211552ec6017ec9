//! The kernel's side of `decide`: the tables behind the maps.

use aya_ebpf::maps::lpm_trie::Key;
use tcpw_common::{
    deadline::slot_in_force,
    decide::{Header, Tables},
    flat::{BucketV4, ChunkV4, FlatTables, LowsV6, NodeV6},
    key::{Address, NamesId},
};

use crate::{
    clock::boot_ns,
    maps::{
        ACTIVE, CLIENTS_V4, CLIENTS_V6, DEADLINE, FLAT_V4, FLAT_V4_CHUNKS, FLAT_V6, FLAT_V6_LOWS, HEADERS,
        NAMES, OUTCOMES, POLICIES, PORTS, SERVERS_V4, SERVERS_V6,
    },
};

/// The maps as [`Tables`].
pub(crate) struct KernelTables;

impl Tables for KernelTables {
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

impl FlatTables for KernelTables {
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
