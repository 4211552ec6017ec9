//! The table of networks that are on the links of interfaces.
//!
//! In: all of them, by network namespace. Out: the gate takes replies to multicast questions from there.
//! Invariant: only differences are written; what an earlier process left is known.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{
        MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use tcpw_common::key::{ON_LINK_BITS, OnLinkKey};

use super::maps::open;
use crate::host::LinkNetwork;

/// The table.
pub struct OnLinkMap {
    table: LpmTrie<MapData, OnLinkKey, u32>,
    /// What is in it.
    known: BTreeSet<(u64, LinkNetwork)>,
}

impl OnLinkMap {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        let mut map = Self { table: open(ebpf, "ON_LINK")?, known: BTreeSet::new() };
        map.known = map.read()?;
        Ok(map)
    }

    /// Makes the table hold these networks and no others.
    ///
    /// # Errors
    /// The kernel refuses a write, perhaps because the table is full.
    pub fn set(&mut self, wanted: &BTreeSet<(u64, LinkNetwork)>) -> Result<()> {
        let gone: Vec<(u64, LinkNetwork)> = self.known.difference(wanted).copied().collect();
        for one in gone {
            self.table.remove(&key_of(&one)).context("forget a network on a link")?;
            self.known.remove(&one);
        }
        for one in wanted {
            if !self.known.contains(one) {
                self.table.insert(&key_of(one), 0, 0).context("write a network on a link")?;
                self.known.insert(*one);
            }
        }
        Ok(())
    }

    /// What the kernel has.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn read(&self) -> Result<BTreeSet<(u64, LinkNetwork)>> {
        let keys: Vec<Key<OnLinkKey>> =
            self.table.keys().collect::<Result<_, _>>().context("read the networks on links")?;
        Ok(keys.iter().filter_map(network_of).collect())
    }
}

fn key_of((netns, network): &(u64, LinkNetwork)) -> Key<OnLinkKey> {
    let LinkNetwork { ifindex, network, prefix_bits } = *network;
    let data = OnLinkKey { netns: *netns, ifindex, reserved: 0, address: network };
    Key::new(ON_LINK_BITS + u32::from(prefix_bits), data)
}

/// `None` if the key is of no network.
fn network_of(key: &Key<OnLinkKey>) -> Option<(u64, LinkNetwork)> {
    let OnLinkKey { netns, ifindex, address, .. } = key.data();
    let prefix_bits = u8::try_from(key.prefix_len().checked_sub(ON_LINK_BITS)?).ok()?;
    Some((netns, LinkNetwork { ifindex, network: address, prefix_bits }))
}
