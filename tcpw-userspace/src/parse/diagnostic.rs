//! What is wrong or odd in the texts, for a person at an editor.
//!
//! In: findings and where they stand. Out: [`Diagnostic`], whose `Display` says what is wrong, cites and
//! underlines the line, shows a fix and says what follows: five lines at most.
//! Invariant: a text of any size gives a bounded number of bounded diagnostics per code;
//! what is left out is counted.

mod render;
mod sink;

use std::{borrow::Cow, fmt};

pub use render::Styles;
pub(crate) use sink::Sink;

use super::{code::Code, rule::Origin};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Correct, but it depends on something, or does not act.
    Hint,
    /// It can hardly be what was meant.
    Warning,
    /// libwrap itself rejects it.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
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
    /// What was expected there; may be empty.
    pub expected: Cow<'static, str>,
    /// What to do about it.
    pub fix: Option<Fix>,
    /// What happens as it stands.
    pub consequence: Cow<'static, str>,
    /// The physical line without its newline, or of a very long one the part around the place; empty if
    /// there is none.
    pub cited: Box<[u8]>,
    /// Bytes of the line before `cited`.
    pub cited_from: u32,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
    /// How many more places of this file have the same code: one cause is one finding.
    pub more: usize,
    /// The first of those places.
    pub places: Vec<Further>,
}

/// One more place of the same cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Further {
    /// Where.
    pub origin: Origin,
    /// The rule that makes this one needless, if that is what the finding is about.
    pub by: Option<Origin>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// A text to put in place of the underlined one.
    Replace(String),
    /// Words.
    Advice(Cow<'static, str>),
}

/// Another place that has to do with a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub origin: Origin,
    /// What it has to do with it.
    pub note: String,
}

/// What was found, before it is known where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) message: String,
    expected: Cow<'static, str>,
    pub(crate) fix: Option<Fix>,
    consequence: Cow<'static, str>,
    related: Vec<Related>,
}

impl Finding {
    /// A finding: code, what, what was expected, what follows from it.
    pub(crate) fn new(
        code: Code,
        message: impl Into<String>,
        expected: impl Into<Cow<'static, str>>,
        consequence: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            expected: expected.into(),
            fix: None,
            consequence: consequence.into(),
            related: Vec::new(),
        }
    }

    /// With a text for the underlined place, unless it is no text.
    pub(crate) fn replace(mut self, with: impl AsRef<[u8]>) -> Self {
        let text = std::str::from_utf8(with.as_ref()).ok();
        self.fix = text.map(|text| Fix::Replace(text.to_owned()));
        self
    }

    /// What happens as it stands.
    pub(crate) fn consequence(&self) -> &str {
        &self.consequence
    }

    /// With another consequence.
    pub(crate) fn follows(self, consequence: impl Into<Cow<'static, str>>) -> Self {
        Self { consequence: consequence.into(), ..self }
    }

    /// Without a fix.
    pub(crate) fn without_fix(mut self) -> Self {
        self.fix = None;
        self
    }

    /// Its replacement is for a part of the underlined text, between these two.
    pub(crate) fn within(mut self, before: &[u8], behind: &[u8]) -> Self {
        match self.fix.take() {
            Some(Fix::Replace(part)) => self.replace([before, part.as_bytes(), behind].concat()),
            other => Self { fix: other, ..self },
        }
    }

    /// With words on what to do.
    pub(crate) fn advise(mut self, words: impl Into<Cow<'static, str>>) -> Self {
        self.fix = Some(Fix::Advice(words.into()));
        self
    }

    /// With another place.
    pub(crate) fn relate(mut self, origin: Origin, note: impl Into<String>) -> Self {
        self.related.push(Related { origin, note: note.into() });
        self
    }

    /// At its place; `line` is the physical line.
    pub(crate) fn at(self, origin: Origin, line: &[u8]) -> Diagnostic {
        let Self { code, message, expected, fix, consequence, related } = self;
        let start = (origin.column as usize - 1).min(line.len());
        let (first, last) = if line.len() <= WHOLE {
            (0, line.len())
        } else {
            (start.saturating_sub(AROUND), line.len().min(start + AROUND))
        };
        Diagnostic {
            severity: code.severity(),
            code: code.as_str(),
            origin,
            message,
            expected,
            fix,
            consequence,
            cited: line[first..last].into(),
            cited_from: super::lexer::count(first),
            related,
            more: 0,
            places: Vec::new(),
        }
    }
}

/// Longest line that is cited whole: libwrap's line buffer.
const WHOLE: usize = 2048;

/// Bytes cited before and after the place in a longer line.
const AROUND: usize = 200;
