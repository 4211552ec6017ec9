//! What the daemon does with events and scans: lines, answers, tags.

use std::{
    collections::HashSet,
    os::fd::AsFd as _,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use tcpw_common::tag::KERNEL_PORT;

use super::{
    Daemon,
    facts::{Facts, Missing},
    held::{Scanned, answer_key},
    judge::{self, Judged},
    registry::Known,
    reload::say_applied,
    scan::Found,
};
use crate::{
    evaluate::request::{Judgement, Verdict},
    events::{Decision, Fate, UDP},
    host::boot_time,
    listeners::Listener,
    log::{Entry, line, priority},
    names::NamesSet,
};

impl Daemon {
    /// One decision of the kernel: its log line.
    pub(super) fn report(&mut self, decision: &Decision) {
        let names = self.names_of(decision);
        let facts = if let Some(facts) = self.commands.facts_of(decision) {
            facts.clone()
        } else if self.is_unnamed(decision.server_port) {
            Facts::unknown()
        } else {
            self.hanging.facts_of(&answer_key(decision)).cloned().unwrap_or_default()
        };
        let judged = self.judge(&names, decision, &facts);
        match &judged {
            // How a command ended is known to the daemon alone that ran it; audit mode runs none.
            Some(Judged { missing: Some(Missing::Command(_)), .. }) | None => {}
            Some(Judged { judgement, missing, user }) => {
                self.check(decision, &names, judgement, missing.is_some() || user.is_some());
            }
        }
        let judgement = judged.map(|judged| judged.judgement);
        self.finish(decision.fate, decision, &names, judgement.as_ref(), &facts);
    }

    /// Holds the kernel's verdict against the evaluator's.
    pub(super) fn check(
        &mut self,
        decision: &Decision,
        names: &NamesSet,
        judgement: &Judgement,
        is_open: bool,
    ) {
        let is_same = match decision.fate {
            Fate::Refused | Fate::WouldRefuse | Fate::Steered => judgement.verdict == Verdict::Refuse,
            Fate::Accepted | Fate::Held => true,
        };
        // The names behind an old verdict may be forgotten.
        if is_same || is_open && !self.hanging.is_complete() {
            return;
        }
        self.disagreements += 1;
        let (client, server) = judge::ends(decision);
        log::error!(
            "the kernel refused {client} at {server} ({names}) but the reference evaluator allows it: please report this"
        );
    }

    /// The names behind the id of a tag: found by a scan, or provisional, from the policy's process names.
    pub(super) fn names_of(&self, decision: &Decision) -> NamesSet {
        let known = self.registry.names_of(decision.names);
        // A line must not be lost for want of them.
        known.or_else(|| self.policies.names_of(decision.names)).unwrap_or_default()
    }

    /// The evaluator's verdict under the tables that decided, or what it has to know first.
    pub(super) fn judge(&self, names: &NamesSet, decision: &Decision, facts: &Facts) -> Option<Judged> {
        let rules = match decision.generation {
            // Nothing in the kernel decided it.
            0 => self.policies.current_rules()?,
            generation => self.policies.rules_of(generation)?,
        };
        let known = self.registry.find(decision.cookie, decision.pid, decision.server_port);
        Some(judge::judge(rules, names, known.map(Known::daemon), decision, facts))
    }

    pub(super) fn write_line(
        &mut self,
        decision: &Decision,
        names: &NamesSet,
        judgement: Option<&Judgement>,
        facts: &Facts,
    ) {
        let client = judge::client_text(decision);
        let host = judge::host_text(decision, facts, judgement);
        let known = self.registry.find(decision.cookie, decision.pid, decision.server_port);
        let service = known.and_then(|known| known.service.as_ref()).map(|service| service.id.as_str());
        let (message, default) = match decision.fate {
            Fate::Refused | Fate::Steered => (line::refused(service, &host, &client), priority::REFUSED),
            Fate::WouldRefuse => (line::would_refuse(service, &host, &client), priority::REFUSED),
            Fate::Accepted | Fate::Held => (line::accepted(service, &host, &client), priority::ACCEPTED),
        };
        self.write_message(decision, names, judgement, message, default);
    }

    /// A line about an attempt; `default` is its priority unless its rule says otherwise.
    pub(super) fn write_message(
        &mut self,
        decision: &Decision,
        names: &NamesSet,
        judgement: Option<&Judgement>,
        message: String,
        default: i32,
    ) {
        let known = self.registry.find(decision.cookie, decision.pid, decision.server_port);
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
        let scanned = Scanned::from(&found);
        self.take_in(found.listeners, found.is_all);
        self.certify(&found.looked, found.is_all);
        self.release(&scanned);
    }

    /// Tags listeners; if these are all, forgets the others.
    pub(super) fn take_in(&mut self, listeners: Vec<Listener>, is_all: bool) {
        if is_all {
            let cookies: HashSet<u64> = listeners.iter().map(|listener| listener.cookie).collect();
            self.registry.keep_only(&mut self.kernel, &cookies);
            self.forget_namespaces();
        }
        if is_all {
            self.mark_bound();
        }
        for listener in listeners {
            if self.steers.is_own(listener.cookie) || !self.is_service(&listener) {
                continue;
            }
            match self.introduce(&listener) {
                Ok(()) => {
                    if self.registry.is_news(&self.kernel, &listener) {
                        self.withdraw(listener.netns, listener.local.port());
                    }
                    self.registry.tag(&mut self.kernel, listener);
                }
                // Its provisional tag stays; the next full scan tries again.
                Err(error) => {
                    let problem = format!(
                        "{}[{}] is judged by its process name alone: the policy cannot take its names: {error:#}",
                        listener.ident, listener.pid
                    );
                    log::error!("{problem}");
                    self.policies.problem = Some(problem);
                }
            }
        }
    }

    /// Marks UDP sockets that were bound before anybody watched.
    pub(super) fn mark_bound(&mut self) {
        if self.marks_bound
            && let Err(error) = self.kernel.mark_bound()
        {
            self.marks_bound = false;
            log::warn!(
                "this kernel does not tell which UDP sockets were bound before the start: every one that has a port is judged: {error:#}"
            );
        }
    }

    /// Whether a socket is one that is judged: of UDP sockets those whose owner chose the port.
    pub(super) fn is_service(&self, listener: &Listener) -> bool {
        let (Some(socket), UDP) = (&listener.socket, listener.protocol) else {
            return true;
        };
        match self.kernel.read_tag(socket.as_fd()) {
            Ok(Some(tag)) => tag.flags & KERNEL_PORT == 0,
            Ok(None) => !self.marks_bound,
            // It is gone.
            Err(_) => false,
        }
    }

    /// Makes the policy in force know a listener's names.
    fn introduce(&mut self, listener: &Listener) -> Result<()> {
        if self.registry.knows(&listener.names) {
            return Ok(());
        }
        let class =
            self.policies.current.as_ref().and_then(|current| current.policy.class_of(&listener.names));
        let added = match class {
            Some(0) => true,
            Some(class) => self.kernel.add_names(listener.names.id(), class).is_ok(),
            None => false,
        };
        if !added {
            let mut names = self.registry.names_sets();
            names.push(listener.names.clone());
            if let Some(applied) = self.policies.recompile(&mut self.kernel, &self.config, &names)? {
                say_applied(&applied, applied.took);
            }
        }
        self.registry.learn(&listener.names);
        Ok(())
    }
}

/// What stands before `[pid]` while the listener is not known yet.
fn fallback_ident(names: &NamesSet) -> String {
    names.iter().next().map_or_else(|| "tcpw".into(), |name| String::from_utf8_lossy(name).into_owned())
}

/// Wall clock time of a CLOCK_BOOTTIME reading.
fn wall_clock(boot_ns: u64) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(boot_time().saturating_sub(Duration::from_nanos(boot_ns))).unwrap_or(now)
}
