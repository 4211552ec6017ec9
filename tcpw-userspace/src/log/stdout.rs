//! Lines to a stream: standard output.

use std::io::{self, Write};

use super::{Entry, Sink};

/// A stream that takes each line at once.
#[derive(Debug)]
pub struct StreamSink<W>(W);

impl<W: Write + Send> StreamSink<W> {
    /// Lines to `stream`.
    pub fn new(stream: W) -> Self {
        Self(stream)
    }
}

impl<W: Write + Send> Sink for StreamSink<W> {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.0.write_all(&entry.line())?;
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::line::example;

    #[test]
    fn lines_follow_each_other() {
        let mut sink = StreamSink::new(Vec::new());
        sink.write(&example()).unwrap();
        sink.write(&example()).unwrap();
        assert_eq!(sink.0, example().line().repeat(2));
    }
}
