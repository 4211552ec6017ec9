//! The policy that has come into force, until the one before is over.
//!
//! In: the switch to a policy; that no program uses the one before. Out: the message `applied`; rules to be freed once their
//! attempts are over. Invariant: a policy is said to be applied once, and not while enforcement ends.

use std::time::{Duration, Instant};

use crate::core::{
    action::{Action, Freed},
    outbox::Outbox,
    shared::SharedState,
};

/// For so long after no program uses a policy any more its attempts may still go on: a handshake whose SYN-ACK is sent
/// again and again, an attempt that waits for a name, a user or a command.
const LAST_ATTEMPTS: Duration = Duration::from_secs(150);

/// The policy in force, while some programs may still use the one before.
#[derive(Clone, Copy)]
pub(super) struct Settling {
    pub(super) generation: u32,
    /// When its files were read, or its names became known.
    pub(super) began: Instant,
    /// When it came into force.
    pub(super) in_force: Instant,
    pub(super) is_of_files: bool,
    /// How many answers of its loaded tables were compared with those of the rules.
    pub(super) compared: usize,
}

/// The last switch.
#[derive(Default)]
pub(super) struct LastSwitch {
    settling: Option<Settling>,
    /// Since when no program uses the policy before.
    settled_at: Option<Instant>,
    /// Enforcement is about to end.
    is_ending: bool,
}

impl LastSwitch {
    pub(super) fn is_settling(&self) -> bool {
        self.settling.is_some()
    }

    /// A policy is in force.
    pub(super) fn made(&mut self, settling: Settling) {
        (self.settling, self.settled_at) = (Some(settling), None);
    }

    /// Enforcement is about to end, or could not be ended: meanwhile no policy is said to be applied.
    pub(super) fn ending(&mut self, is_ending: bool) {
        self.is_ending = is_ending;
    }

    /// The policy is not in force any more, and the one before is.
    pub(super) fn taken_back(&mut self, now: Instant) {
        (self.settling, self.settled_at) = (None, Some(now));
    }

    /// No program uses the policy before. Returns whether `generation` was the one waited for.
    pub(super) fn settled(
        &mut self,
        generation: u32,
        tables: Duration,
        problem: Option<String>,
        out: &mut Outbox,
    ) -> bool {
        let Some(settling) = self.settling.take_if(|settling| settling.generation == generation) else {
            return false;
        };
        let Settling { began, in_force, is_of_files, compared, .. } = settling;
        self.settled_at = Some(out.now.at);
        if let Some(problem) = problem {
            out.error(format!(
                "generation {generation} is in force, but a few verdicts may still be the old policy's: {problem}"
            ));
        }
        if self.is_ending {
            return true;
        }
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let since = |began: Instant, end: Instant| ms(end.saturating_duration_since(began));
        let (took, in_force) = if is_of_files {
            (since(began, out.now.at), format!("in force after {}; ", since(began, in_force)))
        } else {
            (ms(tables), String::new())
        };
        out.info(format!(
            "applied generation {generation} in {took} ({in_force}tables {}, {compared} comparisons with the rules)",
            ms(tables)
        ));
        true
    }

    /// Frees the rules of the policies before, if these are many and their attempts are over.
    pub(super) fn forget_large(&self, shared: &mut SharedState, out: &mut Outbox) {
        let since = self.settled_at.map(|at| out.now.at.saturating_duration_since(at));
        if since.is_some_and(|since| since >= LAST_ATTEMPTS) {
            for rules in shared.policies.forget_large() {
                out.act(Action::Free(Freed::Rules(rules)));
            }
        }
    }
}
