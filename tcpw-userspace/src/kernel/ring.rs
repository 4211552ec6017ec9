//! The ring buffers of the programs: events, and their own diagnostics.

use std::io;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use tcpw_common::{event::Event as Record, held::Held};
use tokio::io::{Interest, unix::AsyncFd};

use super::load::{Kernel, take};

/// Most records one call returns, so that a flood cannot starve the rest of the daemon.
const MAX_RECORDS: usize = 1024;

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
        let ring = RingBuf::try_from(take(ebpf, name)?).with_context(|| format!("open map {name}"))?;
        // SAFETY: the ring owns its descriptor, never changes it, and lives inside the AsyncFd.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        Ok(Self { ring, read })
    }

    /// Waits for records and appends them to `records`. Cancel safe: what was taken from the ring is in `records`.
    ///
    /// # Errors
    /// The reactor is gone.
    pub async fn read(&mut self, records: &mut Vec<T>) -> io::Result<()> {
        while records.is_empty() {
            let mut guard = self.ring.readable_mut().await?;
            while let Some(bytes) = guard.get_inner_mut().next() {
                match (self.read)(&bytes) {
                    Some(record) => records.push(record),
                    None => log::error!("a record of {} bytes was not understood", bytes.len()),
                }
                if records.len() >= MAX_RECORDS {
                    return Ok(());
                }
            }
            guard.clear_ready();
        }
        Ok(())
    }
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
