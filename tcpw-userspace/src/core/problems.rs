//! Problems that the administrator has to solve, by source.
//!
//! In: problems, each from its owner. Out: all of them. Invariant: a problem is cleared by the source that
//! reported it, and by no other.

use std::collections::BTreeMap;

/// The source of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ProblemSource {
    /// The files as they are now are not in force.
    Files,
    /// The files are not in force before `tcpw apply`, or only until they are confirmed.
    Apply,
    /// What is to be kept for the next start cannot be.
    Storing,
    /// Edits of the files are not noticed.
    Following,
    /// Listeners are not judged by their names.
    Names,
}

/// The current problems.
#[derive(Debug, Default)]
pub(super) struct Problems(BTreeMap<ProblemSource, String>);

impl Problems {
    /// Reports one; it replaces an earlier one of the same source.
    pub(super) fn report(&mut self, source: ProblemSource, problem: String) {
        self.0.insert(source, problem);
    }

    /// Clears the problem of a source. Returns whether it had one.
    pub(super) fn clear(&mut self, source: ProblemSource) -> bool {
        self.0.remove(&source).is_some()
    }

    /// Whether a source has one.
    pub(super) fn has(&self, source: ProblemSource) -> bool {
        self.0.contains_key(&source)
    }

    /// All of them.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_is_cleared_by_its_own_source_only() {
        let mut problems = Problems::default();
        problems.report(ProblemSource::Files, "files".into());
        problems.report(ProblemSource::Names, "names".into());
        problems.report(ProblemSource::Names, "names again".into());
        assert!(problems.clear(ProblemSource::Files));
        assert!(!problems.clear(ProblemSource::Files));
        assert_eq!(problems.texts().collect::<Vec<_>>(), ["names again"]);
    }
}
