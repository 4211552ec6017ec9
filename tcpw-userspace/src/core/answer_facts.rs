//! The facts behind the answers in the kernel, for the events of the attempts that they decided.
//!
//! In: answers as they are given, events. Out: the facts that decided an attempt.
//! Invariant: an event is judged by the facts of an answer that was in the kernel at the event's time. An
//! answer may be replaced before the event of an attempt that the old one decided is read.

use std::{
    hash::Hash,
    time::{Duration, Instant},
};

use super::{facts::AttemptFacts, input::Now};
use crate::resolve::ExpiringCache;

/// The facts behind an answer are kept this much longer than it holds: its event may still be in the ring.
const EVENT_DELAY: Duration = Duration::from_secs(60);

/// An answer is in the kernel at latest this long after it was given, in nanoseconds of CLOCK_BOOTTIME.
const WRITE_DELAY_NS: u64 = 1_000_000_000;

/// A program may read the clock before, and an answer after, that answer is given: nanoseconds.
const CLOCK_SLACK_NS: u64 = 10_000_000;

/// Most answers of one key whose facts are kept.
const MOST_OF_A_KEY: usize = 8;

/// The facts behind answers, by what the answers are for.
#[derive(Debug)]
pub(super) struct AnswerFacts<K> {
    /// The answers of each key, oldest first.
    by_key: ExpiringCache<K, Vec<Behind>>,
    /// Facts that were dropped because their key had too many answers.
    dropped: u64,
}

/// The facts behind one answer.
#[derive(Clone, Debug)]
struct Behind {
    facts: AttemptFacts,
    /// When it was given: CLOCK_BOOTTIME, nanoseconds.
    since_ns: u64,
    /// An event that it decided is not read later than this.
    until: Instant,
}

impl<K: Clone + Eq + Hash> AnswerFacts<K> {
    /// Keeps the facts of so many keys.
    pub(super) fn new(limit: usize) -> Self {
        Self { by_key: ExpiringCache::new(limit), dropped: 0 }
    }

    /// An answer is given that holds so long.
    pub(super) fn keep(&mut self, key: K, facts: AttemptFacts, now: Now, holds: Duration) {
        let until = now.at + holds + EVENT_DELAY;
        let earlier = self.by_key.at(&key, now.at).map(|kept| kept.value.as_slice()).unwrap_or_default();
        let mut all: Vec<Behind> = earlier.iter().filter(|one| now.at < one.until).cloned().collect();
        if let Some(replaced) = all.last_mut() {
            replaced.until = replaced.until.min(now.at + EVENT_DELAY);
        }
        if all.len() >= MOST_OF_A_KEY {
            all.remove(0);
            self.dropped += 1;
        }
        let latest = all.iter().map(|one| one.until).fold(until, Instant::max);
        all.push(Behind { facts, since_ns: now.boot_ns, until });
        self.by_key.keep(key, all, now.at, latest);
    }

    /// The facts that may have decided an attempt at `time_ns`, the latest first. Those of the answer before
    /// are among them only if the latest may not have been written yet.
    pub(super) fn facts_at(&self, key: &K, time_ns: u64, now: Instant) -> Vec<&AttemptFacts> {
        let Some(kept) = self.by_key.at(key, now) else { return Vec::new() };
        let mut found = Vec::new();
        for behind in kept.value.iter().rev() {
            if behind.since_ns > time_ns + CLOCK_SLACK_NS {
                continue;
            }
            found.push(&behind.facts);
            if behind.since_ns + WRITE_DELAY_NS <= time_ns {
                break;
            }
        }
        found
    }

    /// When the latest answer that may have decided an attempt at `time_ns` was given.
    pub(super) fn given_ns(&self, key: &K, time_ns: u64, now: Instant) -> Option<u64> {
        let kept = self.by_key.at(key, now)?;
        kept.value
            .iter()
            .rev()
            .map(|behind| behind.since_ns)
            .find(|since_ns| *since_ns <= time_ns + CLOCK_SLACK_NS)
    }

    /// Whether facts behind an answer are kept, which may still be in the kernel.
    pub(super) fn has(&self, key: &K, now: Instant) -> bool {
        self.by_key.at(key, now).is_some()
    }

    /// The facts of the latest answer, which are then forgotten.
    pub(super) fn take_latest(&mut self, key: &K, now: Instant) -> Option<AttemptFacts> {
        self.by_key.remove(key, now)?.pop().map(|behind| behind.facts)
    }

    /// Whether the facts of every answer are kept.
    pub(super) fn is_complete(&self) -> bool {
        self.by_key.evicted() == 0 && self.dropped == 0
    }
}

#[cfg(test)]
mod tests {
    use tcpw_common::key::AnswerKey;

    use super::*;
    use crate::core::tests::now;

    const KEY: AnswerKey = AnswerKey { generation: 1, policy: 2, client: [1; 16], server: [2; 16] };

    fn after(ms: u64) -> Now {
        let start = now();
        let time = Duration::from_millis(ms);
        Now { at: start.at + time, boot_ns: start.boot_ns + ms * 1_000_000, wall: start.wall + time }
    }

    fn gave_up(facts: &AnswerFacts<AnswerKey>, time: Now, read: Now) -> Vec<bool> {
        facts.facts_at(&KEY, time.boot_ns, read.at).into_iter().map(AttemptFacts::gave_up).collect()
    }

    #[test]
    fn an_event_gets_the_facts_of_its_time_though_the_answer_was_replaced() {
        let mut facts = AnswerFacts::new(10);
        let mut unknown = AttemptFacts::default();
        unknown.give_up(after(5000).at);
        facts.keep(KEY, unknown, after(0), Duration::from_secs(5));
        facts.keep(KEY, AttemptFacts::default(), after(3000), Duration::from_secs(5));
        assert_eq!(gave_up(&facts, after(2000), after(9000)), [true], "before the second answer");
        assert_eq!(gave_up(&facts, after(4000), after(9000)), [false], "long after it");
        assert_eq!(gave_up(&facts, after(3001), after(9000)), [false, true], "while it was written");
        assert!(gave_up(&facts, after(2000), after(80_000)).is_empty(), "no event is that late");
    }

    #[test]
    fn the_facts_of_a_key_are_bounded_and_those_dropped_are_counted() {
        let mut facts = AnswerFacts::new(10);
        for number in 0..100 {
            facts.keep(KEY, AttemptFacts::default(), after(number), Duration::from_secs(5));
        }
        assert_eq!(facts.facts_at(&KEY, after(100).boot_ns, after(100).at).len(), MOST_OF_A_KEY);
        assert!(!facts.is_complete());
    }
}
