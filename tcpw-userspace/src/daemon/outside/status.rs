//! Facts of the host, for a status.
//!
//! In: every socket of the host. Out: [`StatusFacts`].

use std::collections::HashSet;

use crate::{
    core::{
        Input,
        input::{Seen, StatusFacts},
    },
    kernel::Kernel,
    log::LineCounts,
};

/// Every socket of the host.
pub(in crate::daemon) struct Looked {
    pub(super) request: u64,
    pub(super) all: Vec<Seen>,
    pub(super) marks_bound: bool,
}

/// Adds facts from the kernel's tables.
pub(super) fn complete(looked: Looked, kernel: &Kernel, lines: LineCounts, turned_away: u64) -> Input {
    let Looked { request, all, marks_bound } = looked;
    let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
    let resets = kernel.resets.as_ref();
    let reset_namespaces = resets.map_or((0, 0), |resets| resets.links());
    let reset_places = resets.map_or_else(HashSet::new, |resets| resets.places_in_force().collect());
    let facts = StatusFacts {
        all,
        marks_bound,
        counters: kernel.counters.read(),
        reset_namespaces,
        reset_places,
        waiting: kernel.users.waiting().map_or(0, |all| size(all.len())),
        banner_sockets: size(kernel.banners.waiting()),
        lines,
        turned_away,
    };
    Input::StatusFacts { request, facts: Box::new(facts) }
}
