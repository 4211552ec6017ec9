//! Loads the programs, fills the tables, attaches, pins. Alone in naming aya.
//!
//! In: a compiled [`Policy`](crate::compile::Policy), tags, answers. Out: enforcement,
//! and the ring of events.
//! Invariant: no entry of the live slot is ever changed or removed; a policy is in force
//! whole or not at all. Only a names-set that no socket carries yet is added to it.

mod alive;
mod attach;
mod banners;
mod changes;
mod datagram;
mod frames;
mod layout;
mod load;
mod offsets;
mod pinned;
mod pins;
mod probe;
mod resets;
mod ring;
mod stub;
mod sync;
mod sys;
mod tables;
mod tags;
mod takers;
mod udp_ports;
mod upgrade;
mod users;

pub use alive::Alive;
pub(crate) use alive::boot_ns;
pub use attach::{Hook, HookState};
pub use changes::{Changes, Stamps};
pub use frames::Frames;
pub use load::{Kernel, LoadOptions};
pub use pinned::PinnedStatus;
pub use pins::Pins;
pub use probe::Answer;
pub use resets::Resets;
pub use ring::{Diagnostics, EventRing, HeldRing, Pace, Ring};
pub use sync::{Applied, Filled, Loader};
pub use tags::TagReader;
