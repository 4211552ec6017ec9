//! Lines of attempts where their number is limited: some of each network of clients, then a count.
//!
//! In: the clients of attempts. Out: whether each has a line of its own; each minute, the count of those of
//! a network that had none. Invariant: each attempt has its line or is in exactly one count; the number of lines
//! in a minute is bounded, and the number of networks that are told apart.
//!
//! Each network, and all together, have a token bucket: it holds the lines of a minute, and fills within a minute.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use tcpw_common::metric::Metric;

use crate::{
    config::LineRates,
    core::{action::Action, client_network::client_network, footprint::FootprintEntry, outbox::Outbox},
    record::{AttemptCount, CountedClients, CountedFor},
};

/// After this long the counts are written.
const WINDOW: Duration = Duration::from_secs(60);

/// Parts of a line in a bucket: a bucket of N lines gains N of them in a millisecond.
const LINE: u64 = 60_000;

/// Most lines of attempts whose source is not proven.
const UNPROVEN: LineRates = LineRates { per_network: 10, total: 200 };

/// Most networks that are told apart; the attempts of others are counted together.
const NETWORKS: usize = 1024;

/// The limits of all lines.
pub(in crate::core) struct LineLimits {
    unproven: LineLimit,
    /// That of all other attempts: `[lines]` in tcpw.toml.
    others: Option<LineLimit>,
}

impl Default for LineLimits {
    fn default() -> Self {
        Self { unproven: LineLimit::new(CountedFor::Unproven, UNPROVEN), others: None }
    }
}

impl LineLimits {
    /// Limits the lines of attempts whose source is proven, too.
    pub(in crate::core) fn limit_others(&mut self, rates: LineRates) {
        self.others = Some(LineLimit::new(CountedFor::Limit, rates));
    }

    /// One more attempt: whether it has a line of its own. If not, it is counted.
    pub(in crate::core) fn has_line(&mut self, client: IpAddr, is_unproven: bool, now: Instant) -> bool {
        if is_unproven {
            return self.unproven.has_line(client, now);
        }
        self.others.as_mut().is_none_or(|limit| limit.has_line(client, now))
    }

    /// So many more SYNs were dropped at devices and not reported.
    pub(in crate::core) fn add_at_devices(&mut self, syns: u64, now: Instant) {
        self.unproven.add_at_devices(syns, now);
    }

    /// Once a minute, the counts.
    pub(in crate::core) fn second(&mut self, out: &mut Outbox) {
        self.all().for_each(|limit| limit.second(out));
    }

    /// The counts so far.
    pub(in crate::core) fn write_counts(&mut self, out: &mut Outbox) {
        self.all().for_each(|limit| limit.write_counts(out));
    }

    fn all(&mut self) -> impl Iterator<Item = &mut LineLimit> {
        std::iter::once(&mut self.unproven).chain(&mut self.others)
    }

    /// How many networks are told apart now.
    pub(in crate::core) fn footprint(&self) -> [FootprintEntry; 2] {
        let others = self.others.as_ref().map_or(0, |limit| limit.networks.len());
        [("networks of unproven attempts", self.unproven.networks.len()), ("networks with lines", others)]
    }

    pub(in crate::core) fn counters(&self) -> [(Metric, u64); 2] {
        [
            (
                Metric::counter(
                    "unproven_counted",
                    "attempts",
                    "Refused attempts of unproven sources, and SYNs at devices, that had no line of their own.",
                ),
                self.unproven.counted,
            ),
            (
                Metric::counter(
                    "limited_counted",
                    "attempts",
                    "Attempts that had no line of their own because of [lines] in tcpw.toml.",
                ),
                self.others.as_ref().map_or(0, |limit| limit.counted),
            ),
        ]
    }
}

/// Lines and counts.
struct LineLimit {
    counted_for: CountedFor,
    rates: LineRates,
    /// Since when attempts are counted.
    began: Option<Instant>,
    lines: Bucket,
    networks: HashMap<IpNet, Attempts>,
    /// Attempts of other networks than those.
    others: u64,
    /// SYNs dropped at devices that were not reported.
    at_devices: u64,
    /// Attempts without a line of their own, since the start.
    counted: u64,
}

/// Attempts of one network.
struct Attempts {
    lines: Bucket,
    counted: u64,
}

/// A token bucket; it is full until something is taken.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// What is missing, in parts of a line, and when that was so.
    taken: Option<(u64, Instant)>,
}

impl Bucket {
    /// What is missing now.
    fn missing(self, lines: u32, now: Instant) -> u64 {
        let Some((missing, at)) = self.taken else { return 0 };
        let passed = u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        missing.saturating_sub(passed.saturating_mul(lines.into()))
    }

