//! Findings to diagnostics, as many of a kind as anybody reads.
//!
//! In: findings in the order of the files. Out: diagnostics; of each code the first [`SHOWN`] of a
//! file, then one that counts the rest.
//! Invariant: memory and time stay bounded, however wrong a large file is; nothing goes uncounted.

use super::{
    diagnostic::{Diagnostic, Finding},
    rule::Origin,
};

/// Diagnostics of one code that are kept of one file; of all pattern files together.
const SHOWN: usize = 1000;

/// What was found, and what of it is told.
#[derive(Default)]
pub(super) struct Report {
    diagnostics: Vec<Diagnostic>,
    /// Of the file at hand.
    tallies: Vec<Tally>,
}

/// How often one code was found in the file at hand.
struct Tally {
    code: &'static str,
    shown: usize,
    more: usize,
    /// Where the first one stands that is not told.
    first: Option<Origin>,
}

impl Report {
    /// Takes a finding; where it stands and what is cited is asked for only if it is told.
    pub(super) fn add<'a>(
        &mut self,
        finding: Finding,
        origin: impl FnOnce() -> Origin,
        cited: impl FnOnce() -> &'a [u8],
    ) {
        let tally = self.tally(finding.code);
        if tally.shown < SHOWN {
            tally.shown += 1;
            self.diagnostics.push(finding.at(origin(), cited()));
            return;
        }
        tally.more += 1;
        if tally.first.is_none() {
            tally.first = Some(origin());
        }
    }

    /// Counts a finding if it would not be told anyway: whether it need not be made.
    pub(super) fn only_counts(&mut self, code: &'static str) -> bool {
        let tally = self.tally(code);
        let is_enough = tally.first.is_some();
        tally.more += usize::from(is_enough);
        is_enough
    }

    fn tally(&mut self, code: &'static str) -> &mut Tally {
        let index = self.tallies.iter().position(|tally| tally.code == code).unwrap_or_else(|| {
            self.tallies.push(Tally { code, shown: 0, more: 0, first: None });
            self.tallies.len() - 1
        });
        &mut self.tallies[index]
    }

    /// The file at hand is done.
    pub(super) fn end_of_file(&mut self) {
        for Tally { code, more, first, .. } in self.tallies.drain(..) {
            let Some(origin) = first else { continue };
            let message = format!("{more} more like this");
            let finding = Finding::new(code, message, "", "they are counted here and not listed");
            self.diagnostics.push(finding.at(origin, b""));
        }
    }

    /// All of it.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use super::*;

    fn add(report: &mut Report, code: &'static str, line: u32) {
        let origin = || Origin { path: Arc::new(PathBuf::from("t")), line, column: 1, length: 1 };
        report.add(Finding::new(code, "odd".into(), "even", "none"), origin, || b"");
    }

    #[test]
    fn what_is_not_told_is_counted_by_code_and_file() {
        let mut report = Report::default();
        for line in 0..1500 {
            add(&mut report, "W998", line);
        }
        add(&mut report, "E999", 7);
        report.end_of_file();
        add(&mut report, "W998", 1);
        report.end_of_file();
        let told = report.into_diagnostics();
        let more = &told[1001];
        assert_eq!(told.len(), 1000 + 1 + 1 + 1);
        assert_eq!(
            (more.message.as_str(), more.code, more.origin.line),
            ("500 more like this", "W998", 1000)
        );
    }

    #[test]
    fn findings_beyond_the_limit_need_not_be_made() {
        let mut report = Report::default();
        for line in 0..1001 {
            assert!(!report.only_counts("W998"));
            add(&mut report, "W998", line);
        }
        assert!(report.only_counts("W998"));
        report.end_of_file();
        assert_eq!(report.into_diagnostics()[1000].message, "2 more like this");
    }
}
