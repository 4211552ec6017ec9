//! A table of clients in one of two forms.

use std::str::FromStr;

use super::{
    flat::{FlatTable, counts},
    prefix::{Prefix, PrefixTable},
};

/// From this many IPv4 ranges on, [`ClientTableKind::Auto`] makes a flat table. A smaller one is a trie: it costs little
/// either way, and the flat table has a megabyte of buckets.
pub const FLAT_FROM_V4: usize = 256;

/// The same for IPv6: a smaller tree is not faster than a trie, as `cargo xtask bench decision` shows.
pub const FLAT_FROM_V6: usize = 1 << 16;

/// Which form the tables of clients have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientTableKind {
    /// Flat from [`FLAT_FROM_V4`] or [`FLAT_FROM_V6`] ranges on.
    #[default]
    Auto,
    /// The kernel's LPM tries.
    Trie,
    /// Flat, if it fits: a policy with more than 256 classes of clients, or too many IPv6 ranges, gets tries.
    Flat,
}

impl FromStr for ClientTableKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "lpm" => Ok(Self::Trie),
            "flat" => Ok(Self::Flat),
            _ => Err(format!("table \"{text}\": write \"auto\", \"lpm\" or \"flat\"")),
        }
    }
}

/// Client addresses and their classes.
#[derive(Clone, Debug)]
pub enum ClientTable<A, F> {
    /// The smallest table of prefixes, with a /0.
    Trie(PrefixTable<A>),
    /// Ranges.
    Flat(F),
}

impl<A, F> ClientTable<A, F> {
    /// Its prefixes; none if it is flat.
    pub fn prefixes(&self) -> &[(Prefix<A>, u32)] {
        match self {
            Self::Trie(prefixes) => prefixes,
            Self::Flat(_) => &[],
        }
    }

    /// The flat table, if it is one.
    pub fn flat(&self) -> Option<&F> {
        match self {
            Self::Trie(_) => None,
            Self::Flat(table) => Some(table),
        }
    }
}

impl<A, F: FlatTable> ClientTable<A, F> {
    /// How many prefixes or ranges each class has, by class.
    pub fn counts(&self) -> Vec<usize> {
        match self {
            Self::Trie(prefixes) => counts(prefixes.iter().map(|(_, class)| *class as usize)),
            Self::Flat(table) => table.ranges_of_class().to_vec(),
        }
    }
}
