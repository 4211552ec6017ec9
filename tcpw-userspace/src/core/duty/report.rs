//! The outcome of attempts: each gets its record, and the commands of its rules are run.
//!
//! In: decisions of the kernel, attempts that were decided here. Out: records, commands.
//! Invariant: each attempt gets one record, and its commands are run once: when the gate reports its decision,
//! or, if user space decides, at that time. Verdicts of the kernel are compared with the evaluator's.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    commands::Commands,
    effects::HelperCommands,
    line_limit::LineLimits,
    lookups::AttemptLookups,
    tally::{DecidedBy, Tally},
};
use tcpw_common::{ban::BAN_POLICY, metric::Metric};

use crate::{
    config::LineRates,
    core::{
        action::Action,
        attempt::judge_under,
        facts::AttemptFacts,
        inventory::KnownListener,
        judge::{self, Judged, Walk},
        lookup::MissingFact,
        outbox::{Finished, Outbox, Step},
        shared::{SharedState, UDP},
    },
    effects,
    evaluate::{
        SelfCheck, SelfChecked,
        judgement::{Effect, EffectAction},
        request::{HostName, Judgement, Verdict},
    },
    events::{self, Decision, Fate},
    names::NamesSet,
    parse::rule::Text,
    record::{JudgementRecord, ListenerDoubt, ListenerRecord, LookupRecord, Record, SourceProof},
};

/// A walk over at most this many rules is made at once; a longer one on a thread.
const MOST_STEPS: usize = 1000;

/// Records, and what the self-check found.
#[derive(Default)]
pub(in crate::core) struct AttemptRecords {
    records: u64,
    self_check: SelfCheck,
    /// Verdicts of the kernel that differ from the evaluator's.
    disagreements: u64,
    /// Judgements by the index that differ from those of a walk over all rules.
    index_disagreements: u64,
    /// Attempts that an earlier daemon's policy decided: its rules are not known.
    unjudged: u64,
    /// Network namespaces whose listeners' lines carry their names.
    line_namespaces: BTreeSet<u64>,
    /// How many attempts have lines of their own.
    pub(in crate::core) lines: LineLimits,
    /// How many attempts there were of each kind.
    pub(in crate::core) tally: Tally,
}

impl AttemptRecords {
    /// The network namespaces whose listeners' lines carry their names, and how many lines there may be.
    pub(in crate::core) fn start(&mut self, line_namespaces: BTreeSet<u64>, lines: Option<LineRates>) {
        self.line_namespaces = line_namespaces;
        if let Some(rates) = lines {
            self.lines.limit_others(rates);
        }
    }

    /// A decision of the kernel. `names` has the facts behind answers; `None` if no answer was needed.
    pub(in crate::core) fn reported(
        &mut self,
        decision: &Decision,
        (lookups, commands): (&AttemptLookups, &Commands),
        held_for: Option<Duration>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        // The later of the two answers decided: the one for this attempt alone, or that for all of its client.
        let of_all_ns = lookups.answered_ns(decision, out.now.at).unwrap_or_default();
        let once_ns = commands.answered_ns(decision, out.now.at).filter(|given_ns| of_all_ns <= *given_ns);
        let names = shared.names_of(decision.names);
        let facts = once_ns
            .map(|_| facts_that_decided(decision, &names, &commands.facts_of(decision, out.now.at), shared));
        let mut finished = self.judge_again(decision, facts, Some(lookups), shared, out);
        finished.held_for = held_for;
        out.step(Step::Finish(Box::new(finished)));
    }

    /// As [`reported`](Self::reported), for an attempt that no command decided.
    pub(in crate::core) fn decided(
        &mut self,
        decision: &Decision,
        lookups: Option<&AttemptLookups>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let finished = self.judge_again(decision, None, lookups, shared, out);
        out.step(Step::Finish(Box::new(finished)));
    }

    /// As [`decided`](Self::decided), when the daemon ends: the record is made at once, and no command is run.
    pub(in crate::core) fn decided_last(
        &mut self,
        decision: &Decision,
        lookups: &AttemptLookups,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let finished = self.judge_again(decision, None, Some(lookups), shared, out);
        self.write_record(finished, shared, out);
    }

    /// As [`decided`](Self::decided), for an attempt whose client has completed the handshake.
    pub(in crate::core) fn connected(
        &mut self,
        decision: &Decision,
        lookups: &AttemptLookups,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let finished = self.judge_again(decision, None, Some(lookups), shared, out);
        out.step(Step::Finish(Box::new(Finished { is_connected: true, ..finished })));
    }

