//! Names-sets: all names of a listener.
//!
//! Invariant: equal sets have equal ids in every process of tcpw, so that a tag
//! written before a restart means the same after it.

use std::{collections::BTreeSet, hash::Hasher};

use tcpw_common::key::NamesId;

use crate::parse::rule::Text;

/// A set of daemon names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamesSet(BTreeSet<Text>);

impl NamesSet {
    /// The set of the given names; empty names are left out.
    pub fn new<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(
            names
                .into_iter()
                .filter(|name| !name.as_ref().is_empty())
                .map(|name| name.as_ref().into())
                .collect(),
        )
    }

    /// Its id: 0 for the empty set, else the FNV-1a hash of the sorted names.
    ///
    /// Source: draft-eastlake-fnv, 64 bits.
    pub fn id(&self) -> NamesId {
        if self.0.is_empty() {
            return 0;
        }
        let mut hasher = fnv::FnvHasher::default();
        for name in &self.0 {
            hasher.write(name);
            hasher.write(&[0]);
        }
        hasher.finish().max(1)
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Text> {
        self.0.iter()
    }

    /// The names as the evaluator takes them.
    pub fn to_vec(&self) -> Vec<Text> {
        self.0.iter().cloned().collect()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for NamesSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
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
    fn id_ignores_order_and_is_fixed_for_ever() {
        assert_eq!(NamesSet::new(["sshd", "ssh"]).id(), NamesSet::new(["ssh", "sshd"]).id());
        assert_eq!(NamesSet::new(["sshd"]).id(), 0xa7df083b8730cdd);
    }

    #[test]
    fn names_do_not_run_together() {
        assert_ne!(NamesSet::new(["ab", "c"]).id(), NamesSet::new(["a", "bc"]).id());
    }
}
