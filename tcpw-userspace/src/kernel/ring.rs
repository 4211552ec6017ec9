//! The ring buffers of the programs: events, and their own diagnostics.

use std::{io, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use tcpw_common::{event::Event as Record, held::Held};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

use super::load::{self, Kernel};

/// Most records of a batch: judging and writing them takes less than a millisecond, which a held packet may have to wait.
const MAX_RECORDS: usize = 256;

/// When a ring is read again.
///
/// The kernel wakes the reader for a record only if every one before it was read
/// (linux kernel/bpf/ringbuf.c, `bpf_ringbuf_commit`). So a reader that has always read everything is woken
/// for every record; one that waits a moment is woken once for all that come meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once, for records that a client waits for.
    AtOnce,
    /// After this time, and so on while there are records. The first one after a rest is read at once,
    /// and nothing is read while none comes.
    Together(Duration),
}

/// A ring of records of one kind.
pub struct Ring<T> {
    ring: AsyncFd<RingBuf<MapData>>,
    read: fn(&[u8]) -> Option<T>,
}

/// The event ring.
pub type EventRing = Ring<Record>;

/// The ring of held packets.
pub type HeldRing = Ring<Held>;

impl<T> Ring<T> {
    fn open(ebpf: &mut Ebpf, name: &str, read: fn(&[u8]) -> Option<T>) -> Result<Self> {
        let ring = RingBuf::try_from(load::take(ebpf, name)?).with_context(|| format!("open map {name}"))?;
        // SAFETY: the ring owns its descriptor, never changes it, and lives inside the AsyncFd.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        Ok(Self { ring, read })
    }

    /// Reads in a task of its own, until the receiver is closed or the reactor is gone. What was read before can still be
    /// received.
    ///
    /// Records of at most so many bytes wait in the channel, however few a batch has. Then the ring is not read: if it
    /// fills up, the program in the kernel counts every record that does not fit.
    pub fn read_ahead(self, pace: Pace, bytes: usize) -> mpsc::Receiver<Vec<T>>
    where
        T: Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(batches::<T>(bytes));
        tokio::spawn(async move {
            if let Err(error) = self.forward(pace, &sender).await {
                log::error!("a ring cannot be read: {error}");
            }
        });
        receiver
    }

    /// Returns once the receiver is closed. Invariant: no record is read that the receiver does not get.
    async fn forward(mut self, pace: Pace, batches: &mpsc::Sender<Vec<T>>) -> io::Result<()> {
        while let Ok(mut room) = batches.reserve().await {
            let mut records = tokio::select! {
                biased;
                () = batches.closed() => self.take(),
                records = self.next_batch() => records?,
            };
            while !records.is_empty() {
                let is_more = records.len() >= MAX_RECORDS;
                room.send(records);
                // Room first: a receiver that is closed waits for it, and gets what is there by then.
                let Ok(next) = batches.reserve().await else { return Ok(()) };
                room = next;
                if let Pace::Together(pause) = pace
                    && !is_more
                {
                    tokio::select! {
                        () = batches.closed() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                records = self.take();
            }
        }
        Ok(())
    }

    /// Waits for records.
    async fn next_batch(&mut self) -> io::Result<Vec<T>> {
        loop {
            let mut guard = self.ring.readable_mut().await?;
            let records = take(guard.get_inner_mut(), self.read);
            if records.len() < MAX_RECORDS {
                guard.clear_ready();
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    /// The records that are there.
    fn take(&mut self) -> Vec<T> {
        take(self.ring.get_mut(), self.read)
    }
}

/// How many full batches have so many bytes.
fn batches<T>(bytes: usize) -> usize {
    (bytes / (MAX_RECORDS * size_of::<T>())).max(1)
}

/// The records that are there, up to [`MAX_RECORDS`].
fn take<T>(ring: &mut RingBuf<MapData>, read: fn(&[u8]) -> Option<T>) -> Vec<T> {
    let mut records = Vec::new();
    while records.len() < MAX_RECORDS
        && let Some(bytes) = ring.next()
    {
        match read(&bytes) {
            Some(record) => records.push(record),
            None => log::error!("a record of {} bytes was not understood", bytes.len()),
        }
    }
    records
}

/// The programs' own diagnostics.
pub struct Diagnostics(AsyncFd<EbpfLogger<&'static dyn log::Log>>);

impl Diagnostics {
    /// Passes each diagnostic on to the `log` crate. Returns only on error.
    ///
    /// # Errors
    /// The reactor is gone.
    pub async fn forward(mut self) -> io::Result<()> {
        loop {
            let mut guard = self.0.readable_mut().await?;
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }
}

impl Kernel {
    /// Takes the event ring; once.
    ///
    /// # Errors
    /// It was taken before, or no tokio runtime is running.
    pub fn take_events(&mut self) -> Result<EventRing> {
        Ring::open(&mut self.ebpf, "EVENTS", Record::from_bytes)
    }

    /// Takes the ring of held packets; once.
    ///
    /// # Errors
    /// As for the event ring.
    pub fn take_held(&mut self) -> Result<HeldRing> {
        Ring::open(&mut self.ebpf, "HOLDS", Held::from_bytes)
    }

    /// Takes the programs' diagnostics; once.
    ///
    /// # Errors
    /// The object has none, or no tokio runtime is running.
    pub fn take_diagnostics(&mut self) -> Result<Diagnostics> {
        let logger = EbpfLogger::init(&mut self.ebpf).context("open the programs' log")?;
        // SAFETY: as for the event ring.
        Ok(Diagnostics(unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_ahead_is_bounded_in_bytes() {
        const MIB: usize = 1 << 20;
        let most = |batches: usize, record: usize| batches * MAX_RECORDS * record;
        for bytes in [MIB, 16 * MIB] {
            assert!(most(batches::<Held>(bytes), size_of::<Held>()) <= bytes);
            assert!(most(batches::<Record>(bytes), size_of::<Record>()) <= bytes);
        }
        assert_eq!((batches::<Held>(16 * MIB), batches::<Held>(0)), (103, 1));
    }
}
