//! Attaches the programs that tag listeners, the gate, and those that watch accepted connections.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::Array;

use super::{
    links::HookState,
    load::Kernel,
    maps::open,
    pins::Pins,
    programs::{Hook, When},
};
use crate::host::boot_ns;

impl Kernel {
    /// Attaches the programs that tag listeners, before anything is judged.
    pub fn attach_identity(&mut self, cgroup: &Path) -> Vec<(Hook, HookState)> {
        // A pinned link gets this version's program.
        let has_accepted = self.log_allowed || self.links.is_pinned(Hook::Accepted);
        let hooks = Hook::of(When::Start).chain(has_accepted.then_some(Hook::Accepted));
        let mut states: Vec<_> = hooks.map(|hook| (hook, self.try_attach(hook, cgroup))).collect();
        let watched = self.watch_listeners(cgroup);
        let is_refused = |(_, state): &(Hook, HookState)| matches!(state, HookState::Refused(_));
        self.sees_listeners = self.knows_namespaces && !watched.iter().any(is_refused);
        states.extend(watched);
        states
    }

    /// By the functions of the kernel that begin and end a listener, if it has fentry; else by the tracepoint.
    fn watch_listeners(&mut self, cgroup: &Path) -> Vec<(Hook, HookState)> {
        const ENTRIES: [Hook; 2] = [Hook::Listens, Hook::ListenEnds];
        let entries = ENTRIES.map(|hook| (hook, self.try_attach(hook, cgroup)));
        if !entries.iter().any(|(_, state)| matches!(state, HookState::Refused(_))) {
            return entries.into();
        }
        for (hook, state) in &entries {
            log::debug!("program {}: {state:?}", hook.program());
            if let Err(error) = self.links.forget(*hook) {
                log::error!("{error:#}");
            }
        }
        vec![(Hook::Listening, self.try_attach(Hook::Listening, cgroup))]
    }

    fn try_attach(&mut self, hook: Hook, cgroup: &Path) -> HookState {
        let attached = self.links.attach(&mut self.ebpf, hook, cgroup);
        attached.unwrap_or_else(|error| HookState::Refused(format!("{error:#}")))
    }

    /// Watches accepted connections, unless that is already done. A later policy that needs no reports does not
    /// end it: handshakes that an earlier policy marked may be under way.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn watch_accepted(&mut self, cgroup: &Path) -> Result<()> {
        if !self.links.has(Hook::Accepted) {
            let attached = self.links.attach(&mut self.ebpf, Hook::Accepted, cgroup);
            attached.context("watch accepted connections")?;
        }
        Ok(())
    }

    /// Stops watching accepted connections, also if an earlier daemon's pin did that.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn forget_accepted(&mut self) -> Result<()> {
        self.links.forget(Hook::Accepted)
    }

    /// Has the kernel verify the gate, which on a slow machine takes seconds. Nothing is judged yet.
    ///
    /// # Errors
    /// The kernel refuses it: with the verifier's reasons.
    pub fn load_gate(&mut self) -> Result<()> {
        self.links.load(&mut self.ebpf, Hook::Gate)
    }

    /// Attaches the gate: from here on connections are judged. Needs a policy in force.
    ///
    /// # Errors
    /// The kernel refuses it, or the pinned gate guards another cgroup.
    pub fn attach_gate(&mut self, cgroup: &Path) -> Result<HookState> {
        for pins in self.predecessors()? {
            super::upgrade::check_cgroup(pins.guarded_cgroup()?, cgroup, &pins.link(Hook::Gate))?;
        }
        if self.links.pins.as_ref().is_some_and(|own: &Pins| !own.hold_a_gate()) {
            for pins in self.predecessors()? {
                self.counters.add(&pins.counters()?)?;
            }
        }
        let state = self
            .links
            .attach(&mut self.ebpf, Hook::Gate, cgroup)
            .with_context(|| format!("attach the gate to cgroup {}", cgroup.display()))?;
        // An adopted gate already judges.
        let mut since: Array<_, u64> = open(&self.ebpf, "WATCHING")?;
        if state == HookState::Attached || since.get(&0, 0)? == 0 {
            since.set(0, boot_ns(), 0).context("note since when the gate judges")?;
        }
        Ok(state)
    }
}
