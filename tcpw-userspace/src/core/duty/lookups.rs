//! Attempts that need a name: they wait for a look-up, and are judged again with its answer.
//!
//! In: attempts, answers of the resolver, the time. Out: look-ups to begin, attempts to judge.
//! Invariant: waiting attempts are bounded in total, by source and in time; an attempt waits once, however
//! often its client retransmits; one that may be challenged waits only for a look-up that runs or begins at once; attempts
//! that a bound dropped are counted and reported.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use tcpw_common::{
    held::Held,
    key::{Address, AnswerKey, AttemptKey, as_v4},
    metric::Metric,
};

use super::lookup_queue::LookupQueue;
use crate::{
    config::Resolve,
    control::Histogram,
    core::{
        answer_facts::AnswerFacts,
        attempt::{Attempt, VerdictPurpose, answer_key},
        client_network::client_network,
        facts::{AttemptFacts, Learnt},
        footprint::FootprintEntry as Footprint,
        input::Now,
        lookup::Question,
        outbox::{Outbox, Step},
        shared::SharedState,
    },
    events::{Decision, ip},
    resolve::Found,
};

/// Most attempts of one source (an IPv4 address, an IPv6 /64) that wait at once.
const MOST_OF_A_SOURCE: usize = 256;

/// Attempts that wait, and the facts behind answers that were given.
pub(in crate::core) struct AttemptLookups {
    settings: Resolve,
    number: u64,
    attempts: HashMap<u64, (Box<Attempt>, Question)>,
    by_key: HashMap<AttemptKey, u64>,
    by_question: HashMap<Question, Vec<u64>>,
    by_source: HashMap<Address, usize>,
    /// Oldest first; attempts that were decided since are skipped.
    deadlines: VecDeque<(Instant, u64)>,
    answer_facts: AnswerFacts<AnswerKey>,
    queue: LookupQueue,
    counts: LookupLosses,
    said: LookupLosses,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
struct LookupLosses {
    /// Attempts not held because too many waited.
    dropped: u64,
    /// Attempts whose names did not come in time.
    given_up: u64,
}

impl AttemptLookups {
    pub(in crate::core) fn new(settings: &Resolve) -> Self {
        Self {
            settings: settings.clone(),
            number: 0,
            attempts: HashMap::new(),
            by_key: HashMap::new(),
            by_question: HashMap::new(),
            by_source: HashMap::new(),
            deadlines: VecDeque::new(),
            answer_facts: AnswerFacts::new(settings.kept),
            queue: LookupQueue::new(settings),
            counts: LookupLosses::default(),
            said: LookupLosses::default(),
        }
    }

    /// When the next attempt has waited too long.
    pub(in crate::core) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// The facts that may have decided an attempt, the likeliest first.
    pub(in crate::core) fn facts_of(&self, decision: &Decision, now: Instant) -> Vec<&AttemptFacts> {
        self.answer_facts.facts_at(&answer_key(decision), decision.time_ns, now)
    }

    /// When the answer that decided an attempt was given, on CLOCK_BOOTTIME, in nanoseconds.
    pub(in crate::core) fn answered_ns(&self, decision: &Decision, now: Instant) -> Option<u64> {
        self.answer_facts.given_ns(&answer_key(decision), decision.time_ns, now)
    }

    /// Whether an answer to all attempts of a key may still be in the kernel.
    pub(in crate::core) fn has_answered(&self, key: &AnswerKey, now: Instant) -> bool {
        self.answer_facts.has(key, now)
    }

    /// Keeps the facts behind an answer.
    pub(in crate::core) fn remember(
        &mut self,
        key: AnswerKey,
        facts: AttemptFacts,
        now: Now,
        holds: Duration,
    ) {
        self.answer_facts.keep(key, facts, now, holds);
    }

    /// Whether the facts of every answer in force are kept here.
    pub(in crate::core) fn is_complete(&self) -> bool {
        self.answer_facts.is_complete()
    }

