//! Held attempts whose client is challenged: whether there is a host at the address it shows.
//!
//! In: held attempts that need more than can begin at once, answers to challenges. Out: challenges, attempts to judge.
//! Invariant: the number of attempts that wait for an answer is bounded, and each ends once: judged, or counted. An
//! answer is for one attempt alone: an attempt with the same address needs an answer of its own.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use tcpw_common::{
    held::Held,
    key::{AttemptKey, FlowKey},
    metric::Metric,
};

use crate::{
    core::{
        action::{Action, Challenge},
        attempt::{Attempt, VerdictPurpose},
        footprint::FootprintEntry,
        outbox::{Outbox, Step},
        shared::SharedState,
    },
    events::Decision,
};

/// Most attempts that wait for an answer, and those that ended meanwhile; the oldest is given up first.
const MOST: usize = 4096;

/// After this long a client has sent its SYN again, or has given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Attempts whose client was challenged.
#[derive(Default)]
pub(in crate::core) struct Challenges {
    number: u64,
    attempts: HashMap<FlowKey, Challenged>,
    /// Oldest first; those that ended since are skipped.
    order: VecDeque<(Instant, FlowKey, u64)>,
    sent: u64,
    answered: u64,
    unanswered: u64,
}

struct Challenged {
    number: u64,
    attempt: Box<Attempt>,
}

impl Challenges {
    /// An attempt waits until its client answers.
    pub(in crate::core) fn want(
        &mut self,
        mut attempt: Box<Attempt>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        // If it waited for a look-up before, its time begins anew.
        attempt.number = None;
        let VerdictPurpose::Held(held) = &attempt.purpose else { return out.step(Step::Judge(attempt)) };
        self.send(held.isn, &attempt.decision, shared, out);
        self.keep(attempt, out.now.at);
    }

    fn keep(&mut self, attempt: Box<Attempt>, now: Instant) {
        let flow = attempt.decision.flow();
        self.number += 1;
        self.order.push_back((now, flow, self.number));
        let before = self.attempts.insert(flow, Challenged { number: self.number, attempt });
        self.unanswered += u64::from(before.is_some());
        while self.order.len() > MOST {
            self.give_up_oldest();
        }
    }

    /// Whether an attempt already waits: its client has sent its SYN again, which replaces the held packet. It is judged
    /// again: by now what it needs may begin at once; else it is challenged again, the first challenge may be lost.
    pub(in crate::core) fn repeats(&mut self, key: &AttemptKey, held: &Held, out: &mut Outbox) -> bool {
        let is_same = |Challenged { attempt, .. }: &Challenged| attempt.key().as_ref() == Some(key);
        if !self.attempts.get(&key.flow).is_some_and(is_same) {
            return false;
        }
        let Some(Challenged { mut attempt, .. }) = self.attempts.remove(&key.flow) else { return false };
        attempt.purpose = VerdictPurpose::Held(Box::new(*held));
        out.step(Step::Judge(attempt));
        true
    }

    /// The client of an attempt has answered.
    pub(in crate::core) fn answered(&mut self, flow: &FlowKey, out: &mut Outbox) {
        // Without its attempt it was given up: the client sends its SYN again.
        if let Some(Challenged { mut attempt, .. }) = self.attempts.remove(flow) {
            self.answered += 1;
            attempt.is_proven = true;
            out.step(Step::Judge(attempt));
        }
    }

