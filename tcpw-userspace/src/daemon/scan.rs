//! When to look for listeners: on every listen(2), and now and then all of them.
//!
//! In: process ids the kernel reported. Out: batches of listeners, found off the
//! event loop. Invariant: one scan runs at a time; what is asked for meanwhile is
//! looked at next.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use anyhow::Result;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::refuse::Looked;
use crate::{
    config::Config,
    host::{self, Incomplete},
    kernel::Changes,
    listeners::{Listener, Scanner, Survey},
};

/// How often all processes are looked at: a socket passed to another process, or
/// inherited by exec, is renamed then.
const EVERY: Duration = Duration::from_secs(10);

/// Least time between two full scans that events asked for.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Where the kernel cannot report listen(2) itself, a bind is looked at again after this long.
const AFTER_BIND: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// Not every bind of a UDP socket is reported: a while after one that was, its process is looked at again.
const AFTER_BIND_UDP: Duration = Duration::from_millis(1100);

/// So many full scans in a row may fail to look at everything before they count as whole.
const MOST_INCOMPLETE: u8 = 3;

/// A finished scan.
pub(super) struct Found {
    pub(super) listeners: Vec<Listener>,
    /// Every process and network namespace was looked at: what is not among the listeners is gone.
    pub(super) is_all: bool,
    /// Why a look at everything is none.
    incomplete: Option<Incomplete>,
    /// When it began: what came later may not be in it.
    pub(super) began: Clock,
    /// The network namespaces, if somebody wants to know.
    pub(super) looked: Looked,
}

impl Found {
    /// Takes a look; what `changes` says before it is older than what it finds.
    fn by(look: impl FnOnce() -> Survey, is_all: bool, changes: Option<&Changes>) -> Self {
        let began = Clock::now();
        let stamps = changes.map(Changes::stamps).unwrap_or_default();
        let Survey { listeners, namespaces, incomplete } = look();
        let looked = changes.map(|changes| Looked::new(namespaces, stamps, changes)).unwrap_or_default();
        Self { listeners, is_all: is_all && incomplete.is_none(), incomplete, began, looked }
    }
}

pub(super) struct Scans {
    scanner: Scanner,
    changes: Option<Arc<Changes>>,
    has_listening_hook: bool,
    pids: BTreeSet<u32>,
    again: BTreeSet<(Instant, u32)>,
    next_full: Instant,
    last_full: Instant,
    running: Option<JoinHandle<Found>>,
    /// Full scans in a row that could not look at everything.
    incomplete: u8,
}

impl Scans {
    pub(super) fn new(
        config: &Config,
        has_listening_hook: bool,
        changes: Option<Arc<Changes>>,
    ) -> Result<Self> {
        let scope = host::cgroup_scope(&config.cgroup)?;
        Ok(Self {
            scanner: Scanner::new(&config.proc_root, scope)
                .guarding(&config.cgroup)
                .naming(config.more_names.clone()),
            changes,
            has_listening_hook,
            pids: BTreeSet::new(),
            again: BTreeSet::new(),
            next_full: Instant::now() + EVERY,
            last_full: Instant::now(),
            running: None,
            incomplete: 0,
        })
    }

    /// Looks at every process, here and now.
    pub(super) fn scan_now(&self) -> Found {
        let found = Found::by(|| self.scanner.survey_all(), true, self.changes.as_deref());
        if let Some(reason) = &found.incomplete {
            log::warn!("{reason}: all listeners are looked for again");
        }
        found
    }

    /// A process has a new listener.
    pub(super) fn look_at(&mut self, pid: u32) {
        self.pids.insert(pid);
        if !self.has_listening_hook {
            self.again.extend(AFTER_BIND.map(|delay| (Instant::now() + delay, pid)));
        }
    }

    /// A process bound a UDP socket, and may have bound others since.
    pub(super) fn look_at_udp(&mut self, pid: u32) {
        self.pids.insert(pid);
        self.again.insert((Instant::now() + AFTER_BIND_UDP, pid));
    }

    /// How to look at what is out of scope, too.
    pub(super) fn everywhere(&self) -> Scanner {
        self.scanner.clone().everywhere()
    }

