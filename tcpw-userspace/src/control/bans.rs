//! Orders to ban, and what came of them.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::bans::BanEntry;

/// Networks in one request: its line stays within the server's bound.
pub const BANS_PER_REQUEST: usize = 4096;

/// Longest reason, in bytes.
pub const LONGEST_REASON: usize = 512;

/// Which bans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Banned {
    /// The clients.
    pub networks: Vec<IpNet>,
    /// The daemon; none: every daemon.
    pub daemon: Option<String>,
}

/// Bans to be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanOrder {
    /// What they are for.
    pub of: Banned,
    /// For so many seconds; none: for good.
    pub seconds: Option<u64>,
    /// Why.
    pub reason: String,
    /// The user that gives the order.
    pub by: String,
}

/// What came of an order to ban, or to end bans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanResult {
    /// Bans that were set or ended.
    pub done: usize,
    /// Those of them that replace one of the same.
    pub replaced: usize,
    /// What was not done, each with why.
    pub refused: Vec<(IpNet, String)>,
    /// It is in force, and is not stored: why. It does not outlive the daemon.
    pub not_stored: Option<String>,
}

/// A part of the list of bans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanList {
    /// Those after the one that was named, in the order of their networks.
    pub bans: Vec<ListedBan>,
    /// How many there are in all.
    pub total: usize,
}

/// A ban in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedBan {
    /// The ban.
    #[serde(flatten)]
    pub ban: BanEntry,
    /// Seconds until it ends; none: it is for good.
    pub left_s: Option<u64>,
}
