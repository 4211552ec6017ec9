//! A policy as the tables that [`decide`](tcpw_common::decide::decide) walks.
//!
//! In: a policy. Out: the same look-ups that the kernel makes, in memory.

use std::collections::{BTreeSet, HashMap};

use tcpw_common::{
    ban::Bans,
    decide::{Header, Tables},
    flat::{BucketV4, ChunkV4, FlatTables, LowsV6, NodeV6},
    key::{Address, NamesId},
};

use super::{flat::FlatClients, policy::Policy, prefix::Prefix, region::AddressNumber};

/// One policy in slot 0, in force.
#[derive(Clone, Debug)]
pub struct PolicyTables {
    header: Header,
    clients_v4: Longest<u32>,
    clients_v6: Longest<u128>,
    flat_clients: FlatClients,
    servers_v4: Longest<u32>,
    servers_v6: Longest<u128>,
    names: HashMap<NamesId, u32>,
    ports: HashMap<u16, u32>,
    policies: Vec<u32>,
    outcomes: Vec<u8>,
}

impl PolicyTables {
    /// The tables of a policy.
    pub fn new(policy: &Policy, generation: u32, flags: u32) -> Self {
        Self {
            header: policy.header(generation, flags),
            clients_v4: Longest::new(policy.clients_v4.prefixes()),
            clients_v6: Longest::new(policy.clients_v6.prefixes()),
            flat_clients: FlatClients {
                v4: policy.clients_v4.flat().cloned().unwrap_or_default(),
                v6: policy.clients_v6.flat().cloned().unwrap_or_default(),
            },
            servers_v4: Longest::new(&policy.servers_v4),
            servers_v6: Longest::new(&policy.servers_v6),
            names: policy.names.iter().copied().collect(),
            ports: policy.ports.iter().copied().collect(),
            policies: policy.policies.clone(),
            outcomes: policy.outcomes.clone(),
        }
    }

    /// Adds or changes the class of a names-set, as the daemon does for a new listener.
    pub fn set_names(&mut self, names: NamesId, class: u32) {
        self.names.insert(names, class);
    }
}

impl FlatTables for PolicyTables {
    fn bucket_v4(&self, slot: u32, index: u32) -> Option<&BucketV4> {
        self.flat_clients.bucket_v4(slot, index)
    }
    fn chunk_v4(&self, slot: u32, index: u32) -> Option<&ChunkV4> {
        self.flat_clients.chunk_v4(slot, index)
    }
    fn node_v6(&self, slot: u32, index: u32) -> Option<&NodeV6> {
        self.flat_clients.node_v6(slot, index)
    }
    fn lows_v6(&self, slot: u32, index: u32) -> Option<&LowsV6> {
        self.flat_clients.lows_v6(slot, index)
    }
}

/// Bans are no part of a policy: none is found here.
impl Bans for PolicyTables {}

impl Tables for PolicyTables {
    fn active(&self) -> Option<u32> {
        Some(0)
    }
    fn header(&self, _: u32) -> Option<Header> {
        Some(self.header)
    }
    fn client_v4(&self, _: u32, client: [u8; 4]) -> Option<u32> {
        self.clients_v4.find(client)
    }
    fn client_v6(&self, _: u32, client: Address) -> Option<u32> {
        self.clients_v6.find(client)
    }
    fn server_v4(&self, _: u32, server: [u8; 4]) -> Option<u32> {
        self.servers_v4.find(server)
    }
    fn server_v6(&self, _: u32, server: Address) -> Option<u32> {
        self.servers_v6.find(server)
    }
    fn names(&self, _: u32, names: NamesId) -> Option<u32> {
        self.names.get(&names).copied()
    }
    fn port(&self, _: u32, port: u16) -> Option<u32> {
        self.ports.get(&port).copied()
    }
    fn policy(&self, _: u32, index: u32) -> Option<u32> {
        self.policies.get(usize::try_from(index).ok()?).copied()
    }
    fn outcome(&self, _: u32, index: u32) -> Option<u8> {
        self.outcomes.get(usize::try_from(index).ok()?).copied()
    }
}

/// Longest prefix match: one hash table, tried from the longest length in use.
#[derive(Clone, Debug)]
struct Longest<W: AddressNumber> {
    lengths: BTreeSet<u8>,
    entries: HashMap<Prefix<W::Bytes>, u32>,
}

impl<W: AddressNumber> Longest<W> {
    fn new(entries: &[(Prefix<W::Bytes>, u32)]) -> Self {
        Self {
            lengths: entries.iter().map(|(prefix, _)| prefix.bits).collect(),
            entries: entries.iter().copied().collect(),
        }
    }

    fn find(&self, address: W::Bytes) -> Option<u32> {
        let address = W::from_bytes(address);
        self.lengths.iter().rev().find_map(|&bits| {
            let prefix = Prefix { address: address.prefix_first(bits).to_bytes(), bits };
            self.entries.get(&prefix).copied()
        })
    }
}
