//! Parses, compiles and fills, on threads: the loop only flips.
//!
//! In: texts, rules. Out: rules with their index, filled slots. Invariant: one thread fills and settles, in
//! the order of the requests: a slot is not filled while a program may still read it.

use std::{
    collections::HashMap,
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    Results, TaskResult,
    filler::{Ahead, AheadSender, Filler, NextAhead, Underway},
    guard::guarded,
    last_parsed::{LastParsed, ParsedTexts},
};
use crate::{
    compile,
    config::Config,
    core::{
        Input,
        action::{Fill, Flip, Freed, Walk},
        input::Filled,
        policies::{Prepared, Rules},
    },
    effects::commands_of,
    evaluate::IndexedTables,
    host::trim_memory,
    kernel::{FilledSlot as Slot, Kernel, Loader},
    parse::text::{FileText, Texts},
    resolve::KnownAccounts,
};

/// A slot that was filled.
pub(in crate::daemon) struct FilledSlot {
    number: u64,
    filled: Result<(Box<Filled>, Slot), String>,
    took: Duration,
}

/// A flip that has to settle.
pub(super) struct Settle {
    generation: u32,
    /// Time the tables took so far.
    took: Duration,
}

/// Work for the thread that fills.
pub(super) enum Job {
    Fill(Box<Fill>),
    /// Make ahead what waits for that.
    Ahead,
    /// What was made ahead is not wanted.
    ForgetAhead,
    /// The slot of that request is not switched to.
    NotFlipped(u64),
    Settle(Settle),
    /// No policy comes back any more.
    SettleAgain,
    Free(Freed),
    Walk(Box<Walk>),
}

/// The threads.
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
    /// The slot that is filled and not in force, with the time that took.
    slots: HashMap<u64, (Slot, Duration)>,
    parsed: LastParsed,
    /// The number of the rules that were last to be compiled ahead.
    newest: Arc<AtomicU64>,
    next: NextAhead,
    underway: Underway,
    results: Results,
}

