//! Users and groups of this host.

use nix::unistd::{Group, User};

use crate::evaluate::request::Lookup;

/// Knows the users and groups of this host, as options name them; every client name and user is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accounts;

impl Lookup for Accounts {
    fn user_exists(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| User::from_name(name).is_ok_and(|user| user.is_some()))
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| Group::from_name(name).is_ok_and(|group| group.is_some()))
    }
}
