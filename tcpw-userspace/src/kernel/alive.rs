//! Signs of life: the gate holds packets only while a daemon decides them.
//!
//! In: the event loop's ticks. Out: a time stamp in the kernel, by two clocks, several times a second, from a thread of
//! its own: so a loop that is busy for a moment does not count as dead.
//! The thread has a real-time priority: so on a busy machine the daemon does not count as dead either.
//! Invariant: the signs end with the process, and when the loop has not ticked for [`PATIENCE`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};

use super::{load::Kernel, maps::open};
use crate::host::{boot_ns, coarse_ns, set_real_time};

/// A fraction of [`ALIVE_NS`](tcpw_common::limits::ALIVE_NS).
const EVERY: Duration = Duration::from_millis(150);

/// How long the event loop may go without a tick.
const PATIENCE: Duration = Duration::from_secs(5);

/// The thread that gives signs of life.
#[derive(Debug)]
pub struct Alive {
    ticked: Arc<AtomicBool>,
    /// Asks the thread for a sign now, and for a message once it is given. The thread ends with it.
    asking: Option<Sender<Sender<()>>>,
    thread: Option<JoinHandle<()>>,
}

impl Kernel {
    /// Begins to give signs of life: the first is in the kernel when this returns.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn stay_alive(&self) -> Result<Alive> {
        let maps = [open(&self.ebpf, "ALIVE")?, open(&self.ebpf, "EARLY_ALIVE")?];
        let ticked = Arc::new(AtomicBool::new(true));
        let (asking, asked) = channel();
        let of_loop = Arc::clone(&ticked);
        let thread = thread::Builder::new()
            .name("alive".into())
            .spawn(move || beat(maps, &of_loop, &asked))
            .context("start a thread")?;
        let alive = Alive { ticked, asking: Some(asking), thread: Some(thread) };
        alive.sign();
        Ok(alive)
    }
}

impl Alive {
    /// The event loop runs.
    pub fn tick(&self) {
        self.ticked.store(true, Ordering::Relaxed);
    }

    /// The event loop runs, and the kernel knows it when this returns: also after a pause in which the signs ended.
    pub fn sign(&self) {
        self.tick();
        let (given, is_given) = channel();
        if self.asking.as_ref().is_some_and(|asking| asking.send(given).is_ok()) {
            // An error: the thread has panicked, and there are no signs.
            is_given.recv().ok();
        }
    }
}

impl Drop for Alive {
    /// Stops: from here on the gate holds no packets.
    fn drop(&mut self) {
        drop(self.asking.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The second map is of the coarse clock.
fn beat(mut maps: [Array<MapData, u64>; 2], ticked: &AtomicBool, asked: &Receiver<Sender<()>>) {
    // The thread needs little time: it writes a number a few times a second.
    if let Err(error) = set_real_time() {
        log::debug!("signs of life may come late on a busy machine: sched_setscheduler: {error}");
    }
    let mut last_tick = Instant::now();
    let mut failed = false;
    let mut asks: Option<Sender<()>> = None;
    loop {
        if ticked.swap(false, Ordering::Relaxed) {
            last_tick = Instant::now();
        }
        let is_alive = last_tick.elapsed() < PATIENCE;
        let times = if is_alive { [boot_ns(), coarse_ns()] } else { [0; 2] };
        for (map, time) in maps.iter_mut().zip(times) {
            if let Err(error) = map.set(0, time, 0)
                && !failed
            {
                failed = true;
                log::error!("write a sign of life: {error}");
            }
        }
        if let Some(given) = asks.take() {
            given.send(()).ok();
        }
        match asked.recv_timeout(EVERY) {
            Ok(given) => asks = Some(given),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                maps.iter_mut().for_each(|map| drop(map.set(0, 0, 0)));
                return;
            }
        }
    }
}
