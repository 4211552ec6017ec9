//! How cases are spread: a generator that always gets the same answer tests little.

use std::{collections::BTreeMap, fmt};

use super::Answer;

/// Counts of answers by kind.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    /// How many answers there are.
    pub cases: u64,
    kinds: BTreeMap<(&'static str, String), u64>,
}

impl Spread {
    /// Counts an answer.
    pub fn add(&mut self, answer: &Answer) {
        self.cases += 1;
        let matched = answer.matched.split(':').next().unwrap_or_default();
        let messages = match answer.warnings.as_slice() {
            [] => "none",
            warnings if warnings.iter().any(|line| line.starts_with("error: ")) => "error",
            _ => "warning",
        };
        let effects = [
            ("command", !answer.spawned.is_empty()),
            ("banner", answer.banner.is_some()),
            ("severity", answer.severity.is_some()),
            ("umask", answer.umask.is_some()),
            ("nice", answer.nice.is_some()),
            ("rfc931", answer.rfc931.is_some()),
        ];
        let shown = [
            ("verdict", answer.expect.as_str()),
            ("matched", matched),
            ("via", answer.via.as_str()),
            ("messages", messages),
        ];
        let happened = effects.iter().filter(|(_, happened)| *happened).map(|(name, _)| ("effect", *name));
        for (field, kind) in shown.into_iter().chain(happened) {
            *self.kinds.entry((field, kind.to_owned())).or_default() += 1;
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.cases += other.cases;
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += count;
        }
    }

    /// Share of the answers that are of a kind, in percent.
    pub fn percent(&self, field: &'static str, kind: &str) -> f64 {
        self.share(self.kinds.get(&(field, kind.to_owned())).copied().unwrap_or_default())
    }

    fn share(&self, count: u64) -> f64 {
        let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        100.0 * number(count) / number(self.cases.max(1))
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((field, kind), count) in &self.kinds {
            writeln!(out, "{field:10}{kind:14}{count:>10}{:>8.2} %", self.share(*count))?;
        }
        write!(out, "{:24}{:>10}", "cases", self.cases)
    }
}
