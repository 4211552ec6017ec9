//! tcpw: hosts.allow and hosts.deny enforced by the kernel, for every daemon.
//!
//! The data flow is the order of the modules:
//! [`source`] → [`parse`] → [`compile`] → [`kernel`] → (gate) → [`events`] → `core` → [`record`] → [`log`].
//! Pure are [`parse`], [`evaluate`] (the reference that all else is tested against), [`compile`], [`check`],
//! [`mod@format`], [`cases`], [`certify`] and `core`, which decides what happens. [`daemon`] alone does what the
//! core says, by [`host`] (facts of this machine), [`listeners`] (who listens where), [`resolve`] (names and
//! users), [`effects`] (commands), [`redirect`] (clients that get a banner or a `twist`) and [`reinject`]
//! (held packets). [`metrics`] is what Prometheus reads. [`control`] and [`cli`] are how people ask.

pub mod bans;
pub mod cases;
pub mod certify;
pub mod check;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod core;
pub mod daemon;
pub mod doctor;
pub mod effects;
pub mod evaluate;
pub mod events;
pub mod format;
pub mod host;
pub mod kernel;
pub mod listeners;
pub mod log;
pub mod metrics;
pub mod names;
pub mod parse;
pub mod record;
pub mod redirect;
pub mod reinject;
pub mod resolve;
pub mod resolver;
#[cfg(test)]
mod rooms;
pub mod simulate;
pub mod source;
