//! Connections that wait for their client's user: the client's host is asked, then they are judged and go on
//! or are ended.
//!
//! In: connections the kernel makes wait, answers of ident servers. Out: connections whose data pass, and
//! connections to end.
//! Invariant: a connection passes only after a verdict on it under the policy in force. The number of look-ups
//! at once is bounded, in total and by source; beyond that the user is unknown, which is counted.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use tcpw_common::{
    key::Address,
    metric::Metric,
    outcome::{BANNER, KEEPALIVE},
    tag::Tag,
    user::{Pending, UserDecides, Waiting},
};

use super::{
    banners::Banners, commands::Commands, effects::marks, keepalive::Keepalive, lookups::source,
    redirect::is_sure_to_redirect, report::finished,
};
use crate::{
    control::Histogram,
    core::{
        action::{Acknowledge, Action, Write},
        attempt::{Attempt, VerdictPurpose},
        facts::AttemptFacts,
        input::UserAnswer,
        judge,
        lookup::UserWanted,
        outbox::{Outbox, Step},
        policies::InForce,
        shared::{SharedState, TCP, decision_of},
    },
    evaluate::request::{Judgement, Verdict},
    events::{Decision, Fate},
};

/// How long handshakes of an earlier policy may go on: SYN-ACKs are retransmitted for a minute.
const HANDSHAKE: Duration = Duration::from_secs(120);

/// How long a connection that is done with is remembered: longer than a report of it takes from the kernel.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Connections that wait, and look-ups that run.
#[derive(Default)]
pub(in crate::core) struct Users {
    number: u64,
    asking: HashMap<u64, Box<Attempt>>,
    by_source: HashMap<Address, usize>,
    /// Cookies of connections that have no verdict yet, or that are being ended.
    known: HashSet<u64>,
    /// Cookies of connections that were allowed or ended, and when. What the kernel said of them before may
    /// still arrive.
    done: HashMap<u64, Instant>,
    /// Refused connections that could not be ended: their network namespace, and a process in it.
    lingering: HashMap<u64, (u64, u32)>,
    unwanted_since: Option<Instant>,
    counts: UserCounts,
    said_limited: u64,
    /// How long connections waited for their verdict.
    pub(in crate::core) times: Histogram,
}

/// UserCounts since the start.
#[derive(Clone, Copy, Debug, Default)]
struct UserCounts {
    lookups: u64,
    found: u64,
    limited: u64,
    own: u64,
    allowed: u64,
    refused: u64,
    unended: u64,
}

impl Users {
    /// The kernel says that a connection waits.
    pub(in crate::core) fn waits(
        &mut self,
        waiting: &Waiting,
        commands: &mut Commands,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        if !self.done.contains_key(&waiting.socket) && self.known.insert(waiting.socket) {
            if waiting.refused != 0 {
                // An earlier process refused it and stopped before it was ended.
                return self.end(waiting, shared, out);
            }
            if UserDecides::from_answer(waiting.pending.answer).is_none() {
                out.write(Write::RefuseWaiting(Box::new(*waiting)));
                return self.refuse_unjudged(waiting, shared, out);
            }
            // No daemon answered in time: the kernel has taken the user as unknown.
            let is_late = out.now.boot_ns >= waiting.deadline_ns;
            judge_connection(waiting, is_late, commands, shared, out);
        }
    }

    /// No policy is in force yet: the connection is taken up again in the next second.
    pub(in crate::core) fn abandoned(&mut self, attempt: &Attempt) {
        if let VerdictPurpose::Connection(waiting) = &attempt.purpose {
            self.known.remove(&waiting.socket);
        }
    }

    /// The kernel's table had no room for one more waiting connection: its user is unknown.
    pub(in crate::core) fn has_no_room(
        &mut self,
        decision: &Decision,
        commands: &mut Commands,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        judge_connection(&waiting_of(decision), true, commands, shared, out);
    }

    /// There is no room for one more waiting connection, and it is refused.
    pub(in crate::core) fn cannot_wait(
        &mut self,
        decision: &Decision,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        self.refuse_unjudged(&waiting_of(decision), shared, out);
    }

