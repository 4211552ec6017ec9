//! What user space answers to an attempt: its verdict, or the banner of a client that is let in.

use tcpw_common::{
    counter::Counter,
    decide::{AUDIT, Decision},
    event::Kind,
    key::AnswerKey,
    outcome::{BANNER, Outcome},
    user::{Pending, UserDecides},
};

use super::{Passage, SimulatedKernel, gate::Attempt};

impl SimulatedKernel {
    /// Whether the client to let in gets a banner, which user space has to be asked for.
    pub(super) fn wants_text(attempt: &Attempt, decision: &Decision, marks: u8) -> bool {
        marks & BANNER != 0 && !attempt.completes && !attempt.is_datagram() && decision.flags & AUDIT == 0
    }

    /// Takes user space's answer, or asks for one.
    pub(super) fn ask(
        &mut self,
        attempt: &mut Attempt,
        decision: &Decision,
        mut allowed: Option<u8>,
    ) -> Passage {
        let key = AnswerKey {
            generation: decision.generation,
            policy: decision.policy,
            client: attempt.key.flow.client,
            server: attempt.key.flow.server,
        };
        let own = self
            .answers_once
            .get(&attempt.key)
            .filter(|once| once.generation == decision.generation && once.names == attempt.tag.names)
            .filter(|once| self.now_ns < once.expires_ns);
        let mut answer = own.map(|own| (own.outcome, u8::try_from(own.marks & 0xff).unwrap_or_default()));
        if answer.is_none()
            && let Some(found) = self.answers.get(&key).filter(|answer| self.now_ns < answer.expires_ns)
        {
            let marks = u8::try_from(found.marks & 0xff).unwrap_or_default();
            let is_of_connections = attempt.is_datagram()
                && UserDecides::from_answer(found.outcome).is_some_and(|it| it.if_unknown == Outcome::Ask);
            if is_of_connections {
                // What else it depends on is found out once the user of a connection is known.
            } else if found.outcome == Outcome::Allow as u32 && Self::wants_text(attempt, decision, marks) {
                allowed = Some(marks);
            } else {
                answer = Some((found.outcome, marks));
            }
        }
        if let Some((outcome, marks)) = answer {
            if outcome == Outcome::Allow as u32 {
                return self.allow(attempt, decision, marks);
            }
            if outcome == Outcome::Refuse as u32 {
                return self.refuse(attempt, decision);
            }
            if let Some(decides) = UserDecides::from_answer(outcome) {
                if !attempt.is_datagram() && decision.flags & AUDIT == 0 && self.is_daemon_alive() {
                    return self.wait_for_user(attempt, decision, outcome);
                }
                let passage = match decides.if_unknown {
                    Outcome::Allow => self.allow(attempt, decision, marks),
                    Outcome::Exempt | Outcome::Refuse | Outcome::Ask => self.refuse(attempt, decision),
                };
                self.decided.iter_mut().for_each(|decided| decided.is_user_unknown = true);
                return passage;
            }
        }
        let Some(marks) = allowed else { return self.wait(Kind::Ask, attempt, decision) };
        if self.is_worth_holding(&attempt.key) && self.hold(Kind::Ask, attempt, decision).is_ok() {
            return Passage::Drop;
        }
        self.count(Counter::BannersMissed);
        self.allow(attempt, decision, marks & !BANNER)
    }

    /// The handshake may go on, its connection waits.
    fn wait_for_user(&mut self, attempt: &mut Attempt, decision: &Decision, answer: u32) -> Passage {
        attempt.waits = true;
        let is_syn = !attempt.completes;
        let flow = attempt.key.flow;
        let pending = Pending {
            tag: attempt.tag,
            answer,
            generation: decision.generation,
            policy: decision.policy,
            family: attempt.family,
            ifindex: 1,
            seq: attempt.key.isn.wrapping_add(1),
            ack: 1,
            window: 1,
        };
        if attempt.has_data {
            self.count(if is_syn { Counter::UserSyns } else { Counter::UserSegments });
            if !is_syn {
                self.user_handshakes.insert(flow, pending);
                if self.may_report_data(&flow) {
                    self.report(Kind::HandshakeHasData, attempt, decision);
                }
            }
            return Passage::Drop;
        }
        self.user_handshakes.insert(flow, pending);
        Passage::Pass
    }
}
