//! The files as they are now, put in force.
//!
//! In: that they changed. Out: a policy in force, or why the one before stays.
//! Invariant: of two reloads the later one counts; users and groups may be in a directory far away,
//! and the event loop does not wait for it.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::sync::oneshot;

use super::{
    Daemon,
    policy::{Outcome, Prepared, named_files},
};
use crate::{kernel::Applied, source};

/// The reload that is under way.
#[derive(Default)]
pub(super) struct Reloads {
    running: Option<Running>,
}

struct Running {
    began: Instant,
    prepared: oneshot::Receiver<Prepared>,
}

impl Reloads {
    /// Waits for what [`Daemon::reload`] began. Cancel safe.
    pub(super) async fn next(&mut self) -> (Instant, Prepared) {
        loop {
            let Some(running) = &mut self.running else {
                return std::future::pending().await;
            };
            let (prepared, began) = ((&mut running.prepared).await, running.began);
            self.running = None;
            match prepared {
                Ok(prepared) => return (began, prepared),
                Err(error) => {
                    log::error!("the previous policy stays in force: a reload ended early: {error}")
                }
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
        let began = Instant::now();
        let texts = self.read();
        let (sender, prepared) = oneshot::channel();
        // A thread of its own: one that hangs keeps it, and nobody waits for it.
        let started = thread::Builder::new().name("reload".into()).spawn(move || {
            // Nobody wants it any more if the files changed meanwhile.
            drop(sender.send(Prepared::of(texts)));
        });
        match started.map(drop) {
            Ok(()) => self.reloads.running = Some(Running { began, prepared }),
            Err(error) => self.keeps(&error),
        }
    }

    fn keeps(&mut self, error: &io::Error) {
        let problem = format!("the changed files could not be looked at, no thread: {error}; send SIGHUP");
        log::error!("the previous policy stays in force: {problem}");
        self.policies.problem = Some(problem);
    }

    /// Puts them in force, or says why not.
    pub(super) fn reloaded(&mut self, began: Instant, prepared: Prepared) {
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
}

pub(super) fn say_applied(applied: &Applied, took: Duration) {
    log::info!(
        "applied generation {} in {:.1} ms (tables {:.1} ms)",
        applied.generation,
        took.as_secs_f64() * 1e3,
        applied.took.as_secs_f64() * 1e3
    );
}