    /// Whether an attempt already waits: its client has retransmitted the SYN, which replaces the held packet.
    pub(in crate::core) fn repeats(&mut self, key: &AttemptKey, held: &Held) -> bool {
        let waiting = self.by_key.get(key).and_then(|number| self.attempts.get_mut(number));
        if let Some((attempt, _)) = waiting
            && let VerdictPurpose::Held(before) = &mut attempt.purpose
        {
            **before = *held;
            return true;
        }
        false
    }

    /// An attempt needs a look-up.
    pub(in crate::core) fn want(
        &mut self,
        mut attempt: Box<Attempt>,
        question: Question,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let now = out.now.at;
        if let Some(kept) = self.queue.remembered(&question, now) {
            let kept = kept.clone();
            attempt.facts.learn(Learnt { question, kept, took: None });
            return out.step(Step::Judge(attempt));
        }
        let network = client_network(ip(&attempt.decision.client));
        let goes_on = self.queue.begins_at_once(&question, network) && self.has_room(&attempt);
        if attempt.may_be_challenged(shared) && !goes_on {
            if !attempt.facts.shows_banners() {
                return out.step(Step::Challenge(attempt));
            }
            // It is allowed, and only the text of a banner needs the name: it is taken as unknown.
            attempt.facts.give_up(now);
            return out.step(Step::Judge(attempt));
        }
        let is_proven = attempt.is_from_proven_source();
        if let Err(mut limited) = self.park(attempt, question.clone(), now) {
            // The client would not retry, or only the text of a banner needs the name: it is taken as unknown.
            if limited.key().is_none() || limited.facts.shows_banners() {
                limited.facts.give_up(now);
                out.step(Step::Judge(limited));
            }
            return;
        }
        self.queue.begin(&question, (network, is_proven), out);
    }

    /// These are the addresses in /etc/hosts.
    pub(in crate::core) fn local_names(&mut self, addresses: HashSet<IpAddr>) {
        self.queue.local_names(addresses);
    }

    /// An answer has come: the attempts that wait for it go on.
    pub(in crate::core) fn looked_up(&mut self, question: &Question, found: Option<Found>, out: &mut Outbox) {
        if let (Question::Name(address), Some(Found::Name(verified))) = (question, &found)
            && let Some(warning) = &verified.warning
        {
            out.info(format!("{address}: {warning}"));
        }
        let Some((kept, took)) = self.queue.finished(question, found, out) else {
            // The attempts that wait for it reach their time limit.
            return;
        };
        for mut attempt in self.take_all(question) {
            attempt.facts.learn(Learnt { question: question.clone(), kept: kept.clone(), took: Some(took) });
            out.step(Step::Judge(Box::new(attempt)));
        }
    }

    /// Attempts that have waited too long are judged without a name.
    pub(in crate::core) fn give_up(&mut self, out: &mut Outbox) {
        let now = out.now.at;
        while let Some((mut attempt, unwanted)) = self.take_overdue(now) {
            if let Some(question) = unwanted {
                self.queue.forget(&question);
            }
            self.counts.given_up += 1;
            attempt.facts.give_up(now + self.settings.not_found_for);
            out.step(Step::Judge(attempt));
        }
    }

    /// Reports the attempts that a bound dropped or a time limit ended.
    pub(in crate::core) fn second(&mut self, shared: &SharedState, out: &mut Outbox) {
        let LookupLosses { dropped, given_up } = self.counts;
        let before = std::mem::replace(&mut self.said, self.counts);
        if dropped > before.dropped {
            out.warn(format!(
                "{} connection attempts were not held for a look-up: too many wait already; their clients try again",
                dropped - before.dropped
            ));
        }
        if given_up > before.given_up {
            out.warn(format!(
                "{} connection attempts were judged without a name: the look-up took longer than {} s",
                given_up - before.given_up,
                shared.config.resolve.time_limit.as_secs()
            ));
        }
    }

    /// How long look-ups took.
    pub(in crate::core) fn times(&self) -> &Histogram {
        &self.queue.times
    }

