//! Lines in chunks: as many whole lines as one write may take.
//!
//! Invariant: a chunk is no longer than a pipe takes as a whole, unless it is one line: lines of other
//! processes that write to the same pipe do not come between its bytes. Source: pipe(7), `PIPE_BUF`.

use std::io;

use super::{Lost, form::AsLine, line::Renderer};

/// Most bytes of a chunk.
const CHUNK: usize = libc::PIPE_BUF;

/// Renders lines chunk by chunk.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    renderer: Renderer,
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

/// An error, and how many bytes of the chunk were written before it.
pub(super) type Failed = (usize, io::Error);

impl Chunks {
    /// Passes every chunk to `write`, up to the first error.
    pub(super) fn each(
        &mut self,
        entries: &[impl AsLine],
        mut write: impl FnMut(&[u8]) -> Result<(), Failed>,
    ) -> Result<(), Lost> {
        let Self { renderer, bytes, ends } = self;
        let mut written = 0;
        let mut pass = |bytes: &mut Vec<u8>, ends: &mut Vec<usize>| {
            let end = ends.last().copied().unwrap_or(0);
            if end > 0 {
                write(&bytes[..end]).map_err(|(taken, source)| {
                    let whole = ends.iter().filter(|end| **end <= taken).count();
                    Lost { written: written + whole, source }
                })?;
            }
            written += ends.len();
            bytes.drain(..end);
            ends.clear();
            Ok(())
        };
        bytes.clear();
        ends.clear();
        for entry in entries {
            entry.push_line(renderer, bytes);
            if bytes.len() > CHUNK {
                pass(bytes, ends)?;
            }
            ends.push(bytes.len());
        }
        pass(bytes, ends)
    }
}

/// Writes a chunk to its end.
pub(super) fn write_all(
    bytes: &[u8],
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
) -> Result<(), Failed> {
    let mut taken = 0;
    while taken < bytes.len() {
        match write(&bytes[taken..]) {
            Ok(0) => return Err((taken, io::ErrorKind::WriteZero.into())),
            Ok(length) => taken += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((taken, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogEntry, line::example};

    #[test]
    fn chunks_are_whole_lines_that_a_pipe_takes() {
        let long = LogEntry { message: "x".repeat(2 * CHUNK), ..example() };
        let entries: Vec<LogEntry> = (0..200)
            .map(|pid| if pid % 50 == 7 { long.clone() } else { LogEntry { pid, ..example() } })
            .collect();
        let (mut chunks, mut text) = (0, Vec::new());
        let done = Chunks::default().each(&entries, |lines| {
            let count = lines.iter().filter(|byte| **byte == b'\n').count();
            assert!(lines.ends_with(b"\n") && (lines.len() <= CHUNK || count == 1));
            text.extend_from_slice(lines);
            chunks += 1;
            Ok(())
        });
        assert!(done.is_ok() && (8..20).contains(&chunks), "{chunks}");
        assert_eq!(text, entries.iter().flat_map(LogEntry::line).collect::<Vec<u8>>());
    }

    #[test]
    fn error_tells_how_many_lines_were_written_whole() {
        let length = example().line().len();
        let entries: Vec<LogEntry> = (0..500).map(|_| example()).collect();
        let in_chunk = CHUNK / length;
        let mut calls = 0;
        let lost = Chunks::default().each(&entries, |_| {
            calls += 1;
            if calls < 3 { Ok(()) } else { Err((3 * length + 1, io::Error::other("full"))) }
        });
        assert_eq!(lost.unwrap_err().written, 2 * in_chunk + 3);
    }
}
