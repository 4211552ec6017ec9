//! The tables of a policy as the kernel has them, read back.
//!
//! In: filled inner maps. Out: the look-ups that programs will make in them.

use aya::maps::lpm_trie::Key;
use tcpw_common::{
    decide::{Header, Tables},
    flat::{BucketV4, ChunkV4, FlatTables, LowsV6, NodeV6},
    key::{Address, NamesId},
};

use super::tables::Inners;

/// The tables of a policy that is in no slot yet.
pub struct LoadedTables<'a> {
    inner: &'a Inners,
    header: Header,
}

impl<'a> LoadedTables<'a> {
    pub(super) fn new(inner: &'a Inners, header: Header) -> Self {
        Self { inner, header }
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
        self.inner.names.get(&names, 0).ok()
    }
    fn port(&self, _: u32, port: u16) -> Option<u32> {
        self.inner.ports.get(&u32::from(port), 0).ok()
    }
    fn policy(&self, _: u32, index: u32) -> Option<u32> {
        self.inner.policies.get(&index, 0).ok()
    }
    fn outcome(&self, _: u32, index: u32) -> Option<u8> {
        self.inner.outcomes.get(&index, 0).ok()
    }
}
