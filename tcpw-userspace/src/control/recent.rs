//! The attempts that the daemon remembers.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Which of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentQuestion {
    /// Those after this number of [`RecentAnswer::last`].
    pub after: Option<u64>,
    /// Those before this number.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most so many: the newest.
    pub most: usize,
    /// Those of one record.
    pub id: Option<u64>,
    /// Those of clients of a network.
    pub client: Option<IpNet>,
    /// Those to a listener with this name.
    pub daemon: Option<String>,
    /// Those with one of these fates, as records name them; any, if there are none.
    pub fates: Vec<String>,
}

/// What the daemon remembers of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentAnswer {
    /// The records, the oldest first, each as docs/record.schema.json says.
    pub records: Vec<serde_json::Value>,
    /// When the daemon began to count, microseconds since 1970: another daemon has another number.
    pub since_us: u64,
    /// Number of the newest record there is.
    pub last: u64,
    /// Of those that were asked for, some are not among the records: they were too many, or are forgotten.
    pub missed: u64,
    /// How many records are remembered in all.
    pub remembered: usize,
}
