//! Attempts that wait for a command: `aclexec` decides.
//!
//! In: attempts, and results of their commands. Out: commands to run, attempts to judge, answers for one
//! attempt only, with their facts until the attempt is reported.
//! Invariant: a command that is suppressed, killed or lost decides nothing: the client retries. The number
//! of waiting attempts is bounded by the limits of `[effects]`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tcpw_common::{
    answer::{AnswerOnce, ResetOnce},
    held::Held,
    key::{AttemptKey, FlowKey},
    metric::Metric,
    outcome::Outcome,
};

use super::effects::HelperCommands;
use crate::{
    core::{
        action::Write,
        attempt::{Attempt, VerdictPurpose, attempt_key, judge_under},
        facts::AttemptFacts,
        input::Now,
        outbox::{Outbox, Step},
        shared::{SharedState, UDP},
    },
    effects::{Command, surroundings_of},
    evaluate::request::{CommandResult, Judgement, Verdict},
    events::{self, Decision},
    parse::rule::Text,
};

/// An answer outlives every SYN of its attempt: Linux gives up after two minutes.
const ANSWER_FOR: Duration = Duration::from_secs(180);

/// The SYN is on its way when its reset is prepared; Linux sends another after a second.
const RESET_FOR: Duration = Duration::from_millis(500);

/// Most attempts whose facts are kept until they are reported.
const MOST_KEPT: usize = 4096;

/// Attempts whose command runs, and those that were answered.
#[derive(Default)]
pub(in crate::core) struct Commands {
    asked: HashMap<u64, (Box<Attempt>, Text)>,
    by_key: HashMap<AttemptKey, u64>,
    /// An event does not have the SYN's number, nor the connection its listener.
    answered: HashMap<FlowKey, AttemptAnswer>,
    /// Attempts whose command gave no result.
    undecided: u64,
}

/// The facts behind an answer to one attempt.
struct AttemptAnswer {
    given: Now,
    generation: u32,
    facts: AttemptFacts,
}

impl Commands {
    /// Whether a command runs for this attempt.
    pub(in crate::core) fn is_asked(&self, key: &AttemptKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// The answer that decided an attempt, if a command's result was one of its facts.
    /// When it was given, on CLOCK_BOOTTIME, in nanoseconds, and the facts.
    pub(in crate::core) fn answer(&self, decision: &Decision, now: Instant) -> Option<(u64, &AttemptFacts)> {
        let AttemptAnswer { given, generation, facts } = self.answered.get(&decision.flow())?;
        let holds =
            now.saturating_duration_since(given.at) < ANSWER_FOR && *generation == decision.generation;
        holds.then_some((given.boot_ns, facts))
    }

    /// The same, for the connection that the attempt became.
    pub(in crate::core) fn take_facts(&mut self, decision: &Decision, now: Instant) -> Option<AttemptFacts> {
        let AttemptAnswer { given, facts, .. } = self.answered.remove(&decision.flow())?;
        (now.saturating_duration_since(given.at) < ANSWER_FOR).then_some(facts)
    }

    /// Keeps what decided an attempt until it is reported.
    pub(in crate::core) fn keep(&mut self, decision: &Decision, facts: AttemptFacts, now: Now) {
        if self.answered.len() >= MOST_KEPT {
            self.answered.retain(|_, it| now.at.saturating_duration_since(it.given.at) < ANSWER_FOR);
        }
        if self.answered.len() < MOST_KEPT {
            let answered = AttemptAnswer { given: now, generation: decision.generation, facts };
            self.answered.insert(decision.flow(), answered);
        }
    }

    /// Runs the command that an attempt waits for. In audit mode, and for a request at the control socket, no
    /// command is run: it is taken as successful.
    pub(in crate::core) fn want(
        &mut self,
        mut attempt: Box<Attempt>,
        command: Text,
        judgement: &Judgement,
        effects: &mut HelperCommands,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        if shared.is_audit() || matches!(attempt.purpose, VerdictPurpose::Live(_)) {
            attempt.facts.end(command, CommandResult::Exited(0));
            return out.step(Step::Judge(attempt));
        }
        let source = events::ip(&attempt.decision.client);
        if !attempt.is_from_proven_source() && !effects.has_room_for_unproven(source, out.now.at) {
            if attempt.may_be_challenged(shared) {
                return out.step(Step::Challenge(attempt));
            }
            return self.undecided(attempt, command, shared, out);
        }
        let surroundings = surroundings_of(&judgement.effects, &command);
        let order = Command { text: command.clone(), surroundings };
        match effects.ask(source, &order, out) {
            Some(number) => {
                if let Some(key) = attempt.key() {
                    self.by_key.insert(key, number);
                }
                self.asked.insert(number, (attempt, command));
            }
            None => self.undecided(attempt, command, shared, out),
        }
    }

    /// The result of the command will never be known. A client whose SYN is held retries; an established
    /// connection is refused if success or failure of the command would refuse it.
    fn undecided(
        &mut self,
        mut attempt: Box<Attempt>,
        command: Text,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        self.undecided += 1;
        if !attempt.is_connection() {
            return;
        }
        let facts = attempt.facts.clone();
        attempt.facts.end(command.clone(), CommandResult::Exited(0));
        let judged = judge_under(shared, &attempt.names, &attempt.decision, &attempt.facts);
        if judged.is_some_and(|judged| judged.judgement.verdict == Verdict::Allow) {
            attempt.facts = facts;
            attempt.facts.end(command, CommandResult::Exited(1));
        }
        out.step(Step::Judge(attempt));
    }

    /// Commands have ended: the attempts that wait for them go on.
    pub(in crate::core) fn ended(
        &mut self,
        ended: Vec<(u64, Option<CommandResult>)>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        for (number, result) in ended {
            let Some((mut attempt, command)) = self.asked.remove(&number) else { continue };
            if let Some(key) = attempt.key() {
                self.by_key.remove(&key);
            }
            match result {
                Some(result) => {
                    attempt.facts.end(command, result);
                    out.step(Step::Judge(attempt));
                }
                None => self.undecided(attempt, command, shared, out),
            }
        }
    }

    /// The writes that answer one attempt only.
    pub(in crate::core) fn answers_once(
        &self,
        held: &Held,
        decision: &Decision,
        (answer, marks): (u32, u8),
        now: Now,
    ) -> Vec<Write> {
        let after =
            |time: Duration| now.boot_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let key = attempt_key(held, decision);
        let once = AnswerOnce {
            expires_ns: after(ANSWER_FOR),
            names: decision.names,
            outcome: answer,
            marks: marks.into(),
            generation: decision.generation,
            reserved: 0,
        };
        let mut writes = vec![Write::AnswerOnce { key, once }];
        if answer == Outcome::Refuse as u32 && decision.protocol != UDP {
            // If its listener is certified, the SYN that is re-injected next is answered with a reset.
            let once = ResetOnce {
                expires_ns: after(RESET_FOR),
                names: decision.names,
                isn: key.isn,
                generation: decision.generation,
            };
            writes.push(Write::ResetOnce { key, once });
        }
        writes
    }

    /// How many things are held: attempts whose command runs.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 2] {
        [("attempts that wait for a command", self.asked.len()), ("commands by key", self.by_key.len())]
    }

    pub(in crate::core) fn counters(&self) -> [(Metric, u64); 1] {
        [(
            Metric::counter(
                "undecided_by_command",
                "attempts",
                "Attempts whose aclexec command gave no result.",
            ),
            self.undecided,
        )]
    }
}