    /// Judges what the kernel decided, and compares the verdicts.
    fn judge_again(
        &mut self,
        decision: &Decision,
        facts: Option<AttemptFacts>,
        lookups: Option<&AttemptLookups>,
        shared: &SharedState,
        out: &mut Outbox,
    ) -> Finished {
        let names = shared.find_names(decision.names);
        let are_known = names.is_some();
        let names = names.unwrap_or_default();
        if decision.policy == BAN_POLICY {
            // The rules have no say.
            return finished(decision.fate, *decision, names, None, AttemptFacts::default());
        }
        let facts = match (facts, lookups) {
            (Some(facts), _) => facts,
            _ if shared.is_unnamed(decision.server_port) => AttemptFacts::unknown(),
            (None, Some(lookups)) => facts_behind(decision, &names, lookups, shared, out),
            (None, None) => AttemptFacts::default(),
        };
        // By other names the rules may say anything.
        let judged = are_known.then(|| judge_under(shared, &names, decision, &facts)).flatten();
        // The gate refused because the user was not asked for: what else has to be known depends on it.
        let is_open = |judged: &Judged| judged.user.is_some_and(|user| user.is_open);
        let judged = judged.filter(|judged| decision.fate != Fate::Refused || !is_open(judged));
        match &judged {
            // Only the daemon that ran a command knows its result; audit mode runs none.
            Some(Judged { missing: Some(MissingFact::Command(_)), .. }) | None => {}
            Some(Judged { judgement, missing, user }) => {
                let is_open = missing.is_some() || user.is_some();
                if let Some(lookups) = lookups {
                    self.check(decision, &names, judgement, (is_open, lookups), out);
                }
                self.check_index(decision, &names, judgement, &facts, shared, out);
            }
        }
        let judgement = judged.map(|judged| judged.judgement);
        finished(decision.fate, *decision, names, judgement, facts)
    }

    /// Compares the kernel's verdict with the evaluator's.
    pub(in crate::core) fn check(
        &mut self,
        decision: &Decision,
        names: &NamesSet,
        judgement: &Judgement,
        (is_open, lookups): (bool, &AttemptLookups),
        out: &mut Outbox,
    ) {
        let is_same = !is_refused(decision.fate) || judgement.verdict == Verdict::Refuse;
        // The facts behind an old verdict may no longer be kept.
        if is_same || is_open && !lookups.is_complete() {
            return;
        }
        self.disagreements += 1;
        let (client, server) = judge::ends(decision);
        out.error(format!(
            "the kernel refused {client} at {server} ({names}) but the reference evaluator allows it: please report this"
        ));
    }

    /// Compares the index with a walk over every rule: for every attempt if that is cheap, else for a sample, on
    /// a thread.
    fn check_index(
        &mut self,
        decision: &Decision,
        names: &NamesSet,
        judgement: &Judgement,
        facts: &AttemptFacts,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let Some(rules) = shared.rules_of(decision) else { return };
        let steps = rules.indexed.walk_length();
        if !self.self_check.is_due(out.now.boot_ns, steps) {
            return;
        }
        let walk = Walk {
            rules: rules.clone(),
            names: names.clone(),
            daemon: shared.listener_of(decision).map(|known| known.daemon().to_owned()),
            decision: *decision,
            facts: facts.clone(),
            found: (judgement.verdict, judgement.rule),
        };
        if steps > MOST_STEPS {
            out.act(Action::Walk(Box::new(walk)));
        } else if let Some(disagreement) = walk.run() {
            self.walked(disagreement, out);
        }
    }

    /// The result of a walk differs from that of the index.
    pub(in crate::core) fn walked(&mut self, disagreement: String, out: &mut Outbox) {
        self.index_disagreements += 1;
        out.error(disagreement);
    }

    /// An attempt is decided: makes its record, runs its commands.
    pub(in crate::core) fn finish(
        &mut self,
        finished: Finished,
        effects: &mut HelperCommands,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let is_accepted = finished.fate == Fate::Accepted;
        let is_wanted = !is_accepted || shared.config.log_allowed && finished.decision.protocol != UDP;
        if !shared.is_audit() && matches!(finished.fate, Fate::Refused | Fate::Accepted) {
            match &finished.judgement {
                None if finished.decision.policy == BAN_POLICY => {}
                // An earlier daemon's policy decided.
                None => self.unjudged += 1,
                Some(judgement) => {
                    let is_trusted = shared.config.trust_source_addresses;
                    let Finished { fate, decision, is_connected, .. } = &finished;
                    let source = source_proof((*fate, decision.protocol), *is_connected, is_trusted);
                    let is_proven = source != SourceProof::Missing;
                    for command in effects::commands(&judgement.effects) {
                        effects.run((events::ip(&finished.decision.client), is_proven), &command, out);
                    }
                }
            }
        }
        if is_wanted {
            self.write_record(finished, shared, out);
        }
    }

