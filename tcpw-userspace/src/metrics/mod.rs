//! What the daemon has counted as text for Prometheus.
//!
//! In: [`Metrics`]. Out: the text in one of two forms. No I/O.
//! Invariant: both forms have the same metrics and numbers; every metric is always there, with or without samples.
//! Source: OpenMetrics 1.0 (RFC draft, "OpenMetrics, a cloud-native, highly scalable metrics protocol"); Prometheus's
//! exposition formats, text 0.0.4.

mod families;

#[cfg(test)]
mod tests;

use std::fmt;

use prometheus_client::{collector::Collector, encoding, encoding::DescriptorEncoder, registry::Registry};

use crate::control::Metrics;

/// The media type of [`openmetrics`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// In the form of OpenMetrics 1.0, for scrapes.
pub fn openmetrics(metrics: Metrics) -> String {
    text(metrics, encoding::text::encode)
}

/// In the older form of Prometheus, which node_exporter reads from files: without `# UNIT` and `# EOF`, and with the whole
/// name of a counter in its description.
pub fn prometheus(metrics: Metrics) -> String {
    text(metrics, encoding::prometheus_text::encode)
}

fn text(metrics: Metrics, encode: impl FnOnce(&mut String, &Registry) -> fmt::Result) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Counted(metrics)));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

/// A snapshot that is encoded.
#[derive(Debug)]
struct Counted(Metrics);

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        families::encode(&self.0, &mut encoder)
    }
}