    /// An attempt needs the client's user; `judgement` is for an unknown user.
    pub(in crate::core) fn want(
        &mut self,
        mut attempt: Box<Attempt>,
        judgement: Box<Judgement>,
        user: UserWanted,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        if attempt.decision.protocol != TCP {
            // Only a connection has a user.
            attempt.facts.learn_user(None);
            attempt.facts.no_user_for(user);
            return out.step(Step::Judge(attempt));
        }
        let can_wait = shared.policies.current.as_ref().is_some_and(InForce::asks_for_users);
        if !can_wait && !matches!(attempt.purpose, VerdictPurpose::Live(_)) {
            // No connection would wait for it: the policy was compiled with every user unknown.
            attempt.facts.learn_user(None);
            return out.step(Step::Judge(attempt));
        }
        match attempt.purpose {
            // Only the text of a banner needs the user, and there is no connection yet: it is taken as unknown.
            VerdictPurpose::Held(_) if attempt.facts.shows_banners() => {
                attempt.facts.learn_user(None);
                out.step(Step::Judge(attempt));
            }
            // There is no connection whose user could be asked for.
            VerdictPurpose::Live(_) => out.step(Step::Decided(attempt, judgement, None)),
            VerdictPurpose::Held(_) if !shared.is_audit() => {
                // The client is redirected whatever its user is: the user is asked for after that.
                let is_redirected =
                    !user.is_open && is_sure_to_redirect(&attempt.decision, &judgement, shared);
                let user = Some(user).filter(|_| !is_redirected);
                out.step(Step::Decided(attempt, judgement, user));
            }
            VerdictPurpose::Held(_) | VerdictPurpose::Connection(_) | VerdictPurpose::Redirected(_) => {
                self.ask(attempt, user.timeout_s, shared, out);
            }
        }
    }

    fn ask(&mut self, mut attempt: Box<Attempt>, timeout_s: u32, shared: &SharedState, out: &mut Outbox) {
        let limits = &shared.config.resolve;
        let source = source(&attempt.decision.client);
        let of_source = self.by_source.get(&source).copied().unwrap_or(0);
        if self.asking.len() >= limits.users_at_once || of_source >= limits.users_of_a_source {
            self.counts.limited += 1;
            attempt.facts.learn_user(None);
            return out.step(Step::Judge(attempt));
        }
        self.number += 1;
        self.counts.lookups += 1;
        *self.by_source.entry(source).or_default() += 1;
        out.act(Action::AskUser {
            number: self.number,
            decision: Box::new(attempt.decision),
            pids: shared.residents(attempt.decision.netns, attempt.decision.pid),
            timeout_s,
        });
        self.asking.insert(self.number, attempt);
    }

    /// The look-up at a client's host is over.
    pub(in crate::core) fn told(&mut self, number: u64, answer: UserAnswer, out: &mut Outbox) {
        let Some(mut attempt) = self.asking.remove(&number) else { return };
        let source = source(&attempt.decision.client);
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
        let (client, _) = judge::ends(&attempt.decision);
        let user = match answer {
            UserAnswer::Known(user) => Some(user),
            UserAnswer::Unknown(reason) => {
                if let Some(reason) = reason {
                    out.debug(format!("the user of {client} is unknown: {reason}"));
                }
                None
            }
            UserAnswer::Own => {
                self.counts.own += 1;
                self.counts.lookups -= 1;
                None
            }
            UserAnswer::NoNamespace(reason) => {
                self.counts.lookups -= 1;
                out.warn(format!(
                    "the network namespace of port {} cannot be entered: {reason}",
                    attempt.decision.server_port
                ));
                None
            }
        };
        self.counts.found += u64::from(user.is_some());
        attempt.facts.learn_user(user);
        out.step(Step::Judge(attempt));
    }

    /// The verdict on a waiting connection is known.
    pub(in crate::core) fn decided(
        &mut self,
        attempt: Attempt,
        judgement: &Judgement,
        (banners, keepalive): (&mut Banners, &mut Keepalive),
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let Attempt { decision, names, facts, purpose, .. } = attempt;
        let VerdictPurpose::Connection(waiting) = purpose else { return };
        let fate = match judgement.verdict {
            Verdict::Allow => {
                if marks(judgement) & KEEPALIVE != 0 {
                    keepalive.want(&decision, waiting.socket, shared, out);
                }
                if marks(judgement) & BANNER != 0 {
                    banners.came_late();
                }
                self.let_go(&waiting, &decision, shared, out);
                Fate::Accepted
            }
            Verdict::Refuse => {
                self.refuse(&waiting, shared, out);
                Fate::Refused
            }
        };
        let held_for = Duration::from_nanos(out.now.boot_ns.saturating_sub(waiting.since_ns));
        self.times.add(held_for);
        let mut finished = finished(fate, decision, names, Some(judgement.clone()), facts);
        (finished.held_for, finished.is_connected) = (Some(held_for), true);
        out.step(Step::Finish(Box::new(finished)));
    }

