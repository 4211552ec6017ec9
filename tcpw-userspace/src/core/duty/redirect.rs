//! Refused clients that are redirected to the redirect listener: they get their rule's banner, or the program
//! of its `twist`; or their connection is closed, which proves that the client has the address it shows.
//!
//! In: attempts that the kernel redirects, and the connections that arrive. Out: each connection handed to
//! the helper, or ended.
//! Invariant: a connection is judged under the policy that redirected it, by its own addresses. If it is now
//! allowed, or its rule has nothing for it, it is ended. The number of waiting connections is bounded.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use tcpw_common::{
    ban::BAN_POLICY,
    certified::{Certified, CertifiedKey, MAY_CLOSE, MAY_REDIRECT},
    key::{Address, FlowKey, as_v4, mapped},
    metric::Metric,
    outcome::REDIRECT,
};

use super::{
    certify::Certify,
    effects::{HelperCommands, marks},
    lookups::AttemptLookups,
    report::{AttemptRecords, facts_behind, finished},
};
use crate::{
    compile,
    core::{
        action::Action,
        attempt::{Attempt, VerdictPurpose},
        facts::AttemptFacts,
        input::Arrived,
        outbox::{Finished, Outbox, Step},
        shared::{SharedState, TCP},
    },
    effects,
    evaluate::{
        judgement::EffectAction,
        request::{Judgement, Verdict},
    },
    events::{self, Decision, Fate, address},
    names::NamesSet,
    redirect::Family,
};

/// Most connections at once, including those that wait for names and users.
const MOST_IN_HAND: u64 = 256;

/// Attempts whose connection has not arrived yet.
const MOST_EXPECTED: usize = 8192;

/// How long a handshake may take. After that the attempt counts as one that never connected.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long the event of a connection may take to arrive.
const EVENT_DELAY: Duration = Duration::from_millis(500);

/// How long an arrived connection is remembered: the kernel may report its attempt again.
const REMEMBERED: Duration = Duration::from_secs(130);

/// Attempts that were redirected, and the redirect listeners.
#[derive(Default)]
pub(in crate::core) struct Redirect {
    /// Redirect listeners: their cookie, once they exist.
    listeners: BTreeMap<(u64, Family), Option<u64>>,
    /// Namespaces and families without a redirect listener that were reported: each once.
    failed: BTreeMap<(u64, Family), String>,
    expected: HashMap<FlowKey, (Instant, Decision)>,
    arrived: HashMap<FlowKey, (Instant, Redirected)>,
    done: HashMap<FlowKey, Instant>,
    done_order: VecDeque<(Instant, FlowKey)>,
    /// Attempts whose handshake took so long that they were recorded without their connection.
    late: HashMap<FlowKey, Instant>,
    in_hand: u64,
    /// Connections without an event: an event of the same flow came shortly before, or the event was lost.
    unannounced: u64,
    /// Connections ended because there were too many.
    too_many: u64,
    /// Connections ended because the channel to the loop was full.
    turned_away: u64,
    said_turned_away: u64,
    /// Whether the policy in force redirected clients, when that was last tested.
    is_on: bool,
}

/// A connection that has not got its banner or program yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Redirected {
    arrived: Arrived,
}

impl Redirect {
    /// Whether a listening socket is a redirect listener, which is never judged.
    pub(in crate::core) fn is_own(&self, cookie: u64) -> bool {
        self.listeners.values().any(|own| *own == Some(cookie))
    }

    /// Whether no redirect listener is being made.
    pub(in crate::core) fn are_open(&self) -> bool {
        self.listeners.values().all(Option::is_some)
    }

    /// A policy is in force: the flags of the certified places may change.
    pub(in crate::core) fn policy_in_force(&mut self, shared: &SharedState, out: &mut Outbox) {
        let is_on = shared.redirects();
        if std::mem::replace(&mut self.is_on, is_on) != is_on {
            out.step(Step::LookAtAll);
        }
    }

    /// Makes or closes the redirect listeners of a namespace: they exist while a certified place needs them.
    pub(in crate::core) fn see_to_listeners(
        &mut self,
        netns: u64,
        places: &BTreeMap<CertifiedKey, Certified>,
        is_there: bool,
        out: &mut Outbox,
    ) {
        for family in [Family::V4, Family::V6] {
            let key = (netns, family);
            let is_wanted = is_there && places.iter().any(|(place, it)| is_of(place, it, family));
            let is_open = self.listeners.contains_key(&key);
            if is_wanted && !is_open {
                self.listeners.insert(key, None);
                out.act(Action::OpenRedirect { netns, family });
            } else if !is_wanted {
                self.failed.remove(&key);
                if self.listeners.remove(&key).is_some() {
                    out.act(Action::CloseRedirect { netns, family });
                }
            }
        }
    }

