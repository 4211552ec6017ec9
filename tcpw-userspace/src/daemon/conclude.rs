//! An attempt has its verdict: what follows from it.
//!
//! In: attempts with their judgement. Out: an answer for the gate, a connection that goes on or ends, a
//! line, commands.
//! Invariant: an attempt has its line and its commands once, from [`Daemon::finish`]: where the gate
//! decides, when it reports that; else here.

use std::time::{Duration, Instant};

use tcpw_common::{
    answer::NEVER,
    held::Held,
    outcome::{BANNER, KEEPALIVE, Outcome},
    user::{UserDecides, Waiting},
};

use super::{
    Daemon,
    effects::marks,
    facts::{Facts, UserWanted},
    held::{answer_key, attempt_key},
    names::{Attempt, Purpose},
};
use crate::{
    config::Mode,
    evaluate::request::{Judgement, Verdict},
    events::{Decision, Fate, UDP},
    host::boot_ns,
    names::NamesSet,
};

/// An answer outlives at least its attempt: a SYN that cannot be sent again is its client's to repeat.
const ANSWER_AT_LEAST: Duration = Duration::from_secs(5);

/// Names behind a verdict are known for this much longer: its event may still be on its way.
const EVENT_DELAY: Duration = Duration::from_secs(60);

impl Daemon {
    /// An attempt has its verdict; or, if the user is wanted, that of an unknown one.
    pub(super) fn conclude(&mut self, attempt: Attempt, judgement: &Judgement, user: Option<UserWanted>) {
        let Attempt { decision, names, facts, purpose } = attempt;
        match purpose {
            Purpose::Live(live) => self.tell(*live, &decision, &facts, judgement),
            Purpose::Connection(waiting) => {
                self.conclude_connection(&waiting, &decision, &names, judgement, &facts);
            }
            Purpose::Steered(steered) => self.serve(*steered, &decision, &names, judgement, &facts),
            // It has passed.
            Purpose::Held(_) if self.config.mode == Mode::Audit => {
                if judgement.verdict == Verdict::Refuse && self.waiting.is_news(&decision) {
                    self.finish(Fate::WouldRefuse, &decision, &names, Some(judgement), &facts);
                }
            }
            Purpose::Held(held) => match user {
                None if needs_text(&decision, judgement, &facts) => {
                    let mut facts = facts;
                    facts.show_banners();
                    self.pursue(Attempt { decision, names, facts, purpose: Purpose::Held(held) }, None);
                }
                _ => self.answer(&held, &decision, judgement, facts, user),
            },
        }
    }

    /// The line of an attempt, and its commands.
    pub(super) fn finish(
        &mut self,
        fate: Fate,
        decision: &Decision,
        names: &NamesSet,
        judgement: Option<&Judgement>,
        facts: &Facts,
    ) {
        let decision = Decision { fate, ..*decision };
        if fate != Fate::Accepted || self.config.log_allowed && decision.protocol != UDP {
            self.write_line(&decision, names, judgement, facts);
        }
        self.act(&decision, judgement);
    }

    fn conclude_connection(
        &mut self,
        waiting: &Waiting,
        decision: &Decision,
        names: &NamesSet,
        judgement: &Judgement,
        facts: &Facts,
    ) {
        let fate = match judgement.verdict {
            Verdict::Allow => {
                if marks(judgement) & KEEPALIVE != 0 {
                    self.keep_alive(decision, waiting.ends.cookie);
                }
                if marks(judgement) & BANNER != 0 {
                    self.banners.came_late();
                }
                self.let_go(waiting, decision);
                Fate::Accepted
            }
            Verdict::Refuse => {
                self.turn_away(waiting);
                Fate::Refused
            }
        };
        self.finish(fate, decision, names, Some(judgement), facts);
    }

    /// Tells the gate, and lets it see the packet once more: it reports what it decides then.
    fn answer(
        &mut self,
        held: &Held,
        decision: &Decision,
        judgement: &Judgement,
        mut facts: Facts,
        user: Option<UserWanted>,
    ) {
        let outcome = match judgement.verdict {
            _ if user.is_some_and(|user| user.is_open) => Outcome::Refuse,
            Verdict::Allow => Outcome::Allow,
            Verdict::Refuse => Outcome::Refuse,
        };
        let answer = match user.or(facts.in_vain()) {
            None => outcome as u32,
            Some(user) => {
                let timeout_s = u16::try_from(user.timeout_s).unwrap_or(u16::MAX);
                UserDecides { if_unknown: outcome, timeout_s }.to_answer()
            }
        };
        let now = Instant::now();
        let holds = facts.until().map(|until| until.saturating_duration_since(now).max(ANSWER_AT_LEAST));
        let expires_ns = holds.map_or(NEVER, |holds| {
            boot_ns().saturating_add(u64::try_from(holds.as_nanos()).unwrap_or(u64::MAX))
        });
        let key = answer_key(decision);
        let marks = marks(judgement);
        let text = facts.shows_banners().then(|| self.leave_banner(held, decision, judgement));
        facts.hide_banners();
        if facts.hang_on_a_command() {
            self.commands.keep(decision, facts);
            return self.answer_once(held, decision, (answer, text.unwrap_or(marks)));
        }
        if !facts.is_empty() {
            self.hanging.remember(key, facts, now, now + holds.unwrap_or_default() + EVENT_DELAY);
        }
        // There may be a text for the next client, though there was none for this one. By this he is let in
        // if nobody can make it.
        let of_all = if text.is_some() { marks | BANNER } else { marks };
        let answered = self.kernel.answer(key, answer, of_all, expires_ns);
        match (answered, text) {
            (Ok(()), Some(marks)) => self.answer_once(held, decision, (answer, marks)),
            (Ok(()), None) => {
                self.ask_again_if_old(held, decision);
                self.send_again(held, decision);
            }
            (Err(error), _) => log::error!("{error:#}"),
        }
    }

    /// Another policy may say otherwise: the packet that is sent again is held once more, for that one.
    pub(super) fn ask_again_if_old(&mut self, held: &Held, decision: &Decision) {
        let is_current =
            self.policies.current.as_ref().is_some_and(|it| it.generation == decision.generation);
        if !is_current && let Err(error) = self.kernel.forget_held(&attempt_key(held, decision)) {
            // It then asks at the client's next SYN.
            log::debug!("{error:#}");
        }
    }
}

/// Whether a client that is let in has a banner coming, which was not read so far.
fn needs_text(decision: &Decision, judgement: &Judgement, facts: &Facts) -> bool {
    decision.protocol != UDP && marks(judgement) & BANNER != 0 && !facts.shows_banners()
}
