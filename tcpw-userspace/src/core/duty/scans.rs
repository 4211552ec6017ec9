//! When to scan for listeners: one process after each listen(2), and all processes from time to time.
//!
//! In: process ids the kernel reported, finished scans. Out: scans to begin. Invariant: one scan runs at a
//! time, until its listeners are tagged; requests that come meanwhile are served by the next one.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    core::{
        action::{Action, Scan},
        input::Scanned,
        outbox::Outbox,
    },
    host::Incomplete,
};

/// How often all processes are scanned: this finds sockets that were passed to another process, or inherited
/// over execve(2).
const EVERY: Duration = Duration::from_secs(10);

/// Least time between two full scans that events request.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// If the kernel does not report listen(2), a process is scanned again this long after a bind.
const AFTER_BIND: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// Not every bind of a UDP socket is reported: the process is scanned again this long after one that was.
const AFTER_BIND_UDP: Duration = Duration::from_millis(1100);

/// After this many incomplete full scans in a row, an incomplete one counts as complete.
const MOST_INCOMPLETE: u8 = 3;

/// The scans to make, and when.
pub(in crate::core) struct Scans {
    has_listening_hook: bool,
    pids: BTreeSet<u32>,
    again: BTreeSet<(Instant, u32)>,
    next_full: Instant,
    last_full: Instant,
    is_running: bool,
    /// False until [`start`](Self::start): no scan starts by itself.
    is_on: bool,
    /// Full scans in a row that were incomplete.
    incomplete: u8,
    /// What the last full scan said of listeners whose processes cannot be seen.
    unseen: Option<String>,
}

impl Scans {
    pub(in crate::core) fn new(now: Instant) -> Self {
        Self {
            has_listening_hook: false,
            pids: BTreeSet::new(),
            again: BTreeSet::new(),
            next_full: now + EVERY,
            last_full: now,
            is_running: false,
            is_on: false,
            incomplete: 0,
            unseen: None,
        }
    }

    /// The kernel reports listen(2) itself, or not.
    pub(in crate::core) fn set_listening_hook(&mut self, has_listening_hook: bool) {
        self.has_listening_hook = has_listening_hook;
    }

    /// From here on scans begin by themselves; before, only those of the start are made.
    pub(in crate::core) fn start(&mut self) {
        self.is_on = true;
    }

    /// Looks at everything at once, for the start: no other scan runs then.
    pub(in crate::core) fn look_at_all_now(&mut self, out: &mut Outbox) {
        let now = out.now.at;
        (self.last_full, self.next_full) = (now, now + EVERY);
        self.is_running = true;
        out.act(Action::Scan(Scan::All));
    }

    /// A process has a new listener.
    pub(in crate::core) fn look_at(&mut self, pid: u32, now: Instant) {
        self.pids.insert(pid);
        if !self.has_listening_hook {
            self.again.extend(AFTER_BIND.map(|delay| (now + delay, pid)));
        }
    }

    /// A process bound a UDP socket, and may have bound others since.
    pub(in crate::core) fn look_at_udp(&mut self, pid: u32, now: Instant) {
        self.pids.insert(pid);
        self.again.insert((now + AFTER_BIND_UDP, pid));
    }

    /// Whether a listener that is not found may be of a process that cannot be seen.
    pub(in crate::core) fn has_unseen(&self) -> bool {
        self.unseen.is_some()
    }

    /// An attempt met a listener that is not known.
    pub(in crate::core) fn look_at_all(&mut self) {
        self.next_full = self.next_full.min(self.last_full + AT_MOST_EVERY);
    }

    /// When the next scan is due.
    pub(in crate::core) fn deadline(&self) -> Option<Instant> {
        if self.is_running || !self.is_on {
            return None;
        }
        Some(self.again.first().map_or(self.next_full, |(at, _)| self.next_full.min(*at)))
    }

