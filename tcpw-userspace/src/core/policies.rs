//! The policy in force, and the rules of earlier ones.
//!
//! In: rules and policies that a worker parsed and compiled. Out: rules to judge by, and whether changed files
//! may be put in force. Invariant: a reload with errors changes nothing; the first start handles errors as
//! libwrap does.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::SystemTime};

use tcpw_common::{
    decide::{AUDIT, NO_ALLOW_TABLE, NO_DENY_TABLE},
    key::NamesId,
};

use crate::{
    compile::{Names, Policy},
    core::action::TextsInForce,
    evaluate::IndexedTables,
    names::NamesSet,
    parse::{
        diagnostic::{Diagnostic, Severity},
        rule::{TableKind, Tables, Text},
        text::TextsHash,
    },
    resolve::KnownAccounts,
};

/// Generations whose rules are kept: their events may still be in the ring.
const KEPT: usize = 8;

/// Rules and patterns of all of them together. The last two are kept whatever they have, and the policy in force alone
/// once the attempts of the one before are over.
const KEPT_RULES: usize = 1_000_000;

/// The rules that attempts are judged by.
#[derive(Clone)]
pub struct Rules {
    /// The tables, and an index over them.
    pub indexed: Arc<IndexedTables>,
    /// The users and groups that they name.
    pub accounts: Arc<KnownAccounts>,
    /// The commands of their options, as they are written.
    pub commands: Arc<[Text]>,
    /// A rule may ask for the client's user.
    pub asks_for_users: bool,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tables = self.tables();
        write!(out, "Rules({} + {})", tables.allow.rules.len(), tables.deny.rules.len())
    }
}

impl Rules {
    /// The tables.
    pub fn tables(&self) -> &Arc<Tables> {
        self.indexed.tables()
    }

    /// Whether both are of one reading.
    pub fn are_of_one_reading(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.indexed, &other.indexed)
    }

    /// Whether two sets of rules are the same.
    pub fn equals(&self, tables: &Tables, accounts: &KnownAccounts) -> bool {
        let own = self.tables();
        // What is read from equal texts is equal: a long table is not gone through rule by rule.
        let are_of_same_text = || {
            own.allow.rules.are_of_same_text(&tables.allow.rules)
                && own.deny.rules.are_of_same_text(&tables.deny.rules)
                && own.files == tables.files
        };
        let are_equal = std::ptr::eq(Arc::as_ptr(own), tables) || are_of_same_text() || **own == *tables;
        are_equal && *self.accounts == *accounts
    }
}

/// The result of parsing: rules, and all that is needed to decide whether they may be put in force.
#[derive(Debug)]
pub struct Prepared {
    /// The rules.
    pub rules: Rules,
    /// Errors, warnings and hints.
    pub diagnostics: Vec<Diagnostic>,
    /// hosts.allow and hosts.deny are missing, or directories.
    pub missing: [bool; 2],
    /// Path of hosts.deny.
    pub deny: Arc<PathBuf>,
    /// The generation these rules were compared with and are equal to.
    pub same_as: Option<u32>,
}

impl Prepared {
    /// Diagnostics of error severity: hosts.allow with the pattern files, hosts.deny.
    pub(super) fn errors(&self) -> [usize; 2] {
        let mut errors = [0; 2];
        for diagnostic in self.diagnostics.iter().filter(|it| it.severity == Severity::Error) {
            errors[usize::from(*diagnostic.origin.path == *self.deny)] += 1 + diagnostic.more;
        }
        errors
    }

    /// Why these files may not replace a policy; `before` says which tables were missing for that policy.
    pub(super) fn objection(&self, before: [bool; 2]) -> Option<String> {
        let tables = self.rules.tables();
        let vanished: Vec<String> = [&tables.allow, &tables.deny]
            .into_iter()
            .zip(self.missing.iter().zip(before))
            .filter(|(_, (now, before))| **now && !before)
            .map(|(table, _)| format!("{} is gone or a directory", table.path.display()))
            .collect();
        if !vanished.is_empty() {
            return Some(vanished.join(", "));
        }
        match self.errors().iter().sum() {
            0 => None,
            count => Some(format!("{count} error(s) in the tables, see above")),
        }
    }

