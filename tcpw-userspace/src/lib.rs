//! tcpw: hosts.allow and hosts.deny enforced by the kernel, for every daemon.
//!
//! The data flow is the order of the modules:
//! [`source`] → [`parse`] → [`compile`] → [`kernel`] → (gate) → [`events`] → [`log`];
//!
//! Beside it:
//! - [`evaluate`]: the evaluator, libwrap's decision as the reference that the compiled tables are tested against;
//! - [`host`]: facts of this machine; [`listeners`]: which sockets listen, and the names of each;
//! - [`certify`]: where sk_lookup may refuse; [`reinject`]: sends held packets again;
//!   [`redirect`]: connections of refused clients that get a banner or a `twist`;
//! - [`resolve`]: look-ups of names, netgroups and users; [`effects`]: commands and what else options do;
//! - [`config`]: settings; [`control`]: the control socket; [`daemon`]: the process that uses all of these;
//! - [`check`], [`format`], [`cases`]: what `tcpw check`, `fmt` and `match --cases` do; [`cli`]: the commands.

pub mod cases;
pub mod certify;
pub mod check;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod daemon;
pub mod effects;
pub mod evaluate;
pub mod events;
pub mod format;
pub mod host;
pub mod kernel;
pub mod listeners;
pub mod log;
pub mod names;
pub mod parse;
pub mod redirect;
pub mod reinject;
pub mod resolve;
pub mod source;