    /// A redirect listener was made, or could not be.
    pub(in crate::core) fn opened(
        &mut self,
        (netns, family): (u64, Family),
        made: Result<u64, String>,
        out: &mut Outbox,
    ) {
        let key = (netns, family);
        match made {
            Ok(cookie) => match self.listeners.get_mut(&key) {
                Some(place) => {
                    self.failed.remove(&key);
                    *place = Some(cookie);
                }
                // No certified place needs it any more.
                None => out.act(Action::CloseRedirect { netns, family }),
            },
            Err(error) => {
                self.listeners.remove(&key);
                if self.failed.get(&key) != Some(&error) {
                    out.error(format!(
                        "{family:?} clients of a network namespace get no banner and no twist, and none is closed: they are reset or dropped: {error}"
                    ));
                    self.failed.insert(key, error);
                }
            }
        }
    }

    /// The kernel redirects an attempt.
    pub(in crate::core) fn announced(
        &mut self,
        decision: &Decision,
        (lookups, report): (&mut AttemptLookups, &mut AttemptRecords),
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let flow = decision.flow();
        if let Some((_, redirected)) = self.arrived.remove(&flow) {
            return self.take(redirected, decision, lookups, shared, out);
        }
        if self.expected.len() >= MOST_EXPECTED {
            let refused = Decision { fate: Fate::Refused, ..*decision };
            return report.decided(&refused, Some(&*lookups), shared, out);
        }
        self.expected.insert(flow, (out.now.at, *decision));
    }

    /// A connection has arrived.
    pub(in crate::core) fn arrived(
        &mut self,
        arrived: Arrived,
        (lookups, report): (&mut AttemptLookups, &mut AttemptRecords),
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let flow = flow_of_arrived(&arrived);
        if self.in_hand >= MOST_IN_HAND {
            self.too_many += 1;
            if let Some((_, decision)) = self.expected.remove(&flow) {
                self.is_done(flow, out.now.at);
                let refused = Decision { fate: Fate::Refused, ..decision };
                report.connected(&refused, lookups, shared, out);
            }
            return out.act(Action::Abort(arrived.connection));
        }
        self.in_hand += 1;
        let redirected = Redirected { arrived };
        match self.expected.remove(&flow) {
            Some((_, decision)) => self.take(redirected, &decision, lookups, shared, out),
            None => {
                if let Some((_, before)) = self.arrived.insert(flow, (out.now.at, redirected)) {
                    self.abort(before, out);
                }
            }
        }
    }

    fn abort(&mut self, redirected: Redirected, out: &mut Outbox) {
        self.in_hand -= 1;
        out.act(Action::Abort(redirected.arrived.connection));
    }

    /// The rules that redirected a connection are no longer known.
    pub(in crate::core) fn abandoned(&mut self, attempt: &Attempt, out: &mut Outbox) {
        if let VerdictPurpose::Redirected(redirected) = &attempt.purpose {
            self.abort(**redirected, out);
        }
    }

    fn is_done(&mut self, flow: FlowKey, now: Instant) {
        self.done.insert(flow, now);
        self.done_order.push_back((now, flow));
    }

    /// Judges a connection that was matched with its attempt.
    fn take(
        &mut self,
        redirected: Redirected,
        decision: &Decision,
        lookups: &AttemptLookups,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        self.is_done(decision.flow(), out.now.at);
        let names = shared.names_of(decision.names);
        // The event of an attempt that has none is lost: it would say so.
        let is_unannounced = decision.generation == 0;
        if decision.policy == BAN_POLICY || is_unannounced && shared.ban_of(decision, &names).is_some() {
            let decision = Decision { policy: BAN_POLICY, ..*decision };
            return self.close_banned(redirected, decision, names, out);
        }
        let mut facts = if shared.is_unnamed(decision.server_port) {
            AttemptFacts::unknown()
        } else {
            facts_behind(decision, &names, lookups, shared, out)
        };
        facts.show_banners();
        out.step(Step::Judge(Box::new(Attempt {
            decision: *decision,
            names,
            facts,
            purpose: VerdictPurpose::Redirected(Box::new(redirected)),
            number: None,
            is_proven: false,
        })));
    }

