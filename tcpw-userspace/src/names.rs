//! Names-sets: all names of a listener.
//!
//! Invariant: equal sets have equal ids in every process of tcpw that uses the same key, so that a tag
//! written before a restart means the same after it. Nobody without the key finds a set with a given id.

use std::{collections::BTreeSet, hash::Hasher, sync::OnceLock};

use siphasher::sip::SipHasher24;
use tcpw_common::key::NamesId;

use crate::parse::rule::Text;

/// 128 bits that ids depend on.
pub type Key = [u8; 16];

static KEY: OnceLock<Key> = OnceLock::new();

/// Sets the key of all ids; the first one of a process stays. Without a call it is 0: simulations and tests have
/// the same ids each time.
pub fn set_key(key: Key) {
    KEY.get_or_init(|| key);
}

/// A set of daemon names, of which some may not be proven.
///
/// A name that is not proven closes and never opens: see [`decide_by_names`](crate::evaluate::decide_by_names).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamesSet {
    proven: BTreeSet<Text>,
    /// None of these is proven as well.
    unproven: BTreeSet<Text>,
}

impl NamesSet {
    /// The set of the given names, all of them proven; empty names are left out.
    pub fn new<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { proven: texts(names), unproven: BTreeSet::new() }
    }

    /// The set with these names too, which are not proven; empty names are left out.
    #[must_use]
    pub fn with_unproven<N: AsRef<[u8]>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.unproven.extend(texts(names));
        self.unproven.retain(|name| !self.proven.contains(name));
        self
    }

    /// Its id: 0 for the empty set, else a keyed hash of the sorted names. A file name is chosen by its user: without
    /// a key it could have the id of another listener's names.
    ///
    /// Source: Aumasson and Bernstein, SipHash: a fast short-input PRF; SipHash-2-4, 64 bits.
    pub fn id(&self) -> NamesId {
        self.id_by(KEY.get().unwrap_or(&[0; 16]))
    }

    fn id_by(&self, key: &Key) -> NamesId {
        if self.is_empty() {
            return 0;
        }
        let mut hasher = SipHasher24::new_with_key(key);
        let mut add = |names: &BTreeSet<Text>| {
            for name in names {
                hasher.write(name);
                hasher.write(&[0]);
            }
        };
        add(&self.proven);
        if !self.unproven.is_empty() {
            // No name is empty: this ends the proven ones.
            add(&BTreeSet::from([Text::default()]));
            add(&self.unproven);
        }
        hasher.finish().max(1)
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Text> {
        self.proven.union(&self.unproven)
    }

    /// The names as the evaluator takes them.
    pub fn to_vec(&self) -> Vec<Text> {
        self.iter().cloned().collect()
    }

    /// The proven names alone.
    #[must_use]
    pub fn proven(&self) -> Self {
        Self { proven: self.proven.clone(), unproven: BTreeSet::new() }
    }

    /// Whether every name is proven.
    pub fn is_proven(&self) -> bool {
        self.unproven.is_empty()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.proven.is_empty() && self.unproven.is_empty()
    }
}

/// libwrap keeps the first 127 bytes of the name that a daemon gives it.
const LONGEST_NAME: usize = 127;

fn texts<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> BTreeSet<Text> {
    let names = names.into_iter().filter(|name| !name.as_ref().is_empty());
    names.map(|name| name.as_ref()[..name.as_ref().len().min(LONGEST_NAME)].into()).collect()
}

impl std::fmt::Display for NamesSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, name) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{}", String::from_utf8_lossy(name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_ignores_order_and_depends_on_the_key() {
        assert_eq!(NamesSet::new(["sshd", "ssh"]).id(), NamesSet::new(["ssh", "sshd"]).id());
        let sshd = NamesSet::new(["sshd"]);
        assert_eq!(sshd.id_by(&[0; 16]), sshd.id_by(&[0; 16]));
        assert_ne!(sshd.id_by(&[0; 16]), sshd.id_by(&[1; 16]));
    }

    #[test]
    fn names_do_not_run_together() {
        assert_ne!(NamesSet::new(["ab", "c"]).id(), NamesSet::new(["a", "bc"]).id());
    }

    #[test]
    fn unproven_names_are_part_of_the_set_and_another_set() {
        let doubtful = NamesSet::new(["ssh"]).with_unproven(["sshd", "ssh", ""]);
        assert_eq!(doubtful.to_string(), "ssh,sshd");
        assert_eq!(doubtful.proven(), NamesSet::new(["ssh"]));
        assert!(!doubtful.is_proven() && NamesSet::new(["ssh"]).with_unproven(["ssh"]).is_proven());
        let others = [NamesSet::new(["ssh", "sshd"]), NamesSet::default().with_unproven(["ssh", "sshd"])];
        for other in others {
            assert!(other != doubtful && other.id() != doubtful.id());
        }
    }
}
