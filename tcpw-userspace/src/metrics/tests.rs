use std::time::Duration;

use super::*;
use crate::{
    config::Mode,
    control::{AttemptCount, Histogram, LogStatus, MapFill, NamedCount, RuleCount, SinkStatus},
};

fn times(times_us: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    times_us.iter().for_each(|time| histogram.add(Duration::from_micros(*time)));
    histogram
}

fn example() -> Metrics {
    let attempts = |service: &str, verdict: &'static str, reason: &'static str, attempts| AttemptCount {
        service: service.into(),
        verdict: verdict.into(),
        reason: reason.into(),
        attempts,
    };
    let named = |name: &'static str, help: &'static str, is_gauge, value| NamedCount {
        name: name.into(),
        help: help.into(),
        unit: "packets".into(),
        is_gauge,
        value,
    };
    Metrics {
        version: "0.1.0".into(),
        mode: Mode::Enforce,
        enforcing_since: 1_700_000_000,
        generation: 3,
        applied_at: 1_700_000_100,
        is_last_reload_in_force: true,
        has_problem: false,
        problems: Vec::new(),
        log_allowed: true,
        attempts: vec![
            attempts("(name not proven)", "refused", "unknown", 1),
            attempts("a\"b\\c\nd", "would_refuse", "default", 2),
            attempts("sshd", "allowed", "rule", u64::MAX),
        ],
        rules: vec![
            RuleCount { table: Some("deny".into()), line: Some(7), attempts: 4 },
            RuleCount { table: None, line: None, attempts: 5 },
        ],
        held: times(&[90, 100, 1500, 20_000_000]),
        user_waits: Histogram::default(),
        lookups: times(&[250_000]),
        disagreements: 0,
        index_disagreements: 6,
        counters: vec![
            named("ring_full", "Events that found the ring full: they are not logged.", false, 8),
            named("names_waiting", "Attempts that wait for a look-up.", true, 9),
        ],
        maps: vec![MapFill { map: "certified_places".into(), entries: 10, room: 65536 }],
        log: LogStatus {
            written: 11,
            failed: 12,
            sinks: vec![SinkStatus { target: "syslog".into(), written: 11, lost: 12, waiting: 13 }],
        },
    }
}

#[test]
fn text_is_openmetrics() {
    assert_eq!(openmetrics(example()), include_str!("golden/openmetrics.txt"));
}

#[test]
fn older_text_has_whole_names_in_its_descriptions() {
    assert_eq!(prometheus(example()), include_str!("golden/prometheus.txt"));
}

#[test]
fn metric_without_a_sample_is_described() {
    let none = Metrics { attempts: Vec::new(), rules: Vec::new(), ..example() };
    let text = openmetrics(none);
    assert!(text.contains("# TYPE tcpw_attempts counter\n# HELP tcpw_rule_attempts "), "{text}");
}
