//! Asks the running daemon, again and again.
//!
//! In: the run directory, whether to pause. Out: readings, and why there is none. Invariant: a record is told once, also
//! across a restart of the daemon; the listeners are asked for only when something changed, or after a time.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    attempt::{Attempt, RuleAt},
    excerpt,
    picture::{KEPT, Reading, rule_at},
};
use crate::control::{AskError, Metrics, RecentAnswer, RecentQuestion, Request, Status, ask_for};

const PATIENCE: Duration = Duration::from_secs(5);

/// The daemon looks at every socket for a status: it is asked less often than for counts.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Records in one answer: the daemon gives no more.
const PAGE: usize = 1000;

/// Who asks.
pub(super) struct Asker {
    run_dir: PathBuf,
    began: Instant,
    /// Number of the last record, and when its daemon began to count.
    last: Option<(u64, u64)>,
    /// What was true when the status was asked for, and when that was.
    status: Option<(Facts, Instant)>,
    tables: Option<[Table; 2]>,
    texts_of: Option<TextsOf>,
}

/// What a status depends on that metrics tell.
type Facts = (u32, bool, Vec<String>);

/// A table as it is in force: path, hash.
type Table = (PathBuf, String);

/// What the texts of lines were read for.
#[derive(PartialEq)]
struct TextsOf {
    generation: u32,
    tables: [Table; 2],
    lines: Vec<RuleAt>,
}

impl Asker {
    /// Of the daemon of a run directory.
    pub(super) fn new(run_dir: PathBuf) -> Self {
        Self { run_dir, began: Instant::now(), last: None, status: None, tables: None, texts_of: None }
    }

    /// Asks once.
    ///
    /// # Errors
    /// No daemon runs, or it does not answer.
    pub(super) fn ask(&mut self) -> Result<Reading, AskError> {
        let metrics: Box<Metrics> = ask_for(&self.run_dir, Request::Metrics, PATIENCE)?;
        // The time of the counts.
        let at = self.began.elapsed();
        let status = self.status(&metrics)?;
        let texts = self.texts(&metrics);
        // Last: what is told once must not be lost by an error.
        let (attempts, since_us, missed) = self.records()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        Ok(Reading { at, now, metrics, status, attempts, since_us, missed, texts })
    }

    /// The records since the last ones.
    fn records(&mut self) -> Result<(Vec<Attempt>, u64, u64), AskError> {
        let after = self.last.map(|(last, _)| last);
        let mut answer = self.page(after, None)?;
        if self.last.is_some_and(|(_, since_us)| since_us != answer.since_us) {
            // Another daemon: it counts from 1.
            self.last = None;
            answer = self.page(None, None)?;
        }
        let after = self.last.map_or(0, |(last, _)| last);
        let (last, since_us, mut missed) = (answer.last, answer.since_us, answer.missed);
        let mut first = last + 1;
        let mut pages = Vec::new();
        let mut kept = 0;
        // Pages, the newest first.
        while let Some(count) = Some(answer.records.len()).filter(|count| *count > 0) {
            let before = first;
            first = before.saturating_sub(count as u64);
            pages.push((first, std::mem::take(&mut answer.records)));
            kept += count;
            if first <= after + 1 || kept >= KEPT {
                break;
            }
            answer = self.page(Some(after), Some(first))?;
            if answer.since_us != since_us {
                break;
            }
            missed = answer.missed;
        }
        // What was before this command began is not missed.
        if self.last.is_none() {
            missed = 0;
        }
        self.last = Some((last, since_us));
        let pages = pages.iter().rev();
        let attempts = pages.flat_map(|(first, records)| {
            (*first..).zip(records).map(|(number, record)| Attempt::new(number, record))
        });
        Ok((attempts.collect(), since_us, missed))
    }

    fn page(&self, after: Option<u64>, before: Option<u64>) -> Result<RecentAnswer, AskError> {
        let question = RecentQuestion { after, before, most: PAGE, ..RecentQuestion::default() };
        ask_for(&self.run_dir, Request::Recent(question), PATIENCE)
    }

    fn status(&mut self, metrics: &Metrics) -> Result<Option<Box<Status>>, AskError> {
        let facts: Facts = (metrics.generation, metrics.is_last_reload_in_force, metrics.problems.clone());
        let is_new = |(before, asked): &(Facts, Instant)| *before == facts && asked.elapsed() < STATUS_EVERY;
        if self.status.as_ref().is_some_and(is_new) {
            return Ok(None);
        }
        let status: Box<Status> = ask_for(&self.run_dir, Request::Status, PATIENCE)?;
        let table = |table: &crate::control::TableStatus| (table.path.clone(), table.sha256.clone());
        self.tables = Some([table(&status.tables.allow), table(&status.tables.deny)]);
        self.status = Some((facts, Instant::now()));
        Ok(Some(status))
    }

    /// The texts of the lines that decided, if they are not those that were told before. Those of a file that is not the one
    /// in force are not told.
    fn texts(&mut self, metrics: &Metrics) -> Option<BTreeMap<RuleAt, String>> {
        let tables = self.tables.clone()?;
        let mut lines: Vec<RuleAt> = metrics.rules.iter().map(rule_at).collect();
        lines.sort_unstable();
        let of = TextsOf { generation: metrics.generation, tables, lines };
        if self.texts_of.as_ref() == Some(&of) {
            return None;
        }
        let mut texts = BTreeMap::new();
        for (kind, (path, sha256)) in ["allow", "deny"].into_iter().zip(&of.tables) {
            for (line, text) in lines_in_force(path, sha256, kind, &of.lines) {
                texts.insert(RuleAt { table: kind.into(), line }, crate::log::printable(&text).into_owned());
            }
        }
        self.texts_of = Some(of);
        Some(texts)
    }
}

/// The lines of a table, if its file still is the one in force.
fn lines_in_force(path: &Path, sha256: &str, kind: &str, lines: &[RuleAt]) -> Vec<(u32, String)> {
    let wanted: Vec<_> = lines.iter().filter(|it| it.table == kind).map(|it| it.line..=it.line).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    match excerpt::lines(path, &wanted) {
        Ok((lines, hash)) if hash.is_empty() || sha256.is_empty() || hash == sha256 => lines,
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Asks at an interval until the other end of `tell` or `pause` is gone; it asks nothing while `pause` said so.
pub(super) fn ask_on(
    mut asker: Asker,
    interval: Duration,
    pause: &Receiver<bool>,
    mut tell: impl FnMut(Result<Reading, AskError>) -> bool,
) {
    let mut is_paused = false;
    loop {
        let heard = if is_paused {
            pause.recv().map_err(|_gone| RecvTimeoutError::Disconnected)
        } else {
            pause.recv_timeout(interval)
        };
        match heard {
            Ok(paused) => is_paused = paused,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if !is_paused && !tell(asker.ask()) {
            return;
        }
    }
}
