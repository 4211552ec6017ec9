//! `keepalive` on connections that waited for their user.
//!
//! In: connections allowed by a rule with the option. Out: searches for their sockets. SO_KEEPALIVE is set
//! through the processes that hold them: no BPF program runs for the socket when its user becomes known.
//! Invariant: one search at a time; a socket that is not accepted yet is searched for every second, up to a
//! time limit.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::{
    core::{action::Action, outbox::Outbox, shared::SharedState},
    events::Decision,
};

/// How long a daemon may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// A network namespace, and processes that may be in it.
type NamespaceAndProcesses = (u64, Vec<u32>);

/// Sockets that want the option, by cookie.
#[derive(Default)]
pub(in crate::core) struct Keepalive {
    wanted: HashMap<u64, (NamespaceAndProcesses, Instant)>,
    is_looking: bool,
    /// Sockets were added since the running search began.
    has_new: bool,
}

impl Keepalive {
    /// The connection's socket gets the option.
    pub(in crate::core) fn want(
        &mut self,
        decision: &Decision,
        socket: u64,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let place = (decision.netns, shared.residents(decision.netns, decision.pid));
        self.wanted.insert(socket, (place, out.now.at));
        self.has_new = true;
        self.look(out);
    }

    /// Searches for the sockets; also to be called every second.
    pub(in crate::core) fn look(&mut self, out: &mut Outbox) {
        let now = out.now.at;
        self.wanted.retain(|_, (_, since)| now.saturating_duration_since(*since) < PATIENCE);
        if self.is_looking || self.wanted.is_empty() {
            return;
        }
        (self.is_looking, self.has_new) = (true, false);
        let sockets = self.wanted.iter().map(|(socket, ((netns, pids), _))| (*socket, *netns, pids.clone()));
        out.act(Action::KeepAlive { sockets: sockets.collect() });
    }

    /// How many things are held: sockets that want the option.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 1] {
        [("sockets that want SO_KEEPALIVE", self.wanted.len())]
    }

    /// A search is over: these sockets are done.
    pub(in crate::core) fn kept_alive(&mut self, done: &HashSet<u64>, out: &mut Outbox) {
        self.wanted.retain(|socket, _| !done.contains(socket));
        self.is_looking = false;
        if self.has_new {
            self.look(out);
        }
    }
}
