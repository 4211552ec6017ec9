//! What is written into the kernel for one held attempt, before its packet is re-injected.
//!
//! In: the answer, the facts behind it. Out: writes; the facts are kept by the duty that found them.
//! Invariant: an answer that depends on a command is for one attempt alone. An answer to all attempts of the same
//! key is then made to expire: sk_lookup sees no sequence number, so it cannot tell one attempt from another.

use std::time::Duration;

use tcpw_common::{
    answer::NEVER,
    held::Held as HeldPacket,
    outcome::{BANNER, Outcome},
};

use super::Others;
use crate::{
    core::{action::Write, attempt::answer_key, facts::AttemptFacts, input::Now},
    events::Decision,
};

/// The answer to one held attempt.
pub(super) struct HeldAnswer {
    /// Its number in the kernel.
    pub(super) answer: u32,
    /// Marks of its outcome.
    pub(super) marks: u8,
    /// If its client may get a banner: the marks for this client, whose banner is made.
    pub(super) text: Option<u8>,
    /// For how long it holds; `None` is for ever.
    pub(super) holds: Option<Duration>,
}

impl HeldAnswer {
    /// The writes, in order.
    pub(super) fn writes(
        self,
        (held, decision): (&HeldPacket, &Decision),
        facts: AttemptFacts,
        others: &mut Others<'_>,
        now: Now,
    ) -> Vec<Write> {
        let Self { answer, marks, text, holds } = self;
        let key = answer_key(decision);
        let mut writes = Vec::new();
        if facts.depend_on_a_command() {
            others.commands.keep(decision, facts, now);
            if others.lookups.has_answered(&key, now.at) {
                // What was found out since may decide otherwise than the answer to all attempts.
                let expired = Write::Answer { key, answer: Outcome::Ask as u32, marks: 0, expires_ns: 0 };
                writes.push(expired);
            }
            writes.extend(others.commands.answers_once(held, decision, (answer, text.unwrap_or(marks)), now));
            return writes;
        }
        if !facts.is_empty() {
            others.lookups.remember(key, facts, now, holds.unwrap_or_default());
        }
        let expires_ns = holds.map_or(NEVER, |holds| {
            now.boot_ns.saturating_add(u64::try_from(holds.as_nanos()).unwrap_or(u64::MAX))
        });
        // This client has no banner, but the next client with this answer may have one. If no daemon is there to
        // make it, the next client is allowed by this answer without a banner.
        let of_all = if text.is_some() { marks | BANNER } else { marks };
        writes.push(Write::Answer { key, answer, marks: of_all, expires_ns });
        if let Some(marks) = text {
            writes.extend(others.commands.answers_once(held, decision, (answer, marks), now));
        }
        writes
    }
}

#[cfg(test)]
mod tests {
    use tcpw_common::event::Kind;

    use super::*;
    use crate::{
        config::Resolve,
        core::{
            duty::{banners::Banners, challenges::Challenges, commands::Commands, lookups::AttemptLookups},
            tests::now,
        },
        evaluate::request::CommandResult,
        events::decision_of_held,
        parse::rule::Text,
    };

    /// The writes of two attempts of one client: the first was given up, for the second a command ended.
    #[test]
    fn the_answer_to_all_attempts_expires_when_a_command_decides_one() {
        let mut held = HeldPacket::from_bytes(&[0; size_of::<HeldPacket>()]).expect("a record");
        held.event.kind = Kind::Ask as u32;
        let decision = decision_of_held(&held).expect("a held packet");
        let (mut lookups, mut commands, mut banners) =
            (AttemptLookups::new(&Resolve::default()), Commands::default(), Banners::default());
        let mut others = Others {
            challenges: &mut Challenges::default(),
            lookups: &mut lookups,
            commands: &mut commands,
            banners: &mut banners,
        };
        let mut writes = |facts: AttemptFacts, answer: Outcome| {
            let holds = facts.until().map(|_| Duration::from_secs(5));
            let answer = HeldAnswer { answer: answer as u32, marks: 0, text: None, holds };
            answer.writes((&held, &decision), facts, &mut others, now())
        };
        let mut of_command = AttemptFacts::default();
        of_command.end(Text::from(b"/bin/true".as_slice()), CommandResult::Exited(0));

        let alone = writes(of_command.clone(), Outcome::Allow);
        assert!(matches!(alone.as_slice(), [Write::AnswerOnce { .. }]), "no answer to all was given");

        let mut given_up = AttemptFacts::default();
        given_up.give_up(now().at + Duration::from_secs(5));
        let first = writes(given_up, Outcome::Refuse);
        let [Write::Answer { key, answer, expires_ns, .. }] = first.as_slice() else {
            panic!("one answer to all")
        };
        assert_eq!((*answer, *expires_ns), (Outcome::Refuse as u32, now().boot_ns + 5_000_000_000));

        let second = writes(of_command, Outcome::Allow);
        let [Write::Answer { key: same, expires_ns: 0, .. }, Write::AnswerOnce { once, .. }] =
            second.as_slice()
        else {
            panic!("the answer to all expires, then the attempt has its own")
        };
        assert_eq!((same, once.outcome), (key, Outcome::Allow as u32));
    }
}
