//! What a machine says, read line by line: libtest's output between the marks of init.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::suites::Run;
use crate::command::say;

/// Lines of a failed test program that are shown.
const TAIL: usize = 400;

const MARK: &str = "tcpw-vm: ";

/// The tests of one machine.
pub(crate) struct Report {
    series: &'static str,
    release: String,
    /// Test programs that have not ended.
    missing: Vec<String>,
    running: Option<(String, Instant)>,
    /// What the running one said beside its tests' lines.
    said: Vec<String>,
    passed: usize,
    failed: Vec<String>,
    broken: Vec<String>,
    pub(crate) took: Duration,
}

impl Report {
    pub(crate) fn new(series: &'static str, release: &str, runs: &[Run]) -> Self {
        Self {
            series,
            release: release.into(),
            missing: runs.iter().map(|run| run.test.clone()).collect(),
            running: None,
            said: Vec::new(),
            passed: 0,
            failed: Vec::new(),
            broken: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// Takes a line; whether it was the last.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        if let Some(mark) = line.strip_prefix(MARK) {
            return self.mark(mark);
        }
        let program = self.running.as_ref().map(|(program, _)| program.clone()).unwrap_or_default();
        match result(line) {
            Some((test, "ok")) => {
                self.passed += 1;
                say(format_args!("{}: {program}: {test} ... ok", self.series));
            }
            Some((test, other)) => {
                say(format_args!("{}: {program}: {test} ... {other}", self.series));
                if other == "FAILED" {
                    self.failed.push(format!("{program}::{test}"));
                } else {
                    self.broken(format!("{program}::{test}: {other}"));
                }
            }
            None => self.said.push(line.to_owned()),
        }
        false
    }

    fn mark(&mut self, mark: &str) -> bool {
        let words: Vec<&str> = mark.split(' ').collect();
        match words[..] {
            ["begin", program] => {
                self.running = Some((program.to_owned(), Instant::now()));
                self.said.clear();
            }
            ["end", program, status] => {
                if let Some((_, began)) = self.running.take() {
                    say(format_args!("{}: {program}: {:.0} s", self.series, began.elapsed().as_secs_f64()));
                }
                self.missing.retain(|missing| missing != program);
                if status != "0" {
                    self.broken(format!("{program} ended with {status}"));
                    let from = self.said.len().saturating_sub(TAIL);
                    for line in &self.said[from..] {
                        say(format_args!("{}: {program}: {line}", self.series));
                    }
                }
            }
            ["done"] => return true,
            ["broken:", ..] => self.broken(mark.to_owned()),
            _ => say(format_args!("{}: {mark}", self.series)),
        }
        false
    }

    /// Something beside a test went wrong.
    pub(crate) fn broken(&mut self, what: String) {
        self.broken.push(what);
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Why the machine's run failed; `None` if it did not.
    pub(crate) fn failure(&self) -> Option<String> {
        let mut reasons = self.broken.clone();
        if !self.missing.is_empty() {
            reasons.push(format!("without an end: {}", self.missing.join(", ")));
        }
        if !self.failed.is_empty() {
            reasons.push(format!("failed: {}", self.failed.join(", ")));
        }
        if self.passed == 0 {
            reasons.push("no test passed".into());
        }
        (!reasons.is_empty()).then(|| format!("{}: {}", self.series, reasons.join(", ")))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: {}: {} tests passed, {} failed, {:.0} s",
            self.series,
            self.release,
            self.passed,
            self.failed.len(),
            self.took.as_secs_f64()
        )
    }
}

/// Name and result of a line `test NAME ... RESULT`.
fn result(line: &str) -> Option<(&str, &str)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name, result.split(',').next().unwrap_or(result)))
}

#[cfg(test)]
mod tests {
    use super::{Report, Run};

    fn after(lines: &[&str]) -> Report {
        let runs = [Run { test: "gate".into(), arguments: Vec::new() }];
        let mut report = Report::new("6.1", "6.1.0", &runs);
        for line in lines {
            report.line(line);
        }
        report
    }

    #[test]
    fn run_that_passes_has_no_failure() {
        let report = after(&["tcpw-vm: begin gate", "test a ... ok", "tcpw-vm: end gate 0", "tcpw-vm: done"]);
        assert_eq!(report.failure(), None);
    }

    #[test]
    fn whatever_goes_wrong_is_a_failure() {
        for lines in [
            &["tcpw-vm: begin gate", "test a ... FAILED", "tcpw-vm: end gate 101"][..],
            &["tcpw-vm: begin gate", "test a ... ok", "tcpw-vm: end gate 139"],
            &["tcpw-vm: begin gate", "test a ... ok"],
            &["tcpw-vm: begin gate", "test a ... ignored, why", "tcpw-vm: end gate 0"],
            &["tcpw-vm: begin gate", "tcpw-vm: end gate 0"],
            &["tcpw-vm: broken: insmod veth", "tcpw-vm: begin gate", "test a ... ok", "tcpw-vm: end gate 0"],
        ] {
            assert!(after(lines).failure().is_some(), "{lines:?}");
        }
    }
}