    /// Whether there is a line in a bucket for that many.
    fn has_line(self, lines: u32, now: Instant) -> bool {
        self.missing(lines, now) + LINE <= u64::from(lines) * LINE
    }

    fn take(&mut self, lines: u32, now: Instant) {
        self.taken = Some((self.missing(lines, now) + LINE, now));
    }
}

impl LineLimit {
    /// Nothing is counted yet.
    fn new(counted_for: CountedFor, rates: LineRates) -> Self {
        Self {
            counted_for,
            rates,
            began: None,
            lines: Bucket::default(),
            networks: HashMap::new(),
            others: 0,
            at_devices: 0,
            counted: 0,
        }
    }

    /// One more attempt: whether it has a line of its own. If not, it is counted.
    fn has_line(&mut self, client: IpAddr, now: Instant) -> bool {
        let LineRates { per_network, total } = self.rates;
        self.began.get_or_insert(now);
        let network = client_network(client);
        let attempts = if self.networks.len() < NETWORKS || self.networks.contains_key(&network) {
            self.networks.entry(network).or_insert(Attempts { lines: Bucket::default(), counted: 0 })
        } else {
            self.others += 1;
            self.counted += 1;
            return false;
        };
        if attempts.lines.has_line(per_network, now) && self.lines.has_line(total, now) {
            attempts.lines.take(per_network, now);
            self.lines.take(total, now);
            return true;
        }
        attempts.counted += 1;
        self.counted += 1;
        false
    }

    /// So many more SYNs were dropped at devices and not reported.
    fn add_at_devices(&mut self, syns: u64, now: Instant) {
        if syns > 0 {
            self.began.get_or_insert(now);
            self.at_devices += syns;
            self.counted += syns;
        }
    }

    /// Once a minute, the counts.
    fn second(&mut self, out: &mut Outbox) {
        if self.began.is_some_and(|began| out.now.at.saturating_duration_since(began) >= WINDOW) {
            self.write_counts(out);
        }
    }

