//! Entries to lines; one file per sink.
//!
//! In: batches of records, in the forms that sinks take. Out: their bytes, written to every place that `--log` names,
//! each by the thread of a [`Writer`].
//! Invariant: lines that could not be written are counted; a failure is reported once when it begins
//! and once when it ends. No sink except stdout can make its caller wait, and none makes the caller of the
//! writer wait.

mod chunks;
mod datagrams;
mod file;
mod form;
mod journald;
pub mod line;
mod printable;
pub mod priority;
mod sinks;
mod stdout;
mod syslog;
mod target;
mod time;
mod writer;

use std::io;

pub use file::FileSink;
pub use form::{Forms, JsonLine};
pub use journald::JournalEntry;
pub use line::{LogEntry, host_name};
pub use printable::printable;
pub use sinks::{SinkCounts, Sinks};
pub use stdout::StreamSink;
pub use target::{LogTarget, LogTargetError};
pub use time::{rfc3339, time_of_day};
pub use writer::Writer;

/// A destination of records in one form.
pub trait LogSink<E>: Send {
    /// Writes lines, or keeps them to write them in [`LogSink::flush`].
    ///
    /// # Errors
    /// Some lines are lost, and why.
    fn write(&mut self, entries: &[E]) -> Result<(), Lost>;

    /// Writes lines that an earlier call could not write.
    ///
    /// # Errors
    /// Lines still wait, and why.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Lines that wait to be written.
    fn waiting(&self) -> usize {
        0
    }

    /// Lines it had taken and could not write after all, since the start.
    fn dropped(&self) -> u64 {
        0
    }

    /// Reopens the destination after a rotation (SIGHUP).
    ///
    /// # Errors
    /// It cannot be opened; the one open before stays in use.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first lines of a batch were written, the others are lost.
#[derive(Debug)]
pub struct Lost {
    /// How many were written.
    pub written: usize,
    /// Why the others were not.
    pub source: io::Error,
}

/// A line that was lost, and where it should have gone.
#[derive(Debug, thiserror::Error)]
#[error("{target}: {source}: the line is lost")]
pub struct LogError {
    /// The destination.
    pub target: String,
    /// Why.
    pub source: io::Error,
}

/// How many lines were written and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Lines the sink took.
    pub written: u64,
    /// Lines it could not take.
    pub lost: u64,
    /// Lines that wait to be written, now.
    pub waiting: u64,
}

/// A sink and its counts.
pub struct Log<E> {
    target: String,
    sink: Box<dyn LogSink<E>>,
    counts: LineCounts,
    /// Value of `counts.lost` when the present failure began.
    failing_since: Option<u64>,
    /// Whether it was reported that lines wait.
    is_stuck: bool,
}

impl<E> Log<E> {
    /// Lines to `sink`, which `target` names in messages.
    pub fn new(target: String, sink: Box<dyn LogSink<E>>) -> Self {
        Self { target, sink, counts: LineCounts::default(), failing_since: None, is_stuck: false }
    }

    /// Writes lines. A failure is counted and reported here; the caller may ignore it.
    ///
    /// # Errors
    /// Some lines are lost.
    pub fn write(&mut self, entries: &[E]) -> Result<(), LogError> {
        let result = self.sink.write(entries);
        let written = result.as_ref().map_or_else(|lost| lost.written, |()| entries.len());
        self.counts.written += written as u64;
        // A disk with room for some lines of a batch is still full.
        if result.is_ok()
            && written > 0
            && let Some(before) = self.failing_since.take()
        {
            let lost = self.counts.lost - before;
            log::warn!("{}: writes again; lines lost: {lost}", self.target);
        }
        let Err(Lost { source, .. }) = result else { return Ok(()) };
        let error = LogError { target: self.target.clone(), source };
        if self.failing_since.is_none() {
            self.failing_since = Some(self.counts.lost);
            log::error!("{error}, and so are the next ones; they are counted");
        }
        self.counts.lost += (entries.len() - written) as u64;
        Err(error)
    }

    /// Writes waiting lines. To be called from time to time; cheap if none waits.
    ///
    /// # Errors
    /// Lines still wait, and why.
    pub fn flush(&mut self) -> io::Result<()> {
        let before = self.sink.dropped();
        let result = self.sink.flush();
        if self.sink.dropped() > before {
            log::error!(
                "{}: {} lines are too long for it, and lost",
                self.target,
                self.sink.dropped() - before
            );
        }
        match &result {
            Ok(()) => self.is_stuck = false,
            // Busy for a moment.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if !self.is_stuck => {
                self.is_stuck = true;
                log::warn!("{}: {error}: lines wait for it", self.target);
            }
            Err(_) => {}
        }
        result
    }

    /// Reopens the destination after a rotation (SIGHUP).
    ///
    /// # Errors
    /// It cannot be opened; the one open before stays in use.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.sink.reopen()
    }

    /// The destination.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Lines written, lost and waiting.
    pub fn counts(&self) -> LineCounts {
        let (waiting, dropped) = (self.sink.waiting() as u64, self.sink.dropped());
        // A sink has taken them, and has not written them.
        let written = self.counts.written.saturating_sub(waiting + dropped);
        LineCounts { written, lost: self.counts.lost + dropped, waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many lines of each batch.
    struct Moody(Vec<usize>);

    impl LogSink<LogEntry> for Moody {
        fn write(&mut self, entries: &[LogEntry]) -> Result<(), Lost> {
            let written = self.0.remove(0);
            if written >= entries.len() {
                Ok(())
            } else {
                Err(Lost { written, source: io::Error::other("full") })
            }
        }
    }

    #[test]
    fn written_and_lost_lines_are_counted() {
        let moods = vec![1, 0, 0, 1];
        let mut log = Log::new("syslog".into(), Box::new(Moody(moods)));
        let entry = line::example();
        let results: Vec<bool> = (0..4).map(|_| log.write(std::slice::from_ref(&entry)).is_ok()).collect();
        assert_eq!(results, [true, false, false, true]);
        assert_eq!(log.counts(), LineCounts { written: 2, lost: 2, waiting: 0 });
    }

    #[test]
    fn batch_may_be_written_in_part() {
        let mut log = Log::new("syslog".into(), Box::new(Moody(vec![2, 3])));
        let entries = [(); 3].map(|()| line::example());
        assert!(log.write(&entries).is_err());
        assert_eq!(log.counts(), LineCounts { written: 2, lost: 1, waiting: 0 });
        assert!(log.write(&entries).is_ok());
        assert_eq!(log.counts(), LineCounts { written: 5, lost: 1, waiting: 0 });
    }

    #[test]
    fn error_says_where_and_what() {
        let mut log = Log::new("syslog".into(), Box::new(Moody(vec![0])));
        let error = log.write(&[line::example()]).unwrap_err();
        assert_eq!(error.to_string(), "syslog: full: the line is lost");
    }
}
