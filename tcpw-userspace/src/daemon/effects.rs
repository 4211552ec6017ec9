//! Commands for what the kernel decided.
//!
//! In: an attempt and its judgement. Out: the commands of its rules, handed over.
//! Invariant: an attempt comes here once: the gate reports it once, however often its SYN is
//! sent. In audit mode no command is run.

use std::sync::Arc;

use tcpw_common::outcome::{BANNER, KEEPALIVE, REDIRECT, REPORT};

use tokio::task::spawn_blocking;

use super::Daemon;
use crate::{
    check::{facts::System, foresee::problems},
    config::Mode,
    effects,
    evaluate::judgement::{Action, Effect, Judgement, Verdict},
    events::{self, Decision, Fate},
    parse::rule::{Origin, RuleOption, Tables},
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
        let Some(rules) = self.policies.current_rules() else { return };
        let tables = Arc::clone(&rules.tables);
        // Banners are sent by the same helper.
        let banners = self.steers().then_some(&b""[..]);
        self.effects.prepare(commands(&tables).map(|(_, text)| text).chain(banners));
        // It looks up users and groups: wherever they are, nobody waits for it.
        let facts = System { effects: Some(self.config.effects.clone()) };
        drop(spawn_blocking(move || {
            for (origin, text) in commands(&tables) {
                for problem in problems(text, &facts) {
                    log::warn!("{}:{}:{}: {problem}", origin.path.display(), origin.line, origin.column);
                }
            }
        }));
    }
}

/// What the kernel has to do for a client, beside letting it in or refusing it.
pub(super) fn marks(judgement: &Judgement) -> u8 {
    let is_refused = judgement.verdict == Verdict::Refuse;
    let mark = |effect: &Effect| match effect.action {
        Action::Twist { .. } | Action::Banner(_) if is_refused => REDIRECT,
        Action::Banner(_) => BANNER,
        Action::Spawn(_) => REPORT,
        Action::Keepalive => KEEPALIVE,
        Action::Aclexec { .. }
        | Action::Twist { .. }
        | Action::Severity(_)
        | Action::Linger(_)
        | Action::Rfc931 { .. }
        | Action::Setenv { .. }
        | Action::Nice(_)
        | Action::Umask(_)
        | Action::User(_)
        | Action::Group(_) => 0,
    };
    judgement.effects.iter().map(mark).fold(0, |all, mark| all | mark)
}

/// The commands of all rules, as they are written, and where.
fn commands(tables: &Tables) -> impl Iterator<Item = (&Origin, &[u8])> {
    let rules = tables.allow.rules.iter().chain(&tables.deny.rules);
    let options = rules.flat_map(|rule| rule.options.iter());
    options.filter_map(|field| match &field.option {
        Ok(RuleOption::Spawn(text) | RuleOption::Aclexec(text) | RuleOption::Twist(text)) => {
            Some((&field.origin, &**text))
        }
        Ok(_) | Err(_) => None,
    })
}