impl Worker {
    /// Starts the thread that fills.
    pub(super) fn start(
        loader: Loader,
        config: &Config,
        parsed: LastParsed,
        results: Results,
    ) -> Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let newest = Arc::new(AtomicU64::new(0));
        let (next, underway) = (NextAhead::default(), Underway::default());
        let filler = Filler::new(loader, config.clone(), Arc::clone(&newest), underway.clone());
        let (sender, waiting) = (results.clone(), next.clone());
        thread::Builder::new()
            .name("worker".into())
            .spawn(move || work(filler, &queue, &waiting, &sender))
            .context("start the thread that fills the tables")?;
        Ok(Self { jobs, slots: HashMap::new(), parsed, newest, next, underway, results })
    }

    /// Has rules compiled ahead.
    pub(super) fn ahead(&self) -> AheadSender {
        AheadSender::new(self.jobs.clone(), self.next.clone(), Arc::clone(&self.newest))
    }

    /// Parses texts unless that is done, and looks up the accounts they name: on a thread of its own, because that may
    /// block. It goes on to make the index, which the tables are compared with once they are filled.
    pub(super) fn parse(&self, number: u64, texts: Box<Texts>, against: Option<(u32, Rules)>) {
        let results = self.results.clone();
        let (failed, last) = (self.results.clone(), self.parsed.clone());
        let started = thread::Builder::new().name("reload".into()).spawn(move || {
            let looks_up_accounts = || drop(results.send(Input::LookingUpAccounts { number }.into()));
            let prepared = guarded("a reload", || prepare(&last, &texts, against, looks_up_accounts));
            let prepared = prepared.map(Box::new).ok_or_else(|| "it ended early".to_owned());
            let indexed = prepared.as_ref().ok().map(|prepared| Arc::clone(&prepared.rules.indexed));
            let _ = results.send(Input::Parsed { number, prepared }.into());
            if let Some(indexed) = indexed {
                guarded("an index", || indexed.make_index());
            }
        });
        if let Err(error) = started {
            let _ = failed.send(Input::Parsed { number, prepared: Err(error.to_string()) }.into());
        }
    }

    /// Compiles, and fills the idle slot.
    pub(super) fn fill(&self, fill: Box<Fill>) {
        if !self.underway.is(&fill) {
            // It must not wait for something else.
            self.newest.fetch_add(1, Ordering::Relaxed);
        }
        self.job(Job::Fill(fill));
    }

    /// A slot is filled.
    pub(super) fn filled(&mut self, slot: FilledSlot) -> Input {
        let FilledSlot { number, filled, took } = slot;
        let filled = filled.map(|(filled, slot)| {
            self.slots.insert(number, (slot, took));
            filled
        });
        Input::Filled { number, filled }
    }

    /// Switches to a filled slot.
    pub(super) fn flip(
        &mut self,
        flip: &Flip,
        kernel: &mut Kernel,
        cgroup: &Path,
    ) -> (Input, Option<Settle>) {
        let Flip { number, names, watch_accepted, banners, until } = flip;
        let begin = Instant::now();
        let Some((slot, filling)) = self.slots.remove(number) else {
            let flipped = Err("the slot was filled again meanwhile".into());
            return (Input::Flipped { number: *number, flipped, names_left_out: Vec::new() }, None);
        };
        let mut left_out = Vec::new();
        for (names, class) in names {
            if let Err(error) = kernel.slots.add_names_to(&slot, *names, *class) {
                log::debug!("{error:#}");
                left_out.push(*names);
            }
        }
        if !left_out.is_empty() {
            self.job(Job::NotFlipped(*number));
            let flipped = Err("the table of names is full".into());
            return (Input::Flipped { number: *number, flipped, names_left_out: left_out }, None);
        }
        if *watch_accepted && let Err(error) = kernel.watch_accepted(cgroup) {
            log::error!("no command is run for an allowed client, and keepalive is not set: {error:#}");
        }
        if *banners && let Err(error) = kernel.begin_banners() {
            log::error!("allowed clients get no banner: {error:#}");
        }
        let flipped = match until {
            None => kernel.flip(&slot),
            Some(until) => kernel.flip_until(&slot, until.boot_ns, &until.comms),
        };
        let flipped = flipped.map(|()| slot.generation).map_err(|error| format!("{error:#}"));
        if flipped.is_err() {
            self.job(Job::NotFlipped(*number));
        }
        let took = filling + begin.elapsed();
        let settle = flipped.as_ref().ok().map(|generation| Settle { generation: *generation, took });
        (Input::Flipped { number: *number, flipped, names_left_out: Vec::new() }, settle)
    }

    /// Waits, on the thread, until no program still uses the policy before.
    pub(super) fn settle(&self, settle: Settle) {
        self.job(Job::Settle(settle));
    }

    /// Waits until no program uses a policy that was in force before, or was to come back: then its slot is free.
    pub(super) fn settle_again(&self) {
        self.job(Job::SettleAgain);
    }

    /// A filled slot is not wanted.
    pub(super) fn discard(&mut self, number: u64) {
        drop(self.slots.remove(&number));
        self.job(Job::NotFlipped(number));
    }

    /// Frees something large.
    pub(super) fn free(&self, freed: Freed) {
        self.job(Job::Free(freed));
    }

    /// Judges again by a walk.
    pub(super) fn walk(&self, walk: Box<Walk>) {
        self.job(Job::Walk(walk));
    }

    fn job(&self, job: Job) {
        // The thread lives as long as this value.
        let _ = self.jobs.send(job);
    }
}

