//! The outer maps: one inner map per slot and table.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, Pod,
    maps::{Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData},
};
use tcpw_common::{
    flat::{BucketV4, ChunkV4, LowsV6, NodeV6},
    key::{Address, NamesId},
};

use super::{
    maps::open,
    memory::MapMemory,
    sys::{self, InnerKind},
};

type Trie<K> = LpmTrie<MapData, K, u32>;

/// The maps through which a policy is written.
pub(super) struct Outers {
    clients_v4: ArrayOfMaps<MapData, Trie<[u8; 4]>>,
    clients_v6: ArrayOfMaps<MapData, Trie<Address>>,
    flat_v4: ArrayOfMaps<MapData, Array<MapData, BucketV4>>,
    flat_v4_chunks: ArrayOfMaps<MapData, Array<MapData, ChunkV4>>,
    flat_v6: ArrayOfMaps<MapData, Array<MapData, NodeV6>>,
    flat_v6_lows: ArrayOfMaps<MapData, Array<MapData, LowsV6>>,
    servers_v4: ArrayOfMaps<MapData, Trie<[u8; 4]>>,
    servers_v6: ArrayOfMaps<MapData, Trie<Address>>,
    names: ArrayOfMaps<MapData, HashMap<MapData, NamesId, u32>>,
    ports: ArrayOfMaps<MapData, HashMap<MapData, u32, u32>>,
    policies: ArrayOfMaps<MapData, Array<MapData, u32>>,
    outcomes: ArrayOfMaps<MapData, Array<MapData, u8>>,
    grace: ArrayOfMaps<MapData, Array<MapData, u32>>,
}

impl Outers {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            clients_v4: open(ebpf, "CLIENTS_V4")?,
            clients_v6: open(ebpf, "CLIENTS_V6")?,
            flat_v4: open(ebpf, "FLAT_V4")?,
            flat_v4_chunks: open(ebpf, "FLAT_V4_CHUNKS")?,
            flat_v6: open(ebpf, "FLAT_V6")?,
            flat_v6_lows: open(ebpf, "FLAT_V6_LOWS")?,
            servers_v4: open(ebpf, "SERVERS_V4")?,
            servers_v6: open(ebpf, "SERVERS_V6")?,
            names: open(ebpf, "NAMES")?,
            ports: open(ebpf, "PORTS")?,
            policies: open(ebpf, "POLICIES")?,
            outcomes: open(ebpf, "OUTCOMES")?,
            grace: open(ebpf, "GRACE")?,
        })
    }

    /// Puts every inner map of a policy into a slot.
    ///
    /// Each write waits for an RCU grace period; threads that write at the same time wait for the same one.
    pub(super) fn set(&mut self, slot: u32, inner: &Inners) -> Result<()> {
        std::thread::scope(|scope| {
            let writes = [
                scope.spawn(|| self.clients_v4.set(slot, &inner.clients_v4, 0)),
                scope.spawn(|| self.clients_v6.set(slot, &inner.clients_v6, 0)),
                scope.spawn(|| self.flat_v4.set(slot, &inner.flat_v4.map, 0)),
                scope.spawn(|| self.flat_v4_chunks.set(slot, &inner.flat_v4_chunks.map, 0)),
                scope.spawn(|| self.flat_v6.set(slot, &inner.flat_v6.map, 0)),
                scope.spawn(|| self.flat_v6_lows.set(slot, &inner.flat_v6_lows.map, 0)),
                scope.spawn(|| self.servers_v4.set(slot, &inner.servers_v4, 0)),
                scope.spawn(|| self.servers_v6.set(slot, &inner.servers_v6, 0)),
                scope.spawn(|| self.names.set(slot, &inner.names, 0)),
                scope.spawn(|| self.ports.set(slot, &inner.ports, 0)),
                scope.spawn(|| self.policies.set(slot, &inner.policies, 0)),
                scope.spawn(|| self.outcomes.set(slot, &inner.outcomes, 0)),
            ];
            writes.into_iter().try_for_each(|write| match write.join() {
                Ok(result) => result.context("put a table into its slot"),
                Err(_) => bail!("a thread that writes a table panicked"),
            })
        })
    }

    /// A map for [`Self::wait_for_programs`], made in advance, because making it may fail.
    pub(super) fn grace_map() -> Result<Array<MapData, u32>> {
        Ok(Array::try_from(Map::Array(MapData::from_fd(create(InnerKind::Array, 4, 4, 1)?)?))?)
    }

    /// Waits until every program that was running at the call has ended.
    ///
    /// An update of a map of maps waits for an RCU grace period: kernel/bpf/syscall.c,
    /// `maybe_wait_bpf_programs`.
    pub(super) fn wait_for_programs(&mut self, grace: &Array<MapData, u32>) -> Result<()> {
        self.grace.set(0, grace, 0).context("wait for running programs")
    }
}

