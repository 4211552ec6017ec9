//! The thread that writes lines, and the queue before it.
//!
//! In: batches of entries, from callers that must not wait. Out: their lines, through a [`Log`].
//! Invariant: [`Writer::send`] never waits for a destination. The queue is bounded; lines that do not fit are
//! lost and counted, and that is reported once when it begins and once when it ends.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{LineCounts, Log};

/// Most lines in the queue: those of half a second in a flood.
const MAX_QUEUED: usize = 1 << 16;

/// How long after a failure the destination is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Writes lines in a thread of its own, which ends when this is dropped.
#[derive(Debug)]
pub struct Writer<E>(Arc<Shared<E>>);

impl<E: Send + Sync + 'static> Writer<E> {
    /// Starts the thread.
    ///
    /// # Errors
    /// There are too many threads.
    pub fn start(log: Log<E>) -> io::Result<Self> {
        Self::start_with(log, MAX_QUEUED)
    }

    fn start_with(log: Log<E>, most: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(log.target().to_owned(), most));
        let own = Arc::clone(&shared);
        thread::Builder::new().name("log".into()).spawn(move || own.run(log))?;
        Ok(Self(shared))
    }

    /// Queues lines; of those that do not fit, the last are lost. Returns how many.
    pub fn send(&self, entries: impl Into<Arc<[E]>>) -> usize {
        let entries = entries.into();
        if entries.is_empty() {
            return 0;
        }
        let mut queue = self.0.queue();
        let taken = entries.len().min(self.0.most.saturating_sub(queue.lines));
        let lost = entries.len() - taken;
        queue.lines += taken;
        queue.lost += lost as u64;
        self.0.lost.fetch_add(lost as u64, Ordering::Relaxed);
        let end_of_loss =
            if lost == 0 { queue.losing_since.take().map(|before| queue.lost - before) } else { None };
        let begins_to_lose = lost > 0 && queue.losing_since.is_none();
        if begins_to_lose {
            queue.losing_since = Some(queue.lost - lost as u64);
        }
        if taken > 0 {
            queue.items.push_back(Item::Lines(entries, taken));
        }
        drop(queue);
        self.0.work.notify_all();
        if begins_to_lose {
            log::error!("{}: too slow: lines are lost; they are counted", self.0.target);
        }
        if let Some(lost) = end_of_loss {
            log::warn!("{}: keeps up again; lines lost: {lost}", self.0.target);
        }
        lost
    }

    /// Reopens the destination after a rotation (SIGHUP), once the lines before are written.
    pub fn reopen(&self) {
        self.0.queue().items.push_back(Item::Reopen);
        self.0.work.notify_all();
    }

    /// Lines written, lost and waiting.
    pub fn counts(&self) -> LineCounts {
        let Shared { written, lost, lost_by_sink, waiting, .. } = &*self.0;
        let queued = self.0.queue().lines as u64;
        LineCounts {
            written: written.load(Ordering::Relaxed),
            lost: lost.load(Ordering::Relaxed) + lost_by_sink.load(Ordering::Relaxed),
            waiting: waiting.load(Ordering::Relaxed) + queued,
        }
    }

    /// Ends the thread once every line is written, or after this time; lines that still wait then are lost.
    pub fn close(self, patience: Duration) -> LineCounts {
        let deadline = Instant::now() + patience;
        self.end_by(deadline);
        self.wait_for_end(deadline);
        self.counts()
    }

    /// The thread ends once every line is written, or at this time.
    pub(super) fn end_by(&self, deadline: Instant) {
        self.0.queue().ends_by = Some(deadline);
        self.0.work.notify_all();
    }

    /// Waits until the thread has ended, or until this time.
    pub(super) fn wait_for_end(&self, deadline: Instant) {
        let mut queue = self.0.queue();
        while !queue.is_done
            && let Some(rest) = deadline.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
        {
            queue = self.0.done.wait_timeout(queue, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Where the lines go, as the settings name it.
    pub(super) fn target(&self) -> &str {
        &self.0.target
    }
}

impl<E> Drop for Writer<E> {
    fn drop(&mut self) {
        self.0.queue().ends_by.get_or_insert_with(Instant::now);
        self.0.work.notify_all();
    }
}

/// What the thread and its callers share.
#[derive(Debug)]
struct Shared<E> {
    queue: Mutex<Queue<E>>,
    /// There is something to do.
    work: Condvar,
    /// The thread has ended.
    done: Condvar,
    /// Most lines in the queue.
    most: usize,
    target: String,
    written: AtomicU64,
    /// Lines that did not fit into the queue.
    lost: AtomicU64,
    lost_by_sink: AtomicU64,
    /// Lines that left the queue and are not written: those the sink keeps, and the current batch.
    waiting: AtomicU64,
}

/// What waits for the thread.
#[derive(Debug)]
struct Queue<E> {
    items: VecDeque<Item<E>>,
    /// Lines in them.
    lines: usize,
    /// No more lines come; lines that still wait at this time are lost.
    ends_by: Option<Instant>,
    is_done: bool,
    /// Lines that did not fit, and how many there were when the current loss began.
    lost: u64,
    losing_since: Option<u64>,
}

/// What the thread does next.
#[derive(Debug)]
enum Item<E> {
    /// The first so many of these. Other sinks may have the same batch.
    Lines(Arc<[E]>, usize),
    Reopen,
}

impl<E> Shared<E> {
    fn new(target: String, most: usize) -> Self {
        Self {
            queue: Mutex::new(Queue {
                items: VecDeque::new(),
                lines: 0,
                ends_by: None,
                is_done: false,
                lost: 0,
                losing_since: None,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            most,
            target,
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            lost_by_sink: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }

    /// A panic of another thread leaves the queue as it is: whole.
    fn queue(&self) -> MutexGuard<'_, Queue<E>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut log: Log<E>) {
        loop {
            let (items, ends_by) = self.next(log.counts().waiting > 0);
            let lines = |item: &Item<E>| match item {
                Item::Lines(_, count) => *count as u64,
                Item::Reopen => 0,
            };
            let mut waiting: u64 = items.iter().map(lines).sum();
            for item in items {
                waiting -= lines(&item);
                match item {
                    Item::Lines(entries, count) => {
                        // A failure is counted and reported by the log itself.
                        let _ = log.write(&entries[..count]);
                        self.publish(log.counts(), waiting);
                    }
                    Item::Reopen => {
                        if let Err(error) = log.reopen() {
                            log::error!(
                                "{}: not opened anew, the old one stays in use: {error}",
                                self.target
                            );
                        }
                    }
                }
            }
            if let Err(error) = log.flush() {
                log::debug!("{}: lines wait: {error}", self.target);
            }
            self.publish(log.counts(), 0);
            if ends_by.is_some_and(|by| log.counts().waiting == 0 || by <= Instant::now()) {
                break;
            }
        }
        self.queue().is_done = true;
        self.done.notify_all();
    }

    /// Waits for work, and for when to end. `is_waiting`: the sink has lines to try again.
    fn next(&self, is_waiting: bool) -> (VecDeque<Item<E>>, Option<Instant>) {
        let mut queue = self.queue();
        if is_waiting && queue.items.is_empty() {
            queue = self.work.wait_timeout(queue, RETRY).unwrap_or_else(PoisonError::into_inner).0;
        }
        while !is_waiting && queue.items.is_empty() && queue.ends_by.is_none() {
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        self.waiting.fetch_add(queue.lines as u64, Ordering::Relaxed);
        queue.lines = 0;
        (std::mem::take(&mut queue.items), queue.ends_by)
    }

    fn publish(&self, counts: LineCounts, waiting: u64) {
        self.written.store(counts.written, Ordering::Relaxed);
        self.lost_by_sink.store(counts.lost, Ordering::Relaxed);
        self.waiting.store(counts.waiting + waiting, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::log::{LogEntry, LogSink, Lost, line::example};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Takes a batch when it is told to.
    struct Told {
        may: Receiver<()>,
        taken: Sender<Vec<u32>>,
    }

    impl LogSink<LogEntry> for Told {
        fn write(&mut self, entries: &[LogEntry]) -> Result<(), Lost> {
            self.may.recv().map_err(|_| Lost { written: 0, source: io::Error::other("closed") })?;
            self.taken.send(entries.iter().map(|entry| entry.pid).collect()).unwrap();
            Ok(())
        }
    }

    fn start(most: usize) -> (Writer<LogEntry>, Sender<()>, Receiver<Vec<u32>>) {
        let ((allow, may), (taken, lines)) = (channel(), channel());
        let log = Log::new("told".into(), Box::new(Told { may, taken }));
        (Writer::start_with(log, most).unwrap(), allow, lines)
    }

    fn numbered(numbers: std::ops::Range<u32>) -> Vec<LogEntry> {
        numbers.map(|pid| LogEntry { pid, ..example() }).collect()
    }

    #[test]
    fn lines_are_written_in_order_and_counted() {
        let (writer, allow, lines) = start(100);
        assert_eq!(writer.send(numbered(0..3)) + writer.send(Vec::new()) + writer.send(numbered(3..5)), 0);
        (0..2).for_each(|_| allow.send(()).unwrap());
        assert_eq!([lines.recv().unwrap(), lines.recv().unwrap()], [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(writer.close(PATIENCE), LineCounts { written: 5, lost: 0, waiting: 0 });
    }

    #[test]
    fn sender_does_not_wait_and_what_does_not_fit_is_counted() {
        let (writer, allow, lines) = start(4);
        writer.send(numbered(0..1));
        // The thread has taken it once the queue is empty.
        while writer.0.queue().lines > 0 {
            thread::yield_now();
        }
        assert_eq!(writer.send(numbered(1..4)), 0);
        assert_eq!(writer.send(numbered(4..7)), 2);
        assert_eq!(writer.send(numbered(7..9)), 2);
        assert_eq!(writer.counts(), LineCounts { written: 0, lost: 4, waiting: 5 });
        assert!(writer.0.queue().losing_since.is_some());
        allow.send(()).unwrap();
        assert_eq!(lines.recv().unwrap(), [0]);
        while writer.0.queue().lines > 0 {
            thread::yield_now();
        }
        assert_eq!(writer.send(numbered(9..10)), 0);
        assert!(writer.0.queue().losing_since.is_none());
        (0..3).for_each(|_| allow.send(()).unwrap());
        assert_eq!(writer.close(PATIENCE), LineCounts { written: 6, lost: 4, waiting: 0 });
        assert_eq!(lines.into_iter().flatten().collect::<Vec<u32>>(), [1, 2, 3, 4, 9]);
    }

    #[test]
    fn destination_that_does_not_answer_is_left_behind_in_time() {
        let (writer, _allow, _lines) = start(100);
        writer.send(numbered(0..3));
        let started = Instant::now();
        assert_eq!(writer.close(Duration::from_millis(30)), LineCounts { written: 0, lost: 0, waiting: 3 });
        assert!(started.elapsed() < PATIENCE);
    }

    /// Takes lines over; writes them at the third try.
    struct Slow(Vec<u32>, Sender<Vec<u32>>, u32);

    impl LogSink<LogEntry> for Slow {
        fn write(&mut self, entries: &[LogEntry]) -> Result<(), Lost> {
            self.0.extend(entries.iter().map(|entry| entry.pid));
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.2 += 1;
            if self.2 < 3 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.1.send(std::mem::take(&mut self.0)).map_err(io::Error::other)
        }

        fn waiting(&self) -> usize {
            self.0.len()
        }
    }

    #[test]
    fn waiting_lines_are_tried_again_without_a_call() {
        let (written, lines) = channel();
        let log = Log::new("told".into(), Box::new(Slow(Vec::new(), written, 0)));
        let writer = Writer::start(log).unwrap();
        writer.send(vec![example()]);
        assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), [12345]);
        assert_eq!(writer.close(PATIENCE).waiting, 0);
    }
}
