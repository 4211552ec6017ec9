//! Keeps what the next start needs, on a thread: writing to a disk takes time.
//!
//! In: what is to be kept. Out: that it is, or why not. Invariant: what was asked for last is written last.

use std::{path::Path, sync::mpsc, thread};

use anyhow::{Context as _, Result};

use super::{super::kept, Results, guard::guarded};
use crate::core::{Input, action::Store, input::Stored};

/// The thread.
pub(super) struct Keeper {
    jobs: mpsc::Sender<Store>,
}

impl Keeper {
    pub(super) fn start(state_dir: &Path, results: Results) -> Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let state_dir = state_dir.to_path_buf();
        thread::Builder::new()
            .name("keeper".into())
            .spawn(move || work(&state_dir, &queue, &results))
            .context("start the thread that keeps the confirmed policy")?;
        Ok(Self { jobs })
    }

    pub(super) fn store(&self, store: Store) {
        // The thread lives as long as this value.
        let _ = self.jobs.send(store);
    }
}

fn work(state_dir: &Path, queue: &mpsc::Receiver<Store>, results: &Results) {
    while let Ok(store) = queue.recv() {
        let what = match &store {
            Store::Confirmed(texts) => Stored::Confirmed(texts.hash),
            Store::RolledBack(_) => Stored::RolledBack,
            Store::Nothing => Stored::Nothing,
        };
        let stored = guarded("keeping a policy", || match &store {
            Store::Confirmed(texts) => kept::store_confirmed(state_dir, texts),
            Store::RolledBack(hash) => kept::store_rolled_back(state_dir, *hash),
            Store::Nothing => kept::forget(state_dir),
        });
        let result = stored
            .map_or_else(|| Err("it ended early".into()), |it| it.map_err(|error| format!("{error:#}")));
        let _ = results.send(Input::Stored { what, result }.into());
    }
}