    pub(in crate::core) fn counters(&self) -> Vec<(Metric, u64)> {
        let mut counters = self.queue.counters();
        counters.extend([
            (
                Metric::gauge("names_waiting", "attempts", "Attempts that wait for a look-up."),
                size(self.attempts.len()),
            ),
            (
                Metric::counter(
                    "names_limited",
                    "attempts",
                    "Attempts that were not held for a look-up because too many wait.",
                ),
                self.counts.dropped,
            ),
            (
                Metric::counter(
                    "names_given_up",
                    "attempts",
                    "Attempts that were judged without a name because the look-up took too long.",
                ),
                self.counts.given_up,
            ),
        ]);
        counters
    }

    /// How many things are held: attempts that wait, by every index, and questions.
    pub(in crate::core) fn footprint(&self) -> [Footprint; 7] {
        [
            ("attempts that wait for a look-up", self.attempts.len()),
            ("attempts by key", self.by_key.len()),
            ("attempts by question", self.by_question.len()),
            ("attempts by source", self.by_source.len()),
            ("deadlines", self.deadlines.len()),
            ("open questions", self.queue.open()),
            ("look-ups that run", self.queue.running()),
        ]
    }

    /// Whether one more may wait. Half of the room, in all and of a source, is for clients whose address is proven.
    fn has_room(&self, attempt: &Attempt) -> bool {
        let part = |room: usize| if attempt.is_from_proven_source() { room } else { room.div_ceil(2) };
        let of_source = self.by_source.get(&source(&attempt.decision.client)).copied().unwrap_or(0);
        self.attempts.len() < part(self.settings.waiting) && of_source < part(MOST_OF_A_SOURCE)
    }

    /// Lets an attempt wait for an answer.
    fn park(
        &mut self,
        mut attempt: Box<Attempt>,
        question: Question,
        now: Instant,
    ) -> Result<(), Box<Attempt>> {
        let source = source(&attempt.decision.client);
        let number = match attempt.number {
            Some(number) => number,
            None => {
                if !self.has_room(&attempt) {
                    self.counts.dropped += 1;
                    return Err(attempt);
                }
                self.number += 1;
                self.deadlines.push_back((now + self.settings.time_limit, self.number));
                self.number
            }
        };
        attempt.number = Some(number);
        *self.by_source.entry(source).or_default() += 1;
        if let Some(key) = attempt.key() {
            self.by_key.insert(key, number);
        }
        self.by_question.entry(question.clone()).or_default().push(number);
        self.attempts.insert(number, (attempt, question));
        Ok(())
    }

    fn take(&mut self, number: u64) -> Option<(Box<Attempt>, Question)> {
        let (attempt, question) = self.attempts.remove(&number)?;
        if let Some(key) = attempt.key() {
            self.by_key.remove(&key);
        }
        let source = source(&attempt.decision.client);
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
        Some((attempt, question))
    }

    /// The attempts that wait for an answer.
    fn take_all(&mut self, question: &Question) -> Vec<Attempt> {
        let numbers = self.by_question.remove(question).unwrap_or_default();
        numbers.into_iter().filter_map(|number| Some(*self.take(number)?.0)).collect()
    }

    /// An attempt that has waited too long; and its question, if no other attempt waits for the same.
    fn take_overdue(&mut self, now: Instant) -> Option<(Box<Attempt>, Option<Question>)> {
        while let Some((at, number)) = self.deadlines.front().copied()
            && at <= now
        {
            self.deadlines.pop_front();
            if let Some((attempt, question)) = self.take(number) {
                let others = self.by_question.entry(question.clone()).or_default();
                others.retain(|other| *other != number);
                let is_last = others.is_empty();
                if is_last {
                    self.by_question.remove(&question);
                }
                return Some((attempt, is_last.then_some(question)));
            }
        }
        // Of attempts that were decided long before.
        while self.deadlines.front().is_some_and(|(_, number)| !self.attempts.contains_key(number)) {
            self.deadlines.pop_front();
        }
        None
    }
}

pub(super) fn size(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// The addresses that count as one source: an IPv4 address, or an IPv6 /64.
pub(in crate::core) fn source(client: &Address) -> Address {
    let mut source = *client;
    if as_v4(client).is_none() {
        source[8..].fill(0);
    }
    source
}