    /// A waiting connection is allowed.
    fn let_go(&mut self, waiting: &Waiting, decision: &Decision, shared: &SharedState, out: &mut Outbox) {
        self.counts.allowed += 1;
        self.forget(waiting.socket, out);
        if waiting.pending.answer != 0 {
            // This makes the server's socket send the data it could not send before.
            acknowledge(decision, &waiting.pending, waiting.pending.seq, shared, out);
        }
    }

    /// A waiting connection is refused.
    fn refuse(&mut self, waiting: &Waiting, shared: &SharedState, out: &mut Outbox) {
        self.counts.refused += 1;
        out.write(Write::RefuseWaiting(Box::new(*waiting)));
        self.end(waiting, shared, out);
    }

    /// A connection of which too little is known, or that cannot wait: the kernel lets none of its data pass.
    fn refuse_unjudged(&mut self, waiting: &Waiting, shared: &SharedState, out: &mut Outbox) {
        self.counts.refused += 1;
        self.end(waiting, shared, out);
        let decision = decision_of(waiting);
        let names = shared.names_of(decision.names);
        let mut finished = finished(Fate::Refused, decision, names, None, AttemptFacts::unknown());
        finished.is_connected = true;
        out.step(Step::Finish(Box::new(finished)));
    }

    /// Forgets a connection.
    fn forget(&mut self, socket: u64, out: &mut Outbox) {
        self.known.remove(&socket);
        self.done.insert(socket, out.now.at);
        out.write(Write::StopWaiting(socket));
    }

    /// Ends a refused connection.
    fn end(&mut self, waiting: &Waiting, shared: &SharedState, out: &mut Outbox) {
        let (netns, pid) = (waiting.flow.netns, waiting.pending.tag.pid);
        let pids = shared.residents(netns, pid);
        out.act(Action::Destroy { waiting: Box::new(*waiting), pids });
    }

    /// A refused connection was ended, or not.
    pub(in crate::core) fn destroyed(
        &mut self,
        waiting: &Waiting,
        result: Result<bool, String>,
        out: &mut Outbox,
    ) {
        match result {
            Ok(true) => return self.forget(waiting.socket, out),
            // Most likely its client has closed it; until that is certain, none of its data pass.
            Ok(false) => {}
            Err(error) => {
                self.counts.unended += 1;
                if self.counts.unended == 1 {
                    out.error(format!("a refused connection cannot be ended, its data are dropped: {error}"));
                }
            }
        }
        let (netns, pid) = (waiting.flow.netns, waiting.pending.tag.pid);
        self.lingering.insert(waiting.socket, (netns, pid));
    }

    /// The sockets of a namespace are known: refused connections that are not among them are gone.
    pub(in crate::core) fn sockets(
        &mut self,
        netns: u64,
        cookies: Result<HashSet<u64>, String>,
        out: &mut Outbox,
    ) {
        match cookies {
            Ok(alive) => {
                let is_gone =
                    |socket: &u64, place: &mut (u64, u32)| place.0 == netns && !alive.contains(socket);
                let gone: Vec<u64> = self.lingering.extract_if(is_gone).map(|(socket, _)| socket).collect();
                gone.into_iter().for_each(|socket| self.forget(socket, out));
            }
            Err(error) => out.debug(format!("the sockets of a network namespace were not listed: {error}")),
        }
    }

    /// Reports connections that a bound affected, looks for waiting connections that are not known yet, and
    /// detaches the programs once they are not needed.
    pub(in crate::core) fn second(
        &mut self,
        (waiting, are_users_prepared): (Option<Vec<Waiting>>, bool),
        commands: &mut Commands,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let limited = self.counts.limited;
        let news = limited - std::mem::replace(&mut self.said_limited, limited);
        if news > 0 {
            out.warn(format!(
                "{news} users were not asked for and are unknown: {} look-ups ran already, or {} for one client",
                shared.config.resolve.users_at_once, shared.config.resolve.users_of_a_source
            ));
        }
        let now = out.now.at;
        self.done.retain(|_, since| now.saturating_duration_since(*since) < REMEMBERED);
        let Some(waiting) = waiting else { return };
        // Their event may have been lost, or read by an earlier process.
        for one in &waiting {
            self.waits(one, commands, shared, out);
        }
        let places: HashMap<u64, u32> = self.lingering.values().copied().collect();
        for (netns, pid) in places {
            out.act(Action::ListSockets { netns, pid });
        }
        let is_wanted = are_users_prepared
            || shared.policies.current.as_ref().is_some_and(|current| current.asks_for_users());
        if is_wanted || !waiting.is_empty() || !self.lingering.is_empty() {
            self.unwanted_since = None;
            return;
        }
        let since = *self.unwanted_since.get_or_insert(out.now.at);
        if out.now.at.saturating_duration_since(since) >= HANDSHAKE {
            self.unwanted_since = None;
            out.act(Action::EndUsers);
        }
    }

