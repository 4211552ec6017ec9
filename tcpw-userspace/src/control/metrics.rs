//! What the daemon has counted, as an exporter gets it.
//!
//! In: nothing. Out: [`Metrics`]: plain numbers, without a form.
//! Invariant: what only grows begins at 0 when the daemon starts, but for the kernel's counters, which a pinned gate keeps.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};
use tcpw_common::metric::{Metric, MetricKind};

use super::LogStatus;
use crate::config::Mode;

/// What the daemon has counted. Times are seconds since 1970, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Version of tcpw.
    pub version: Cow<'static, str>,
    /// Enforce or audit.
    pub mode: Mode,
    /// Since when the gate has been attached, by an earlier daemon perhaps.
    pub enforcing_since: u64,
    /// Number of the policy in force.
    pub generation: u32,
    /// When it was put in force.
    pub applied_at: u64,
    /// The files as they are now are in force.
    pub is_last_reload_in_force: bool,
    /// There is something the administrator has to see to.
    pub has_problem: bool,
    /// Each thing the administrator has to see to.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Whether every accepted attempt has a record.
    #[serde(default)]
    pub log_allowed: bool,
    /// Attempts that have a record.
    pub attempts: Vec<AttemptCount>,
    /// Of them, those that a rule decided.
    pub rules: Vec<RuleCount>,
    /// How long packets were held.
    pub held: Histogram,
    /// How long connections waited for their client's user.
    pub user_waits: Histogram,
    /// How long look-ups of names and netgroups took.
    pub lookups: Histogram,
    /// Verdicts of the kernel that differ from the evaluator's.
    pub disagreements: u64,
    /// Judgements by the index that differ from those of a walk over every rule.
    pub index_disagreements: u64,
    /// Every other counter and gauge, of the kernel and of the duties.
    pub counters: Vec<NamedCount>,
    /// Tables of the kernel, and how full they are.
    pub maps: Vec<MapFill>,
    /// The log's own counts.
    pub log: LogStatus,
}

/// Attempts with the same service, verdict and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptCount {
    /// What their lines begin with, or that it is not told.
    pub service: String,
    /// `allowed`, `refused` or `would_refuse`.
    pub verdict: Cow<'static, str>,
    /// What decided, as in [`LiveAnswer::via`](super::LiveAnswer::via), or `unknown`.
    pub reason: Cow<'static, str>,
    /// How many.
    pub attempts: u64,
}

/// Attempts that rules of one line decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCount {
    /// `allow` or `deny`; none for those of lines that are not told apart.
    pub table: Option<Cow<'static, str>>,
    /// The line where the rule began when it decided; likewise.
    pub line: Option<u32>,
    /// How many.
    pub attempts: u64,
}

/// A counter or gauge with its description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCount {
    /// Its name in status.
    pub name: Cow<'static, str>,
    /// One sentence.
    pub help: Cow<'static, str>,
    /// What it counts, in the plural.
    pub unit: Cow<'static, str>,
    /// It goes up and down.
    pub is_gauge: bool,
    /// The number.
    pub value: u64,
}

impl From<(Metric, u64)> for NamedCount {
    fn from((metric, value): (Metric, u64)) -> Self {
        Self {
            name: metric.name.into(),
            help: metric.help.into(),
            unit: metric.unit.into(),
            is_gauge: metric.kind == MetricKind::Gauge,
            value,
        }
    }
}

/// A table of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// What is in it.
    pub map: Cow<'static, str>,
    /// Entries in it.
    pub entries: u64,
    /// Entries that it can have.
    pub room: u64,
}

/// Upper ends of the buckets of a [`Histogram`], in microseconds: from the time of a look-up in memory to the longest
/// that an attempt waits for a name.
pub const BUCKETS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Times, counted in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// How many times are in each bucket of [`BUCKETS_US`] and in none before it; the last element: those beyond.
    pub counts: [u64; BUCKETS_US.len() + 1],
    /// All times together, in nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// Counts a time.
    pub fn add(&mut self, time: Duration) {
        let bucket = BUCKETS_US.partition_point(|end| Duration::from_micros(*end) < time);
        self.counts[bucket] += 1;
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns = self.sum_ns.saturating_add(time_ns);
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_in_the_first_bucket_that_ends_at_or_after_it() {
        let mut histogram = Histogram::default();
        for time_ns in [0, 100_000, 100_001, 10_000_000_000, 10_000_000_001] {
            histogram.add(Duration::from_nanos(time_ns));
        }
        let mut wanted = [0; BUCKETS_US.len() + 1];
        (wanted[0], wanted[1], wanted[13], wanted[14]) = (2, 1, 1, 1);
        assert_eq!((histogram.counts, histogram.count()), (wanted, 5));
        assert_eq!(histogram.sum_ns, 20_000_200_002);
        histogram.add(Duration::MAX);
        assert_eq!(histogram.sum_ns, u64::MAX);
    }
}
