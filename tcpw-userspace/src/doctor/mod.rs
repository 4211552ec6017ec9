//! What keeps tcpw from doing what the administrator expects of it, on this host as it is.
//!
//! In: [`Facts`]. Out: findings, those that matter most first. No I/O.
//! Invariant: a finding says what is so, what follows from it, and what to do. A new check is a file here and one line in the table.

mod daemon;
mod judged_twice;
mod programs;
mod proxies;
mod requirements;
mod rules;

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use crate::{
    control::{ListenerStatus, Status, TagState},
    kernel::CgroupProgram,
    parse::rule::Tables,
};

/// The host as it is.
#[derive(Debug, Default)]
pub struct Facts {
    /// What the running daemon says of itself; or why it says nothing.
    pub status: Option<Status>,
    /// A policy is pinned, and no daemon runs.
    pub is_pinned: bool,
    /// What is missing for tcpw to run, in the words of [`Missing`](crate::host::Missing).
    pub missing: Vec<String>,
    /// The rules in the files.
    pub tables: Option<Tables>,
    /// Processes that have the library libwrap loaded.
    pub uses_libwrap: BTreeMap<u32, PathBuf>,
    /// Programs of others at the hook of the gate, by cgroup.
    pub programs: Vec<CgroupProgram>,
    /// Why those programs could not be listed.
    pub programs_unknown: Option<String>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Something is not enforced as the files say.
    Problem,
    /// What is enforced may not be what is meant.
    Warning,
    /// Good to know.
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// The check that found it.
    pub check: &'static str,
    /// What is so.
    pub what: String,
    /// What follows from it.
    pub consequence: String,
    /// What to do about it.
    pub advice: String,
}

/// A finding without the name of its check.
struct Found {
    weight: Weight,
    what: String,
    consequence: String,
    advice: String,
}

/// What it makes of the facts.
type Check = fn(&Facts) -> Vec<Found>;

/// Every check, with its name.
const CHECKS: [(&str, Check); 6] = [
    ("requirements", requirements::check),
    ("daemon", daemon::check),
    ("programs", programs::check),
    ("judged-twice", judged_twice::check),
    ("proxies", proxies::check),
    ("rules", rules::check),
];

/// Makes every check.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut all: Vec<Finding> = CHECKS
        .iter()
        .flat_map(|(name, check)| {
            check(facts).into_iter().map(|Found { weight, what, consequence, advice }| Finding {
                weight,
                check: name,
                what,
                consequence,
                advice,
            })
        })
        .collect();
    all.sort_by_key(|finding| finding.weight);
    all
}

/// The listeners that the gate judges; none without a daemon.
fn judged(facts: &Facts) -> impl Iterator<Item = &ListenerStatus> {
    let all = facts.status.iter().flat_map(|status| &status.listeners);
    all.filter(|it| it.tag != TagState::Outside)
}

/// At most so many of one kind are named.
const NAMED: usize = 5;

/// The first few, and how many more there are.
fn few<T: ToString>(all: &[T]) -> String {
    let named: Vec<String> = all.iter().take(NAMED).map(T::to_string).collect();
    let named = named.join(", ");
    if all.len() > NAMED { format!("{named} and {} more", all.len() - NAMED) } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_few_are_counted() {
        assert_eq!(few(&["a", "b"]), "a, b");
        assert_eq!(few(&(1..=7).collect::<Vec<_>>()), "1, 2, 3, 4, 5 and 2 more");
    }

    #[test]
    fn what_matters_most_comes_first() {
        let facts = Facts { missing: vec!["not root".into()], is_pinned: false, ..Facts::default() };
        let found = examine(&facts);
        assert!(found.is_sorted_by_key(|it| it.weight) && found.len() >= 2, "{found:?}");
    }
}
