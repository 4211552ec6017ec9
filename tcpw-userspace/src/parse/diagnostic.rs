//! What is wrong or odd in the texts, for a person at an editor.
//!
//! In: findings and where they stand. Out: [`Diagnostic`], whose `Display` cites and
//! underlines the line, then says what was expected, a fix, and the consequence.

use std::fmt;

use super::rule::Origin;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Correct, but it hangs on something, or does not act.
    Hint,
    /// It can hardly be what was meant.
    Warning,
    /// libwrap itself rejects it.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One remark on the texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code, such as `W010`; its letter is that of the severity.
    pub code: &'static str,
    /// Where.
    pub origin: Origin,
    /// What, quoting the text.
    pub message: String,
    /// What was expected there.
    pub expected: &'static str,
    /// A text that would do what was probably meant.
    pub fix: Option<String>,
    /// What happens as it stands.
    pub consequence: &'static str,
    /// The physical line, without its newline; empty if there is none.
    pub cited: Box<[u8]>,
}

/// What was found, before it is known where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) expected: &'static str,
    pub(super) fix: Option<String>,
    pub(super) consequence: &'static str,
}

impl Finding {
    /// A finding whose severity is the letter of its code.
    pub(super) fn new(
        code: &'static str,
        message: String,
        expected: &'static str,
        consequence: &'static str,
    ) -> Self {
        let severity = match code.as_bytes().first() {
            Some(b'E') => Severity::Error,
            Some(b'H') => Severity::Hint,
            _ => Severity::Warning,
        };
        Self { severity, code, message, expected, fix: None, consequence }
    }

    /// With what to write.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// At its place.
    pub(super) fn at(self, origin: Origin, cited: &[u8]) -> Diagnostic {
        let Self { severity, code, message, expected, fix, consequence } = self;
        // Nobody reads an over-long line to its end.
        let cited = &cited[..cited.len().min(CITED)];
        Diagnostic { severity, code, origin, message, expected, fix, consequence, cited: cited.into() }
    }
}

/// Bytes of a cited line that are kept: libwrap's line buffer.
const CITED: usize = 2048;

/// Bytes shown before and after an underlined stretch.
const MARGIN: usize = 70;

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { path, line, column, .. } = &self.origin;
        let Self { severity, code, message, expected, consequence, .. } = self;
        write!(out, "{}:{line}:{column}: {severity}: {message} [{code}]", path.display())?;
        self.cite(out)?;
        if !expected.is_empty() {
            write!(out, "\n  expected: {expected}")?;
        }
        if let Some(fix) = &self.fix {
            write!(out, "\n  perhaps: {fix}")?;
        }
        write!(out, "\n  consequence: {consequence}")
    }
}

impl Diagnostic {
    fn cite(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cited.is_empty() {
            return Ok(());
        }
        let start = (self.origin.column as usize - 1).min(self.cited.len());
        let end = (start + self.origin.length as usize).min(self.cited.len()).max(start);
        let (left, first) = if start > MARGIN { ("...", start - MARGIN) } else { ("", 0) };
        let last = self.cited.len().min(end.min(start + MARGIN) + MARGIN);
        let right = if last < self.cited.len() { "..." } else { "" };
        let before = printable(&self.cited[first..start]);
        let marked = printable(&self.cited[start..end.min(last)]);
        let after = printable(&self.cited[end.min(last)..last]);
        write!(out, "\n{left}{before}{marked}{}{right}", after.trim_end())?;
        let blank: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let tildes = "~".repeat(marked.chars().count().saturating_sub(1));
        write!(out, "\n{}{blank}^{tildes}", " ".repeat(left.len()))
    }
}

/// Text for a terminal: tabs stay, other control characters become `?`-like marks.
fn printable(text: &[u8]) -> String {
    let mark = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(text).chars().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use super::*;

    fn shown(column: u32, length: u32, cited: &[u8]) -> String {
        let origin = Origin { path: Arc::new(PathBuf::from("t")), line: 3, column, length };
        let finding = Finding::new("W999", "odd".into(), "even", "none");
        finding.fix("x").at(origin, cited).to_string()
    }

    #[test]
    fn cites_underlines_expects_fixes_and_warns() {
        let want = "t:3:7: warning: odd [W999]\nsshd: 1.2\n      ^~~\n  expected: even\n  perhaps: x\n  \
                    consequence: none";
        assert_eq!(shown(7, 3, b"sshd: 1.2"), want);
    }

    #[test]
    fn underline_follows_tabs_and_characters() {
        let text = shown(5, 1, "\tö x".as_bytes());
        assert!(text.contains("\n\tö x\n\t  ^\n"), "{text}");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = shown(1001, 3, &[b'x'; 2000]);
        assert!(text.lines().all(|line| line.len() < 200), "{text}");
        assert!(text.contains("...xxx"));
    }

    #[test]
    fn place_beyond_the_line_is_harmless() {
        assert!(shown(100, 100, b"ab").contains("ab\n  ^"));
    }
}
