//! What `tcpw list` and `tcpw diff` have in common: what the tables mean, in words.
//!
//! In: services and decisions as the compiler tells them. Out: texts for people, and JSON.

mod json;
mod labels;
mod read;
mod words;

pub(super) use json::{JsonDecision, JsonService, networks as json_networks};
pub(super) use labels::{AllServices, FilteredBy};
pub(super) use read::{ReadTables, read};
pub(super) use words::{answer, clients, condition, end, erroneous, rule, rule_run, verdict_of};
