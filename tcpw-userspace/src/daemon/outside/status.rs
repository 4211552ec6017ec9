//! What only the host knows, for a status.
//!
//! In: every socket of the host. Out: [`StatusFacts`].

use std::collections::HashSet;

use crate::{
    core::{
        Input,
        input::{Seen, StatusFacts},
    },
    kernel::Kernel,
    log::Counts,
};

/// Every socket of the host.
pub(in crate::daemon) struct Looked {
    pub(super) request: u64,
    pub(super) all: Vec<Seen>,
    pub(super) marks_bound: bool,
}

/// Adds what the kernel's tables say.
pub(super) fn complete(looked: Looked, kernel: &mut Kernel, lines: Counts, turned_away: u64) -> Input {
    let Looked { request, all, marks_bound } = looked;
    let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
    let reset_namespaces = kernel.links_of_resets();
    let reset_places =
        kernel.resets().map_or_else(HashSet::new, |resets| resets.places_in_force().collect());
    let facts = StatusFacts {
        all,
        marks_bound,
        counters: kernel.counters().unwrap_or_default(),
        reset_namespaces,
        reset_places,
        waiting: kernel.waiting().map_or(0, |all| size(all.len())),
        banner_sockets: kernel.speakers().map_or(0, size),
        lines,
        turned_away,
    };
    Input::StatusFacts { request, facts: Box::new(facts) }
}