/// The inner maps of one policy.
pub(super) struct Inners {
    pub(super) clients_v4: Trie<[u8; 4]>,
    pub(super) clients_v6: Trie<Address>,
    pub(super) flat_v4: FlatMap<BucketV4>,
    pub(super) flat_v4_chunks: FlatMap<ChunkV4>,
    pub(super) flat_v6: FlatMap<NodeV6>,
    pub(super) flat_v6_lows: FlatMap<LowsV6>,
    pub(super) servers_v4: Trie<[u8; 4]>,
    pub(super) servers_v6: Trie<Address>,
    pub(super) names: HashMap<MapData, NamesId, u32>,
    pub(super) ports: HashMap<MapData, u32, u32>,
    pub(super) policies: Array<MapData, u32>,
    pub(super) outcomes: Array<MapData, u8>,
}

/// A flat table, and its memory.
pub(super) struct FlatMap<V: Pod> {
    map: Array<MapData, V>,
    memory: MapMemory<V>,
}

impl<V: Pod> FlatMap<V> {
    /// Creates the map and writes its values through its memory. A table without values has one of zeroes.
    fn create(values: &[V]) -> Result<Self> {
        let entries = u32::try_from(values.len())?;
        let fd = create(InnerKind::Flat, 4, u32::try_from(size_of::<V>())?, entries)?;
        let mut memory = MapMemory::map(fd.as_fd(), values.len().max(1))
            .with_context(|| format!("map a table of {entries} entries into memory"))?;
        memory.write(values);
        let map = MapData::from_fd(fd).context("open a table")?;
        Ok(Self { map: Array::try_from(Map::Array(map))?, memory })
    }

    /// The values as the kernel has them.
    pub(super) fn values(&self) -> &[V] {
        self.memory.values()
    }
}

/// Keys and values of a table, packed one after another.
pub(super) struct Packed {
    pub(super) keys: Vec<u8>,
    pub(super) values: Vec<u8>,
    pub(super) count: u32,
}

/// The contents of all tables of a policy.
pub(super) struct Contents<'a> {
    pub(super) clients_v4: Packed,
    pub(super) clients_v6: Packed,
    pub(super) flat_v4: &'a [BucketV4],
    pub(super) flat_v4_chunks: &'a [ChunkV4],
    pub(super) flat_v6: &'a [NodeV6],
    pub(super) flat_v6_lows: &'a [LowsV6],
    pub(super) servers_v4: Packed,
    pub(super) servers_v6: Packed,
    pub(super) names: Packed,
    pub(super) ports: Packed,
    pub(super) policies: Packed,
    pub(super) outcomes: Packed,
}

/// Room in the table of names for daemons that start while a policy is live.
const SPARE_NAMES: u32 = 4096;

impl Inners {
    /// Creates and fills the inner maps, each as large as it needs to be.
    pub(super) fn create(contents: &Contents<'_>) -> Result<Self> {
        Ok(Self {
            clients_v4: Trie::try_from(Map::LpmTrie(fill(
                InnerKind::LpmTrie,
                8,
                4,
                &contents.clients_v4,
                0,
            )?))?,
            clients_v6: Trie::try_from(Map::LpmTrie(fill(
                InnerKind::LpmTrie,
                20,
                4,
                &contents.clients_v6,
                0,
            )?))?,
            flat_v4: FlatMap::create(contents.flat_v4)?,
            flat_v4_chunks: FlatMap::create(contents.flat_v4_chunks)?,
            flat_v6: FlatMap::create(contents.flat_v6)?,
            flat_v6_lows: FlatMap::create(contents.flat_v6_lows)?,
            servers_v4: Trie::try_from(Map::LpmTrie(fill(
                InnerKind::LpmTrie,
                8,
                4,
                &contents.servers_v4,
                0,
            )?))?,
            servers_v6: Trie::try_from(Map::LpmTrie(fill(
                InnerKind::LpmTrie,
                20,
                4,
                &contents.servers_v6,
                0,
            )?))?,
            names: HashMap::try_from(Map::HashMap(fill(
                InnerKind::Hash,
                8,
                4,
                &contents.names,
                SPARE_NAMES,
            )?))?,
            ports: HashMap::try_from(Map::HashMap(fill(InnerKind::Hash, 4, 4, &contents.ports, 0)?))?,
            policies: Array::try_from(Map::Array(fill(InnerKind::Array, 4, 4, &contents.policies, 0)?))?,
            outcomes: Array::try_from(Map::Array(fill(InnerKind::Array, 4, 1, &contents.outcomes, 0)?))?,
        })
    }
}

fn fill(kind: InnerKind, key: u32, value: u32, packed: &Packed, spare: u32) -> Result<MapData> {
    let fd = create(kind, key, value, packed.count.saturating_add(spare))?;
    sys::update_batch(fd.as_fd(), &packed.keys, &packed.values, packed.count)
        .with_context(|| format!("write {} entries into a table", packed.count))?;
    MapData::from_fd(fd).context("open a table")
}

fn create(kind: InnerKind, key: u32, value: u32, entries: u32) -> Result<OwnedFd> {
    sys::create_map(kind, key, value, entries).with_context(|| format!("create a table of {entries} entries"))
}
