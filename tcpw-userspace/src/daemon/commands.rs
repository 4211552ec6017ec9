//! Attempts that hang on a command: `aclexec` decides.
//!
//! In: attempts, and how their commands ended. Out: an answer for that attempt alone, and what
//! was behind it until the attempt is reported.
//! Invariant: the event loop waits for no command; one that is suppressed, killed or lost decides
//! nothing: its client tries again. What waits is bounded by the limits of `[effects]`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use tcpw_common::{held::Held, key::AttemptKey, outcome::Outcome, user};

use super::{
    Daemon,
    facts::Facts,
    held::attempt_key,
    names::{Attempt, Purpose},
};
use crate::{
    config::Mode,
    effects::{Command, surroundings_of},
    evaluate::request::{CommandResult, Judgement, Verdict},
    events::{self, Decision, UDP},
    host::boot_ns,
    parse::rule::Text,
};

/// An answer outlives every SYN of its attempt: Linux gives up after two minutes.
const ANSWER_FOR: Duration = Duration::from_secs(180);

/// The SYN is on its way when it is told; Linux sends another after a second.
const RESET_FOR: Duration = Duration::from_millis(500);

/// IPPROTO_TCP.
const TCP: u16 = 6;

/// Most attempts whose facts are kept until they are reported.
const MOST_KEPT: usize = 4096;

/// Attempts whose command runs, and those that were answered.
#[derive(Default)]
pub(super) struct Commands {
    asked: HashMap<u64, (Attempt, Text)>,
    by_key: HashMap<AttemptKey, u64>,
    answered: HashMap<Reported, (Instant, Facts)>,
    /// Attempts whose command gave no result.
    pub(super) undecided: u64,
}

impl Commands {
    /// Whether an attempt's command runs.
    pub(super) fn is_asked(&self, key: &AttemptKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// What decided an attempt, if a command had a say.
    pub(super) fn facts_of(&self, decision: &Decision) -> Option<&Facts> {
        let (since, facts) = self.answered.get(&Reported::of(decision))?;
        (since.elapsed() < ANSWER_FOR).then_some(facts)
    }

    /// The same, for the connection that the attempt became.
    pub(super) fn take_facts(&mut self, decision: &Decision) -> Option<Facts> {
        let (since, facts) = self.answered.remove(&Reported::of(decision))?;
        (since.elapsed() < ANSWER_FOR).then_some(facts)
    }

    /// Keeps what decided an attempt until it is reported.
    pub(super) fn keep(&mut self, decision: &Decision, facts: Facts) {
        let now = Instant::now();
        if self.answered.len() >= MOST_KEPT {
            self.answered.retain(|_, (since, _)| now.duration_since(*since) < ANSWER_FOR);
        }
        if self.answered.len() < MOST_KEPT {
            self.answered.insert(Reported::of(decision), (now, facts));
        }
    }
}

/// An attempt as its event tells it, and the connection that it became: neither has the SYN's number, and
/// their sockets differ.
#[derive(PartialEq, Eq, Hash)]
struct Reported {
    netns: u64,
    protocol: u16,
    ends: AttemptKey,
}

impl Reported {
    fn of(decision: &Decision) -> Self {
        let Decision { netns, protocol, client, server, client_port, server_port, .. } = *decision;
        Self { netns, protocol, ends: user::ends(client, server, client_port, server_port) }
    }
}

impl Daemon {
    /// Runs the command an attempt hangs on; gives the attempt back where none is run.
    pub(super) fn ask_command(
        &mut self,
        attempt: Attempt,
        command: &Text,
        judgement: &Judgement,
    ) -> Option<Attempt> {
        let key = match &attempt.purpose {
            _ if self.config.mode == Mode::Audit => return Some(attempt),
            Purpose::Live(_) => return Some(attempt),
            Purpose::Held(held) => Some(attempt_key(held, &attempt.decision)),
            Purpose::Connection(_) | Purpose::Steered(_) => None,
        };
        let surroundings = surroundings_of(&judgement.effects, command);
        let order = Command { text: command.clone(), surroundings };
        match self.effects.ask(events::ip(&attempt.decision.client), &order) {
            Some(number) => {
                self.commands.by_key.extend(key.map(|key| (key, number)));
                self.commands.asked.insert(number, (attempt, command.clone()));
            }
            None => self.undecided(attempt, command.clone()),
        }
        None
    }

    /// Nobody knows how the command ends. A client whose SYN is held tries again; a connection that
    /// waits is refused if either end of the command refuses it.
    fn undecided(&mut self, mut attempt: Attempt, command: Text) {
        self.commands.undecided += 1;
        if !matches!(attempt.purpose, Purpose::Connection(_) | Purpose::Steered(_)) {
            return;
        }
        let facts = attempt.facts.clone();
        attempt.facts.end(command.clone(), CommandResult::Exited(0));
        let judged = self.judge(&attempt.names, &attempt.decision, &attempt.facts);
        if judged.is_some_and(|judged| judged.judgement.verdict == Verdict::Allow) {
            attempt.facts = facts;
            attempt.facts.end(command, CommandResult::Exited(1));
        }
        self.pursue(attempt, None);
    }

    /// Commands have ended: what hangs on them goes on.
    pub(super) fn commands_ended(&mut self, ended: Vec<(u64, Option<CommandResult>)>) {
        for (number, result) in ended {
            let Some((mut attempt, command)) = self.commands.asked.remove(&number) else { continue };
            self.commands.by_key.retain(|_, other| *other != number);
            match result {
                Some(result) => {
                    attempt.facts.end(command, result);
                    self.pursue(attempt, None);
                }
                None => self.undecided(attempt, command),
            }
        }
    }

    /// Answers one attempt, and no other.
    pub(super) fn answer_once(&mut self, held: &Held, decision: &Decision, (outcome, marks): (u32, u8)) {
        let holds_ns = u64::try_from(ANSWER_FOR.as_nanos()).unwrap_or(u64::MAX);
        let expires_ns = boot_ns().saturating_add(holds_ns);
        let key = attempt_key(held, decision);
        self.ask_again_if_old(held, decision);
        let answered = self.kernel.answer_once(key, decision.generation, (outcome, marks), expires_ns);
        let is_refused = outcome == Outcome::Refuse as u32;
        let answered =
            answered.and_then(|()| if is_refused { self.reset_once(&key, decision) } else { Ok(()) });
        match answered {
            Ok(()) => self.send_again(held, decision),
            Err(error) => log::error!("{error:#}"),
        }
    }

    /// The SYN that is sent again next is answered with a reset, where it is certain who listens.
    fn reset_once(&mut self, key: &AttemptKey, decision: &Decision) -> Result<()> {
        let Some(netns) = self.registry.get(decision.cookie).map(|known| known.netns) else { return Ok(()) };
        let place = (decision.server, decision.server_port);
        if decision.protocol == UDP || !self.kernel.is_reset_for(netns, place, TCP, decision.cookie) {
            return Ok(());
        }
        let holds_ns = u64::try_from(RESET_FOR.as_nanos()).unwrap_or(u64::MAX);
        self.kernel.reset_once(key, boot_ns().saturating_add(holds_ns))
    }
}
