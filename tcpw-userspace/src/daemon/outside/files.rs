//! Watches and reads the tables and the pattern files they name.
//!
//! In: requests to read. Out: that the files changed, and their texts of one moment. Reading waits for files
//! that are being written, so it runs on a thread. Invariant: a defect does not end following: it is reported, and
//! tried again.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc},
    task::spawn_blocking,
};

use super::{Results, TaskResult, last_parsed::LastParsed};
use crate::{
    config::Config,
    core::Input,
    parse::{self, Parsed},
    source::{Source, Watch, follow},
};

/// After following the files failed: the pause before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// The task that watches them.
pub(super) struct Files {
    read: mpsc::UnboundedSender<()>,
}

impl Files {
    /// Begins to watch once they were read for the first time.
    pub(super) fn watch(config: &Config, parsed: LastParsed, results: Results) -> Self {
        let (read, wanted) = mpsc::unbounded_channel();
        let source = Source::new(config.hosts_allow.clone(), config.hosts_deny.clone());
        tokio::spawn(run((source, parsed), wanted, results));
        Self { read }
    }

    /// Reads them.
    pub(super) fn read(&self) {
        // The task lives as long as this value.
        let _ = self.read.send(());
    }
}

/// Follows the files. If that fails, says so, and begins anew after a pause.
async fn run(read: (Source, LastParsed), wanted: mpsc::UnboundedReceiver<()>, results: Results) {
    let wanted = Arc::new(Mutex::new(wanted));
    let mut is_first = true;
    loop {
        let follow = tokio::spawn(follow_files(read.clone(), wanted.clone(), results.clone(), is_first));
        // A defect of the task itself ends the task only.
        let Err(reason) = follow.await.unwrap_or_else(|error| Err(error.to_string())) else { return };
        let _ = results.send(Input::FilesNotFollowed(reason).into());
        tokio::time::sleep(PAUSE).await;
        is_first = false;
    }
}

/// Reads the files when that is wanted and after each change; at once, if they were followed before.
///
/// # Errors
///
/// Reading them panicked.
async fn follow_files(
    (source, parsed): (Source, LastParsed),
    wanted: Arc<Mutex<mpsc::UnboundedReceiver<()>>>,
    results: Results,
    is_first: bool,
) -> Result<(), String> {
    let mut wanted = wanted.lock().await;
    let mut watch = Watch::new();
    let mut waits = is_first;
    loop {
        if std::mem::replace(&mut waits, true) {
            tokio::select! {
                () = watch.changed() => {}
                wanted = wanted.recv() => if wanted.is_none() { return Ok(()) },
            }
        }
        // One read serves all requests that came meanwhile.
        while wanted.try_recv().is_ok() {}
        let _ = results.send(Input::FilesChanged.into());
        let (source, parsed) = (source.clone(), parsed.clone());
        let read = spawn_blocking(move || {
            let named = |parsed: &Parsed| parse::pattern_files(&parsed.tables);
            let texts = follow(&source, &mut watch, |texts| parsed.look(texts, named));
            (texts, watch)
        });
        let (texts, same) = read.await.map_err(|error| error.to_string())?;
        watch = same;
        let _ = results.send(TaskResult::Input(Input::Texts(Box::new(texts))));
    }
}
