//! Attempts that hang on a name: they wait for a look-up, and are judged again with its answer.
//!
//! In: attempts, answers of the resolver, the time. Out: verdicts with the names behind them.
//! Invariant: what waits is bounded in all, by source and in time; an attempt waits once, however
//! often its client sends its SYN; what a bound dropped is counted and said.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    time::{Duration, Instant},
};

use tcpw_common::{
    held::Held,
    key::{Address, AnswerKey, AttemptKey, as_v4},
    user::Waiting,
};

use super::{
    Daemon,
    facts::{Facts, Missing},
    held::attempt_key,
    live::Live,
    steer::Steered,
};
use crate::{
    config::Resolve,
    evaluate::request::CommandResult,
    events::Decision,
    names::NamesSet,
    resolve::{Cache, Found, Kept, Question},
};

/// Most attempts of one source (an IPv4 address, an IPv6 /64) that wait at once.
const MOST_OF_A_SOURCE: usize = 256;

/// An attempt on its way to its verdict.
pub(super) struct Attempt {
    pub(super) decision: Decision,
    pub(super) names: NamesSet,
    pub(super) facts: Facts,
    pub(super) purpose: Purpose,
}

/// Who wants to know.
pub(super) enum Purpose {
    /// The gate: the packet to send again.
    Held(Box<Held>),
    /// A connection whose data wait.
    Connection(Box<Waiting>),
    /// A refused client that was led to us.
    Steered(Box<Steered>),
    /// Somebody at the control socket.
    Live(Box<Live>),
}

impl Purpose {
    fn key(&self, decision: &Decision) -> Option<AttemptKey> {
        match self {
            Self::Held(held) => Some(attempt_key(held, decision)),
            Self::Connection(_) | Self::Steered(_) | Self::Live(_) => None,
        }
    }
}

