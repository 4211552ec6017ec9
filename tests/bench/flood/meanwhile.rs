//! What others have to wait for, meanwhile: `tcpw status`, clients that are held, and clients that are not.

use std::{
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tcpw_tests::{Netns, Sandbox, Tcpw, client::connect};
use tcpw_userspace::host::set_preferred;

use super::{DIRECT, HOLDING};

/// Between two requests, and between two clients.
const STATUS_EVERY: Duration = Duration::from_millis(100);
const CLIENT_EVERY: Duration = Duration::from_millis(25);
/// Longer than a client's own retransmits take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The subnets of the clients that are held, each 1.2.N.4; a client is held once.
const SUBNETS: std::ops::RangeInclusive<u8> = 64..=255;

/// Every address of these subnets is the client's.
pub(super) fn prepare(client: &Netns) -> Result<()> {
    ["1.2.64.0/18", "1.2.128.0/17"]
        .into_iter()
        .try_for_each(|subnet| client.ip(&format!("route add local {subnet} dev lo")))
}

/// Clients that are held.
pub(super) fn clients() -> Vec<IpAddr> {
    SUBNETS.map(|subnet| IpAddr::from([1, 2, subnet, 4])).collect()
}

/// Times, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Meanwhile {
    is_over: AtomicBool,
    status: Mutex<Vec<f64>>,
    failed: Mutex<Vec<String>>,
    held: Mutex<Vec<f64>>,
    /// Of the same clients at a listener that does not hold them.
    direct: Mutex<Vec<f64>>,
}

impl Meanwhile {
    /// Asks and connects for so long, or until the end.
    pub(super) fn watch(&self, sandbox: &Sandbox, clients: &mut Vec<IpAddr>, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let is_over = || self.is_over.load(Ordering::Relaxed) || Instant::now() > end;
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                while !is_over() {
                    let started = Instant::now();
                    let answer = Tcpw::command(sandbox, &["status", "--json"]);
                    push(&self.status, started);
                    if let Err(error) = answer {
                        self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}"));
                    }
                    thread::sleep(STATUS_EVERY.saturating_sub(started.elapsed()));
                }
            });
            let connecting = scope.spawn(|| {
                // A client of another host does not compete for the processors of this one.
                set_preferred().context("prefer the client that is held")?;
                while !is_over() {
                    let started = Instant::now();
                    if let Some(client) = clients.pop() {
                        connect(sandbox.client(), client, HOLDING, PATIENCE)?;
                        push(&self.held, started);
                        let started = Instant::now();
                        connect(sandbox.client(), client, DIRECT, PATIENCE)?;
                        push(&self.direct, started);
                    }
                    thread::sleep(CLIENT_EVERY.saturating_sub(started.elapsed()));
                }
                Ok(())
            });
            asking.join().ok().context("the requests for the status panicked")?;
            connecting.join().ok().context("the client that is held panicked")?
        })
    }

    /// Ends [`Self::watch`].
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn result(&self) -> Result<Value> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(json!({
            "status_ms": summary(&self.status),
            "status_failed": failed.len(),
            "status_error": failed.first(),
            "held_ms": summary(&self.held),
            "direct_ms": summary(&self.direct),
        }))
    }
}

fn push(times: &Mutex<Vec<f64>>, started: Instant) {
    let took = started.elapsed().as_secs_f64() * 1e3;
    times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
}

/// Median, 99th percentile, most.
fn summary(times: &Mutex<Vec<f64>>) -> Value {
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    json!({ "count": times.len(), "median": at(50), "p99": at(99), "most": times.last() })
}
