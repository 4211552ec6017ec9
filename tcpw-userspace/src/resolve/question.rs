//! Questions for look-ups, and their results.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use super::{
    in_netgroup,
    verify::{Resolver, Verified, verified_name},
};
use crate::parse::rule::Text;

/// A question that needs a look-up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The name of an address, verified.
    Name(IpAddr),
    /// Whether a host is in a netgroup.
    Netgroup {
        /// The netgroup.
        group: Text,
        /// The host's name.
        host: Text,
    },
}

impl Question {
    /// The name of an address; a v4-mapped one is an IPv4 one.
    pub fn name_of(address: IpAddr) -> Self {
        Self::Name(address.to_canonical())
    }
}

/// The result of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// To [`Question::Name`].
    Name(Verified),
    /// To [`Question::Netgroup`].
    Member(bool),
}

impl Found {
    /// Whether there is a name, or membership.
    pub fn is_something(&self) -> bool {
        match self {
            Self::Name(verified) => {
                matches!(verified.name, crate::evaluate::request::HostName::Known(_))
            }
            Self::Member(is_member) => *is_member,
        }
    }
}

/// Looks it up; blocks as long as the system's resolver does.
pub fn look_up(question: &Question, resolver: &dyn Resolver) -> Found {
    /// innetgr(3) is not safe to be called by two threads.
    static NETGROUPS: Mutex<()> = Mutex::new(());
    match question {
        Question::Name(address) => Found::Name(verified_name(*address, resolver)),
        Question::Netgroup { group, host } => {
            let _one = NETGROUPS.lock().unwrap_or_else(PoisonError::into_inner);
            Found::Member(in_netgroup(group, Some(host), None))
        }
    }
}
