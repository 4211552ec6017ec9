//! Watches and reads the tables and the pattern files they name.
//!
//! In: requests to read. Out: that the files changed, and their texts of one moment; before that, their rules, to be made
//! ready ahead. Reading waits for files that are being written, so it runs on a thread. Invariant: a defect does not end
//! following: it is reported, and tried again.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc},
    task::spawn_blocking,
};

use super::{Results, TaskResult, filler::AheadSender, last_parsed::LastParsed};
use crate::{
    config::Config,
    core::{Input, input::ReadTexts},
    parse::{self, text::Texts},
    source::{Source, Watch, follow},
};

/// After following the files failed: the pause before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// The task that watches them.
pub(super) struct Files {
    read: mpsc::UnboundedSender<u64>,
}

impl Files {
    /// Begins to watch once they were read for the first time.
    pub(super) fn watch(config: &Config, parsed: LastParsed, ahead: AheadSender, results: Results) -> Self {
        let (read, wanted) = mpsc::unbounded_channel();
        let source = Source::new(config.hosts_allow.clone(), config.hosts_deny.clone());
        let ahead = config.follow_files.then_some(ahead);
        tokio::spawn(run(Reader { source, parsed, ahead }, wanted, results));
        Self { read }
    }

    /// Reads them; the texts carry the highest number of the requests that they serve.
    pub(super) fn read(&self, number: u64) {
        // The task lives as long as this value.
        let _ = self.read.send(number);
    }
}

/// Reads the files, and has their rules made ready meanwhile.
#[derive(Clone)]
struct Reader {
    source: Source,
    parsed: LastParsed,
    /// `None`: they come into force only when that is asked for.
    ahead: Option<AheadSender>,
}

impl Reader {
    fn read(&self, watch: &mut Watch) -> Texts {
        follow(&self.source, watch, |texts| {
            let (has_errors, rules) = self.parsed.rules_of(texts);
            let named = parse::pattern_files(rules.tables());
            let Some(ahead) = &self.ahead else { return named };
            // Rules with errors replace none.
            if has_errors {
                ahead.end();
            } else if named.iter().all(|path| texts.files.contains_key(path)) {
                ahead.begin(&rules);
            }
            named
        })
    }
}

/// Follows the files. If that fails, says so, and begins anew after a pause.
async fn run(read: Reader, wanted: mpsc::UnboundedReceiver<u64>, results: Results) {
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
    reader: Reader,
    wanted: Arc<Mutex<mpsc::UnboundedReceiver<u64>>>,
    results: Results,
    is_first: bool,
) -> Result<(), String> {
    let mut wanted = wanted.lock().await;
    let mut watch = Watch::new();
    let mut waits = is_first;
    let mut number = 0;
    loop {
        if std::mem::replace(&mut waits, true) {
            tokio::select! {
                () = watch.changed() => {}
                wanted = wanted.recv() => match wanted {
                    Some(wanted) => number = number.max(wanted),
                    None => return Ok(()),
                },
            }
        }
        // One read serves all requests that came meanwhile.
        while let Ok(wanted) = wanted.try_recv() {
            number = number.max(wanted);
        }
        let _ = results.send(Input::FilesChanged.into());
        let reader = reader.clone();
        let read = spawn_blocking(move || {
            let texts = reader.read(&mut watch);
            let hash = texts.hash();
            (ReadTexts { texts, hash, number, is_copy: false }, watch)
        });
        let (texts, same) = read.await.map_err(|error| error.to_string())?;
        watch = same;
        let _ = results.send(TaskResult::Input(Input::Texts(Box::new(texts))));
    }
}
