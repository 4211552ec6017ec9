//! Cases: a policy's tests, as JSON lines.
//!
//! In: lines of cases, each with its tables or those of the command line. Out: one line of
//! JSON for each, in order; where a case says what it expects, the differences.
//! Invariant: no command is run, no name is looked up, users and groups are a fixed list, and
//! nothing is read from disk but tables the case leaves to the command line.

mod answer;
mod bytes;
mod case;
mod lookup;
mod recent_tables;
mod run;
mod tables;

pub use answer::{CaseAnswer, Difference, Id, MatchedRule};
pub(crate) use answer::{priority, rule, via};
pub use bytes::JsonBytes;
pub use case::{Case, Expect};
pub use run::{BadCase, CaseCounts, judge, read, run};
pub use tables::{CaseTables, TablesCache};
