//! Every destination of the settings, each with a thread of its own.
//!
//! In: batches of records. Out: each in the form of every sink.
//! Invariant: a batch is rendered once for each form that a sink takes, whatever the number of sinks. A sink that
//! fails, or is slow, keeps no other from its lines: each has its queue, its counts and its messages.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Forms, JournalEntry, JsonLine, LineCounts, Log, LogEntry, LogError, LogSink, LogTarget, Writer};

/// A sink that was opened, by the form that it takes.
pub(super) enum Opened {
    /// Lines as libwrap's daemons write them.
    Lines(Box<dyn LogSink<LogEntry>>),
    /// JSON objects.
    Json(Box<dyn LogSink<JsonLine>>),
    /// Entries of the journal.
    Journal(Box<dyn LogSink<JournalEntry>>),
}

/// The thread of a sink, by the form that it takes.
#[derive(Debug)]
enum SinkWriter {
    Lines(Writer<LogEntry>),
    Json(Writer<JsonLine>),
    Journal(Writer<JournalEntry>),
}

/// Calls the same method of a writer, whatever its form.
macro_rules! of_any {
    ($writer:expr, $one:ident => $call:expr) => {
        match $writer {
            SinkWriter::Lines($one) => $call,
            SinkWriter::Json($one) => $call,
            SinkWriter::Journal($one) => $call,
        }
    };
}

/// A sink's name and counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkCounts {
    /// Where it writes to, as the settings name it.
    pub target: String,
    /// Its lines.
    pub lines: LineCounts,
}

/// Every sink.
#[derive(Debug)]
pub struct Sinks {
    /// This host's name.
    host: String,
    writers: Vec<SinkWriter>,
}

impl Sinks {
    /// Opens every destination, and starts its thread.
    ///
    /// # Errors
    /// One of them cannot be opened, or there are too many threads.
    pub fn open(targets: &[LogTarget], host: String) -> Result<Self, LogError> {
        let writers = targets.iter().map(|target| {
            let failed = |source| LogError { target: target.to_string(), source };
            start(target).map_err(failed)
        });
        Ok(Self { host, writers: writers.collect::<Result<_, _>>()? })
    }

    /// Gives records to every sink. What does not fit into the queue of one is counted and reported there.
    pub fn send(&self, records: &[impl Forms]) {
        let written = || records.iter().filter(|it| it.is_written());
        let (mut lines, mut json, mut journal) = (None, None, None);
        for writer in &self.writers {
            match writer {
                SinkWriter::Lines(writer) => {
                    let render = || written().map(|it| it.line(&self.host)).collect::<Arc<[_]>>();
                    writer.send(Arc::clone(lines.get_or_insert_with(render)));
                }
                SinkWriter::Json(writer) => {
                    let render = || written().map(Forms::json).collect::<Arc<[_]>>();
                    writer.send(Arc::clone(json.get_or_insert_with(render)));
                }
                SinkWriter::Journal(writer) => {
                    let render = || written().map(|it| it.journal(&self.host)).collect::<Arc<[_]>>();
                    writer.send(Arc::clone(journal.get_or_insert_with(render)));
                }
            }
        }
    }

    /// Reopens every destination after a rotation (SIGHUP), each once its lines before are written.
    pub fn reopen(&self) {
        self.writers.iter().for_each(|writer| of_any!(writer, it => it.reopen()));
    }

    /// The counts of every sink, in the order of the settings.
    pub fn counts(&self) -> Vec<SinkCounts> {
        let of = |writer: &SinkWriter| of_any!(writer, it => SinkCounts { target: it.target().to_owned(), lines: it.counts() });
        self.writers.iter().map(of).collect()
    }

    /// Ends every thread once its lines are written, all of them within this time; lines that still wait then are lost.
    pub fn close(self, patience: Duration) -> Vec<SinkCounts> {
        let deadline = Instant::now() + patience;
        self.writers.iter().for_each(|writer| of_any!(writer, it => it.end_by(deadline)));
        self.writers.iter().for_each(|writer| of_any!(writer, it => it.wait_for_end(deadline)));
        self.counts()
    }
}