    /// Its client is banned: the rules have nothing for it.
    fn close_banned(
        &mut self,
        redirected: Redirected,
        decision: Decision,
        names: NamesSet,
        out: &mut Outbox,
    ) {
        self.in_hand -= 1;
        out.act(Action::Close(redirected.arrived.connection));
        let finished = finished(Fate::Refused, decision, names, None, AttemptFacts::default());
        out.step(Step::Finish(Box::new(Finished { is_connected: true, ..finished })));
    }

    /// The verdict on a connection is known, with the names and user it needs.
    pub(in crate::core) fn decided(
        &mut self,
        attempt: Attempt,
        judgement: &Judgement,
        (report, helper, lookups): (&mut AttemptRecords, &mut HelperCommands, &AttemptLookups),
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let Attempt { decision, names, facts, purpose, .. } = attempt;
        let VerdictPurpose::Redirected(redirected) = purpose else { return };
        let refused = Decision { fate: Fate::Refused, ..decision };
        if decision.generation != 0 && facts.is_empty() {
            report.check(&refused, &names, judgement, (false, lookups), out);
        }
        if judgement.verdict == Verdict::Allow {
            // The tables or a name changed meanwhile: the client retries.
            self.abort(*redirected, out);
            let finished = finished(Fate::Refused, decision, names, None, facts);
            return report.write_record(Finished { is_connected: true, ..finished }, shared, out);
        }
        for warning in &judgement.warnings {
            out.debug(format!("{}: {warning}", events::ip(&decision.client)));
        }
        let serving = effects::serving(&judgement.effects);
        self.in_hand -= 1;
        let connection = redirected.arrived.connection;
        let is_given = if serving.is_something() {
            helper.serve((events::ip(&decision.client), connection), &serving, out)
        } else {
            out.act(Action::Close(connection));
            false
        };
        let twist = serving.twist.filter(|_| is_given);
        // In the line of a `twist` an IPv4 client is not spelled as on an IPv6 socket: libwrap's is not.
        let socket_is_v6 = decision.socket_is_v6 && twist.is_none();
        let decision = Decision { socket_is_v6, ..decision };
        let finished = finished(Fate::Refused, decision, names, Some(judgement.clone()), facts);
        out.step(Step::Finish(Box::new(Finished { twist, is_connected: true, ..finished })));
    }

    /// Ends the wait of connections without an event and of events without a connection; forgets those that are
    /// over.
    pub(in crate::core) fn second(
        &mut self,
        turned_away: u64,
        (lookups, report, certify): (&mut AttemptLookups, &mut AttemptRecords, &Certify),
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let now = out.now.at;
        let passed = |since: &Instant| now.saturating_duration_since(*since);
        let late: Vec<(FlowKey, Decision)> = self
            .expected
            .extract_if(|_, (since, _)| passed(since) >= HANDSHAKE)
            .map(|(flow, (_, decision))| (flow, decision))
            .collect();
        for (flow, decision) in late {
            // The ACK of a SYN cookie is not a second attempt.
            if !self.done.contains_key(&flow) {
                self.late.insert(flow, now);
                report.decided(&Decision { fate: Fate::Refused, ..decision }, Some(&*lookups), shared, out);
            }
        }
        let unannounced: Vec<Redirected> = self
            .arrived
            .extract_if(|_, (since, _)| passed(since) >= EVENT_DELAY)
            .map(|(_, (_, redirected))| redirected)
            .collect();
        self.late.retain(|_, since| passed(since) < REMEMBERED);
        for redirected in unannounced {
            if self.late.remove(&flow_of_arrived(&redirected.arrived)).is_some() {
                // Its attempt has its record.
                self.abort(redirected, out);
                continue;
            }
            match decision_of_arrived(&redirected.arrived, certify, out.now.boot_ns) {
                Some(decision) => {
                    self.unannounced += 1;
                    self.take(redirected, &decision, lookups, shared, out);
                }
                None => self.abort(redirected, out),
            }
        }
        while let Some((_, flow)) = self.done_order.pop_front_if(|(at, _)| passed(at) >= REMEMBERED) {
            if self.done.get(&flow).is_some_and(|at| passed(at) >= REMEMBERED) {
                self.done.remove(&flow);
            }
        }
        self.turned_away = turned_away;
        let turned_away = self.turned_away + self.too_many;
        let news = turned_away - std::mem::replace(&mut self.said_turned_away, turned_away);
        if news > 0 {
            out.warn(format!(
                "{news} refused clients got no banner and no twist: {MOST_IN_HAND} connections are already being served"
            ));
        }
    }

