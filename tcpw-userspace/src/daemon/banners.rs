//! Banners of clients that are let in: made here, sent by the kernel before the daemon's own first bytes.
//!
//! In: held attempts that are allowed, their banners read. Out: a text for each in the kernel, before the
//! SYN is sent again.
//! Invariant: what goes wrong costs the text, never the connection; it is counted, and said once a second
//! at most.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use tcpw_common::{
    banner::{Banner, MAX_TEXT},
    held::Held,
    key::{BannerKey, FlowKey},
    outcome::BANNER,
};

use super::{Daemon, effects::marks};
use crate::{effects, evaluate::request::Judgement, events::Decision};

/// How long a handshake may take; the text of one that takes longer is taken back.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// Texts that were left, and what became of those that were not.
#[derive(Default)]
pub(super) struct Banners {
    left: VecDeque<(Instant, BannerKey)>,
    counts: Counts,
    said: Counts,
    /// Ports whose listeners get none: said once.
    unfit: HashSet<u16>,
    /// Why the kernel took none.
    error: Option<String>,
}

/// Counts since the start.
#[derive(Clone, Copy, Default)]
struct Counts {
    too_long: u64,
    no_room: u64,
    /// Their listener accepts what may be no plain TCP socket.
    unfit: u64,
    /// Their handshake never came to its end.
    unclaimed: u64,
    /// The connection was there before its user was known.
    late: u64,
}

impl Banners {
    /// A connection went on whose daemon may have sent something before.
    pub(super) fn came_late(&mut self) {
        self.counts.late += 1;
    }
}

impl Daemon {
    /// Leaves the text of a held attempt that is let in; gives the marks of its answer. Where there should
    /// be a text and is none, the kernel counts the connection.
    pub(super) fn leave_banner(&mut self, held: &Held, decision: &Decision, judgement: &Judgement) -> u8 {
        let marks = marks(judgement);
        let text = effects::service(&judgement.effects).banner;
        if marks & BANNER == 0 || text.is_empty() {
            return marks & !BANNER;
        }
        for warning in &judgement.warnings {
            log::debug!("{}: {warning}", crate::events::ip(&decision.client));
        }
        let Some(banner) = Banner::new(&text) else {
            self.banners.counts.too_long += 1;
            return marks;
        };
        let known = self.registry.get(decision.cookie);
        let Some(known) = known.filter(|known| self.registry.is_plain_tcp(known)) else {
            self.banners.counts.unfit += 1;
            if self.banners.unfit.insert(decision.server_port) {
                log::warn!(
                    "clients of port {} get no banner: it is not certain that its listener accepts plain TCP",
                    decision.server_port
                );
            }
            return marks;
        };
        let flow = FlowKey { netns: known.netns, ..decision.flow() };
        let key = BannerKey { flow, isn: held.isn, reserved: 0 };
        match self.kernel.banners.leave(&key, &banner) {
            Ok(()) => self.banners.left.push_back((Instant::now(), key)),
            Err(error) => {
                self.banners.counts.no_room += 1;
                self.banners.error = Some(format!("{error:#}"));
            }
        }
        marks
    }

    /// A daemon before this one left texts, too.
    pub(super) fn adopt_banners(&mut self) {
        match self.kernel.banners.left() {
            Ok(left) => self.banners.left.extend(left.into_iter().map(|key| (Instant::now(), key))),
            Err(error) => log::error!("{error:#}"),
        }
    }

    /// A text is out.
    pub(super) fn spoken(&mut self, cookie: u64) {
        if let Err(error) = self.kernel.banners.dismiss(cookie) {
            log::error!("{error:#}");
        }
    }

    /// Takes back texts of handshakes that did not come to their end, and says what went wrong.
    pub(super) fn watch_banners(&mut self) {
        while let Some((_, key)) = self.banners.left.pop_front_if(|(since, _)| since.elapsed() >= HANDSHAKE) {
            match self.kernel.banners.take_back(&key) {
                Ok(is_unclaimed) => self.banners.counts.unclaimed += u64::from(is_unclaimed),
                Err(error) => log::error!("{error:#}"),
            }
        }
        let Counts { too_long, no_room, late, .. } = self.banners.counts;
        let before = std::mem::replace(&mut self.banners.said, self.banners.counts);
        let say = |count: u64, what: &str| {
            if count > 0 {
                log::warn!("{count} allowed clients get no banner: {what}");
            }
        };
        say(too_long - before.too_long, &format!("it is longer than {MAX_TEXT} bytes"));
        say(no_room - before.no_room, self.banners.error.as_deref().unwrap_or_default());
        say(late - before.late, "their user decided, whose connection was there before");
    }

    pub(super) fn add_banner_counters(&self, counters: &mut BTreeMap<String, u64>) {
        let Counts { too_long, no_room, unfit, unclaimed, late } = self.banners.counts;
        let waiting = u64::try_from(self.kernel.banners.waiting()).unwrap_or(u64::MAX);
        for (name, value) in [
            ("banners_too_long", too_long),
            ("banners_no_room", no_room),
            ("banners_unfit", unfit),
            ("banners_unclaimed", unclaimed),
            ("banners_waiting", waiting),
        ] {
            counters.insert(name.to_owned(), value);
        }
        *counters.entry("banners_missed".to_owned()).or_default() += late;
    }
}