    /// Network namespaces of refused connections that still exist.
    pub(in crate::core) fn namespaces(&self) -> impl Iterator<Item = u64> {
        self.lingering.values().map(|(netns, _)| *netns)
    }

    /// How many things are held: questions, and connections.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 5] {
        [
            ("users that are asked for", self.asking.len()),
            ("users by source", self.by_source.len()),
            ("connections that wait", self.known.len()),
            ("connections that are done with", self.done.len()),
            ("refused connections", self.lingering.len()),
        ]
    }

    pub(in crate::core) fn counters(&self) -> [(Metric, u64); 9] {
        let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        let UserCounts { lookups, found, limited, own, allowed, refused, unended } = self.counts;
        [
            (
                Metric::counter(
                    "users_asked_for",
                    "connections",
                    "Connections whose client's host was asked for the user.",
                ),
                lookups,
            ),
            (Metric::counter("users_found", "connections", "Connections whose user is known."), found),
            (
                Metric::counter(
                    "users_limited",
                    "connections",
                    "Connections whose user is unknown because too many were asked for.",
                ),
                limited,
            ),
            (
                Metric::counter(
                    "users_own",
                    "connections",
                    "Connections of tcpw's own that were not asked about.",
                ),
                own,
            ),
            (
                Metric::counter(
                    "users_allowed",
                    "connections",
                    "Connections that waited for their user and were allowed.",
                ),
                allowed,
            ),
            (
                Metric::counter(
                    "users_refused",
                    "connections",
                    "Connections that waited for their user and were refused.",
                ),
                refused,
            ),
            (
                Metric::counter(
                    "users_not_ended",
                    "connections",
                    "Refused connections that could not be ended.",
                ),
                unended,
            ),
            (
                Metric::gauge(
                    "users_asking",
                    "connections",
                    "Connections whose client's host is being asked.",
                ),
                size(self.asking.len()),
            ),
            (
                Metric::gauge(
                    "users_waiting",
                    "connections",
                    "Connections that have no verdict yet, or that are being ended.",
                ),
                size(self.known.len()),
            ),
        ]
    }
}

fn judge_connection(
    waiting: &Waiting,
    is_user_unknown: bool,
    commands: &mut Commands,
    shared: &SharedState,
    out: &mut Outbox,
) {
    let decision = decision_of(waiting);
    // Facts found before the handshake went on are used again; its commands are not run twice.
    let mut facts = commands.take_facts(waiting, out.now.at).unwrap_or_default();
    if is_user_unknown {
        facts.learn_user(None);
    }
    let facts = if shared.is_unnamed(decision.server_port) { AttemptFacts::unknown() } else { facts };
    let names = shared.names_of(decision.names);
    let purpose = VerdictPurpose::Connection(Box::new(*waiting));
    out.step(Step::Judge(Box::new(Attempt {
        decision,
        names,
        facts,
        purpose,
        number: None,
        is_proven: false,
    })));
}

/// Completes a handshake whose last ACK had data: the user can be asked for only when the connection exists.
/// A listener with TCP_DEFER_ACCEPT ignores an ACK whose sequence number is that of the first data byte. This
/// one is one byte further, like the ACK of a client that has sent data.
pub(in crate::core) fn complete(
    decision: &Decision,
    pending: &Pending,
    shared: &SharedState,
    out: &mut Outbox,
) {
    acknowledge(decision, pending, pending.seq.wrapping_add(1), shared, out);
}

fn acknowledge(decision: &Decision, pending: &Pending, seq: u32, shared: &SharedState, out: &mut Outbox) {
    let pid = shared.inventory.resident_of(decision.netns, decision.pid);
    out.act(Action::Acknowledge(Box::new(Acknowledge { pid, decision: *decision, pending: *pending, seq })));
}

/// A decision in the form of a waiting connection, though the kernel does not make it wait.
fn waiting_of(decision: &Decision) -> Waiting {
    let family = if decision.socket_is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    Waiting {
        flow: decision.flow(),
        socket: decision.cookie,
        pending: Pending {
            tag: Tag { names: decision.names, netns: decision.netns, pid: decision.pid, flags: 0 },
            answer: 0,
            generation: decision.generation,
            policy: decision.policy,
            family: family.cast_unsigned(),
            ifindex: decision.ifindex,
            seq: 0,
            ack: 0,
            window: 0,
        },
        since_ns: decision.time_ns,
        deadline_ns: 0,
        refused: 0,
        reserved: 0,
    }
}
