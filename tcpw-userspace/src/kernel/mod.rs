//! Loads the programs, fills the maps, attaches, pins. The only room that names aya.
//!
//! In: a compiled [`Policy`](crate::compile::Policy), tags, answers. Out: enforcement,
//! and the ring of events.
//! Invariant: no entry of the live slot is ever changed or removed; a policy is in force
//! whole or not at all. Only a names-set that no socket carries yet is added to it.

mod alive;
mod answers;
mod attach;
mod banners;
mod bans;
mod btf;
mod changes;
mod counters;
mod datagram;
mod early;
mod frames;
mod layout;
mod links;
mod load;
mod loaded;
mod loader;
mod maps;
mod measurement;
mod memory;
mod offsets;
mod on_link;
mod others;
mod pinned;
mod pins;
mod probe;
mod programs;
mod redirect;
mod resets;
mod ring;
mod seen;
mod slots;
mod stub;
mod sys;
mod tables;
mod tags;
mod udp_ports;
mod upgrade;
mod users;

pub use alive::Alive;
pub use answers::AnswerMaps;
pub use banners::BannerMaps;
pub use bans::BanMap;
pub use changes::{Changes, Stamps};
pub use counters::CounterMap;
pub use early::{EarlyDrop, EarlyMode};
pub use frames::Frames;
pub use links::HookState;
pub use load::{Kernel, LoadOptions};
pub use loaded::FilledTables;
pub use loader::{Applied, FilledSlot, Loader, StagedSlot};
pub use measurement::{MeasuredClients, Measurement};
pub use on_link::OnLinkMap;
pub use others::{CgroupProgram, other_programs};
pub use pinned::PinnedStatus;
pub use pins::Pins;
pub use probe::Probe;
pub use programs::{Hook, Section, Target, Want, When};
pub use redirect::RedirectMap;
pub use resets::Resets;
pub use ring::{Diagnostics, EventRing, HeldRing, Pace, Ring};
pub use slots::Slots;
pub use tags::{TagReader, Tags};
pub use users::UserMaps;