    /// The counts so far.
    fn write_counts(&mut self, out: &mut Outbox) {
        let Some(began) = self.began.take() else { return };
        let now = out.now.at;
        let passed = now.saturating_duration_since(began);
        let counted_for = self.counted_for;
        let count = |clients, attempts| {
            Action::RecordCount(AttemptCount {
                time: out.now.wall,
                within: passed,
                counted_for,
                clients,
                attempts,
            })
        };
        let mut counts: Vec<_> = self.networks.iter().filter(|(_, attempts)| attempts.counted > 0).collect();
        counts.sort_by_key(|(network, _)| **network);
        let counts = counts.into_iter().map(|(network, of)| (CountedClients::Network(*network), of.counted));
        let others = [(CountedClients::Others, self.others), (CountedClients::AtDevices, self.at_devices)];
        let others = others.into_iter().filter(|(_, attempts)| *attempts > 0);
        let actions: Vec<_> =
            counts.chain(others).map(|(clients, attempts)| count(clients, attempts)).collect();
        actions.into_iter().for_each(|action| out.act(action));
        (self.others, self.at_devices) = (0, 0);
        let lines = self.rates.per_network;
        self.networks.retain(|_, attempts| {
            attempts.counted = 0;
            attempts.lines.missing(lines, now) > 0
        });
        if !self.networks.is_empty() {
            self.began = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{input::Now, tests::now};

    const MINUTE: Duration = WINDOW;

    fn unproven() -> LineLimit {
        LineLimit::new(CountedFor::Unproven, UNPROVEN)
    }

    fn counts(limit: &mut LineLimit, after: Duration) -> Vec<(Option<String>, u64)> {
        let now = Now { at: now().at + after, ..now() };
        let mut out = Outbox::new(now);
        limit.second(&mut out);
        let counts = out.actions.into_iter().map(|action| {
            let Action::RecordCount(it) = action else { panic!("{action:?}") };
            assert!(it.within >= MINUTE, "{:?}", it.within);
            let network = match it.clients {
                CountedClients::Network(network) => Some(network.to_string()),
                CountedClients::Others => None,
                CountedClients::AtDevices => Some("devices".to_owned()),
            };
            (network, it.attempts)
        });
        counts.collect()
    }

    #[test]
    fn a_network_has_some_lines_and_then_one_count() {
        let mut limit = unproven();
        let clients = ["203.0.113.1", "::ffff:203.0.113.2", "203.0.113.3"].map(|text| text.parse().unwrap());
        let has_lines =
            |limit: &mut LineLimit, at| (0..300).filter(|it| limit.has_line(clients[it % 3], at)).count();
        assert_eq!(has_lines(&mut limit, now().at), 10);
        assert!(limit.has_line("2001:db8:1:2::1".parse().unwrap(), now().at), "another network");
        assert_eq!(counts(&mut limit, MINUTE / 2), []);
        assert_eq!(counts(&mut limit, MINUTE), [(Some("203.0.113.0/24".into()), 290)]);
        assert_eq!((limit.counted, limit.networks.len()), (290, 0));
        assert_eq!(has_lines(&mut limit, now().at + MINUTE), 10, "the next minute");
        let mut out = Outbox::new(now());
        limit.write_counts(&mut out);
        limit.write_counts(&mut out);
        assert!(matches!(out.actions.as_slice(), [Action::RecordCount(AttemptCount { attempts: 290, .. })]));
    }

    #[test]
    fn bucket_fills_line_by_line_and_not_beyond_a_minute() {
        let client = "192.0.2.1".parse().unwrap();
        let mut limit = LineLimit::new(CountedFor::Limit, LineRates { per_network: 6, total: 1000 });
        let mut lines = |second: u64| {
            let at = now().at + Duration::from_secs(second);
            (0..20).filter(|_| limit.has_line(client, at)).count()
        };
        assert_eq!([lines(0), lines(9), lines(10), lines(31), lines(39), lines(40)], [6, 0, 1, 2, 0, 1]);
        assert_eq!(lines(5000), 6, "a full bucket has no more");
        // Over any time: those of a minute, and what came in meanwhile.
        let all: usize = (5001..5601).map(lines).sum();
        assert_eq!(all, 60);
    }

    #[test]
    fn bucket_that_is_not_full_stays_over_a_count() {
        let client = "192.0.2.1".parse().unwrap();
        let mut limit = LineLimit::new(CountedFor::Limit, LineRates { per_network: 2, total: 1000 });
        let at = |second| now().at + Duration::from_secs(second);
        assert!(limit.has_line(client, at(0)));
        assert!([59, 59].iter().all(|second| limit.has_line(client, at(*second))));
        assert!(!limit.has_line(client, at(59)));
        assert_eq!(counts(&mut limit, MINUTE), [(Some("192.0.2.0/24".into()), 1)]);
        assert!(!limit.has_line(client, at(61)) && limit.has_line(client, at(89)));
        assert_eq!(counts(&mut limit, MINUTE * 2), [(Some("192.0.2.0/24".into()), 1)]);
        assert_eq!(counts(&mut limit, MINUTE * 4), []);
        assert_eq!((limit.networks.len(), limit.began), (0, None));
    }

    #[test]
    fn lines_and_networks_are_bounded_and_nothing_is_uncounted() {
        let mut limit = unproven();
        let client = |number: u32| IpAddr::from((number << 8).to_be_bytes());
        let written = (0..100_000).filter(|it| limit.has_line(client(*it), now().at)).count() as u64;
        assert_eq!((written, limit.networks.len()), (UNPROVEN.total.into(), NETWORKS));
        let counts = counts(&mut limit, MINUTE);
        assert_eq!(counts.len() as u64, NETWORKS as u64 - written + 1);
        assert_eq!(counts.iter().map(|(_, attempts)| attempts).sum::<u64>(), 100_000 - written);
        assert_eq!(counts.last(), Some(&(None, 100_000 - NETWORKS as u64)));
    }

    #[test]
    fn syns_dropped_at_devices_are_a_count_of_their_own() {
        let mut limit = unproven();
        limit.add_at_devices(0, now().at);
        assert_eq!(counts(&mut limit, MINUTE), []);
        limit.add_at_devices(5, now().at);
        limit.add_at_devices(2, now().at);
        assert_eq!(counts(&mut limit, MINUTE), [(Some("devices".into()), 7)]);
        assert_eq!(counts(&mut limit, MINUTE * 2), [], "a new window");
    }

    #[test]
    fn proven_attempts_are_limited_only_if_that_is_set() {
        let client = "192.0.2.1".parse().unwrap();
        let mut limits = LineLimits::default();
        let lines =
            |limits: &mut LineLimits| (0..50).filter(|_| limits.has_line(client, false, now().at)).count();
        assert_eq!(lines(&mut limits), 50);
        limits.limit_others(LineRates { per_network: 3, total: 9 });
        assert_eq!(lines(&mut limits), 3);
        assert!(limits.has_line(client, true, now().at), "another limit");
        assert_eq!(limits.counters().map(|(_, count)| count), [0, 47]);
    }
}
