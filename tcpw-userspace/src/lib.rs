//! tcpw: hosts.allow and hosts.deny enforced by the kernel, for every daemon.
//!
//! The data flow is the order of the modules:
//! [`source`] → [`parse`] → [`compile`] → [`kernel`] → (gate) → [`events`] → [`log`];
//! [`evaluate`] is the reference they are held against, [`listeners`] tells who
//! listens where, [`refuse`] where a refused client may be told so at once, [`steer`] takes those that get a banner or a `twist`, [`resolve`] what somebody's name is, [`cases`] keeps a policy's tests,
//! [`check`] says what is wrong with it; [`daemon`] alone knows them all.

pub mod cases;
pub mod check;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod core;
pub mod daemon;
pub mod effects;
pub mod evaluate;
pub mod events;
pub mod format;
pub mod held;
pub mod kernel;
pub mod listeners;
pub mod log;
pub mod names;
pub mod parse;
pub mod record;
pub mod refuse;
pub mod resolve;
pub mod simulate;
pub mod source;
pub mod steer;

pub use held as reinject;
pub use refuse as certify;
pub use steer as redirect;

/// Facts of this machine.
pub(crate) mod host {
    pub(crate) use crate::{
        check::facts::System,
        cli::preflight::{cgroup_scope, lock},
        kernel::boot_ns,
    };
}
