//! The text of a table, kept for the places and texts of its rules: they are made when something asks.
//!
//! In: offsets. Out: lines, columns, texts. Invariant: the same as the parser saw: a line is joined again by the
//! same lexer.

use std::{borrow::Cow, fmt, path::PathBuf, sync::Arc, sync::OnceLock};

use super::{
    lexer::{Lexer, Line, count},
    line_starts::LineStarts,
    rule::{Origin, Rule},
};

/// A stretch of a rule's joined line, in bytes; a line has at most 2047.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: u16,
    /// How long it is.
    pub length: u16,
}

impl Span {
    pub(super) fn new(start: usize, length: usize) -> Self {
        let short = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
        Self { start: short(start), length: short(length) }
    }
}

/// A table's text and where it was read from.
#[derive(Default)]
pub struct TableText {
    path: Arc<PathBuf>,
    bytes: Option<Arc<[u8]>>,
    /// Made when the first place is asked for.
    starts: OnceLock<LineStarts>,
}

impl TableText {
    /// A text; none if the table cannot be read.
    pub fn new(path: Arc<PathBuf>, bytes: Option<Arc<[u8]>>) -> Self {
        Self { path, bytes, starts: OnceLock::new() }
    }

    /// Where it was read from.
    pub fn path(&self) -> &Arc<PathBuf> {
        &self.path
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }

    /// Whether there is a text: the table exists and can be read.
    pub fn was_read(&self) -> bool {
        self.bytes.is_some()
    }

    /// Whether both were read, and have the same bytes.
    pub(super) fn is_same_text(&self, other: &Self) -> bool {
        self.bytes.is_some() && self.bytes == other.bytes
    }

    fn starts(&self) -> &LineStarts {
        self.starts.get_or_init(|| LineStarts::of(self.bytes()))
    }

    /// The physical line, from 1, of an offset.
    pub(crate) fn line_of(&self, at: usize) -> u32 {
        self.starts().place_of(at).0
    }

    /// Where a physical line, from 1, begins.
    pub(crate) fn line_start(&self, line: u32) -> Option<usize> {
        self.starts().start(line)
    }

    /// The joined line that begins at an offset.
    fn joined(&self, start: usize) -> Option<Line<'_>> {
        Lexer::at(self.bytes(), start, 1).next()
    }
}

impl fmt::Debug for TableText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TableText({}, {} bytes)", self.path.display(), self.bytes().len())
    }
}

impl Rule {
    /// The file it stands in.
    pub fn path(&self) -> &Arc<PathBuf> {
        self.source.path()
    }

    /// Where it begins.
    pub fn origin(&self) -> Origin {
        let length = self.text().len();
        self.place_at(0, length)
    }

    /// Where a stretch of its joined line stands.
    pub fn place(&self, Span { start, length }: Span) -> Origin {
        self.place_at(start.into(), length.into())
    }

    /// The physical line, from 1, where it begins.
    pub fn line(&self) -> u32 {
        let start = self.start as usize;
        let first = self.source.bytes().get(start..).unwrap_or_default();
        // A line that is nothing but a backslash, or that a NUL ends before its first byte, is no part of it.
        if first.starts_with(b"\\\n") || first.starts_with(b"\0") {
            self.origin().line
        } else {
            self.source.line_of(start)
        }
    }

    /// The joined line, without its newline.
    pub fn text(&self) -> Cow<'_, [u8]> {
        match self.source.joined(self.start as usize).map(|line| line.bytes) {
            None => Cow::default(),
            Some(Cow::Borrowed(text)) => Cow::Borrowed(text.strip_suffix(b"\n").unwrap_or(text)),
            Some(Cow::Owned(mut text)) => {
                text.pop_if(|last| *last == b'\n');
                Cow::Owned(text)
            }
        }
    }

    fn place_at(&self, start: usize, length: usize) -> Origin {
        let path = self.source.path();
        let none = || Origin { path: Arc::clone(path), line: 1, column: 1, length: 1 };
        let Some(line) = self.source.joined(self.start as usize) else { return none() };
        let origin = line.origin(path, start, length);
        let before = self.source.line_of(self.start as usize) - 1;
        Origin { line: before.saturating_add(origin.line), ..origin }
    }
}

/// Two rules are equal if they say the same at the same place.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
            && self.daemons == other.daemons
            && self.clients == other.clients
            && self.options == other.options
            && self.text() == other.text()
            && self.origin() == other.origin()
    }
}

impl Eq for Rule {}

/// An offset in a text: no text that is read has 4 GiB.
pub(super) fn offset(at: usize) -> u32 {
    count(at)
}
