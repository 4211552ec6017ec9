//! Bytes to joined lines, with a map back to the physical ones.
//!
//! In: the text of a table. Out: its lines as libwrap's `xgets` reads them.
//! Invariant: the same buffer, the same calls of fgets(3): what it cuts, we cut.
//! Source: tcp_wrappers 7.6.q `misc.c` `xgets`, `hosts_access.c` `table_match`.

use std::{borrow::Cow, ops::Range, path::PathBuf, sync::Arc};

use super::rule::Origin;

/// libwrap's line buffer; a line with its newline has one byte less.
const BUFFER: usize = 2048;

/// A text and where it was read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// Path.
    pub(super) path: &'a Arc<PathBuf>,
    /// Bytes.
    pub(super) text: &'a [u8],
}

impl<'a> Source<'a> {
    /// The physical line that begins at an offset, without its newline.
    pub(super) fn line_at(&self, start: usize) -> &'a [u8] {
        let rest = self.text.get(start..).unwrap_or_default();
        rest.split(|byte| *byte == b'\n').next().unwrap_or_default()
    }
}

/// A stretch of a joined line that stands on one physical line.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Offset in the joined line.
    joined: usize,
    /// Offset in the text.
    text: usize,
    /// Physical line, from 1.
    line: u32,
    /// Offset in the text where that line begins.
    line_start: usize,
}

/// A joined line.
pub(crate) struct Line<'a> {
    /// Its bytes; with the newline unless it is broken.
    pub(crate) bytes: Cow<'a, [u8]>,
    /// What of the text it was read from.
    pub(crate) span: Range<usize>,
    /// libwrap's line number: newlines seen so far.
    pub(crate) number: u32,
    /// The line is too long, or the last one without a newline.
    pub(crate) broken: bool,
    /// The first NUL byte, if any: it swallowed the rest of its physical line.
    nul: Option<Segment>,
    first: Segment,
    more: Vec<Segment>,
}

impl Line<'_> {
    /// Where a stretch of the joined line stands in its file.
    pub(super) fn origin(&self, path: &Arc<PathBuf>, start: usize, length: usize) -> Origin {
        let segment = self.segment(start);
        let next = self.more.get(self.more.partition_point(|segment| segment.joined <= start));
        let length = next.map_or(length, |next| length.min(next.joined - start));
        Origin {
            path: Arc::clone(path),
            line: segment.line,
            column: count(segment.text - segment.line_start + (start - segment.joined) + 1),
            length: count(length.max(1)),
        }
    }

    /// Offset in the text of the physical line where `start` stands.
    pub(super) fn physical_start(&self, start: usize) -> usize {
        self.segment(start).line_start
    }

    /// Origin of the first NUL byte, and where its physical line begins.
    pub(super) fn nul(&self, path: &Arc<PathBuf>) -> Option<(Origin, usize)> {
        let Segment { text, line, line_start, .. } = self.nul?;
        let column = count(text - line_start + 1);
        Some((Origin { path: Arc::clone(path), line, column, length: 1 }, line_start))
    }

    /// The physical line where it begins, from 1.
    pub(crate) fn first_line(&self) -> u32 {
        self.first.line
    }

    /// Whether a NUL byte swallowed part of it.
    pub(crate) fn has_nul(&self) -> bool {
        self.nul.is_some()
    }

    /// Whether the buffer was full before the line ended.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= BUFFER - 1
    }

    /// Where in the joined line each continuation begins.
    pub(crate) fn joins(&self) -> impl Iterator<Item = usize> {
        self.more.iter().map(|segment| segment.joined)
    }

    fn segment(&self, start: usize) -> &Segment {
        let index = self.more.partition_point(|segment| segment.joined <= start);
        index.checked_sub(1).and_then(|index| self.more.get(index)).unwrap_or(&self.first)
    }
}

