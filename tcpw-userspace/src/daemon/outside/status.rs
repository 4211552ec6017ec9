//! Facts of the host, for a status and for metrics.
//!
//! In: every socket of the host, questions for the kernel. Out: [`StatusFacts`], [`MetricsFacts`].

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use tcpw_common::{
    key::Query,
    limits::{MAX_CERTIFIED, MAX_EARLY_PLACES, MAX_WAITING},
    probe::ProbeAnswer,
};

use crate::{
    control::MapFill,
    core::{
        Input,
        action::{ExampleClient, KernelQuestions},
        input::{KernelAnswers, MetricsFacts, Seen, StatusFacts},
    },
    events::address,
    kernel::{Kernel, Probe},
    log::SinkCounts,
};

const NO_PROBE: &str = "the kernel refused the program for that, see the daemon's first lines";

/// Every socket of the host.
pub(in crate::daemon) struct Looked {
    pub(super) request: u64,
    pub(super) all: Vec<Seen>,
    pub(super) answers: Result<KernelAnswers, String>,
    pub(super) hashes: Option<(u32, [String; 2])>,
    pub(super) marks_bound: bool,
}

/// Asks the kernel how it decides at every judged listener, with the tag that it has.
pub(super) fn ask(
    probe: Option<&Probe>,
    questions: &KernelQuestions,
    all: &[Seen],
) -> Result<KernelAnswers, String> {
    let probe = probe.ok_or(NO_PROBE)?;
    let asked = || {
        let generation = probe.generation()?;
        anyhow::ensure!(generation == questions.generation, "the policy changed meanwhile");
        let mut listeners = HashMap::new();
        for seen in all.iter().filter(|seen| seen.is_guarded) {
            let names = seen.tag.ok().flatten().map_or(0, |tag| tag.names);
            let clients = questions.of_known.get(&seen.cookie).unwrap_or(&questions.of_others);
            let ask = |one: &ExampleClient| {
                let (server, port) = (address(seen.local.ip()), seen.local.port());
                Ok((*one, probe.ask(&Query { names, client: one.client, server, port })?))
            };
            listeners.insert(seen.cookie, clients.iter().map(ask).collect::<Result<_>>()?);
        }
        anyhow::ensure!(probe.generation()? == generation, "the policy changed meanwhile");
        Ok(KernelAnswers { generation, listeners })
    };
    asked().map_err(|error: anyhow::Error| format!("{error:#}"))
}

/// Asks the kernel about one client; number of the policy that decided.
pub(super) fn ask_one(probe: Option<&Probe>, query: &Query) -> Result<(u32, ProbeAnswer), String> {
    let probe = probe.ok_or(NO_PROBE)?;
    let asked = || {
        let generation = probe.generation()?;
        let answer = probe.ask(query)?.context("a look-up failed")?;
        anyhow::ensure!(probe.generation()? == generation, "the policy changed meanwhile: ask again");
        Ok((generation, answer))
    };
    asked().map_err(|error: anyhow::Error| format!("{error:#}"))
}

/// Bytes of a text that has a hash: a status has to come at once, and a processor without instructions for SHA-256 takes
/// milliseconds for a megabyte.
const MOST_HASHED: usize = 1 << 20;

/// SHA-256 in hexadecimal, as sha256sum(1) prints it; empty for a longer text.
pub(super) fn hash(text: &[u8]) -> String {
    if text.len() > MOST_HASHED {
        return String::new();
    }
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds facts from the kernel's tables.
pub(super) fn complete(looked: Looked, kernel: &Kernel, lines: Vec<SinkCounts>, turned_away: u64) -> Input {
    let Looked { request, all, answers, hashes, marks_bound } = looked;
    let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
    let resets = kernel.resets.as_ref();
    let reset_namespaces = resets.map_or((0, 0), |resets| resets.links());
    let reset_places = resets.map_or_else(HashSet::new, |resets| resets.places_in_force().collect());
    let facts = StatusFacts {
        all,
        answers,
        hashes,
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

/// Facts for metrics: no table of the kernel is gone through. `waiting` connections wait for their user.
pub(super) fn metrics(kernel: &Kernel, waiting: usize, lines: Vec<SinkCounts>) -> MetricsFacts {
    let certified = kernel.resets.as_ref().map_or(0, |resets| resets.all_certified().len());
    let fill = |map: &'static str, entries: usize, room: u32| MapFill {
        map: map.into(),
        entries: u64::try_from(entries).unwrap_or(u64::MAX),
        room: room.into(),
    };
    MetricsFacts {
        counters: kernel.counters.read(),
        maps: vec![
            fill("certified_places", certified, MAX_CERTIFIED),
            fill("early_drop_places", kernel.early.places(), MAX_EARLY_PLACES),
            fill("connections_waiting_for_a_user", waiting, MAX_WAITING),
        ],
        lines,
    }
}
