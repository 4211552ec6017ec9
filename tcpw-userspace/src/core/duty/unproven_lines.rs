//! Lines of attempts whose source is not proven: a few of each network, then a count.
//!
//! In: the clients of such attempts. Out: whether each has a line of its own; each minute, the count of those of
//! a network that had none. Invariant: each attempt has its line or is in exactly one count; the number of lines
//! in a minute is bounded, and the number of networks that are told apart.

use std::{collections::HashMap, net::IpAddr, time::Duration, time::Instant};

use ipnet::IpNet;
use tcpw_common::metric::Metric;

use crate::{
    core::{action::Action, client_network::client_network, outbox::Outbox},
    record::{CountedClients, UnprovenCount},
};

/// After this long the counts are written, and the limits begin anew.
const WINDOW: Duration = Duration::from_secs(60);

/// Most lines of one network in a [`WINDOW`].
const LINES_OF_A_NETWORK: u64 = 10;

/// Most lines of all networks in a [`WINDOW`].
const LINES: u64 = 200;

/// Most networks that are told apart; the attempts of others are counted together.
const NETWORKS: usize = 1024;

/// Lines and counts of the present window.
#[derive(Default)]
pub(in crate::core) struct UnprovenLines {
    began: Option<Instant>,
    lines: u64,
    networks: HashMap<IpNet, Attempts>,
    /// Attempts of other networks than those.
    others: u64,
    /// SYNs dropped at devices that were not reported.
    at_devices: u64,
    /// Attempts without a line of their own, since the start.
    counted: u64,
}

/// Attempts of one network.
#[derive(Default)]
struct Attempts {
    lines: u64,
    counted: u64,
}

impl UnprovenLines {
    /// One more attempt: whether it has a line of its own. If not, it is counted.
    pub(in crate::core) fn has_line(&mut self, client: IpAddr, now: Instant) -> bool {
        self.began.get_or_insert(now);
        let network = client_network(client);
        let attempts = if self.networks.len() < NETWORKS || self.networks.contains_key(&network) {
            self.networks.entry(network).or_default()
        } else {
            self.others += 1;
            self.counted += 1;
            return false;
        };
        if attempts.lines < LINES_OF_A_NETWORK && self.lines < LINES {
            attempts.lines += 1;
            self.lines += 1;
            return true;
        }
        attempts.counted += 1;
        self.counted += 1;
        false
    }

    /// So many more SYNs were dropped at devices and not reported.
    pub(in crate::core) fn add_at_devices(&mut self, syns: u64, now: Instant) {
        if syns > 0 {
            self.began.get_or_insert(now);
            self.at_devices += syns;
            self.counted += syns;
        }
    }

    /// At the end of a window, its counts.
    pub(in crate::core) fn second(&mut self, out: &mut Outbox) {
        if self.began.is_some_and(|began| out.now.at.saturating_duration_since(began) >= WINDOW) {
            self.end_window(out);
        }
    }

    /// The counts so far; a new window begins with the next attempt.
    pub(in crate::core) fn end_window(&mut self, out: &mut Outbox) {
        let time = out.now.wall;
        let mut counts: Vec<_> = self.networks.drain().filter(|(_, attempts)| attempts.counted > 0).collect();
        counts.sort_by_key(|(network, _)| *network);
        for (network, Attempts { counted, .. }) in counts {
            let clients = CountedClients::Network(network);
            out.act(Action::RecordCount(UnprovenCount { time, clients, attempts: counted }));
        }
        let others = [(CountedClients::Others, self.others), (CountedClients::AtDevices, self.at_devices)];
        for (clients, attempts) in others.into_iter().filter(|(_, attempts)| *attempts > 0) {
            out.act(Action::RecordCount(UnprovenCount { time, clients, attempts }));
        }
        (self.began, self.lines, self.others, self.at_devices) = (None, 0, 0, 0);
    }

    /// How many networks are counted now.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 1] {
        [("networks of unproven attempts", self.networks.len())]
    }

    pub(in crate::core) fn counters(&self) -> [(Metric, u64); 1] {
        [(
            Metric::counter(
                "unproven_counted",
                "attempts",
                "Refused attempts of unproven sources, and SYNs at devices, that had no line of their own.",
            ),
            self.counted,
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{input::Now, tests::now};

    fn counts(lines: &mut UnprovenLines, after: Duration) -> Vec<(Option<String>, u64)> {
        let now = Now { at: now().at + after, ..now() };
        let mut out = Outbox::new(now);
        lines.second(&mut out);
        let counts = out.actions.into_iter().map(|action| {
            let Action::RecordCount(it) = action else { panic!("{action:?}") };
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
        let mut lines = UnprovenLines::default();
        let clients = ["203.0.113.1", "::ffff:203.0.113.2", "203.0.113.3"].map(|text| text.parse().unwrap());
        let has_lines = |lines: &mut UnprovenLines| {
            (0..300).filter(|it| lines.has_line(clients[it % 3], now().at)).count()
        };
        assert_eq!(has_lines(&mut lines), 10);
        assert!(lines.has_line("2001:db8:1:2::1".parse().unwrap(), now().at), "another network");
        assert_eq!(counts(&mut lines, WINDOW / 2), []);
        assert_eq!(counts(&mut lines, WINDOW), [(Some("203.0.113.0/24".into()), 290)]);
        assert_eq!((lines.counters()[0].1, lines.footprint()[0].1), (290, 0));
        assert_eq!(has_lines(&mut lines), 10, "the next minute");
        let mut out = Outbox::new(now());
        lines.end_window(&mut out);
        lines.end_window(&mut out);
        assert!(matches!(out.actions.as_slice(), [Action::RecordCount(UnprovenCount { attempts: 290, .. })]));
    }

    #[test]
    fn lines_and_networks_are_bounded_and_nothing_is_uncounted() {
        let mut lines = UnprovenLines::default();
        let client = |number: u32| IpAddr::from((number << 8).to_be_bytes());
        let written = (0..100_000).filter(|it| lines.has_line(client(*it), now().at)).count() as u64;
        assert_eq!((written, lines.footprint()[0].1), (LINES, NETWORKS));
        let counts = counts(&mut lines, WINDOW);
        assert_eq!(counts.len() as u64, NETWORKS as u64 - LINES + 1);
        assert_eq!(counts.iter().map(|(_, attempts)| attempts).sum::<u64>(), 100_000 - written);
        assert_eq!(counts.last(), Some(&(None, 100_000 - NETWORKS as u64)));
    }

    #[test]
    fn syns_dropped_at_devices_are_a_count_of_their_own() {
        let mut lines = UnprovenLines::default();
        lines.add_at_devices(0, now().at);
        assert_eq!(counts(&mut lines, WINDOW), []);
        lines.add_at_devices(5, now().at);
        lines.add_at_devices(2, now().at);
        assert_eq!(counts(&mut lines, WINDOW), [(Some("devices".into()), 7)]);
        assert_eq!(counts(&mut lines, WINDOW * 2), [], "a new window");
    }
}
