//! What the daemon does with events and scans: lines, answers, tags.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use tcpw_common::{key::AnswerKey, outcome};

use super::{Daemon, judge, registry::Known, scan::Found};
use crate::{
    config::Mode,
    evaluate::request::{Judgement, Verdict},
    events::{Decision, Fate},
    listeners::Listener,
    log::{Entry, line, priority},
    names::NamesSet,
};

impl Daemon {
    /// One decision of the kernel: its log line, or its answer.
    pub(super) fn report(&mut self, decision: &Decision) {
        let names = self.registry.names_of(decision.names);
        let judgement = self.judge(&names, decision);
        match decision.fate {
            Fate::Asked => self.answer(decision, judgement.as_ref()),
            Fate::Refused | Fate::WouldRefuse | Fate::Accepted => {
                self.write_line(decision, &names, judgement.as_ref())
            }
        }
    }

    /// The evaluator's verdict under the tables that decided. Every line is checked against it.
    fn judge(&mut self, names: &NamesSet, decision: &Decision) -> Option<Judgement> {
        // Accepted events carry no generation.
        let tables = match decision.generation {
            0 => self.policies.current_tables()?.clone(),
            generation => self.policies.tables_of(generation)?.clone(),
        };
        let judgement = judge::judge(&tables, names, decision);
        let expected = match decision.fate {
            Fate::Refused | Fate::WouldRefuse => Some(Verdict::Refuse),
            Fate::Accepted | Fate::Asked => None,
        };
        if expected.is_some_and(|expected| expected != judgement.verdict) {
            self.disagreements += 1;
            let (client, server) = judge::ends(decision);
            log::error!(
                "the kernel refused {client} at {server} ({names}) but the reference evaluator allows it: please report this"
            );
        }
        Some(judgement)
    }

    /// Answers the gate. In audit mode the attempt has passed already: only its line is left to write.
    fn answer(&mut self, decision: &Decision, judgement: Option<&Judgement>) {
        let Some(judgement) = judgement else {
            return;
        };
        let outcome = match judgement.verdict {
            Verdict::Allow => outcome::Outcome::Allow,
            Verdict::Refuse => outcome::Outcome::Refuse,
        };
        let key = AnswerKey {
            generation: decision.generation,
            policy: decision.policy,
            client: decision.client,
            server: decision.server,
        };
        if let Err(error) = self.kernel.answer(key, outcome) {
            log::error!("{error:#}");
        }
        if self.config.mode == Mode::Audit && judgement.verdict == Verdict::Refuse {
            let passed = Decision { fate: Fate::WouldRefuse, ..*decision };
            let names = self.registry.names_of(decision.names);
            self.write_line(&passed, &names, Some(judgement));
        }
    }

    fn write_line(&mut self, decision: &Decision, names: &NamesSet, judgement: Option<&Judgement>) {
        let known = self.registry.find(decision.cookie, decision.pid, decision.server_port);
        let client = judge::client_text(decision);
        let service = known.and_then(|known| known.service.as_ref()).map(|service| service.id.as_str());
        let (message, default) = match decision.fate {
            Fate::Refused => (line::refused(service, &client, &client), priority::REFUSED),
            Fate::WouldRefuse => (line::would_refuse(service, &client, &client), priority::REFUSED),
            Fate::Accepted | Fate::Asked => (line::accepted(service, &client, &client), priority::ACCEPTED),
        };
        let entry = Entry {
            time: wall_clock(decision.time_ns),
            host: self.host.clone(),
            ident: known.map_or_else(|| fallback_ident(names), |known: &Known| known.ident.clone()),
            pid: known.map_or(decision.pid, |known| known.pid),
            message,
            priority: priority::of(default, judgement.and_then(|judgement| judgement.severity)),
        };
        // A lost line is counted and reported by the log itself.
        let _ = self.lines.write(&entry);
    }

    /// A scan is over: new listeners are tagged, under a policy that knows their names.
    pub(super) fn found(&mut self, found: Found) {
        if found.is_all {
            let cookies: HashSet<u64> = found.listeners.iter().map(|listener| listener.cookie).collect();
            self.registry.keep_only(&cookies);
        }
        for listener in found.listeners {
            if let Err(error) = self.introduce(&listener) {
                log::error!("{}[{}]: {error:#}", listener.ident, listener.pid);
            }
            self.registry.tag(&mut self.kernel, listener);
        }
    }

    /// Makes the policy in force know a listener's names.
    fn introduce(&mut self, listener: &Listener) -> Result<()> {
        if !self.registry.learn(&listener.names) {
            return Ok(());
        }
        let Some(current) = &self.policies.current else {
            return Ok(());
        };
        match current.policy.class_of(&listener.names) {
            Some(0) => Ok(()),
            Some(class) => self.kernel.add_names(listener.names.id(), class),
            None => {
                let names = self.registry.names_sets();
                if let Some(applied) = self.policies.recompile(&mut self.kernel, &self.config, &names)? {
                    super::say_applied(&applied, applied.took);
                }
                Ok(())
            }
        }
    }
}

/// What stands before `[pid]` while the listener is not known yet.
fn fallback_ident(names: &NamesSet) -> String {
    names.iter().next().map_or_else(|| "tcpw".into(), |name| String::from_utf8_lossy(name).into_owned())
}

/// Wall clock time of a CLOCK_BOOTTIME reading.
fn wall_clock(boot_ns: u64) -> SystemTime {
    let now = SystemTime::now();
    let boot =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    now.checked_sub(boot.saturating_sub(Duration::from_nanos(boot_ns))).unwrap_or(now)
}