    /// Gives up the attempts that were not answered in time.
    pub(in crate::core) fn second(&mut self, out: &mut Outbox) {
        let now = out.now.at;
        while self.order.front().is_some_and(|(since, ..)| now.saturating_duration_since(*since) >= PATIENCE)
        {
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&mut self) {
        let Some((_, flow, number)) = self.order.pop_front() else { return };
        if self.attempts.get(&flow).is_some_and(|it| it.number == number) {
            self.attempts.remove(&flow);
            self.unanswered += 1;
        }
    }

    fn send(&mut self, isn: u32, decision: &Decision, shared: &SharedState, out: &mut Outbox) {
        self.sent += 1;
        let pid = shared.inventory.get(decision.cookie).map_or(decision.pid, |known| known.resident);
        out.act(Action::Challenge(Box::new(Challenge { pid, decision: *decision, isn })));
    }

    /// How many attempts wait for an answer.
    pub(in crate::core) fn footprint(&self) -> [FootprintEntry; 2] {
        [("challenged attempts", self.attempts.len()), ("challenges in order", self.order.len())]
    }

    pub(in crate::core) fn counters(&self) -> [(Metric, u64); 4] {
        [
            (
                Metric::counter(
                    "challenges",
                    "packets",
                    "Challenges sent to clients of held attempts, while too much was to be looked up.",
                ),
                self.sent,
            ),
            (
                Metric::counter(
                    "challenges_answered",
                    "attempts",
                    "Challenged attempts whose client answered.",
                ),
                self.answered,
            ),
            (
                Metric::counter(
                    "challenges_unanswered",
                    "attempts",
                    "Challenged attempts that were given up: their address is forged, or their client is gone.",
                ),
                self.unanswered,
            ),
            (
                Metric::gauge(
                    "challenges_waiting",
                    "attempts",
                    "Challenged attempts that wait for an answer.",
                ),
                u64::try_from(self.attempts.len()).unwrap_or(u64::MAX),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use tcpw_common::event::Kind;

    use super::*;
    use crate::{
        core::{facts::AttemptFacts, input::Now, tests::now},
        events::decision_of_held,
        names::NamesSet,
    };

    /// An attempt of a client's port.
    fn attempt(client_port: u16) -> Box<Attempt> {
        let mut held = Held::from_bytes(&[0; size_of::<Held>()]).unwrap();
        (held.event.kind, held.event.client_port) = (Kind::Ask as u32, client_port);
        Box::new(Attempt {
            decision: decision_of_held(&held).unwrap(),
            names: NamesSet::default(),
            facts: AttemptFacts::default(),
            purpose: VerdictPurpose::Held(Box::new(held)),
            number: None,
            is_proven: false,
        })
    }

    fn at(seconds: u64) -> Outbox {
        Outbox::new(Now { at: now().at + Duration::from_secs(seconds), ..now() })
    }

    /// The client's ports of the attempts that go on.
    fn judged(out: &mut Outbox) -> Vec<u16> {
        let judged = out.steps.drain(..).map(|step| {
            let Step::Judge(attempt) = step else { panic!("it is not judged") };
            assert!(attempt.is_proven);
            attempt.decision.client_port
        });
        judged.collect()
    }

    fn counts(challenges: &Challenges) -> [u64; 3] {
        [challenges.answered, challenges.unanswered, challenges.attempts.len() as u64]
    }

    #[test]
    fn attempt_goes_on_once_its_client_has_answered_and_never_twice() {
        let (mut challenges, mut out) = (Challenges::default(), at(0));
        for port in 1..=3 {
            challenges.keep(attempt(port), now().at);
        }
        for port in [2, 2, 9] {
            challenges.answered(&attempt(port).decision.flow(), &mut out);
        }
        assert_eq!((judged(&mut out), counts(&challenges)), (vec![2], [1, 0, 2]));
        challenges.second(&mut at(9));
        assert_eq!(counts(&challenges), [1, 0, 2]);
        challenges.second(&mut at(10));
        challenges.answered(&attempt(1).decision.flow(), &mut out);
        assert_eq!((judged(&mut out), counts(&challenges)), (vec![], [1, 2, 0]));
        assert_eq!(challenges.footprint().map(|(_, count)| count), [0, 0]);
    }

    #[test]
    fn attempt_that_is_sent_again_is_judged_again_and_another_one_of_its_flow_is_not_taken_for_it() {
        let (mut challenges, mut out) = (Challenges::default(), at(0));
        challenges.keep(attempt(1), now().at);
        let VerdictPurpose::Held(mut held) = attempt(1).purpose else { panic!("it is held") };
        let key = attempt(1).key().unwrap();
        held.isn = 9;
        assert!(!challenges.repeats(&AttemptKey { isn: 9, ..key }, &held, &mut out));
        assert!(!challenges.repeats(&attempt(2).key().unwrap(), &held, &mut out) && out.steps.is_empty());
        held.isn = 0;
        assert!(challenges.repeats(&key, &held, &mut out));
        let Some(Step::Judge(again)) = out.steps.pop_front() else { panic!("it is not judged") };
        assert!(!again.is_proven && again.key() == Some(key));
        assert_eq!(counts(&challenges), [0, 0, 0]);
        // What is left of it in the order ends nothing.
        challenges.keep(again, now().at + Duration::from_secs(5));
        challenges.second(&mut at(10));
        assert_eq!(counts(&challenges), [0, 0, 1]);
    }

    #[test]
    fn oldest_are_given_up_where_too_many_wait() {
        let (mut challenges, mut out) = (Challenges::default(), at(0));
        // The port of the first is used again.
        for port in (1..=5000).chain([1]) {
            challenges.keep(attempt(port), now().at);
        }
        assert_eq!(counts(&challenges), [0, 905, 4096]);
        for port in [905, 906, 1] {
            challenges.answered(&attempt(port).decision.flow(), &mut out);
        }
        assert_eq!((judged(&mut out), counts(&challenges)), (vec![906, 1], [2, 905, 4094]));
    }
}
