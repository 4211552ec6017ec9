//! Watches and reads the tables and the pattern files they name.
//!
//! In: requests to read. Out: that the files changed, and their texts of one moment. Reading waits for files
//! that are being written, so it runs on a thread. Invariant: a defect does not end following: it is reported, and
//! tried again.

use std::{cell::RefCell, collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc},
    task::spawn_blocking,
};

use super::{Results, TaskResult};
use crate::{
    config::Config,
    core::Input,
    parse::{self, text::Texts},
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
    pub(super) fn watch(config: &Config, results: Results) -> Self {
        let (read, wanted) = mpsc::unbounded_channel();
        let source = Source::new(config.hosts_allow.clone(), config.hosts_deny.clone());
        tokio::spawn(run(source, wanted, results));
        Self { read }
    }

    /// Reads them.
    pub(super) fn read(&self) {
        // The task lives as long as this value.
        let _ = self.read.send(());
    }
}

/// Follows the files. If that fails, says so, and begins anew after a pause.
async fn run(source: Source, wanted: mpsc::UnboundedReceiver<()>, results: Results) {
    let wanted = Arc::new(Mutex::new(wanted));
    let mut is_first = true;
    loop {
        let follow = tokio::spawn(follow_files(source.clone(), wanted.clone(), results.clone(), is_first));
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
    source: Source,
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
        let source = source.clone();
        let read = spawn_blocking(move || {
            let named = NamedFiles::default();
            let texts = follow(&source, &mut watch, |texts| named.files(texts));
            (texts, watch)
        });
        let (texts, same) = read.await.map_err(|error| error.to_string())?;
        watch = same;
        let _ = results.send(TaskResult::Input(Input::Texts(Box::new(texts))));
    }
}

/// The pattern files that texts name; computed once for the same texts.
#[derive(Default)]
struct NamedFiles(RefCell<Option<(Texts, BTreeSet<PathBuf>)>>);

impl NamedFiles {
    fn files(&self, texts: &Texts) -> BTreeSet<PathBuf> {
        let mut last = self.0.borrow_mut();
        match &*last {
            Some((known, files)) if known == texts => files.clone(),
            Some(_) | None => {
                let files = parse::pattern_files(&parse::tables(texts));
                *last = Some((texts.clone(), files.clone()));
                files
            }
        }
    }
}