/// Attempts that wait, and the names behind verdicts that were given.
pub(super) struct Hanging {
    limit: usize,
    time_limit: Duration,
    number: u64,
    attempts: HashMap<u64, (Attempt, Question)>,
    by_key: HashMap<AttemptKey, u64>,
    by_question: HashMap<Question, Vec<u64>>,
    by_source: HashMap<Address, usize>,
    /// In the order of time; what was decided before is skipped.
    deadlines: VecDeque<(Instant, u64)>,
    answered: Cache<AnswerKey, Facts>,
    pub(super) counts: HangingCounts,
    /// Of `counts.dropped`, what was said.
    said: u64,
    /// Of `counts.given_up`, likewise.
    said_given_up: u64,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HangingCounts {
    /// Attempts that found too many waiting.
    pub(super) dropped: u64,
    /// Attempts whose names did not come in time.
    pub(super) given_up: u64,
}

impl Hanging {
    pub(super) fn new(settings: &Resolve) -> Self {
        Self {
            limit: settings.waiting,
            time_limit: settings.time_limit,
            number: 0,
            attempts: HashMap::new(),
            by_key: HashMap::new(),
            by_question: HashMap::new(),
            by_source: HashMap::new(),
            deadlines: VecDeque::new(),
            answered: Cache::new(settings.kept),
            counts: HangingCounts::default(),
            said: 0,
            said_given_up: 0,
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Waits until an attempt has waited too long. Cancel safe.
    pub(super) async fn overdue(&self) {
        match self.deadlines.front() {
            Some((at, _)) => tokio::time::sleep_until((*at).into()).await,
            None => pending().await,
        }
    }

    /// The names behind a verdict.
    pub(super) fn facts_of(&self, key: &AnswerKey) -> Option<&Facts> {
        self.answered.at(key, Instant::now()).map(|kept| &kept.value)
    }

    /// Keeps the names behind a verdict.
    pub(super) fn remember(&mut self, key: AnswerKey, facts: Facts, since: Instant, until: Instant) {
        self.answered.keep(key, facts, since, until);
    }

    /// Whether every verdict that is in force has its names here.
    pub(super) fn is_complete(&self) -> bool {
        self.answered.evicted() == 0
    }

    /// The client has sent the SYN of an attempt that waits once more: that one is sent again.
    fn repeats(&mut self, key: &AttemptKey, held: &Held) -> bool {
        let waiting = self.by_key.get(key).and_then(|number| self.attempts.get_mut(number));
        if let Some((Attempt { purpose: Purpose::Held(before), .. }, _)) = waiting {
            **before = *held;
            return true;
        }
        false
    }

    /// Has an attempt wait for an answer; `number` is that of one that waited before.
    fn park(
        &mut self,
        attempt: Attempt,
        question: Question,
        number: Option<u64>,
    ) -> Result<(), Box<Attempt>> {
        let source = source(&attempt.decision.client);
        let number = match number {
            Some(number) => number,
            None => {
                let of_source = self.by_source.get(&source).copied().unwrap_or(0);
                if self.attempts.len() >= self.limit || of_source >= MOST_OF_A_SOURCE {
                    self.counts.dropped += 1;
                    return Err(Box::new(attempt));
                }
                self.number += 1;
                self.deadlines.push_back((Instant::now() + self.time_limit, self.number));
                self.number
            }
        };
        *self.by_source.entry(source).or_default() += 1;
        if let Some(key) = attempt.purpose.key(&attempt.decision) {
            self.by_key.insert(key, number);
        }
        self.by_question.entry(question.clone()).or_default().push(number);
        self.attempts.insert(number, (attempt, question));
        Ok(())
    }

    fn take(&mut self, number: u64) -> Option<(Attempt, Question)> {
        let (attempt, question) = self.attempts.remove(&number)?;
        if let Some(key) = attempt.purpose.key(&attempt.decision) {
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
    fn take_all(&mut self, question: &Question) -> Vec<(u64, Attempt)> {
        let numbers = self.by_question.remove(question).unwrap_or_default();
        numbers.into_iter().filter_map(|number| Some((number, self.take(number)?.0))).collect()
    }

    /// An attempt that has waited too long, and whether anybody else waits for its answer.
    fn take_overdue(&mut self, now: Instant) -> Option<(u64, Attempt, Option<Question>)> {
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
                return Some((number, attempt, is_last.then_some(question)));
            }
        }
        // Of attempts that were decided long before.
        while self.deadlines.front().is_some_and(|(_, number)| !self.attempts.contains_key(number)) {
            self.deadlines.pop_front();
        }
        None
    }
}

impl Daemon {
    /// Whether at this port no name is looked up.
    pub(super) fn is_unnamed(&self, port: u16) -> bool {
        self.config.resolve.name_server_ports.contains(&port)
    }

    /// A held attempt whose listener is known.
    pub(super) fn decide(&mut self, held: &Held, decision: &Decision, names: &NamesSet) {
        let key = attempt_key(held, decision);
        if self.hanging.repeats(&key, held) || self.commands.is_asked(&key) {
            return;
        }
        let facts = if self.is_unnamed(decision.server_port) { Facts::unknown() } else { Facts::default() };
        let purpose = Purpose::Held(Box::new(*held));
        self.pursue(Attempt { decision: *decision, names: names.clone(), facts, purpose }, None);
    }

    /// Judges an attempt, as far as the names that are known go. `number` is that of one that waited.
    pub(super) fn pursue(&mut self, mut attempt: Attempt, number: Option<u64>) {
        loop {
            let Some(judged) = self.judge(&attempt.names, &attempt.decision, &attempt.facts) else {
                return;
            };
            let question = match judged.missing {
                None => {
                    return match judged.user {
                        None => self.conclude(attempt, &judged.judgement, None),
                        Some(user) => self.user_wanted(attempt, &judged.judgement, user),
                    };
                }
                Some(Missing::LookUp(question)) => question,
                Some(Missing::Command(command)) => {
                    match self.ask_command(attempt, &command, &judged.judgement) {
                        // Audit mode and those who only ask run nothing: it counts as succeeding.
                        Some(mut pretended) => {
                            pretended.facts.end(command, CommandResult::Exited(0));
                            attempt = pretended;
                            continue;
                        }
                        None => return,
                    }
                }
            };
            if let Some(kept) = self.lookups.remembered(&question) {
                let kept = kept.clone();
                attempt.facts.learn(question, kept);
                continue;
            }
            match self.hanging.park(attempt, question.clone(), number) {
                Ok(()) => self.lookups.begin(&question),
                Err(mut limited)
                    if matches!(limited.purpose, Purpose::Connection(_) | Purpose::Steered(_))
                        || limited.facts.shows_banners() =>
                {
                    // Its client would not try again, or only a text wants it: its name is unknown.
                    limited.facts.give_up(Instant::now());
                    attempt = *limited;
                    continue;
                }
                Err(_limited) => {}
            }
            return;
        }
    }

    /// An answer has come: those that wait for it go on.
    pub(super) fn looked_up(&mut self, question: &Question, found: &Found) {
        if let (Question::Name(address), Found::Name(verified)) = (question, found)
            && let Some(warning) = &verified.warning
        {
            log::info!("{address}: {warning}");
        }
        let limits = self.lookups.limits();
        let since = Instant::now();
        let until = since + if found.is_something() { limits.found_for } else { limits.not_found_for };
        for (number, mut attempt) in self.hanging.take_all(question) {
            attempt.facts.learn(question.clone(), Kept { value: found.clone(), since, until });
            self.pursue(attempt, Some(number));
        }
    }

    /// Who has waited too long is judged without a name.
    pub(super) fn give_up(&mut self) {
        let now = Instant::now();
        while let Some((number, mut attempt, unwanted)) = self.hanging.take_overdue(now) {
            if let Some(question) = unwanted {
                self.lookups.forget(&question);
            }
            self.hanging.counts.given_up += 1;
            attempt.facts.give_up(now + self.lookups.limits().not_found_for);
            self.pursue(attempt, Some(number));
        }
    }

    /// Says what bounds did to attempts that hang on names.
    pub(super) fn watch_hanging(&mut self) {
        let HangingCounts { dropped, given_up } = self.hanging.counts;
        let news = dropped - std::mem::replace(&mut self.hanging.said, dropped);
        if news > 0 {
            log::warn!(
                "{news} connection attempts were not held for a look-up: too many wait already; their clients try again"
            );
        }
        let news = given_up - std::mem::replace(&mut self.hanging.said_given_up, given_up);
        if news > 0 {
            log::warn!(
                "{news} connection attempts were judged without a name: the look-up took longer than {} s",
                self.config.resolve.time_limit.as_secs()
            );
        }
    }
}

/// What a host has to its name: an IPv4 address, or a /64.
pub(super) fn source(client: &Address) -> Address {
    let mut source = *client;
    if as_v4(client).is_none() {
        source[8..].fill(0);
    }
    source
}
