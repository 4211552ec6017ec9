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
    user::Waiting,
};

use super::effects::HelperCommands;
use crate::{
    core::{
        action::Write,
        answer_facts::AnswerFacts,
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
pub(in crate::core) struct Commands {
    asked: HashMap<u64, (Box<Attempt>, Text)>,
    by_key: HashMap<AttemptKey, u64>,
    /// By flow and generation: an event does not have the SYN's number, nor the connection its listener.
    answered: AnswerFacts<(FlowKey, u32)>,
    /// Attempts whose command gave no result.
    undecided: u64,
}

fn flow_and_generation(decision: &Decision) -> (FlowKey, u32) {
    (decision.flow(), decision.generation)
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            asked: HashMap::new(),
            by_key: HashMap::new(),
            answered: AnswerFacts::new(MOST_KEPT),
            undecided: 0,
        }
    }
}

impl Commands {
    /// Whether a command runs for this attempt.
    pub(in crate::core) fn is_asked(&self, key: &AttemptKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// When the answer was given that decided an attempt, if a command's result was one of its facts: CLOCK_BOOTTIME,
    /// nanoseconds.
    pub(in crate::core) fn answered_ns(&self, decision: &Decision, now: Instant) -> Option<u64> {
        self.answered.given_ns(&flow_and_generation(decision), decision.time_ns, now)
    }

    /// The facts that may have decided an attempt, the latest first.
    pub(in crate::core) fn facts_of(&self, decision: &Decision, now: Instant) -> Vec<&AttemptFacts> {
        self.answered.facts_at(&flow_and_generation(decision), decision.time_ns, now)
    }

    /// The facts of the attempt that became a connection; the generation is that of the attempt.
    pub(in crate::core) fn take_facts(&mut self, waiting: &Waiting, now: Instant) -> Option<AttemptFacts> {
        self.answered.take_latest(&(waiting.flow, waiting.pending.generation), now)
    }

    /// Keeps what decided an attempt until it is reported.
    pub(in crate::core) fn keep(&mut self, decision: &Decision, facts: AttemptFacts, now: Now) {
        self.answered.keep(flow_and_generation(decision), facts, now, ANSWER_FOR);
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

#[cfg(test)]
mod tests {
    use tcpw_common::event::Kind;

    use super::*;
    use crate::{core::tests::now, events::decision_of_held};

    fn after(ms: u64) -> Now {
        let time = Duration::from_millis(ms);
        Now { at: now().at + time, boot_ns: now().boot_ns + ms * 1_000_000, wall: now().wall + time }
    }

    fn decision(ms: u64) -> Decision {
        let mut held = Held::from_bytes(&[0; size_of::<Held>()]).unwrap();
        (held.event.kind, held.event.time_ns, held.event.generation) =
            (Kind::Ask as u32, after(ms).boot_ns, 5);
        decision_of_held(&held).unwrap()
    }

    /// A client that was refused tries again from the same port, and is allowed, before the event of the first is read.
    #[test]
    fn event_that_is_read_late_gets_the_result_of_its_own_command() {
        let mut commands = Commands::default();
        for (ms, status) in [(0, 1), (3000, 0)] {
            let mut facts = AttemptFacts::default();
            facts.end(b"test".as_slice().into(), CommandResult::Exited(status));
            commands.keep(&decision(ms), facts, after(ms));
        }
        let result = |ms| {
            let decision = decision(ms);
            assert!(commands.answered_ns(&decision, after(3500).at).is_some());
            let facts = commands.facts_of(&decision, after(3500).at);
            facts.first().and_then(|facts| facts.command(b"test"))
        };
        assert_eq!(result(1), Some(CommandResult::Exited(1)));
        assert_eq!(result(3001), Some(CommandResult::Exited(0)));
        // SAFETY: every bit pattern is one.
        let mut waiting: Waiting = unsafe { std::mem::zeroed() };
        (waiting.flow, waiting.pending.generation) = (decision(3001).flow(), decision(3001).generation);
        let taken = commands.take_facts(&waiting, after(3500).at);
        assert_eq!(taken.and_then(|facts| facts.command(b"test")), Some(CommandResult::Exited(0)));
        assert!(commands.take_facts(&waiting, after(3500).at).is_none(), "one connection has it");
    }
}
