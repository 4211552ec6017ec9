//! The order of a start: names of listeners, a policy, tags, and only then the gate.
//!
//! In: the steps that are done. Out: the next step. Invariant: the gate of this process is attached only
//! after listeners are tagged and a policy is in force.

use crate::{
    config::Mode,
    core::{action::Action, input::Gate, outbox::Outbox, shared::SharedState},
};

/// What a start waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) enum Phase {
    /// Nothing yet.
    #[default]
    Loaded,
    /// The first scan, for the names of listeners.
    FirstScan,
    /// The first policy.
    FirstPolicy,
    /// The second scan, whose listeners are tagged.
    SecondScan,
    /// The redirect listeners: from the first client on, those that they serve reach them.
    RedirectListeners,
    /// The gate.
    Gate,
    /// Nothing: the gate judges.
    Enforcing,
}

/// The start.
#[derive(Default)]
pub(in crate::core) struct Start {
    pub(in crate::core) phase: Phase,
}

impl Start {
    /// Whether the start is complete.
    pub(in crate::core) fn is_over(&self) -> bool {
        self.phase == Phase::Enforcing
    }

    /// Whether texts are of no use yet: no policy is made before the first look at listeners is over.
    pub(in crate::core) fn is_before_first_policy(&self) -> bool {
        matches!(self.phase, Phase::Loaded | Phase::FirstScan)
    }

    /// Goes on to the next phase if the start waits for `phase`. Returns whether it did.
    pub(in crate::core) fn after(&mut self, phase: Phase, next: Phase) -> bool {
        let is_it = self.phase == phase;
        if is_it {
            self.phase = next;
        }
        is_it
    }

    /// The gate was attached, or could not be.
    pub(in crate::core) fn gate_attached(
        &mut self,
        gate: Result<Gate, String>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let gate = match gate {
            Ok(gate) => gate,
            Err(error) => return out.act(Action::Exit(Err(error))),
        };
        self.phase = Phase::Enforcing;
        for version in &gate.retired {
            out.info(format!("took over from the gate that version {version} pinned"));
        }
        if let Some(problem) = &gate.problem {
            out.error(format!("an older gate judges beside this one: {problem}"));
        }
        let acts = shared.policies.current.as_ref().is_some_and(|current| current.policy.acts_on_accepted);
        if !shared.config.log_allowed && (!acts || shared.is_audit()) {
            // An earlier daemon may have left the reports of accepted connections on.
            out.act(Action::ForgetAccepted);
        }
        if shared.config.mode == Mode::Audit {
            out.warn("AUDIT MODE: nothing is refused; what the policy refuses is logged as \"would refuse\"");
        }
        let how = if gate.is_adopted { "adopted the pinned gate of" } else { "guarding" };
        out.info(format!(
            "ready: {how} cgroup {}, {} listeners",
            shared.config.cgroup.display(),
            shared.inventory.len()
        ));
    }
}