    /// Flags of a header.
    pub(super) fn flags(missing: [bool; 2], is_audit: bool) -> u32 {
        [(is_audit, AUDIT), (missing[0], NO_ALLOW_TABLE), (missing[1], NO_DENY_TABLE)]
            .iter()
            .filter(|(is_so, _)| *is_so)
            .fold(0, |all, (_, flag)| all | flag)
    }
}

/// The policy in force.
pub(super) struct InForce {
    pub(super) rules: Rules,
    pub(super) policy: Arc<Policy>,
    pub(super) generation: u32,
    /// What can be looked up while it is in force.
    pub(super) looked_up: Names,
    pub(super) applied_at: SystemTime,
    /// Diagnostics of error severity: hosts.allow, hosts.deny.
    pub(super) errors: [usize; 2],
    pub(super) missing: [bool; 2],
}

impl InForce {
    /// Errors in a table; those of pattern files count for hosts.allow.
    pub(super) fn errors_of(&self, table: TableKind) -> usize {
        match table {
            TableKind::Allow => self.errors[0],
            TableKind::Deny => self.errors[1],
        }
    }

    /// The texts it was made from.
    pub(super) fn texts(&self) -> TextsInForce {
        let tables = self.rules.tables();
        let texts = [&tables.allow, &tables.deny].map(|table| Arc::clone(table.rules.text()));
        TextsInForce { generation: self.generation, texts }
    }

    /// Connections may wait for their client's user.
    pub(super) fn asks_for_users(&self) -> bool {
        self.looked_up == Names::LookedUp
    }
}

/// The policy in force and those before it.
#[derive(Default)]
pub(super) struct Policies {
    history: VecDeque<(u32, Rules)>,
    pub(super) current: Option<InForce>,
    /// The policy that comes back unless the one in force is confirmed.
    pub(super) before: Option<InForce>,
    /// Texts that were not confirmed: they do not come into force by themselves.
    pub(super) rolled_back: Option<TextsHash>,
}

impl Policies {
    /// A policy is in force; returns the old ones, to be freed.
    pub(super) fn put(&mut self, current: InForce) -> (Vec<Rules>, Option<InForce>) {
        self.history.push_back((current.generation, current.rules.clone()));
        (forget_beyond(&mut self.history, 2), self.current.replace(current))
    }

    /// The same, and the one before may come back.
    pub(super) fn put_until_confirmed(&mut self, current: InForce) -> Vec<Rules> {
        let (oldest, before) = self.put(current);
        self.before = before;
        oldest
    }

    /// The policy in force stays; returns the one before, to be freed.
    pub(super) fn confirm(&mut self) -> Option<InForce> {
        self.before.take()
    }

    /// The policy before is in force again; returns the one that is over. Attempts it decided are judged by its rules.
    pub(super) fn fall_back(&mut self) -> Option<InForce> {
        let before = self.before.take()?;
        // The last ones are kept longest.
        let index = self.history.iter().position(|(kept, _)| *kept == before.generation);
        let kept = index.and_then(|index| self.history.remove(index));
        self.history.extend(kept);
        self.current.replace(before)
    }

    /// Attempts of the policies before are over; returns the rules to be freed, if they are too many.
    pub(super) fn forget_large(&mut self) -> Vec<Rules> {
        if self.before.is_some() { Vec::new() } else { forget_beyond(&mut self.history, 1) }
    }

    /// The class of a names-set in the policy in force and, if there is one that may come back, in that; `None`: a policy
    /// has to be compiled with it, or there is none.
    pub(super) fn classes_of(&self, names: &NamesSet) -> Option<(u32, u32)> {
        let class = self.current.as_ref()?.policy.class_of(names)?;
        let before = match &self.before {
            Some(before) => before.policy.class_of(names)?,
            None => 0,
        };
        Some((class, before))
    }

