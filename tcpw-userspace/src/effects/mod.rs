//! Side effects: commands of `spawn`, `aclexec` and `twist`, and banners for refused clients, by a process
//! without rights.
//!
//! In: the effects of a judgement. Out: commands with their environment; the helper that runs them.
//! Invariant: the helper has no right that a command could use.

mod command;
pub(crate) mod files;
pub mod helper;
pub(crate) mod limits;
mod mailer;
pub(crate) mod process;
mod serving;
mod settings;
pub mod wire;

pub use command::{Command, Surroundings, commands, commands_of, surroundings_of};
pub use helper::LOGS;
pub use mailer::{Mailer, SENDMAIL};
pub use serving::{Serving, serving};
pub use settings::{FALLBACK, Settings, USER};

/// [`USER`] if there is such a user.
pub fn default_user() -> String {
    let is_there = matches!(nix::unistd::User::from_name(USER), Ok(Some(_)));
    if is_there { USER } else { FALLBACK }.to_owned()
}
