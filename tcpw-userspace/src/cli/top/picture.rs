//! What the daemon told, and the rates that follow from it.
//!
//! In: readings. Out: counts, rates, the last attempts. Invariant: pure; a rate is of two readings of the same daemon; at most
//! [`KEPT`] attempts are kept.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use super::attempt::{Attempt, RuleAt};
use crate::control::{Metrics, Status};

/// Attempts that are kept: as many as the daemon remembers.
pub(super) const KEPT: usize = 4096;

/// Rates are of readings as far apart, if there are such: shorter and they jump.
const SPAN: Duration = Duration::from_secs(5);

/// What the daemon told at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    /// Since this command began.
    pub(super) at: Duration,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) metrics: Box<Metrics>,
    /// Not with every reading.
    pub(super) status: Option<Box<Status>>,
    /// Those since the reading before.
    pub(super) attempts: Vec<Attempt>,
    /// When the daemon began to count.
    pub(super) since_us: u64,
    /// Attempts that were not told, because they were too many.
    pub(super) missed: u64,
    /// Texts of the lines of rules, if they were read.
    pub(super) texts: Option<BTreeMap<RuleAt, String>>,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) now: u64,
    pub(super) metrics: Box<Metrics>,
    pub(super) status: Option<Box<Status>>,
    /// The oldest first.
    pub(super) attempts: VecDeque<Attempt>,
    pub(super) missed: u64,
    texts: BTreeMap<RuleAt, String>,
    since_us: u64,
    /// The oldest first; the last is that of the newest reading.
    history: VecDeque<Counts>,
}

/// What rates are made of.
#[derive(Debug)]
struct Counts {
    at: Duration,
    counters: HashMap<String, u64>,
    services: HashMap<(String, bool), u64>,
    rules: HashMap<RuleAt, u64>,
}

impl Picture {
    /// From the first reading.
    pub(super) fn new(reading: Reading) -> Self {
        let mut picture = Self {
            now: reading.now,
            metrics: reading.metrics.clone(),
            status: None,
            attempts: VecDeque::new(),
            missed: 0,
            texts: BTreeMap::new(),
            since_us: reading.since_us,
            history: VecDeque::new(),
        };
        picture.take(reading);
        picture
    }

    /// Another reading.
    pub(super) fn take(&mut self, reading: Reading) {
        if reading.since_us != self.since_us {
            // Another daemon: it counts from 0.
            self.history.clear();
            self.attempts.clear();
            self.missed = 0;
            self.since_us = reading.since_us;
        }
        self.history.push_back(Counts::new(reading.at, &reading.metrics));
        while self.history.get(1).is_some_and(|second| second.at + SPAN <= reading.at) {
            self.history.pop_front();
        }
        self.attempts.extend(reading.attempts);
        let too_many = self.attempts.len().saturating_sub(KEPT);
        self.attempts.drain(..too_many);
        self.now = reading.now;
        self.metrics = reading.metrics;
        self.status = reading.status.or_else(|| self.status.take());
        self.missed += reading.missed;
        if let Some(texts) = reading.texts {
            self.texts = texts;
        }
    }

    /// A counter of the kernel or of a duty.
    pub(super) fn counter(&self, name: &str) -> u64 {
        self.metrics.counters.iter().find(|it| it.name == name).map_or(0, |it| it.value)
    }

    /// How fast a counter grows, in thousandths a second; nothing after one reading alone.
    pub(super) fn rate_of_counter(&self, name: &str) -> Option<u64> {
        self.rate(|counts| counts.counters.get(name).copied())
    }

    /// The same of the attempts at a service: those that were refused, or the others.
    pub(super) fn rate_of_service(&self, service: &str, is_refused: bool) -> Option<u64> {
        let key = (service.to_owned(), is_refused);
        self.rate(|counts| counts.services.get(&key).copied())
    }

    /// The same of the attempts that a rule decided.
    pub(super) fn rate_of_rule(&self, rule: &RuleAt) -> Option<u64> {
        self.rate(|counts| counts.rules.get(rule).copied())
    }

    /// Attempts that a rule decided.
    pub(super) fn hits(&self, rule: &RuleAt) -> u64 {
        self.history.back().and_then(|counts| counts.rules.get(rule).copied()).unwrap_or(0)
    }

    fn rate(&self, of: impl Fn(&Counts) -> Option<u64>) -> Option<u64> {
        let (first, last) = (self.history.front()?, self.history.back()?);
        let apart_ms = u64::try_from((last.at - first.at).as_millis()).ok().filter(|apart| *apart > 0)?;
        let more = of(last).unwrap_or(0).saturating_sub(of(first).unwrap_or(0));
        Some(more.saturating_mul(1_000_000) / apart_ms)
    }

    /// The text of a rule: as its line says it, else as the newest record does that it decided.
    pub(super) fn text_of(&self, rule: &RuleAt) -> String {
        self.texts.get(rule).cloned().unwrap_or_else(|| {
            let decided = self.attempts.iter().rev().filter_map(|it| it.rule.as_ref());
            let mut of_it = decided.filter(|it| it.at == *rule);
            of_it.next().map(|it| it.text.clone()).unwrap_or_default()
        })
    }

    /// The file of a table.
    pub(super) fn path_of(&self, table: &str) -> Option<&std::path::Path> {
        let tables = &self.status.as_ref()?.tables;
        Some(if table == "allow" { &tables.allow.path } else { &tables.deny.path })
    }

    /// The SHA-256 of a file as it is in force; empty if it is not known.
    pub(super) fn hash_of(&self, file: &std::path::Path) -> &str {
        let tables = self.status.iter().flat_map(|status| [&status.tables.allow, &status.tables.deny]);
        tables.into_iter().find(|table| table.path == file).map_or("", |table| &table.sha256)
    }
}

impl Counts {
    fn new(at: Duration, metrics: &Metrics) -> Self {
        let mut services = HashMap::new();
        for it in &metrics.attempts {
            *services.entry((it.service.clone(), it.verdict != "allowed")).or_default() += it.attempts;
        }
        let rules = metrics.rules.iter().map(|it| (rule_at(it), it.attempts)).collect();
        let counters = metrics.counters.iter().map(|it| (it.name.to_string(), it.value)).collect();
        Self { at, counters, services, rules }
    }
}

/// The line that a count is of; line 0 of no table: of those that are not told apart.
pub(super) fn rule_at(count: &crate::control::RuleCount) -> RuleAt {
    RuleAt { table: count.table.as_deref().unwrap_or("").to_owned(), line: count.line.unwrap_or(0) }
}
