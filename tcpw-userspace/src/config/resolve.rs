//! How names are looked up.

use std::{ops::RangeInclusive, time::Duration};

/// Settings of look-ups: `[resolve]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// Look-ups at once, each a thread.
    pub at_once: usize,
    /// Attempts that wait for one.
    pub waiting: usize,
    /// How long an attempt waits for its names before they are unknown.
    pub time_limit: Duration,
    /// Names that are kept.
    pub kept: usize,
    /// How long a name is kept.
    pub found_for: Duration,
    /// How long the result that there is none is kept.
    pub not_found_for: Duration,
    /// User look-ups at once.
    pub users_at_once: usize,
    /// Of them, for one source.
    pub users_of_a_source: usize,
    /// Ports of name servers: at these every name is unknown.
    pub name_server_ports: Vec<u16>,
}

/// DNS over TCP (RFC 7766) and over TLS (RFC 7858).
pub const NAME_SERVER_PORTS: [u16; 2] = [53, 853];

impl Default for Resolve {
    fn default() -> Self {
        Self {
            at_once: 64,
            waiting: 4096,
            time_limit: Duration::from_secs(10),
            kept: 16384,
            found_for: Duration::from_secs(300),
            not_found_for: Duration::from_secs(10),
            users_at_once: 512,
            users_of_a_source: 64,
            name_server_ports: NAME_SERVER_PORTS.to_vec(),
        }
    }
}

/// A number of the settings: its key, what it may be, and where it goes.
pub(super) struct NumberSetting {
    pub(super) key: &'static str,
    pub(super) range: RangeInclusive<i64>,
}

/// More threads than that cost more than they gain.
pub(super) const AT_ONCE: NumberSetting = NumberSetting { key: "lookups", range: 1..=1024 };
/// Each is a socket.
pub(super) const USERS: NumberSetting = NumberSetting { key: "user-lookups", range: 1..=16384 };
/// Likewise.
pub(super) const USERS_OF_A_SOURCE: NumberSetting =
    NumberSetting { key: "user-lookups-per-client", range: 1..=16384 };
/// Each takes a kilobyte.
pub(super) const WAITING: NumberSetting = NumberSetting { key: "waiting", range: 1..=65536 };
/// A client gives up after two minutes.
pub(super) const TIME_LIMIT: NumberSetting = NumberSetting { key: "time-limit", range: 1..=120 };
/// As many answers as the kernel keeps.
pub(super) const KEPT: NumberSetting = NumberSetting { key: "cache", range: 1..=65536 };
/// A day.
pub(super) const FOUND_FOR: NumberSetting = NumberSetting { key: "found-for", range: 1..=86400 };
/// Likewise.
pub(super) const NOT_FOUND_FOR: NumberSetting = NumberSetting { key: "not-found-for", range: 1..=86400 };

impl NumberSetting {
    /// The value, or what to write.
    pub(super) fn check(&self, value: i64) -> Result<u64, String> {
        let (first, last) = (self.range.start(), self.range.end());
        u64::try_from(value)
            .ok()
            .filter(|_| self.range.contains(&value))
            .ok_or_else(|| format!("{} = {value}: write a number from {first} to {last}", self.key))
    }
}