    /// The rules of a generation; `None` if it is too old or was made by another process.
    pub(super) fn rules_of(&self, generation: u32) -> Option<&Rules> {
        self.history.iter().rev().find(|(kept, _)| *kept == generation).map(|(_, rules)| rules)
    }

    /// The names-set behind an id that the policy in force computed in advance.
    pub(super) fn names_of(&self, id: NamesId) -> Option<NamesSet> {
        let policies = self.current.iter().chain(&self.before).map(|known| &known.policy.names_sets);
        policies.flatten().map(|(set, _)| set).find(|set| set.id() == id).cloned()
    }

    /// The rules in force.
    pub(super) fn current_rules(&self) -> Option<&Rules> {
        self.current.as_ref().map(|current| &current.rules)
    }

    /// Number of the policy in force.
    pub(super) fn generation(&self) -> Option<u32> {
        self.current.as_ref().map(|current| current.generation)
    }
}

/// Whether the oldest generation has the rules of the next one: nothing is gained without it.
fn is_first_shared(history: &VecDeque<(u32, Rules)>) -> bool {
    let rules = |index: usize| history.get(index).map(|(_, rules)| Arc::as_ptr(&rules.indexed));
    rules(0) == rules(1)
}

/// Takes the generations out that are too many, or, but for the last ones, have too many rules together.
fn forget_beyond(history: &mut VecDeque<(u32, Rules)>, last: usize) -> Vec<Rules> {
    let mut oldest = Vec::new();
    while history.len() > KEPT
        || history.len() > last && kept_rules(history) > KEPT_RULES && !is_first_shared(history)
    {
        oldest.extend(history.pop_front().map(|(_, rules)| rules));
    }
    oldest
}

/// How many rules and patterns are kept; generations that differ in names alone share theirs.
fn kept_rules(history: &VecDeque<(u32, Rules)>) -> usize {
    let mut last = None;
    let all = history.iter().filter(|(_, rules)| {
        let before = last.replace(Arc::as_ptr(&rules.indexed));
        before != last
    });
    all.map(|(_, rules)| rules.indexed.walk_length()).fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::parse::{
        parse,
        text::{FileText, Texts},
    };

    fn rules(count: usize) -> Rules {
        let deny = FileText::Bytes("ALL: 192.0.2.1\n".repeat(count).into_bytes().into());
        let texts = Texts {
            allow: (Arc::default(), FileText::Missing),
            deny: (Arc::default(), deny),
            files: BTreeMap::new(),
        };
        Rules {
            indexed: Arc::new(IndexedTables::new(Arc::new(parse(&texts).tables))),
            accounts: Arc::default(),
            commands: [].into(),
            asks_for_users: false,
        }
    }

    /// The generations left of those with so many rules each.
    fn left(of: impl IntoIterator<Item = Rules>) -> Vec<u32> {
        left_beyond(of, 2)
    }

    fn left_beyond(of: impl IntoIterator<Item = Rules>, last: usize) -> Vec<u32> {
        let mut history: VecDeque<(u32, Rules)> = (1..).zip(of).collect();
        forget_beyond(&mut history, last);
        history.into_iter().map(|(generation, _)| generation).collect()
    }

    #[test]
    fn eight_generations_are_kept_unless_they_have_a_million_rules() {
        assert_eq!(left((0..10).map(|_| rules(1))), [3, 4, 5, 6, 7, 8, 9, 10]);
        let large = KEPT_RULES / 2 + 1;
        assert_eq!(left([rules(1), rules(large), rules(1), rules(1)]), [1, 2, 3, 4]);
        assert_eq!(left([rules(1), rules(large), rules(large), rules(1)]), [3, 4]);
        assert_eq!(left([rules(large), rules(large)]), [1, 2]);
        let shared = rules(large);
        assert_eq!(left([shared.clone(), shared.clone(), shared]), [1, 2, 3]);
        assert_eq!(left_beyond([rules(1), rules(large), rules(large)], 1), [3]);
        assert_eq!(left_beyond([rules(1), rules(large)], 1), [1, 2]);
    }
}
