//! All sources of inputs, the most urgent first.
//!
//! In: the kernel's rings, results of threads and tasks, the control socket, signals, the time. Out: one
//! input at a time.
//! Invariant: signs of life come first, then held packets, results, control, and the kernel's reports: a
//! flood of one kind delays only the kinds after it. A batch is small enough that a more urgent input waits
//! a millisecond or two.

use std::{future::pending, time::Instant};

use anyhow::{Context as _, Result};
use tcpw_common::{event::Event as Record, held::Held};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Interval, MissedTickBehavior},
};

use super::outside::TaskResult;
use crate::{
    control::{Reply, Request, Server},
    core::Input,
};

/// Most reports of the kernel in one input.
const MOST_REPORTS: usize = 128;

/// One thing that the loop has to handle.
pub(super) enum Arrival {
    /// An input for the core.
    Input(Input),
    /// A result of a thread or task, which the loop makes into an input.
    TaskResult(TaskResult),
    /// A second has passed.
    Second,
    /// Reports of the kernel.
    Reports(Vec<Record>),
    /// A request at the control socket.
    Request(Request, Reply),
}

impl Arrival {
    /// The core leaves the loop at once.
    pub(super) fn stops(&self) -> bool {
        match self {
            Self::Input(input) => ends(input),
            Self::TaskResult(result) => result.input().is_some_and(ends),
            Self::Request(request, _) => matches!(request, Request::Stop),
            Self::Second | Self::Reports(_) => false,
        }
    }
}

/// The sources.
pub(super) struct Inbox {
    second: Interval,
    results: mpsc::UnboundedReceiver<TaskResult>,
    held: Option<mpsc::Receiver<Vec<Held>>>,
    reports: Option<mpsc::Receiver<Vec<Record>>>,
    /// The part of a batch that was not returned yet.
    rest: Vec<Record>,
    control: Server,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Inbox {
    /// Without the kernel's rings: at first only requests, signals and results come.
    pub(super) fn new(control: Server) -> Result<(Self, mpsc::UnboundedSender<TaskResult>)> {
        let (sender, results) = mpsc::unbounded_channel();
        let mut second = tokio::time::interval(std::time::Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let inbox = Self {
            second,
            results,
            held: None,
            reports: None,
            rest: Vec::new(),
            control,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        Ok((inbox, sender))
    }

    /// Adds the kernel's rings.
    pub(super) fn connect(&mut self, held: mpsc::Receiver<Vec<Held>>, reports: mpsc::Receiver<Vec<Record>>) {
        (self.held, self.reports) = (Some(held), Some(reports));
    }

    /// The next input; [`Input::Deadline`] if none comes before `deadline`. While attempts are not judged yet, the
    /// rings are not read.
    pub(super) async fn next(&mut self, deadline: Option<Instant>, is_enforcing: bool) -> Result<Arrival> {
        let until = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => pending().await,
            }
        };
        let (held, reports) = (&mut self.held, &mut self.reports);
        let rest = &mut self.rest;
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Ok(Arrival::Input(Input::Terminate)),
            _ = self.interrupt.recv() => Ok(Arrival::Input(Input::Terminate)),
            _ = self.second.tick() => Ok(Arrival::Second),
            Some(outcome) = self.results.recv() => Ok(Arrival::TaskResult(outcome)),
            packets = receive(held), if is_enforcing => {
                let packets = packets.context("the reader of the ring of held packets ended")?;
                Ok(Arrival::Input(Input::Held(packets)))
            }
            () = until => Ok(Arrival::Input(Input::Deadline)),
            (request, reply) = self.control.next() => Ok(Arrival::Request(request, reply)),
            _ = self.hangup.recv() => Ok(Arrival::Input(Input::Hangup)),
            records = batch(rest, reports), if is_enforcing => {
                let records = records.context("the reader of the event ring ended")?;
                Ok(Arrival::Reports(records))
            }
        }
    }

    /// Reads no more reports; returns those that were read already, in parts. `None`: there are no more.
    pub(super) async fn last_reports(&mut self) -> Option<Vec<Record>> {
        self.reports.as_mut()?.close();
        batch(&mut self.rest, &mut self.reports).await
    }

    /// Takes no more requests; waits a moment for the answers that are not sent yet.
    pub(super) async fn close(self) {
        self.control.close().await;
    }
}

fn ends(input: &Input) -> bool {
    matches!(input, Input::Terminate | Input::Detached { removed: Ok(_), .. })
}

async fn receive<T>(from: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match from {
        Some(from) => from.recv().await,
        None => pending().await,
    }
}

/// The next reports, up to the limit. Cancel safe.
async fn batch(
    rest: &mut Vec<Record>,
    from: &mut Option<mpsc::Receiver<Vec<Record>>>,
) -> Option<Vec<Record>> {
    if rest.is_empty() {
        *rest = receive(from).await?;
    }
    let later = rest.split_off(rest.len().min(MOST_REPORTS));
    Some(std::mem::replace(rest, later))
}
