//! Watches and reads the tables and the pattern files they name.
//!
//! In: requests to read. Out: that the files changed, and their texts of one moment. Reading waits for files
//! that are being written, so it runs on a thread.

use std::{cell::RefCell, collections::BTreeSet, path::PathBuf};

use tokio::{sync::mpsc, task::spawn_blocking};

use super::{Results, TaskResult};
use crate::{
    config::Config,
    core::Input,
    parse::{self, text::Texts},
    source::{Source, Watch, follow},
};

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

async fn run(source: Source, mut wanted: mpsc::UnboundedReceiver<()>, results: Results) {
    let mut watch = Watch::new();
    loop {
        tokio::select! {
            () = watch.changed() => {}
            wanted = wanted.recv() => if wanted.is_none() { return },
        }
        // One read serves all requests that came meanwhile.
        while wanted.try_recv().is_ok() {}
        let _ = results.send(Input::FilesChanged.into());
        let source = source.clone();
        let read = spawn_blocking(move || {
            let named = Named::default();
            let texts = follow(&source, &mut watch, |texts| named.files(texts));
            (texts, watch)
        });
        match read.await {
            Ok((texts, same)) => {
                watch = same;
                let _ = results.send(TaskResult::Input(Input::Texts(Box::new(texts))));
            }
            Err(error) => {
                log::error!("the files are not watched any more: {error}; restart tcpw");
                return;
            }
        }
    }
}

/// The pattern files that texts name; computed once for the same texts.
#[derive(Default)]
struct Named(RefCell<Option<(Texts, BTreeSet<PathBuf>)>>);

impl Named {
    fn files(&self, texts: &Texts) -> BTreeSet<PathBuf> {
        let mut last = self.0.borrow_mut();
        match &*last {
            Some((known, files)) if known == texts => files.clone(),
            Some(_) | None => {
                let files = parse::pattern_files(&parse::parse(texts).tables);
                *last = Some((texts.clone(), files.clone()));
                files
            }
        }
    }
}
