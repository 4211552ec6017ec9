//! Lines to a stream: standard output.

use std::io::Write;

use super::{
    LogSink, Lost,
    chunks::{Chunks, write_all},
    form::AsLine,
};

/// A stream that takes lines at once, many in a write.
#[derive(Debug)]
pub struct StreamSink<W> {
    stream: W,
    chunks: Chunks,
}

impl<W: Write + Send> StreamSink<W> {
    /// Lines to `stream`.
    pub fn new(stream: W) -> Self {
        Self { stream, chunks: Chunks::default() }
    }
}

impl<W: Write + Send, E: AsLine> LogSink<E> for StreamSink<W> {
    fn write(&mut self, entries: &[E]) -> Result<(), Lost> {
        let stream = &mut self.stream;
        self.chunks.each(entries, |lines| {
            write_all(lines, |bytes| stream.write(bytes))?;
            stream.flush().map_err(|error| (lines.len(), error))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::line::example;

    #[test]
    fn lines_follow_each_other() {
        let mut sink = StreamSink::new(Vec::new());
        sink.write(&[example()]).unwrap();
        sink.write(&[example(), example()]).unwrap();
        assert_eq!(sink.stream, example().line().repeat(3));
    }
}
