//! Every metric: its name, its help text, its labels.
//!
//! In: [`Metrics`]. Out: calls of the encoder. Invariant: a name begins with `tcpw_`; a help text has neither a quote nor a
//! backslash nor a line break, because the encoder does not escape them.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::control::{BUCKETS_US, Histogram, Metrics, NamedCount, SinkStatus};

/// Labels of one sample.
type Labels = Vec<(&'static str, String)>;

/// Encodes all metrics.
pub(super) fn encode(metrics: &Metrics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut all = Families { encoder };
    all.attempts(metrics)?;
    all.times(metrics)?;
    all.mismatches(metrics)?;
    all.state(metrics)?;
    for counted in &metrics.counters {
        all.named(counted)?;
    }
    Ok(())
}

struct Families<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

impl Families<'_, '_> {
    fn attempts(&mut self, metrics: &Metrics) -> fmt::Result {
        self.counters(
            "attempts",
            "Attempts that have a record, by the service that they were for, the verdict and what decided.",
            metrics.attempts.iter().map(|it| {
                let labels = vec![
                    ("service", it.service.clone()),
                    ("verdict", it.verdict.to_string()),
                    ("reason", it.reason.to_string()),
                ];
                (labels, it.attempts)
            }),
        )?;
        self.counters(
            "rule_attempts",
            "Attempts that have a record and were decided by a rule, by the table and line where it began.",
            metrics.rules.iter().map(|it| {
                let table = it.table.as_deref().unwrap_or("(other)");
                let line = it.line.map_or_else(|| "(other)".to_owned(), |line| line.to_string());
                (vec![("table", table.to_owned()), ("line", line)], it.attempts)
            }),
        )
    }

    fn times(&mut self, metrics: &Metrics) -> fmt::Result {
        for (name, help, histogram) in [
            ("hold", "How long packets were held until they were re-injected.", &metrics.held),
            (
                "user_wait",
                "How long connections waited for their verdict, which needs the user of the client.",
                &metrics.user_waits,
            ),
            ("lookup", "How long look-ups of names and netgroups took that had an answer.", &metrics.lookups),
        ] {
            self.histogram(name, help, histogram)?;
        }
        Ok(())
    }

    fn mismatches(&mut self, metrics: &Metrics) -> fmt::Result {
        self.counters(
            "verdict_mismatch",
            "Verdicts that differ: of the kernel from the evaluator, of the index from a walk over every rule. Must stay 0.",
            [
                ("kernel_and_evaluator", metrics.disagreements),
                ("index_and_walk", metrics.index_disagreements),
            ]
            .map(|(between, count)| (vec![("between", between.to_owned())], count)),
        )
    }

    fn state(&mut self, metrics: &Metrics) -> fmt::Result {
        let build = vec![("version", metrics.version.to_string()), ("mode", metrics.mode.to_string())];
        self.gauges("build", "Version of tcpw, and whether it refuses or only logs.", None, [(build, 1)])?;
        for (name, help, value) in [
            ("generation", "Number of the policy in force.", metrics.generation.into()),
            (
                "last_reload_success",
                "1 if the policy in force is that of the files as they are now, and they are followed; else 0.",
                metrics.is_last_reload_in_force.into(),
            ),
            (
                "problem",
                "1 if tcpw status shows a problem that the administrator has to see to; else 0.",
                metrics.has_problem.into(),
            ),
        ] {
            self.gauges(name, help, None, [(Labels::new(), value)])?;
        }
        for (name, help, value) in [
            (
                "policy_applied_timestamp",
                "When the policy in force was applied, since 1970 (UTC).",
                metrics.applied_at,
            ),
            (
                "enforcing_since_timestamp",
                "Since when the gate has been attached, by an earlier daemon perhaps, since 1970 (UTC).",
                metrics.enforcing_since,
            ),
        ] {
            self.gauges(name, help, Some(&Unit::Seconds), [(Labels::new(), value)])?;
        }
        let maps = &metrics.maps;
        let label = |map: &str| vec![("map", map.to_owned())];
        self.gauges(
            "map_entries",
            "Entries in tables of the kernel.",
            None,
            maps.iter().map(|it| (label(&it.map), it.entries)),
        )?;
        self.gauges(
            "map_entries_limit",
            "Entries that tables of the kernel can have.",
            None,
            maps.iter().map(|it| (label(&it.map), it.room)),
        )?;
        let sinks = &metrics.log.sinks;
        let label = |sink: &SinkStatus| vec![("sink", sink.target.clone())];
        let written = sinks.iter().map(|sink| (label(sink), sink.written));
        self.counters("lines_written", "Lines that a sink took.", written)?;
        let lost = sinks.iter().map(|sink| (label(sink), sink.lost));
        self.counters("lines_failed", "Lines that a sink could not take.", lost)?;
        let waiting = sinks.iter().map(|sink| (label(sink), sink.waiting));
        self.gauges("lines_waiting", "Lines that wait for a sink.", None, waiting)?;
        Ok(())
    }

    /// A counter or gauge of the kernel or of a duty.
    fn named(&mut self, counted: &NamedCount) -> fmt::Result {
        let samples = [(Labels::new(), counted.value)];
        if counted.is_gauge {
            self.gauges(&counted.name, &counted.help, None, samples)
        } else {
            self.counters(&counted.name, &counted.help, samples)
        }
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let name = format!("tcpw_{name}");
        let mut family = self.encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (labels, count) in samples {
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let name = format!("tcpw_{name}");
        let mut family = self.encoder.encode_descriptor(&name, help, unit, MetricType::Gauge)?;
        for (labels, value) in samples {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Times in seconds.
    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let name = format!("tcpw_{name}");
        let ends = BUCKETS_US.iter().map(|end_us| Some(*end_us)).chain([None]);
        let buckets: Vec<(f64, u64)> = ends
            .zip(histogram.counts)
            .map(|(end_us, count)| (end_us.map_or(f64::INFINITY, |us| seconds(us * 1000)), count))
            .collect();
        let mut family =
            self.encoder.encode_descriptor(&name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let sum = seconds(histogram.sum_ns);
        family.encode_histogram::<[(&str, &str); 0]>(sum, histogram.count(), &buckets, None)
    }
}

/// As exact as a float is.
fn seconds(time_ns: u64) -> f64 {
    std::time::Duration::from_nanos(time_ns).as_secs_f64()
}
