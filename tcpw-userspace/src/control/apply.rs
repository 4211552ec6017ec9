//! Which policy is in force after `tcpw apply`, `tcpw confirm`, `tcpw rollback`.

use serde::{Deserialize, Serialize};

/// How the files are to come into force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyOrder {
    /// Seconds within which it has to be confirmed.
    pub confirm_s: Option<u32>,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyAnswer {
    /// What happened.
    pub done: ApplyDone,
    /// Number of the policy in force.
    pub generation: u32,
    /// Number of the policy that comes back unless it is confirmed, or of the one that was rolled back.
    pub other: Option<u32>,
    /// When it comes back: seconds since 1970, UTC.
    pub until: Option<u64>,
    /// For so many seconds it was applied.
    pub seconds: Option<u32>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyDone {
    /// It is in force.
    Applied,
    /// It had the rules of the files already.
    WasInForce,
    /// It is in force until it is confirmed, or for a time.
    Waits,
    /// It stays.
    Confirmed,
    /// It is in force again.
    RolledBack,
}
