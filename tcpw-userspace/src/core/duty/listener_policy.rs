//! The policy of each listener, in words.
//!
//! In: the policy in force, and the kernel's answers about the listeners. Out: what the kernel is asked, and the words.
//! Invariant: the words are those of the policy that the kernel applies to the listener's tag; where the kernel decides
//! otherwise than the compiled policy, the words say so.

use std::{collections::HashMap, sync::Arc};

use tcpw_common::{
    ban::BAN_POLICY,
    decide::EXEMPT_PORT,
    outcome::{Outcome, of_entry},
    probe::ProbeAnswer,
};

use crate::{
    compile::Policy,
    core::{
        action::{ExampleClient, KernelQuestions},
        input::KernelAnswers,
        inventory::KnownListener,
        shared::SharedState,
    },
    events::{address, ip},
};

/// Asks about every known listener: one client for each outcome that its policy has.
pub(in crate::core) fn questions(shared: &SharedState) -> KernelQuestions {
    let Some(current) = shared.policies.current.as_ref() else { return KernelQuestions::default() };
    let policy = &*current.policy;
    let mut of_row: HashMap<u32, Arc<[ExampleClient]>> = HashMap::new();
    let mut clients = |row| Arc::clone(of_row.entry(row).or_insert_with(|| examples(policy, row).into()));
    let of_known = shared.inventory.sorted().into_iter();
    KernelQuestions {
        generation: current.generation,
        of_known: of_known
            .filter_map(|(cookie, known)| Some((cookie, clients(row_by_names(policy, known)?))))
            .collect(),
        of_others: clients(0),
    }
}

/// A client for each outcome of a row, in each address family.
fn examples(policy: &Policy, row: u32) -> Vec<ExampleClient> {
    let mut seen = [[false; 4]; 2];
    let mut examples = Vec::new();
    for (class, of_class) in (0..).zip(&policy.examples) {
        let Some(outcome) = outcome(policy, row, class) else { continue };
        for (seen, client) in seen.iter_mut().zip(of_class) {
            if let Some(client) = client
                && !std::mem::replace(&mut seen[outcome as usize], true)
            {
                examples.push(ExampleClient { client: *client, class });
            }
        }
    }
    examples
}

/// The outcome of a row for a class of clients.
fn outcome(policy: &Policy, row: u32, class: u32) -> Option<Outcome> {
    let index = row as usize * policy.header(0, 0).client_classes as usize + class as usize;
    of_entry(*policy.outcomes.get(index)?).map(|(outcome, _marks)| outcome)
}

fn port_class(policy: &Policy, port: u16) -> u32 {
    policy.ports.iter().find(|(one, _)| *one == port).map_or(0, |(_, class)| *class)
}

/// The row that the names give which user space knows; any row for an exempt port.
fn row_by_names(policy: &Policy, known: &KnownListener) -> Option<u32> {
    let port = match port_class(policy, known.local.port()) {
        EXEMPT_PORT => 0,
        class => class,
    };
    // A socket without a tag is judged as a listener without names.
    let names = if known.untagged.is_none() { policy.class_of(&known.names).unwrap_or(0) } else { 0 };
    policy.row(names, port, &address(known.local.ip()))
}

/// Puts policies into words.
pub(super) struct PolicyWords<'a> {
    policy: Option<&'a Policy>,
    answers: Option<&'a KernelAnswers>,
    /// Many listeners share a policy: what was said of each row.
    said: HashMap<u32, String>,
}

impl<'a> PolicyWords<'a> {
    /// Without answers the policy is the one that the names give which user space knows.
    pub(super) fn new(policy: Option<&'a Policy>, answers: Option<&'a KernelAnswers>) -> Self {
        Self { policy, answers, said: HashMap::new() }
    }

    /// The policy of a known listener.
    pub(super) fn of_known(&mut self, cookie: u64, known: &KnownListener) -> String {
        let Some(policy) = self.policy else { return "none".into() };
        let Some(by_names) = row_by_names(policy, known) else { return "none".into() };
        let port = known.local.port();
        match self.row_of_kernel(policy, cookie, port) {
            Some(Err(difference)) => difference,
            _ if port_class(policy, port) == EXEMPT_PORT => "exempt port".into(),
            Some(Ok(row)) if row != by_names => {
                format!("{}; by its names: {}", self.words(policy, row), self.words(policy, by_names))
            }
            Some(Ok(_)) | None => self.words(policy, by_names),
        }
    }

    /// The policy of another judged listener; `None` if the kernel did not answer.
    pub(super) fn of_other(&mut self, cookie: u64, port: u16) -> Option<String> {
        let policy = self.policy?;
        Some(match self.row_of_kernel(policy, cookie, port)? {
            Err(difference) => difference,
            Ok(_) if port_class(policy, port) == EXEMPT_PORT => "exempt port".into(),
            Ok(row) => self.words(policy, row),
        })
    }

    /// The row that the kernel applies to a listener, if it decides about every client as that row says.
    fn row_of_kernel(&self, policy: &Policy, cookie: u64, port: u16) -> Option<Result<u32, String>> {
        let answers = self.answers?.listeners.get(&cookie)?;
        let is_exempt = port_class(policy, port) == EXEMPT_PORT;
        let expected = |one: &ExampleClient, answer: &ProbeAnswer| match is_exempt {
            true => Some(Outcome::Exempt),
            false => outcome(policy, answer.policy, one.class),
        };
        let mut row = None;
        for (one, answer) in answers {
            let client = ip(&one.client);
            let Some(answer) = answer else {
                return Some(Err(format!("the kernel has no answer for {client}: please report this")));
            };
            if answer.policy == BAN_POLICY && !is_exempt {
                // It says nothing of the policy.
                continue;
            }
            match expected(one, answer) {
                Some(expected) if expected == answer.outcome => row = Some(answer.policy),
                other => {
                    let policy = other.map_or_else(|| "says nothing".into(), |it| format!("says {it:?}"));
                    return Some(Err(format!(
                        "the kernel decides {:?} for {client}, the policy {policy}: please report this",
                        answer.outcome
                    )));
                }
            }
        }
        row.map(Ok)
    }

    fn words(&mut self, policy: &Policy, row: u32) -> String {
        self.said.entry(row).or_insert_with(|| words(policy, row)).clone()
    }
}

/// A row of outcomes in a few words.
fn words(policy: &Policy, row: u32) -> String {
    let mut seen = [0_usize; 4];
    for counts in [policy.clients_v4.counts(), policy.clients_v6.counts()] {
        for (class, count) in (0..).zip(counts) {
            if let Some(found) = outcome(policy, row, class) {
                seen[found as usize] += count;
            }
        }
    }
    let is_flat = policy.clients_v4.flat().is_some() || policy.clients_v6.flat().is_some();
    let entries = if is_flat { "ranges" } else { "prefixes" };
    let [exempt, allow, refuse, ask] = seen;
    match (allow, refuse, ask) {
        (_, 0, 0) => "allows all".into(),
        (0, _, 0) if exempt == 0 => "refuses all".into(),
        (0, _, 0) => "refuses all but exempt addresses".into(),
        (_, _, 0) => format!("by address: {allow} {entries} allow, {refuse} refuse"),
        _ => format!("by address: {allow} {entries} allow, {refuse} refuse, {ask} ask"),
    }
}
