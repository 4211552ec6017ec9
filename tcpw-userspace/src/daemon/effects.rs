//! Commands for what the kernel decided.
//!
//! In: an attempt and its judgement. Out: the commands of its rules, handed over.
//! Invariant: an attempt comes here once: the gate reports it once, however often its SYN is
//! sent. In audit mode no command is run.

use super::Daemon;
use crate::{
    config::Mode,
    effects,
    evaluate::request::Judgement,
    events::{self, Decision, Fate},
    parse::rule::{RuleOption, Tables},
};

impl Daemon {
    /// Runs the commands of the rules that decided.
    pub(super) fn act(&mut self, decision: &Decision, judgement: Option<&Judgement>) {
        if self.config.mode == Mode::Audit || !matches!(decision.fate, Fate::Refused | Fate::Accepted) {
            return;
        }
        let Some(judgement) = judgement else {
            // Attempts that an earlier daemon's policy decided.
            self.unjudged += 1;
            return;
        };
        for command in effects::commands(&judgement.effects) {
            self.effects.run(events::ip(&decision.client), &command);
        }
    }

    /// A policy is in force: its commands may be wanted.
    pub(super) fn prepare_effects(&mut self) {
        if self.config.mode == Mode::Audit {
            return;
        }
        if let Some(tables) = self.policies.current_tables().cloned() {
            self.effects.prepare(texts(&tables));
        }
    }
}

/// The commands of all rules, as they are written.
fn texts(tables: &Tables) -> impl Iterator<Item = &[u8]> {
    let rules = tables.allow.rules.iter().chain(&tables.deny.rules);
    rules.flat_map(|rule| &rule.options).filter_map(|field| match &field.option {
        Ok(RuleOption::Spawn(text) | RuleOption::Aclexec(text)) => Some(&**text),
        Ok(_) | Err(_) => None,
    })
}
