//! The tables of a policy as the kernel has them, read back.
//!
//! In: filled inner maps. Out: the look-ups that programs will make in them.

use std::{cell::RefCell, collections::HashMap, hash::Hash};

use aya::maps::{MapError, lpm_trie::Key};
use tcpw_common::{
    ban::Bans,
    decide::{Header, Tables},
    flat::{BucketV4, ChunkV4, FlatTables, LowsV6, NodeV6},
    key::{Address, NamesId},
};

use super::tables::Inners;

/// The tables of a policy that is in no slot yet.
#[derive(Clone, Copy)]
pub struct FilledTables<'a> {
    inner: &'a Inners,
    header: Header,
}

impl<'a> FilledTables<'a> {
    pub(super) fn new(inner: &'a Inners, header: Header) -> Self {
        Self { inner, header }
    }

    /// Reads them back, for one thread.
    pub fn read_back(&self) -> LoadedTables<'a> {
        LoadedTables::new(self.inner, self.header)
    }
}

/// The same, as one thread reads them.
pub struct LoadedTables<'a> {
    inner: &'a Inners,
    header: Header,
    /// What was read: many clients meet the same few entries.
    names: ReadOnce<NamesId, u32>,
    ports: ReadOnce<u32, u32>,
    policies: ReadOnce<u32, u32>,
    outcomes: ReadOnce<u32, u8>,
}

/// Entries of a map, each read at most once.
struct ReadOnce<K, V>(RefCell<HashMap<K, Option<V>>>);

impl<K, V> Default for ReadOnce<K, V> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Copy + Eq + Hash, V: Copy> ReadOnce<K, V> {
    fn get(&self, key: K, read: impl FnOnce(&K) -> Result<V, MapError>) -> Option<V> {
        *self.0.borrow_mut().entry(key).or_insert_with(|| read(&key).ok())
    }
}

impl<'a> LoadedTables<'a> {
    fn new(inner: &'a Inners, header: Header) -> Self {
        Self {
            inner,
            header,
            names: ReadOnce::default(),
            ports: ReadOnce::default(),
            policies: ReadOnce::default(),
            outcomes: ReadOnce::default(),
        }
    }
}

impl FlatTables for LoadedTables<'_> {
    fn bucket_v4(&self, _: u32, index: u32) -> Option<&BucketV4> {
        self.inner.flat_v4.values().get(index as usize)
    }
    fn chunk_v4(&self, _: u32, index: u32) -> Option<&ChunkV4> {
        self.inner.flat_v4_chunks.values().get(index as usize)
    }
    fn node_v6(&self, _: u32, index: u32) -> Option<&NodeV6> {
        self.inner.flat_v6.values().get(index as usize)
    }
    fn lows_v6(&self, _: u32, index: u32) -> Option<&LowsV6> {
        self.inner.flat_v6_lows.values().get(index as usize)
    }
}

impl Bans for LoadedTables<'_> {}

impl Tables for LoadedTables<'_> {
    fn active(&self) -> Option<u32> {
        Some(0)
    }
    fn header(&self, _: u32) -> Option<Header> {
        Some(self.header)
    }
    fn client_v4(&self, _: u32, client: [u8; 4]) -> Option<u32> {
        self.inner.clients_v4.get(&Key::new(32, client), 0).ok()
    }
    fn client_v6(&self, _: u32, client: Address) -> Option<u32> {
        self.inner.clients_v6.get(&Key::new(128, client), 0).ok()
    }
    fn server_v4(&self, _: u32, server: [u8; 4]) -> Option<u32> {
        self.inner.servers_v4.get(&Key::new(32, server), 0).ok()
    }
    fn server_v6(&self, _: u32, server: Address) -> Option<u32> {
        self.inner.servers_v6.get(&Key::new(128, server), 0).ok()
    }
    fn names(&self, _: u32, names: NamesId) -> Option<u32> {
        self.names.get(names, |names| self.inner.names.get(names, 0))
    }
    fn port(&self, _: u32, port: u16) -> Option<u32> {
        self.ports.get(port.into(), |port| self.inner.ports.get(port, 0))
    }
    fn policy(&self, _: u32, index: u32) -> Option<u32> {
        self.policies.get(index, |index| self.inner.policies.get(index, 0))
    }
    fn outcome(&self, _: u32, index: u32) -> Option<u8> {
        self.outcomes.get(index, |index| self.inner.outcomes.get(index, 0))
    }
}