    /// The daemon ends: attempts whose handshake is under way have their record now.
    pub(in crate::core) fn end(
        &mut self,
        (lookups, report): (&AttemptLookups, &mut AttemptRecords),
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let expected = self.expected.drain().filter(|(flow, _)| !self.done.contains_key(flow));
        let mut expected: Vec<Decision> = expected.map(|(_, (_, decision))| decision).collect();
        expected.sort_by_key(|decision| decision.time_ns);
        for decision in expected {
            report.decided_last(&Decision { fate: Fate::Refused, ..decision }, lookups, shared, out);
        }
    }

    /// How many things are held: halves of redirected attempts, and connections.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 4] {
        [
            ("redirected attempts", self.expected.len() + self.late.len()),
            ("redirected connections", self.arrived.len()),
            ("redirected attempts that are over", self.done.len() + self.done_order.len()),
            ("connections in hand", usize::try_from(self.in_hand).unwrap_or(usize::MAX)),
        ]
    }

    pub(in crate::core) fn counters(&self) -> [(Metric, u64); 3] {
        [
            (
                Metric::counter(
                    "redirected_unannounced",
                    "connections",
                    "Redirected connections without an event.",
                ),
                self.unannounced,
            ),
            (
                Metric::counter(
                    "redirected_turned_away",
                    "connections",
                    "Redirected connections that were ended because there were too many.",
                ),
                self.turned_away + self.too_many,
            ),
            (
                Metric::gauge(
                    "redirected_in_hand",
                    "connections",
                    "Redirected connections that wait for their verdict.",
                ),
                self.in_hand,
            ),
        ]
    }
}

/// Whether a client is redirected whatever its user is.
pub(in crate::core) fn is_sure_to_redirect(
    decision: &Decision,
    judgement: &Judgement,
    shared: &SharedState,
) -> bool {
    let (Some(rule), Some(rules)) = (judgement.rule, shared.policies.rules_of(decision.generation)) else {
        return false;
    };
    let has_command = judgement.effects.iter().any(|it| matches!(it.action, EffectAction::Aclexec { .. }));
    marks(judgement) & REDIRECT != 0 && !has_command && !compile::users_choose(rules.tables(), rule)
}

/// An attempt whose event was lost, from the certificate of its place, under the policy in force.
fn decision_of_arrived(arrived: &Arrived, certify: &Certify, boot_ns: u64) -> Option<Decision> {
    let flow = flow_of_arrived(arrived);
    let every = if as_v4(&flow.server).is_some() { mapped([0; 4]) } else { [0; 16] };
    let place = |local: Address| CertifiedKey {
        netns: arrived.netns,
        local,
        port: flow.server_port,
        protocol: TCP,
        reserved: 0,
    };
    let certified = certify.get(&place(flow.server)).or_else(|| certify.get(&place(every)))?;
    Some(Decision {
        fate: Fate::Redirected,
        time_ns: boot_ns,
        netns: arrived.netns,
        names: certified.names,
        cookie: certified.cookie,
        pid: certified.pid,
        ifindex: 0,
        client: flow.client,
        server: flow.server,
        client_port: flow.client_port,
        server_port: flow.server_port,
        socket_is_v6: certified.family == libc::AF_INET6.cast_unsigned(),
        protocol: TCP,
        policy: 0,
        generation: 0,
    })
}

fn is_of(key: &CertifiedKey, certified: &Certified, family: Family) -> bool {
    let is_v4 = as_v4(&key.local).is_some();
    certified.flags & (MAY_REDIRECT | MAY_CLOSE) != 0 && is_v4 == (family == Family::V4)
}

fn flow_of_arrived(arrived: &Arrived) -> FlowKey {
    FlowKey {
        netns: arrived.netns,
        client: address(arrived.client.ip()),
        server: address(arrived.server.ip()),
        client_port: arrived.client.port(),
        server_port: arrived.server.port(),
        protocol: TCP,
        reserved: 0,
    }
}