fn work(mut filler: Filler, queue: &mpsc::Receiver<Job>, next: &NextAhead, results: &Results) {
    let mut has_freed = false;
    loop {
        let job = match queue.try_recv() {
            Ok(job) => job,
            Err(mpsc::TryRecvError::Disconnected) => return,
            Err(mpsc::TryRecvError::Empty) => {
                if mem::take(&mut has_freed) {
                    trim_memory();
                }
                let Ok(job) = queue.recv() else { return };
                job
            }
        };
        match job {
            Job::Fill(fill) => {
                let begin = Instant::now();
                let number = fill.number;
                let filled = guarded("filling the tables", || filler.fill(&fill))
                    .unwrap_or_else(|| Err("it ended early".into()));
                // Freeing rules and names takes time.
                drop(fill);
                let took = begin.elapsed();
                let _ = results.send(TaskResult::Filled(Box::new(FilledSlot { number, filled, took })));
            }
            Job::Ahead => make_ahead(&mut filler, next.take()),
            Job::ForgetAhead => {
                filler.forget_ahead();
                has_freed = true;
            }
            Job::NotFlipped(number) => {
                filler.not_flipped(number);
                let put_off = filler.put_off();
                make_ahead(&mut filler, put_off);
            }
            Job::Settle(Settle { generation, took }) => {
                let begin = Instant::now();
                let problem = filler.settle().err();
                let tables = took + begin.elapsed();
                let _ = results.send(Input::Settled { generation, tables, problem }.into());
                let put_off = filler.put_off();
                make_ahead(&mut filler, put_off);
                has_freed = true;
            }
            Job::SettleAgain => {
                if let Err(error) = filler.settle() {
                    log::error!("a few verdicts may still be those of another policy: {error}");
                }
                let put_off = filler.put_off();
                make_ahead(&mut filler, put_off);
            }
            Job::Walk(walk) => {
                if let Some(disagreement) = walk.run() {
                    let _ = results.send(Input::Walked(disagreement).into());
                }
            }
            Job::Free(freed) => {
                drop(freed);
                has_freed = true;
            }
        }
    }
}

fn make_ahead(filler: &mut Filler, ahead: Option<Ahead>) {
    if let Some(ahead) = ahead {
        guarded("filling the tables ahead", || filler.fill_ahead(ahead));
    }
}

/// Parses, looks up accounts, indexes, compares.
fn prepare(
    last: &LastParsed,
    texts: &Texts,
    against: Option<(u32, Rules)>,
    looks_up_accounts: impl FnOnce(),
) -> Prepared {
    let begin = Instant::now();
    let ParsedTexts { rules: indexed, diagnostics } = last.take(texts);
    looks_up_accounts();
    let accounts = KnownAccounts::of(indexed.tables());
    let same_as = against.filter(|(_, rules)| rules.equals(indexed.tables(), &accounts));
    log::debug!("parsed, accounts looked up, compared with the rules in force: {:?}", begin.elapsed());
    let rules = match &same_as {
        // The rules in force are already indexed.
        Some((_, rules)) => rules.clone(),
        None => rules(indexed, accounts),
    };
    Prepared {
        rules,
        diagnostics,
        missing: [is_missing(&texts.allow), is_missing(&texts.deny)],
        deny: Arc::clone(&texts.deny.0),
        same_as: same_as.map(|(generation, _)| generation),
    }
}

/// Tables, with the data that is derived from them once.
fn rules(indexed: Arc<IndexedTables>, accounts: KnownAccounts) -> Rules {
    let tables = indexed.tables();
    Rules {
        commands: commands_of(tables).map(|(_, text)| text.into()).collect(),
        asks_for_users: compile::ask_for_users(tables),
        accounts: Arc::new(accounts),
        indexed,
    }
}

/// Whether a table is missing. A directory in its place reads as empty, as in libwrap; but on a reload it counts
/// as missing, so that it cannot replace a policy any more than a removed table can.
fn is_missing((path, text): &(Arc<PathBuf>, FileText)) -> bool {
    *text == FileText::Missing || path.is_dir()
}
