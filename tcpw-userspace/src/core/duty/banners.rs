//! Banners of allowed clients: made here, sent by the kernel before the daemon's own first bytes.
//!
//! In: held attempts that are allowed; banner files. Out: a text for each in the kernel, before the SYN is
//! re-injected.
//! Invariant: if something fails, the client gets no banner, but its connection goes on. Such clients are
//! counted, and reported at most once a second.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    time::{Duration, Instant},
};

use tcpw_common::{
    banner::{Banner, MAX_TEXT},
    held::Held,
    key::{AttemptKey, BannerKey, FlowKey},
    metric::Metric,
    outcome::BANNER,
};

use super::effects::marks;
use crate::{
    core::{
        action::{Action, Write},
        attempt::Attempt,
        outbox::{Outbox, Step},
        shared::SharedState,
    },
    effects,
    evaluate::request::{Banner as BannerFile, Judgement},
    events::Decision,
};

/// How long a handshake may take; the banner of one that takes longer is removed.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// How long reading the banner file may take; after that the client gets no banner.
const PATIENCE: Duration = Duration::from_secs(2);

/// A banner file: the directory of the option, and the daemon.
type BannerPath = (PathBuf, Vec<u8>);

/// Files being read, banners left in the kernel, and counts of clients without one.
#[derive(Default)]
pub(in crate::core) struct Banners {
    reading: HashMap<BannerPath, Reading>,
    reading_keys: HashSet<AttemptKey>,
    /// Attempts that went on without their banner file.
    unread: u64,
    said_unread: u64,
    left: VecDeque<(Instant, BannerKey)>,
    counts: BannerCounts,
    said: BannerCounts,
    /// Ports whose clients get no banner: reported once each.
    unfit: HashSet<u16>,
    /// Why the kernel refused the last one.
    error: Option<String>,
}

/// A banner file that is being read.
struct Reading {
    since: Instant,
    attempts: Vec<Attempt>,
}

/// BannerCounts since the start.
#[derive(Clone, Copy, Default)]
struct BannerCounts {
    too_long: u64,
    no_room: u64,
    /// Their listener accepts what may be no plain TCP socket.
    unfit: u64,
    /// Their handshake was never completed.
    unclaimed: u64,
    /// Their connection was established before the user was known.
    late: u64,
}

impl Banners {
    /// An earlier daemon left these banners.
    pub(in crate::core) fn adopt(&mut self, left: Vec<BannerKey>, now: Instant) {
        self.left.extend(left.into_iter().map(|key| (now, key)));
    }

    /// An attempt needs a banner file.
    pub(in crate::core) fn want(&mut self, mut attempt: Box<Attempt>, file: BannerPath, out: &mut Outbox) {
        let now = out.now.at;
        match self.reading.get_mut(&file) {
            Some(reading) if now.saturating_duration_since(reading.since) >= PATIENCE => {
                attempt.facts.read(file, BannerFile::Missing);
                out.step(Step::Judge(attempt));
            }
            Some(reading) => {
                self.reading_keys.extend(attempt.key());
                reading.attempts.push(*attempt);
            }
            None => {
                self.reading_keys.extend(attempt.key());
                let (directory, daemon) = file.clone();
                self.reading.insert(file, Reading { since: now, attempts: vec![*attempt] });
                out.act(Action::ReadBanner { directory, daemon });
            }
        }
    }

    /// A banner file was read: the attempts that wait for it go on.
    pub(in crate::core) fn read(&mut self, file: &BannerPath, banner: &BannerFile, out: &mut Outbox) {
        if let Some(reading) = self.reading.remove(file) {
            self.go_on(reading.attempts, file, banner, out);
        }
    }

    fn go_on(&mut self, attempts: Vec<Attempt>, file: &BannerPath, banner: &BannerFile, out: &mut Outbox) {
        for mut attempt in attempts {
            if let Some(key) = attempt.key() {
                self.reading_keys.remove(&key);
            }
            attempt.facts.read(file.clone(), banner.clone());
            out.step(Step::Judge(Box::new(attempt)));
        }
    }

    /// Whether an attempt waits for its banner file.
    pub(in crate::core) fn is_read_for(&self, key: &AttemptKey) -> bool {
        self.reading_keys.contains(key)
    }

    /// A connection that waited for its user goes on without a banner: its daemon may already have sent data.
    pub(in crate::core) fn came_late(&mut self) {
        self.counts.late += 1;
    }