    /// There is a listener we do not know.
    pub(super) fn look_at_all(&mut self) {
        self.next_full = self.next_full.min(self.last_full + AT_MOST_EVERY);
    }

    /// Waits for the next finished scan. Cancel safe.
    pub(super) async fn next(&mut self) -> Found {
        loop {
            if self.running.is_none() {
                self.begin();
            }
            if let Some(running) = &mut self.running {
                let result = running.await;
                self.running = None;
                match result {
                    Ok(found) => return self.whole(found),
                    Err(error) => log::error!("a scan for listeners ended early: {error}"),
                }
                continue;
            }
            let due = self.again.first().map_or(self.next_full, |(at, _)| self.next_full.min(*at));
            sleep_until(due).await;
        }
    }

    /// A full scan that could not look at everything is none: it is tried again, and what it did not
    /// find is not gone. Where a namespace can never be looked at, it is as good as it gets.
    fn whole(&mut self, found: Found) -> Found {
        let Some(reason) = &found.incomplete else {
            self.incomplete = if found.is_all { 0 } else { self.incomplete };
            return found;
        };
        self.incomplete = self.incomplete.saturating_add(1);
        let is_blind = matches!(reason, Incomplete::Blind(_));
        if self.incomplete == MOST_INCOMPLETE {
            let consequence = if is_blind {
                "new listeners are closed until they are found"
            } else {
                "listeners that no process shows are judged by the rules for any daemon"
            };
            log::warn!("{reason}: {consequence}");
        }
        let is_all = self.incomplete >= MOST_INCOMPLETE && !is_blind;
        if !is_all {
            log::debug!("{reason}: all listeners are looked for again");
            self.look_at_all();
        }
        Found { is_all, ..found }
    }

    /// Begins a scan if one is due.
    fn begin(&mut self) {
        let now = Instant::now();
        while let Some((at, pid)) = self.again.first().copied()
            && at <= now
        {
            self.again.pop_first();
            self.pids.insert(pid);
        }
        let (scanner, changes) = (self.scanner.clone(), self.changes.clone());
        if self.next_full <= now {
            self.last_full = now;
            self.next_full = now + EVERY;
            self.pids.clear();
            self.running = Some(tokio::task::spawn_blocking(move || {
                Found::by(|| scanner.survey_all(), true, changes.as_deref())
            }));
        } else if !self.pids.is_empty() {
            let pids = std::mem::take(&mut self.pids);
            let look = move || {
                let mut all = Survey::default();
                for survey in pids.into_iter().map(|pid| scanner.survey_process(pid)) {
                    all.listeners.extend(survey.listeners);
                    all.namespaces.extend(survey.namespaces);
                }
                all
            };
            self.running =
                Some(tokio::task::spawn_blocking(move || Found::by(look, false, changes.as_deref())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scans() -> Scans {
        let now = Instant::now();
        Scans {
            scanner: Scanner::default(),
            changes: None,
            has_listening_hook: true,
            pids: BTreeSet::new(),
            again: BTreeSet::new(),
            next_full: now + EVERY,
            last_full: now,
            running: None,
            incomplete: 0,
        }
    }

    /// What a full scan counts as that could, or could not, look at everything.
    fn is_whole(scans: &mut Scans, incomplete: Option<Incomplete>) -> bool {
        scans.whole(Found::by(|| Survey { incomplete, ..Survey::default() }, true, None)).is_all
    }

    #[test]
    fn scan_that_could_not_look_at_everything_is_tried_again_and_forgets_nothing() {
        let mut scans = scans();
        assert!(is_whole(&mut scans, None));
        assert!(scans.next_full > Instant::now() + EVERY / 2);
        let namespace = || Some(Incomplete::Namespace("no netlink".into()));
        for _ in 1..MOST_INCOMPLETE {
            assert!(!is_whole(&mut scans, namespace()));
            assert!(scans.next_full <= Instant::now() + AT_MOST_EVERY);
        }
        assert!(is_whole(&mut scans, namespace()));
        // Who sees nothing never knows that something is gone.
        assert!(!is_whole(&mut scans, Some(Incomplete::Blind("no /proc".into()))));
        assert!(is_whole(&mut scans, None));
        assert!(!is_whole(&mut scans, namespace()));
    }
}
