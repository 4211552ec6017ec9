//! The files as they are now, put in force.
//!
//! In: that they changed. Out: a policy in force, or why the one before stays.
//! Invariant: of two reloads the later one counts; users and groups may be in a directory far away,
//! and the event loop does not wait for it.

use std::{
    collections::BTreeMap,
    future::pending,
    io, thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{sync::oneshot, task::JoinSet};

use super::{
    Daemon,
    policy::{Outcome, Prepared, named_files},
};
use crate::{kernel::Applied, source};

/// Most reloads under way at once: one that hangs keeps its thread.
const MOST_UNDER_WAY: usize = 4;

/// After so long it is said that one is under way.
const LONG: Duration = Duration::from_secs(3);

/// The reloads that are under way.
#[derive(Default)]
pub(super) struct Reloads {
    ready: JoinSet<Ready>,
    /// When each began, by number.
    under_way: BTreeMap<u64, Instant>,
    last: u64,
    /// That of the texts in force.
    counts: u64,
    /// The files changed when there was no room for another.
    again: bool,
    /// The last one that was said to take long.
    said: u64,
}

/// What a reload came to.
pub(super) struct Ready {
    number: u64,
    began: Instant,
    /// Nothing, if its thread ended early.
    prepared: Option<Prepared>,
}

impl Reloads {
    /// Waits for what [`Daemon::reload`] began. Cancel safe.
    pub(super) async fn next(&mut self) -> Ready {
        loop {
            match self.ready.join_next().await {
                Some(Ok(ready)) => return ready,
                Some(Err(error)) => log::error!("a reload ended early: {error}"),
                None => return pending().await,
            }
        }
    }
}

impl Daemon {
    /// Puts the first policy in force.
    pub(super) fn first_policy(&mut self) -> Result<()> {
        let prepared = Prepared::of(self.read());
        let names = self.registry.names_sets();
        match self.policies.reload(&mut self.kernel, &self.config, &names, prepared)? {
            Outcome::Applied(applied) => say_applied(&applied, applied.took),
            Outcome::Kept(_) | Outcome::Unchanged => {}
        }
        self.prepare_effects();
        self.prepare_steering();
        Ok(())
    }

    /// Reads the files until they and what is watched agree.
    fn read(&mut self) -> crate::parse::text::Texts {
        source::follow(&self.source, &mut self.watch, named_files)
    }

    /// Begins to put the files as they are now in force.
    pub(super) fn reload(&mut self) {
        if self.reloads.under_way.len() >= MOST_UNDER_WAY {
            self.reloads.again = true;
            return;
        }
        let began = Instant::now();
        let texts = self.read();
        let (sender, prepared) = oneshot::channel();
        // A thread of its own: nobody waits for one that hangs, at the end either.
        let started = thread::Builder::new().name("reload".into()).spawn(move || {
            // Nobody is there any more if the daemon ends.
            drop(sender.send(Prepared::of(texts)));
        });
        if let Err(error) = started {
            // With the next one that ends.
            self.reloads.again = true;
            self.keeps(&error);
            return;
        }
        self.reloads.last += 1;
        let number = self.reloads.last;
        self.reloads.under_way.insert(number, began);
        self.reloads.ready.spawn(async move { Ready { number, began, prepared: prepared.await.ok() } });
    }

    fn keeps(&mut self, error: &io::Error) {
        let problem = format!("the changed files could not be looked at: {error}; send SIGHUP");
        log::error!("the previous policy stays in force: {problem}");
        self.policies.problem = Some(problem);
    }

    /// Puts the files in force as they were then, or says why not.
    pub(super) fn reloaded(&mut self, ready: Ready) {
        let Ready { number, began, prepared } = ready;
        self.reloads.under_way.remove(&number);
        let is_older = number < self.reloads.counts;
        match prepared {
            Some(_) if is_older => {
                log::debug!("the files changed again while users and groups were looked up")
            }
            Some(prepared) => {
                self.reloads.counts = number;
                self.put(began, prepared);
            }
            None => self.keeps(&io::Error::other("it ended early")),
        }
        if std::mem::take(&mut self.reloads.again) {
            self.reload();
        }
    }

    fn put(&mut self, began: Instant, prepared: Prepared) {
        let names = self.registry.names_sets();
        match self.policies.reload(&mut self.kernel, &self.config, &names, prepared) {
            Ok(Outcome::Applied(applied)) => {
                say_applied(&applied, began.elapsed());
                self.prepare_effects();
                self.prepare_steering();
            }
            Ok(Outcome::Unchanged) => log::debug!("the files changed, their rules did not"),
            Ok(Outcome::Kept(reason)) => log::error!("the previous policy stays in force: {reason}"),
            Err(error) => log::error!("the previous policy stays in force: {error:#}"),
        }
    }

    /// Says that the files as they are now are not in force yet.
    pub(super) fn watch_reloads(&mut self) {
        let newest = self.reloads.under_way.last_key_value();
        let Some((number, began)) = newest.map(|(number, began)| (*number, *began)) else { return };
        if began.elapsed() < LONG || number <= self.reloads.said || number < self.reloads.counts {
            return;
        }
        self.reloads.said = number;
        let problem = format!(
            "a user or group that the tables name is being looked up for {} s: see to the service that knows it",
            began.elapsed().as_secs()
        );
        log::warn!("the previous policy stays in force until then: {problem}");
        self.policies.problem = Some(problem);
    }
}

pub(super) fn say_applied(applied: &Applied, took: Duration) {
    log::info!(
        "applied generation {} in {:.1} ms (tables {:.1} ms)",
        applied.generation,
        took.as_secs_f64() * 1e3,
        applied.took.as_secs_f64() * 1e3
    );
}
