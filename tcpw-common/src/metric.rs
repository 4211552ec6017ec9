//! Metrics: one description for the kernel's counters and user space's.

/// A number that status and metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Metric {
    /// Its name in status and metrics.
    pub name: &'static str,
    /// Help text, one sentence.
    pub help: &'static str,
    /// What it counts, in the plural: `attempts`, `packets`, `bytes`.
    pub unit: &'static str,
    /// Whether it only grows.
    pub kind: MetricKind,
}

/// How a number changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// It only grows, until the process or map that holds it ends.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Metric {
    /// A number that only grows.
    #[must_use]
    pub const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, help, unit, kind: MetricKind::Counter }
    }

    /// A number that goes up and down.
    #[must_use]
    pub const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, help, unit, kind: MetricKind::Gauge }
    }
}
