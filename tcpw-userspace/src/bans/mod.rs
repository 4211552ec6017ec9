//! Bans: which clients are refused whatever the files say, until when, and why.
//!
//! In: orders to ban and to end bans, stored bans, the time. Out: what the kernel's table has to hold, what is to be stored.
//! No I/O. Invariant: the table here and what was given out for the kernel say the same.

pub mod journal;
mod memory;
mod table;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::{SystemTime, UNIX_EPOCH},
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use tcpw_common::key::{Address, NamesId};

pub use memory::{MemoryBans, WithBans};
pub use table::{BanTable, Change, KernelChange};

use crate::{events::address, names::NamesSet};

/// What a ban is for. Two bans of the same are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BanOf {
    /// The clients, without host bits.
    pub network: IpNet,
    /// The daemon, in small letters; none: every daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<String>,
}

impl BanOf {
    /// Of a network and a daemon as they are written.
    pub fn new(network: IpNet, daemon: Option<&str>) -> Self {
        Self { network: plain(network), daemon: daemon.map(str::to_ascii_lowercase) }
    }
}

/// Without host bits; an IPv4 network that is written as one of mapped addresses as IPv4.
fn plain(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(net) if net.prefix_len() >= 96 => net.network().to_ipv4_mapped(),
        IpNet::V6(_) | IpNet::V4(_) => None,
    };
    let of_mapped = |first: Ipv4Addr| Ipv4Net::new(first, network.prefix_len() - 96).ok();
    mapped.and_then(of_mapped).map_or(network, IpNet::V4).trunc()
}

/// First address and number of bits, as the kernel's table has them: of IPv6, or of mapped IPv4.
fn prefix(network: &IpNet) -> (Address, u8) {
    match network {
        IpNet::V4(network) => (address(IpAddr::V4(network.network())), network.prefix_len() + 96),
        IpNet::V6(network) => (address(IpAddr::V6(network.network())), network.prefix_len()),
    }
}

/// The number of a daemon in the kernel's table: the same in every process that has the same key of names, as the ids of
/// names-sets are.
fn scope_of(daemon: &str) -> u32 {
    let id: NamesId = NamesSet::new([daemon]).id();
    let low = u32::try_from(id & 0x7fff_ffff).unwrap_or_default();
    low.max(1)
}

/// Milliseconds since 1970, UTC.
pub fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What is known of a ban. Times are milliseconds since 1970, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanFacts {
    /// Since when.
    pub since: u64,
    /// Until when; none: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Why, in the words of the order.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The user that gave the order.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanEntry {
    /// What it is for.
    #[serde(flatten)]
    pub of: BanOf,
    /// What is known of it.
    #[serde(flatten)]
    pub facts: BanFacts,
}

impl fmt::Display for BanEntry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ban of {}", self.of.network)?;
        if let Some(daemon) = &self.of.daemon {
            write!(out, " for {daemon}")?;
        }
        let BanFacts { reason, by, .. } = &self.facts;
        for (word, text) in [("by", by), ("reason", reason)].iter().filter(|(_, text)| !text.is_empty()) {
            write!(out, ", {word}: {text}")?;
        }
        Ok(())
    }
}