fn start(target: &LogTarget) -> io::Result<SinkWriter> {
    Ok(match target.open()? {
        Opened::Lines(sink) => SinkWriter::Lines(Writer::start(Log::new(target.to_string(), sink))?),
        Opened::Json(sink) => SinkWriter::Json(Writer::start(Log::new(target.to_string(), sink))?),
        Opened::Journal(sink) => SinkWriter::Journal(Writer::start(Log::new(target.to_string(), sink))?),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        sync::mpsc::{Receiver, Sender, channel},
    };

    use super::*;
    use crate::log::{Lost, line::example};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A record that counts how often it is rendered as a line, and as JSON.
    #[derive(Default)]
    struct Rendered(Cell<u32>, Cell<u32>);

    impl Forms for Rendered {
        fn line(&self, _host: &str) -> LogEntry {
            self.0.set(self.0.get() + 1);
            example()
        }

        fn json(&self) -> JsonLine {
            self.1.set(self.1.get() + 1);
            JsonLine::new(b"{}".to_vec())
        }

        fn journal(&self, _host: &str) -> JournalEntry {
            JournalEntry::new(&example(), Vec::new())
        }
    }

    /// A sink in one of three states.
    enum Moody {
        Takes(Sender<usize>),
        Fails,
        Hangs(Receiver<()>),
    }

    impl<E> LogSink<E> for Moody {
        fn write(&mut self, entries: &[E]) -> Result<(), Lost> {
            match self {
                Self::Takes(taken) => taken
                    .send(entries.len())
                    .map_err(|gone| Lost { written: 0, source: io::Error::other(gone) }),
                Self::Fails => Err(Lost { written: 0, source: io::Error::other("full") }),
                Self::Hangs(end) => {
                    let _ = end.recv();
                    Ok(())
                }
            }
        }
    }

    fn lines(name: &str, sink: Moody) -> SinkWriter {
        SinkWriter::Lines(Writer::start(Log::new(name.into(), Box::new(sink))).unwrap())
    }

    #[test]
    fn sink_that_hangs_or_fails_holds_up_no_other_and_each_form_is_rendered_once() {
        let ((taken, lines_taken), (end, hangs), (as_json, json_taken)) = (channel(), channel(), channel());
        let json = Log::new("json".into(), Box::new(Moody::Takes(as_json)));
        let sinks = Sinks {
            host: "gate".into(),
            writers: vec![
                lines("hangs", Moody::Hangs(hangs)),
                lines("fails", Moody::Fails),
                lines("takes", Moody::Takes(taken)),
                SinkWriter::Json(Writer::start(json).unwrap()),
            ],
        };
        let records = [Rendered::default(), Rendered::default()];
        sinks.send(&records);
        assert_eq!(lines_taken.recv_timeout(PATIENCE).unwrap(), 2);
        assert_eq!(json_taken.recv_timeout(PATIENCE).unwrap(), 2);
        for Rendered(as_line, as_json) in &records {
            assert_eq!((as_line.get(), as_json.get()), (1, 1));
        }
        sinks
            .writers
            .iter()
            .skip(1)
            .for_each(|writer| of_any!(writer, it => it.end_by(Instant::now() + PATIENCE)));
        sinks
            .writers
            .iter()
            .skip(1)
            .for_each(|writer| of_any!(writer, it => it.wait_for_end(Instant::now() + PATIENCE)));
        let count = |written, lost, waiting| LineCounts { written, lost, waiting };
        let wanted = [count(0, 0, 2), count(0, 2, 0), count(2, 0, 0), count(2, 0, 0)];
        assert_eq!(sinks.counts().into_iter().map(|sink| sink.lines).collect::<Vec<_>>(), wanted);
        drop(end);
        assert_eq!(sinks.close(PATIENCE)[0].lines, count(2, 0, 0));
    }
}