    /// A record without commands.
    pub(in crate::core) fn write_record(
        &mut self,
        finished: Finished,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let Finished { fate, decision, names, judgement, facts, twist, held_for, is_connected } = finished;
        let is_banned = decision.policy == BAN_POLICY;
        let known = shared.listener_of(&decision);
        let (client, server) = judge::ends(&decision);
        self.records += 1;
        let netns = known.map_or(decision.netns, |known| known.netns);
        let source =
            source_proof((fate, decision.protocol), is_connected, shared.config.trust_source_addresses);
        let passed = Duration::from_nanos(out.now.boot_ns.saturating_sub(decision.time_ns));
        let tables = shared.rules_of(&decision).map(|rules| Arc::clone(rules.tables()));
        let listener = ListenerRecord {
            ident: known.map_or_else(|| fallback_ident(&names), |known| known.ident.clone()),
            pid: known.map_or(decision.pid, |known| known.pid),
            doubt: self.doubt(netns, known, &names),
            service: known.and_then(|known| known.service.as_ref()).map(|service| service.id.clone()),
            names,
        };
        let ban = is_banned.then(|| shared.ban_of(&decision, &listener.names)).flatten();
        let decided_by = match &judgement {
            Some(judgement) => DecidedBy::Rules(judgement.reason, judgement.rule),
            None if is_banned => DecidedBy::Ban,
            None => DecidedBy::Unknown,
        };
        let generation = if decision.generation == 0 {
            shared.policies.generation().unwrap_or_default()
        } else {
            decision.generation
        };
        self.tally.add(fate, &listener, decided_by, (tables.as_deref(), generation));
        let lookups = facts.learnt().iter();
        let lookups = lookups.map(|learnt| LookupRecord {
            question: learnt.question.clone(),
            found: learnt.kept.value.clone(),
            took: learnt.took,
        });
        out.act(Action::Record(Box::new(Record {
            id: self.records,
            time: out.now.wall.checked_sub(passed).unwrap_or(out.now.wall),
            fate,
            netns: decision.netns,
            ifindex: decision.ifindex,
            protocol: decision.protocol,
            client,
            server,
            source,
            has_line: self.lines.has_line(
                client.ip(),
                fate != Fate::Accepted && source == SourceProof::Missing,
                out.now.at,
            ),
            client_address: judge::client_text(&decision),
            client_text: judge::host_text(&decision, &facts, judgement.as_ref()),
            client_name: facts.name(client.ip()).and_then(known_name),
            client_user: facts.user().cloned(),
            hidden_client: None,
            listener,
            judged: judgement.zip(tables).map(|(judgement, tables)| JudgementRecord {
                verdict: judgement.verdict,
                reason: judgement.reason,
                rule: judgement.rule,
                tables,
                severity: judgement.severity,
                effects: judgement.effects.iter().map(effect_name).collect(),
            }),
            is_banned,
            ban,
            lookups: lookups.collect(),
            held_for,
            generation: decision.generation,
            policy: decision.policy,
            twist,
        })));
    }

    /// Why the line of a listener does not carry its name.
    fn doubt(&self, netns: u64, known: Option<&KnownListener>, names: &NamesSet) -> Option<ListenerDoubt> {
        if !self.line_namespaces.contains(&netns) {
            return Some(ListenerDoubt::Namespace);
        }
        let is_proven = match known {
            // Its names-set may lack those that are not proven.
            Some(known) => known.claims.iter().all(|claim| claim.proof.is_ok()),
            None => names.is_proven() && !names.is_empty(),
        };
        (!is_proven).then_some(ListenerDoubt::Names)
    }

    /// How many records there were.
    pub(in crate::core) fn records(&self) -> u64 {
        self.records
    }

    /// Verdicts of the kernel that differ from the evaluator's, and judgements by the index that differ from a walk's.
    pub(in crate::core) fn mismatches(&self) -> (u64, u64) {
        (self.disagreements, self.index_disagreements)
    }