    /// A scan is over. Returns whether it counts as a complete full scan.
    pub(in crate::core) fn finished(&mut self, scanned: &Scanned, out: &mut Outbox) -> bool {
        if !scanned.is_all {
            return false;
        }
        let Some(reason) = &scanned.incomplete else {
            self.incomplete = 0;
            self.unseen = None;
            return true;
        };
        if let Incomplete::Unseen(reason) = reason {
            if self.unseen.as_ref() != Some(reason) {
                out.warn(format!(
                    "{reason}: these listeners are not identified, and their clients are not allowed"
                ));
                self.unseen = Some(reason.clone());
            }
            self.incomplete = 0;
            return true;
        }
        self.incomplete = self.incomplete.saturating_add(1);
        let is_blind = matches!(reason, Incomplete::Blind(_));
        if self.incomplete == MOST_INCOMPLETE {
            let consequence = if is_blind {
                "connections to new listeners are not allowed until a scan finds these"
            } else {
                "listeners whose process is not found are judged by the rules that match any daemon"
            };
            out.warn(format!("{reason}: {consequence}"));
        }
        let is_whole = self.incomplete >= MOST_INCOMPLETE && !is_blind;
        if !is_whole {
            out.debug(format!("{reason}: scanning again for all listeners"));
            self.look_at_all();
        }
        is_whole
    }

    /// The listeners of the scan are tagged: the next scan may begin.
    pub(in crate::core) fn done(&mut self, out: &mut Outbox) {
        self.is_running = false;
        self.begin(out);
    }

    /// Begins a scan if one is due.
    pub(in crate::core) fn begin(&mut self, out: &mut Outbox) {
        let now = out.now.at;
        if self.is_running || !self.is_on {
            return;
        }
        while let Some((at, pid)) = self.again.first().copied()
            && at <= now
        {
            self.again.pop_first();
            self.pids.insert(pid);
        }
        let scan = if self.next_full <= now {
            self.last_full = now;
            self.next_full = now + EVERY;
            self.pids.clear();
            Scan::All
        } else if !self.pids.is_empty() {
            Scan::Processes(std::mem::take(&mut self.pids).into_iter().collect())
        } else {
            return;
        };
        self.is_running = true;
        out.act(Action::Scan(scan));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::now;

    /// Whether a full scan counts as complete.
    fn is_whole(scans: &mut Scans, incomplete: Option<Incomplete>) -> bool {
        let mut out = Outbox::new(now());
        scans.finished(&Scanned { incomplete, is_all: true, ..Scanned::default() }, &mut out)
    }

    #[test]
    fn scan_that_could_not_look_at_everything_is_tried_again_and_forgets_nothing() {
        let mut scans = Scans::new(now().at);
        assert!(is_whole(&mut scans, None));
        assert!(scans.next_full > now().at + EVERY / 2);
        let namespace = || Some(Incomplete::Namespace("no netlink".into()));
        for _ in 1..MOST_INCOMPLETE {
            assert!(!is_whole(&mut scans, namespace()));
            assert!(scans.next_full <= now().at + AT_MOST_EVERY);
        }
        assert!(is_whole(&mut scans, namespace()));
        // From an incomplete scan it cannot be told that a listener is gone.
        assert!(!is_whole(&mut scans, Some(Incomplete::Blind("no /proc".into()))));
        assert!(is_whole(&mut scans, None));
        assert!(!is_whole(&mut scans, namespace()));
    }

    #[test]
    fn one_scan_runs_at_a_time_and_what_is_asked_for_meanwhile_is_next() {
        let mut scans = Scans::new(now().at);
        scans.set_listening_hook(true);
        scans.start();
        let mut out = Outbox::new(now());
        scans.look_at(7, now().at);
        scans.begin(&mut out);
        scans.look_at(8, now().at);
        scans.look_at(9, now().at);
        scans.begin(&mut out);
        assert_eq!(scans.deadline(), None);
        scans.done(&mut out);
        let scans: Vec<String> = out.actions.iter().map(|action| format!("{action:?}")).collect();
        assert_eq!(scans, ["Scan(Processes([7]))", "Scan(Processes([8, 9]))"]);
    }
}
