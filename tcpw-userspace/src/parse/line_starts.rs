//! Where the physical lines of a text begin.
//!
//! In: a text, once. Out: a line by its number, the line of an offset: a binary search.

/// Offsets of the lines of one text, in order.
#[derive(Clone, Debug)]
pub(crate) struct LineStarts(Vec<u32>);

impl LineStarts {
    /// Goes through the text once.
    pub(crate) fn of(text: &[u8]) -> Self {
        let behind = memchr::memchr_iter(b'\n', text).filter_map(|at| u32::try_from(at + 1).ok());
        Self(std::iter::once(0).chain(behind).collect())
    }

    /// Where a line begins, from 1; `None` if there is no such line.
    pub(crate) fn start(&self, line: u32) -> Option<usize> {
        self.0.get(usize::try_from(line).ok()?.checked_sub(1)?).map(|start| *start as usize)
    }

    /// A line of the text, from 1, without its newline; nothing if there is no such line.
    pub(crate) fn line<'a>(&self, text: &'a [u8], line: u32) -> &'a [u8] {
        let Some(start) = self.start(line) else { return &[] };
        let end = self.start(line.saturating_add(1)).map_or(text.len(), |next| next - 1);
        text.get(start..end).unwrap_or_default()
    }

    /// The line of an offset, from 1, and where it begins.
    pub(crate) fn place_of(&self, at: usize) -> (u32, usize) {
        let line = self.0.partition_point(|start| *start as usize <= at).max(1);
        let start = self.0.get(line - 1).map_or(0, |start| *start as usize);
        (super::lexer::count(line), start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_between_newlines() {
        for text in [&b""[..], b"\n", b"a", b"a\n", b"a\n\nbc", b"\n\nx\ny\n"] {
            let starts = LineStarts::of(text);
            for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
                assert_eq!(starts.line(text, number), line, "{number} of {text:?}");
            }
            let count = text.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert_eq!(starts.line(text, u32::try_from(count).unwrap() + 1), b"");
            assert_eq!(starts.line(text, 0), b"");
            for at in 0..=text.len() {
                let before = &text[..at];
                let newlines = before.iter().filter(|byte| **byte == b'\n').count();
                let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                assert_eq!(
                    starts.place_of(at),
                    (u32::try_from(newlines + 1).unwrap(), start),
                    "{at} of {text:?}"
                );
            }
        }
    }
}
