//! One attempt that has no verdict yet: what it is judged by, and what it waits for.
//!
//! In: an attempt and what is known of it. Out: the step it takes next.
//! Invariant: an attempt is in one place: judged, waiting with one duty, or decided.

use tcpw_common::{
    held::Held,
    key::{AnswerKey, AttemptKey},
    user::Waiting,
};

use super::{
    duty::{control::Live, redirect::Redirected},
    facts::AttemptFacts,
    judge::{Judged, judge},
    lookup::MissingFact,
    outbox::{Outbox, Step},
    shared::{SharedState, UDP},
};
use crate::{events::Decision, names::NamesSet};

/// An attempt that has no verdict yet.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) decision: Decision,
    pub(super) names: NamesSet,
    pub(super) facts: AttemptFacts,
    pub(super) purpose: VerdictPurpose,
    /// Its number among those that wait for a look-up, once it waited.
    pub(super) number: Option<u64>,
    /// Its client has answered a challenge.
    pub(super) is_proven: bool,
}

/// What its verdict is for.
#[derive(Clone, Debug)]
pub(super) enum VerdictPurpose {
    /// The gate: a packet is held.
    Held(Box<Held>),
    /// A connection whose data wait.
    Connection(Box<Waiting>),
    /// A refused client's connection that was redirected to the redirect listener.
    Redirected(Box<Redirected>),
    /// A question at the control socket.
    Live(Box<Live>),
}

impl Attempt {
    /// The attempt as the gate keys it, if its packet is held.
    pub(super) fn key(&self) -> Option<AttemptKey> {
        match &self.purpose {
            VerdictPurpose::Held(held) => Some(attempt_key(held, &self.decision)),
            VerdictPurpose::Connection(_) | VerdictPurpose::Redirected(_) | VerdictPurpose::Live(_) => None,
        }
    }

    /// Whether its client may be challenged: its SYN is held, and it may not have the address it shows. In audit mode
    /// the SYN has passed.
    pub(super) fn may_be_challenged(&self, shared: &SharedState) -> bool {
        !self.is_proven
            && matches!(self.purpose, VerdictPurpose::Held(_))
            && self.decision.protocol != UDP
            && !shared.is_audit()
    }

    /// Whether it is certain that its client has the address it shows.
    pub(super) fn is_from_proven_source(&self) -> bool {
        self.is_proven || !matches!(self.purpose, VerdictPurpose::Held(_))
    }

    /// Whether the client will not retry by itself, because its connection is established.
    pub(super) fn is_connection(&self) -> bool {
        matches!(self.purpose, VerdictPurpose::Connection(_) | VerdictPurpose::Redirected(_))
    }
}

/// Judges an attempt with what is known of it. If something is missing, passes it to the duty that finds
/// that out.
pub(super) fn pursue(attempt: Box<Attempt>, shared: &SharedState, out: &mut Outbox) {
    let Some(judged) = judge_under(shared, &attempt.names, &attempt.decision, &attempt.facts) else {
        return out.step(Step::Abandoned(attempt));
    };
    let Judged { judgement, missing, user } = judged;
    let judgement = Box::new(judgement);
    out.step(match (missing, user) {
        (None, None) => Step::Decided(attempt, judgement, None),
        (None, Some(user)) => Step::AskUser(attempt, judgement, user),
        (Some(MissingFact::LookUp(question)), _) => Step::LookUp(attempt, question),
        (Some(MissingFact::Command(command)), _) => Step::RunCommand(attempt, command, judgement),
        (Some(MissingFact::Banner(file)), _) => Step::ReadBanner(attempt, file),
    });
}

/// The evaluator's judgement under the rules that decided, or the first missing fact.
pub(super) fn judge_under(
    shared: &SharedState,
    names: &NamesSet,
    decision: &Decision,
    facts: &AttemptFacts,
) -> Option<Judged> {
    let rules = shared.rules_of(decision)?;
    let daemon = shared.listener_of(decision).map(super::inventory::KnownListener::daemon);
    Some(judge(rules, names, daemon, decision, facts))
}

/// What a SYN and its retransmits share.
pub(super) fn attempt_key(held: &Held, decision: &Decision) -> AttemptKey {
    AttemptKey { flow: decision.flow(), listener: decision.cookie, isn: held.isn, reserved: 0 }
}

/// What attempts that get the same answer share.
pub(super) fn answer_key(decision: &Decision) -> AnswerKey {
    AnswerKey {
        generation: decision.generation,
        policy: decision.policy,
        client: decision.client,
        server: decision.server,
    }
}
