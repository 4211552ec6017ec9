//! Loads the programs, fills the tables, attaches, pins. Alone in naming aya.
//!
//! In: a compiled [`Policy`](crate::compile::Policy), tags, answers. Out: enforcement,
//! and the ring of events.
//! Invariant: the live slot's tables are never changed; a policy is in force whole
//! or not at all.

mod attach;
mod load;
mod offsets;
mod pins;
mod probe;
mod ring;
mod sync;
mod sys;
mod tables;
mod tags;

pub use attach::{Hook, HookState};
pub use load::{Kernel, LoadOptions};
pub use pins::{PinnedStatus, Pins};
pub use probe::Answer;
pub use ring::{Diagnostics, EventRing};
pub use sync::Applied;
