//! Which attempts are judged a second time, by walking every rule: a check of index and kernel.
//!
//! In: the time, and how many rules and patterns a walk may look at. Out: whether to walk.
//! Invariant: walks look at no more than `STEPS_PER_S` rules a second over time. So every attempt is
//! checked while attempts are few or tables short; under a flood, or with long tables, a sample. Both
//! are counted. No clock of its own.

/// Rules and patterns that walks may look at in a second: some hundredths of one processor.
const STEPS_PER_S: u64 = 2_000_000;

/// Spends a budget of steps on checks.
#[derive(Clone, Debug)]
pub struct SelfCheck {
    /// Steps that may be spent now.
    budget: u64,
    /// When the budget was last raised, in nanoseconds.
    raised_ns: u64,
    counts: SelfChecked,
}

/// How many attempts were checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfChecked {
    /// Judged again by a walk.
    pub checked: u64,
    /// Not judged again: the budget was spent.
    pub unchecked: u64,
}

impl Default for SelfCheck {
    fn default() -> Self {
        Self { budget: STEPS_PER_S, raised_ns: 0, counts: SelfChecked::default() }
    }
}

impl SelfCheck {
    /// Whether to check this attempt; it is counted either way. `now_ns`: any clock that does not
    /// go back. `steps`: [`super::IndexedTables::walk_length`].
    pub fn is_due(&mut self, now_ns: u64, steps: usize) -> bool {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX).max(1);
        self.raise(now_ns, steps.max(STEPS_PER_S));
        let is_due = steps <= self.budget;
        if is_due {
            self.budget -= steps;
            self.counts.checked += 1;
        } else {
            self.counts.unchecked += 1;
        }
        is_due
    }

    /// How many attempts were checked so far.
    pub fn counts(&self) -> SelfChecked {
        self.counts
    }

    /// Adds the steps earned since the last call, up to `most`.
    fn raise(&mut self, now_ns: u64, most: u64) {
        const NS_PER_STEP: u64 = 1_000_000_000 / STEPS_PER_S;
        let steps = now_ns.saturating_sub(self.raised_ns) / NS_PER_STEP;
        self.raised_ns += steps * NS_PER_STEP;
        self.budget = self.budget.saturating_add(steps).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// Attempts in a second, evenly spread.
    fn flood(check: &mut SelfCheck, attempts: u64, steps: usize) -> SelfChecked {
        let before = check.counts();
        for attempt in 1..=attempts {
            check.is_due(SECOND_NS + attempt * SECOND_NS / attempts, steps);
        }
        let after = check.counts();
        SelfChecked { checked: after.checked - before.checked, unchecked: after.unchecked - before.unchecked }
    }

    #[test]
    fn every_attempt_is_checked_against_few_rules() {
        assert_eq!(flood(&mut SelfCheck::default(), 100_000, 10).unchecked, 0);
    }

    #[test]
    fn few_attempts_are_checked_against_many_rules() {
        assert_eq!(flood(&mut SelfCheck::default(), 20, 100_000).unchecked, 0);
    }

    #[test]
    fn flood_is_sampled_and_the_rest_counted() {
        let SelfChecked { checked, unchecked } = flood(&mut SelfCheck::default(), 100_000, 100_000);
        // A second's worth, and what was saved before.
        assert!((20..=40).contains(&checked), "{checked}");
        assert_eq!(checked + unchecked, 100_000);
    }

    #[test]
    fn more_rules_than_a_second_is_worth_are_checked_now_and_then() {
        let mut check = SelfCheck::default();
        let checked = (0..100).filter(|second| check.is_due(second * SECOND_NS, 10_000_000)).count();
        assert_eq!(checked, 20);
    }
}