/// The joined lines of a text.
#[derive(Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    number: u32,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self::at(text, 0, 1)
    }

    /// From an offset on, where the physical line of this number begins.
    pub(super) fn at(text: &'a [u8], at: usize, line: u32) -> Self {
        Self { text, at: at.min(text.len()), number: 0, line, line_start: at }
    }

    /// What is left of the text.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes past a physical line of this length, newline included, that is a line by itself; where it began, and
    /// libwrap's number of it.
    pub(crate) fn pass(&mut self, length: usize) -> (usize, u32) {
        let start = self.at;
        self.at = (start + length).min(self.text.len());
        self.number += 1;
        self.line += 1;
        self.line_start = self.at;
        (start, self.number)
    }

    /// What one call of fgets(3) reads into `room` bytes.
    fn gets(&mut self, room: usize) -> (&'a [u8], Segment) {
        let rest = &self.text[self.at..];
        let window = &rest[..rest.len().min(room)];
        let length = window.iter().position(|byte| *byte == b'\n').map_or(window.len(), |at| at + 1);
        let start = Segment { joined: 0, text: self.at, line: self.line, line_start: self.line_start };
        self.at += length;
        if window[..length].ends_with(b"\n") {
            self.line += 1;
            self.line_start = self.at;
        }
        (&window[..length], start)
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let mut bytes: Cow<'a, [u8]> = Cow::Borrowed(&[]);
        let mut segments: Option<(Segment, Vec<Segment>)> = None;
        let mut first_nul = None;
        let mut broken = true;
        while bytes.len() < BUFFER - 1 {
            let (chunk, mut segment) = self.gets(BUFFER - 1 - bytes.len());
            if chunk.is_empty() {
                break;
            }
            let mut visible = chunk;
            // C strings end at a NUL: strlen(3) does not see the newline behind it.
            if let Some(nul) = chunk.iter().position(|byte| *byte == 0) {
                first_nul.get_or_insert(Segment { text: segment.text + nul, ..segment });
                visible = &chunk[..nul];
            }
            let ends = visible.ends_with(b"\n");
            let continues = visible.ends_with(b"\\\n");
            self.number += u32::from(ends);
            if continues {
                visible = &visible[..visible.len() - 2];
            }
            segment.joined = bytes.len();
            match &mut segments {
                None => segments = Some((segment, Vec::new())),
                Some((_, more)) if !visible.is_empty() => more.push(segment),
                Some(_) => {}
            }
            if bytes.is_empty() {
                bytes = Cow::Borrowed(visible);
            } else {
                bytes.to_mut().extend_from_slice(visible);
            }
            if ends && !continues {
                broken = false;
                break;
            }
        }
        let (first, more) = segments?;
        // Nothing but continuations before the end is no line; a NUL is kept to be reported.
        if bytes.is_empty() && first_nul.is_none() {
            return None;
        }
        let broken = broken && !bytes.is_empty();
        let span = first.text..self.at;
        Some(Line { bytes, span, number: self.number, broken, nul: first_nul, first, more })
    }
}

/// A count as messages show it.
pub(crate) fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(Vec<u8>, u32, bool)> {
        Lexer::new(text).map(|line| (line.bytes.into_owned(), line.number, line.broken)).collect()
    }

    macro_rules! joins {
        ($($name:ident: $text:expr => [$($line:expr),*];)*) => { $(#[test] fn $name() {
            let want: Vec<(&[u8], u32, bool)> = vec![$($line),*];
            let want: Vec<_> = want.into_iter().map(|(bytes, n, b)| (bytes.to_vec(), n, b)).collect();
            assert_eq!(lines($text), want);
        })* };
    }

    joins! {
        one_line: b"a\n" => [(b"a\n", 1, false)];
        continuation_inserts_nothing: b"1.2.\\\n3.4\n" => [(b"1.2.3.4\n", 2, false)];
        parity_of_backslashes_is_not_considered: b"a\\\\\nb\n" => [(b"a\\b\n", 2, false)];
        carriage_return_does_not_continue: b"a\\\r\nb\n" => [(b"a\\\r\n", 1, false), (b"b\n", 2, false)];
        missing_newline: b"a\nb" => [(b"a\n", 1, false), (b"b", 1, true)];
        ends_in_continuation: b"a\\\n" => [(b"a", 1, true)];
        lone_continuation_is_no_line: b"\\\n" => [];
        nul_glues: b"a\0b\nc\n" => [(b"ac\n", 1, false)];
    }

    #[test]
    fn lines_have_at_most_2047_bytes_with_their_newline() {
        let line = |length: usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
        assert!(!Lexer::new(&line(2047)).next().unwrap().broken);
        assert!(Lexer::new(&line(2048)).next().unwrap().broken);
    }

    #[test]
    fn origin_is_physical() {
        let path = Arc::new(PathBuf::from("t"));
        let line = Lexer::new(b"ab\\\n cd\n").next().unwrap();
        let origin = line.origin(&path, 3, 2);
        assert_eq!((origin.line, origin.column, origin.length), (2, 2, 2));
        let across = line.origin(&path, 1, 3);
        assert_eq!((across.line, across.column, across.length), (1, 2, 1));
    }
}