    /// Leaves the banner of a held attempt that is allowed; returns the marks of its answer. If the banner is
    /// missing, the kernel counts the connection.
    pub(in crate::core) fn leave(
        &mut self,
        (held, decision): (&Held, &Decision),
        judgement: &Judgement,
        shared: &SharedState,
        writes: &mut Vec<Write>,
        out: &mut Outbox,
    ) -> u8 {
        let marks = marks(judgement);
        let text = effects::serving(&judgement.effects).banner;
        if marks & BANNER == 0 || text.is_empty() {
            return marks & !BANNER;
        }
        for warning in &judgement.warnings {
            out.debug(format!("{}: {warning}", crate::events::ip(&decision.client)));
        }
        let Some(banner) = Banner::new(&text) else {
            self.counts.too_long += 1;
            return marks;
        };
        let known = shared.inventory.get(decision.cookie);
        let Some(known) = known.filter(|known| shared.inventory.is_plain_tcp(known)) else {
            self.counts.unfit += 1;
            if self.unfit.insert(decision.server_port) {
                out.warn(format!(
                    "clients of port {} get no banner: it is not certain that its listener accepts plain TCP",
                    decision.server_port
                ));
            }
            return marks;
        };
        let flow = FlowKey { netns: known.netns, ..decision.flow() };
        let key = BannerKey { flow, isn: held.isn, reserved: 0 };
        writes.push(Write::LeaveBanner { key, banner: Box::new(banner) });
        self.left.push_back((out.now.at, key));
        marks
    }

    /// The kernel did not accept a banner.
    pub(in crate::core) fn not_left(&mut self, key: &BannerKey, reason: String) {
        self.left.retain(|(_, left)| left != key);
        self.counts.no_room += 1;
        self.error = Some(reason);
    }

    /// A banner was removed.
    pub(in crate::core) fn taken_back(&mut self, was_unclaimed: bool) {
        self.counts.unclaimed += u64::from(was_unclaimed);
    }

    /// Removes the banners of handshakes that were never completed, and reports what failed.
    pub(in crate::core) fn second(&mut self, out: &mut Outbox) {
        let now = out.now.at;
        let late = self.reading.iter_mut().filter(|(_, reading)| {
            !reading.attempts.is_empty() && now.saturating_duration_since(reading.since) >= PATIENCE
        });
        let late: Vec<_> =
            late.map(|(file, reading)| (file.clone(), std::mem::take(&mut reading.attempts))).collect();
        for (file, attempts) in late {
            self.unread += size(attempts.len());
            self.go_on(attempts, &file, &BannerFile::Missing, out);
        }
        let is_over = |since: &Instant| now.saturating_duration_since(*since) >= HANDSHAKE;
        while let Some((_, key)) = self.left.pop_front_if(|(since, _)| is_over(since)) {
            out.write(Write::TakeBackBanner(key));
        }
        let BannerCounts { too_long, no_room, late, .. } = self.counts;
        let before = std::mem::replace(&mut self.said, self.counts);
        let unread = self.unread - std::mem::replace(&mut self.said_unread, self.unread);
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                out.warn(format!("{count} allowed clients get no banner: {what}"));
            }
        };
        say(too_long - before.too_long, &format!("it is longer than {MAX_TEXT} bytes"));
        say(no_room - before.no_room, self.error.as_deref().unwrap_or_default());
        say(unread, "its file was not read in time");
        say(late - before.late, "their user decides, and is known only once the connection is established");
    }

    /// How many things are held: banner files that are read, and texts that were left.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 3] {
        [
            ("banner files", self.reading.len()),
            ("attempts that wait for a banner file", self.reading_keys.len()),
            ("banners that were left", self.left.len()),
        ]
    }

    pub(in crate::core) fn counters(&self) -> [(Metric, u64); 5] {
        let BannerCounts { too_long, no_room, unfit, unclaimed, late } = self.counts;
        [
            (
                Metric::counter(
                    "banners_too_long",
                    "connections",
                    "Allowed clients without a banner because it is too long.",
                ),
                too_long,
            ),
            (
                Metric::counter(
                    "banners_no_room",
                    "connections",
                    "Allowed clients without a banner because the kernel's table was full.",
                ),
                no_room,
            ),
            (
                Metric::counter(
                    "banners_unfit",
                    "connections",
                    "Allowed clients without a banner because their listener may accept other sockets than plain TCP.",
                ),
                unfit,
            ),
            (
                Metric::counter(
                    "banners_unclaimed",
                    "connections",
                    "Banners of handshakes that were never completed.",
                ),
                unclaimed,
            ),
            (
                Metric::counter(
                    "banners_missed",
                    "connections",
                    "Allowed clients without a banner because the rule needed their user, which is known only after the connection is established.",
                ),
                late,
            ),
        ]
    }
}

fn size(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
