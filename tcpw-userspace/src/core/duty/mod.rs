//! The duties of the core, a file each: its state, its deadline, its counters, if it has any.
//!
//! Invariant: a duty passes work to another as a [`Step`](super::outbox::Step), never by a call; all state of
//! others that it reads is in [`SharedState`](super::shared::SharedState).

pub(super) mod apply;
pub(super) mod banners;
pub(super) mod bans;
pub(super) mod certify;
pub(super) mod challenges;
pub(super) mod commands;
pub(super) mod control;
pub(super) mod counters;
pub(super) mod early;
pub(super) mod effects;
pub(super) mod held;
pub(super) mod keepalive;
mod line_limit;
pub(super) mod link_networks;
pub(super) mod listener_policy;
pub(super) mod listeners;
mod lookup_queue;
pub(super) mod lookups;
pub(super) mod metrics;
pub(super) mod redirect;
pub(super) mod reload;
pub(super) mod report;
pub(super) mod scans;
mod settle;
pub(super) mod start;
pub(super) mod status;
pub(super) mod tally;
mod unproven;
pub(super) mod users;