    pub(in crate::core) fn counters(&self) -> Vec<(Metric, u64)> {
        let SelfChecked { checked, unchecked } = self.self_check.counts();
        let [unproven, limited] = self.lines.counters();
        vec![
            unproven,
            limited,
            (
                Metric::counter(
                    "disagreements",
                    "attempts",
                    "Verdicts of the kernel that differ from the evaluator's.",
                ),
                self.disagreements,
            ),
            (
                Metric::counter(
                    "index_disagreements",
                    "attempts",
                    "Judgements by the index that differ from those of a walk over every rule.",
                ),
                self.index_disagreements,
            ),
            (
                Metric::counter(
                    "self_checks",
                    "attempts",
                    "Attempts that were judged again by a walk over every rule.",
                ),
                checked,
            ),
            (
                Metric::counter(
                    "self_checks_skipped",
                    "attempts",
                    "Attempts that were not judged again by a walk over every rule.",
                ),
                unchecked,
            ),
            (
                Metric::counter(
                    "unjudged",
                    "attempts",
                    "Attempts decided by a policy of an earlier daemon, whose rules are not known, or by names that are not.",
                ),
                self.unjudged,
            ),
        ]
    }
}

/// The facts behind the answer that decided an attempt. While an answer is being replaced, either may have
/// decided: the facts that lead to the kernel's verdict did.
pub(in crate::core) fn facts_behind(
    decision: &Decision,
    names: &NamesSet,
    lookups: &AttemptLookups,
    shared: &SharedState,
    out: &Outbox,
) -> AttemptFacts {
    facts_that_decided(decision, names, &lookups.facts_of(decision, out.now.at), shared)
}

/// Of facts that may have decided an attempt, the latest that lead to the kernel's verdict.
fn facts_that_decided(
    decision: &Decision,
    names: &NamesSet,
    possible: &[&AttemptFacts],
    shared: &SharedState,
) -> AttemptFacts {
    let leads_there = |facts: &&&AttemptFacts| {
        judge_under(shared, names, decision, facts)
            .is_some_and(|judged| is_refused(decision.fate) == (judged.judgement.verdict == Verdict::Refuse))
    };
    let latest = possible.first();
    let found = if possible.len() > 1 { possible.iter().find(leads_there).or(latest) } else { latest };
    found.map(|facts| (*facts).clone()).unwrap_or_default()
}

/// Whether the kernel's verdict was to refuse.
fn is_refused(fate: Fate) -> bool {
    match fate {
        Fate::Refused | Fate::WouldRefuse | Fate::Redirected => true,
        Fate::Accepted | Fate::Held => false,
    }
}

/// What proves that an attempt came from the address it shows.
fn source_proof((fate, protocol): (Fate, u16), is_connected: bool, is_trusted: bool) -> SourceProof {
    match fate {
        _ if is_connected => SourceProof::Handshake,
        Fate::Accepted if protocol != UDP => SourceProof::Handshake,
        Fate::Accepted if is_trusted => SourceProof::Trusted,
        Fate::Accepted => SourceProof::Missing,
        Fate::Refused | Fate::Redirected if is_trusted => SourceProof::Trusted,
        Fate::Refused | Fate::Redirected => SourceProof::Missing,
        Fate::WouldRefuse | Fate::Held => SourceProof::NotWanted,
    }
}

/// A decided attempt that had no `twist` and was not held.
pub(in crate::core) fn finished(
    fate: Fate,
    decision: Decision,
    names: NamesSet,
    judgement: Option<Judgement>,
    facts: AttemptFacts,
) -> Finished {
    let decision = Decision { fate, ..decision };
    Finished {
        fate,
        decision,
        names,
        judgement,
        facts,
        twist: None::<Text>,
        held_for: None,
        is_connected: false,
    }
}

/// A name that was verified.
fn known_name(name: &HostName) -> Option<Text> {
    match name {
        HostName::Known(name) => Some(name.clone()),
        HostName::Unknown | HostName::Paranoid => None,
    }
}

/// The text before `[pid]` while the listener is not identified.
fn fallback_ident(names: &NamesSet) -> String {
    names.iter().next().map_or_else(|| "tcpw".into(), |name| String::from_utf8_lossy(name).into_owned())
}

/// An option by its name in hosts_options(5).
fn effect_name(effect: &Effect) -> &'static str {
    match effect.action {
        EffectAction::Spawn(_) => "spawn",
        EffectAction::Aclexec { .. } => "aclexec",
        EffectAction::Twist { .. } => "twist",
        EffectAction::Banner(_) => "banners",
        EffectAction::Severity(_) => "severity",
        EffectAction::Keepalive => "keepalive",
        EffectAction::Linger(_) => "linger",
        EffectAction::Rfc931 { .. } => "rfc931",
        EffectAction::Setenv { .. } => "setenv",
        EffectAction::Nice(_) => "nice",
        EffectAction::Umask(_) => "umask",
        EffectAction::User(_) => "user",
        EffectAction::Group(_) => "group",
    }
}
