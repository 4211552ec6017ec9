//! State that every duty may read: the settings, the policies and the known listeners.
//!
//! Invariant: policies are written only by `duty::reload`, listeners only by `duty::listeners`, bans
//! only by `duty::bans`.

use tcpw_common::{key::NamesId, user::Waiting};

use super::{
    inventory::{Inventory, KnownListener},
    policies::{Policies, Rules},
    problems::Problems,
};
use crate::{
    bans::{BanEntry, BanTable},
    config::{Config, Mode},
    events::{self, Decision},
    names::NamesSet,
};

/// IPPROTO_TCP.
pub(super) const TCP: u16 = 6;

/// IPPROTO_UDP.
pub(super) const UDP: u16 = 17;

/// State that every duty may read.
pub(super) struct SharedState {
    pub(super) config: Config,
    pub(super) policies: Policies,
    pub(super) inventory: Inventory,
    pub(super) problems: Problems,
    pub(super) bans: BanTable,
}

impl SharedState {
    /// Whether tcpw runs in audit mode.
    pub(super) fn is_audit(&self) -> bool {
        self.config.mode == Mode::Audit
    }

    /// Whether no name is looked up for clients of this port: a name server would wait for itself.
    pub(super) fn is_unnamed(&self, port: u16) -> bool {
        self.config.resolve.name_server_ports.contains(&port)
    }

    /// The names behind the id of a tag: found by a scan, or provisional, from the policy's process names.
    /// Empty if neither knows it: the attempt is still logged.
    pub(super) fn names_of(&self, id: NamesId) -> NamesSet {
        self.find_names(id).unwrap_or_default()
    }

    /// As [`names_of`](Self::names_of); `None` if neither knows it: an earlier daemon may have found the names on a listener
    /// that this one cannot see.
    pub(super) fn find_names(&self, id: NamesId) -> Option<NamesSet> {
        self.inventory.names_of(id).or_else(|| self.policies.names_of(id))
    }

    /// Every names-set that a listener may be tagged with.
    pub(super) fn known_names(&self) -> Vec<NamesSet> {
        let mut all = self.inventory.names_sets();
        let current = self.policies.current.as_ref();
        all.extend(
            current.iter().flat_map(|current| &current.policy.names_sets).map(|(names, _)| names.clone()),
        );
        all
    }

    /// The ban that refuses an attempt at a listener with these names.
    pub(super) fn ban_of(&self, decision: &Decision, names: &NamesSet) -> Option<BanEntry> {
        self.bans.refuses(&events::ip(&decision.client), names, decision.time_ns)
    }

    /// The listener of an attempt.
    pub(super) fn listener_of(&self, decision: &Decision) -> Option<&KnownListener> {
        self.inventory.find(decision.cookie, decision.pid, decision.server_port)
    }

    /// The rules that an attempt is judged by: those that decided, or those in force if no table did.
    pub(super) fn rules_of(&self, decision: &Decision) -> Option<&Rules> {
        match decision.generation {
            0 => self.policies.current_rules(),
            generation => self.policies.rules_of(generation),
        }
    }

    /// Processes that may be in a network namespace, the likeliest first.
    pub(super) fn residents(&self, netns: u64, pid: u32) -> Vec<u32> {
        let others = self.inventory.iter().filter(|(_, known)| known.netns == netns);
        std::iter::once(pid).chain(others.map(|(_, known)| known.resident)).filter(|pid| *pid != 0).collect()
    }

    /// Whether the policy in force may redirect refused clients.
    pub(super) fn redirects(&self) -> bool {
        let current = self.policies.current.as_ref();
        !self.is_audit() && current.is_some_and(|current| current.policy.redirects)
    }
}

/// A waiting connection, as a decision to be judged under the policy in force.
pub(super) fn decision_of(waiting: &Waiting) -> Decision {
    let Waiting { flow, pending, since_ns, .. } = waiting;
    Decision {
        fate: crate::events::Fate::Held,
        time_ns: *since_ns,
        netns: pending.tag.netns,
        names: pending.tag.names,
        cookie: 0,
        pid: pending.tag.pid,
        ifindex: pending.ifindex,
        client: flow.client,
        server: flow.server,
        client_port: flow.client_port,
        server_port: flow.server_port,
        socket_is_v6: pending.family == libc::AF_INET6.cast_unsigned(),
        protocol: TCP,
        policy: 0,
        generation: 0,
    }
}
