//! The probe: decides about example clients, without an attempt.

use tcpw_common::{key::Query, probe::ProbeAnswer};

use super::SimulatedKernel;
use crate::{
    core::{
        action::KernelQuestions,
        input::{KernelAnswers, Seen},
    },
    events::address,
};

impl SimulatedKernel {
    /// The answers; `None` if another policy is in force.
    pub(in crate::simulate) fn probe(
        &self,
        questions: &KernelQuestions,
        all: &[Seen],
    ) -> Option<KernelAnswers> {
        let slot = self.slot().filter(|slot| slot.generation == questions.generation)?;
        let of_listener = |seen: &Seen| {
            let names = seen.tag.ok().flatten().map_or(0, |tag| tag.names);
            let clients = questions.of_known.get(&seen.cookie).unwrap_or(&questions.of_others);
            let answers = clients.iter().map(|one| {
                let (server, port) = (address(seen.local.ip()), seen.local.port());
                let decision = self.decide(&Query { names, client: one.client, server, port });
                let answer = decision.map(|it| ProbeAnswer { outcome: it.outcome, policy: it.policy });
                (*one, answer)
            });
            (seen.cookie, answers.collect())
        };
        Some(KernelAnswers { generation: slot.generation, listeners: all.iter().map(of_listener).collect() })
    }

    /// Number of the policy in force, and its answer.
    pub(in crate::simulate) fn probe_one(&self, query: &Query) -> Result<(u32, ProbeAnswer), String> {
        let slot = self.slot().ok_or("no policy is in force")?;
        let decision = self.decide(query).ok_or("a look-up failed")?;
        Ok((slot.generation, ProbeAnswer { outcome: decision.outcome, policy: decision.policy }))
    }
}
