//! Held attempts: their listener is identified, their packet is re-injected.
//!
//! In: held packets, verdicts on them. Out: answers in the kernel, then the packet re-injected: the gate
//! itself lets it pass, or refuses and reports it.
//! Invariant: waiting packets are bounded in number and time; those that a bound dropped are counted and
//! reported; a packet is re-injected at most once for each reason to hold it.

mod answer;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use tcpw_common::{
    ban::BAN_POLICY,
    held::Held as HeldPacket,
    key::{Address, AttemptKey, FlowKey},
    metric::Metric,
    outcome::{BANNER, Outcome},
    tag::{OF_ONE_DEVICE, PROVISIONAL, Tag, UNPRIVILEGED},
    user::UserDecides,
};

use answer::HeldAnswer;

use super::{
    banners::Banners, challenges::Challenges, commands::Commands, effects::marks, listeners::Listeners,
    lookups::AttemptLookups, report::finished,
};
use crate::{
    control::Histogram,
    core::{
        action::{Action, Reinject, Write},
        attempt::{Attempt, VerdictPurpose, attempt_key},
        facts::AttemptFacts,
        lookup::UserWanted,
        outbox::{Outbox, Step},
        shared::{SharedState, UDP},
    },
    evaluate::request::{Judgement, Verdict},
    events::{Decision, Fate, decision_of_held},
    names::NamesSet,
};

/// Most packets that wait for a scan: a megabyte or two.
const MOST_WAITING: usize = 4096;

/// After this long a client has retransmitted its SYN itself, or no longer waits for a reply to its datagram.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a re-injected packet is remembered, and a UDP client that would be refused.
const REMEMBERED: Duration = Duration::from_secs(60);

/// An answer outlives its attempt: if the SYN cannot be re-injected, the client's retransmit finds the answer.
const ANSWER_AT_LEAST: Duration = Duration::from_secs(5);

/// Packets that wait, and those that were re-injected.
#[derive(Default)]
pub(in crate::core) struct HeldPackets {
    /// By the cookie of their listener, which is not identified yet.
    by_listener: HashMap<u64, Vec<(Instant, HeldPacket)>>,
    count: usize,
    /// Re-injected packets, by the reason they were held for: what was not known, under which policy.
    sent: Recent<(AttemptKey, u32, u32)>,
    /// UDP clients that audit mode has logged, by socket.
    said: Recent<(u64, Address)>,
    /// When each re-injected attempt was first held: CLOCK_BOOTTIME, nanoseconds.
    since: HashMap<FlowKey, u64>,
    since_order: VecDeque<(Instant, FlowKey)>,
    /// Packets dropped because too many wait.
    dropped: u64,
    /// How many of them were reported.
    told: u64,
    /// Packets that waited too long for their listener: their client has sent them again, or has given up.
    given_up: u64,
    /// Packets held by a policy whose rules are not known any more.
    abandoned: u64,
    /// How long packets were held until they were re-injected.
    pub(in crate::core) times: Histogram,
}

/// Facts of other duties that an answer needs.
pub(in crate::core) struct Others<'a> {
    pub(in crate::core) challenges: &'a mut Challenges,
    pub(in crate::core) lookups: &'a mut AttemptLookups,
    pub(in crate::core) commands: &'a mut Commands,
    pub(in crate::core) banners: &'a mut Banners,
}

impl HeldPackets {
    /// One held packet.
    pub(in crate::core) fn take(
        &mut self,
        held: &HeldPacket,
        others: &mut Others<'_>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let Some(decision) = decision_of_held(held) else {
            return out
                .error(format!("a held packet of kind {} is not known to this version", held.event.kind));
        };
        let is_identified = u32::from(held.event.flags) & PROVISIONAL == 0;
        if is_identified && let Some(names) = shared.inventory.names_of(decision.names) {
            decide(held, &decision, &names, others, shared, out);
        } else if let Some(known) = shared.inventory.get(decision.cookie) {
            // It was tagged after the gate held the packet.
            let names = known.names.clone();
            self.identified(held, &decision, &names, others, shared, out);
        } else {
            self.identify(held, &decision, out);
        }
    }

    /// The listener is tagged: the gate can decide by itself.
    fn identified(
        &mut self,
        held: &HeldPacket,
        decision: &Decision,
        names: &NamesSet,
        others: &mut Others<'_>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        if shared.is_audit() {
            if shared.ban_of(decision, names).is_some() {
                let decision = Decision { policy: BAN_POLICY, ..*decision };
                return self.would_be_refused(decision, names.clone(), None, AttemptFacts::default(), out);
            }
            return decide(held, decision, names, others, shared, out);
        }
        // The gate may hold it again: the rules may need its client's name.
        self.release(held, decision, vec![Write::ForgetHeld(attempt_key(held, decision))], shared, out);
    }

    /// The packet waits until its listener is found.
    fn identify(&mut self, held: &HeldPacket, decision: &Decision, out: &mut Outbox) {
        if self.count >= MOST_WAITING {
            self.dropped += 1;
            return;
        }
        self.count += 1;
        self.by_listener.entry(decision.cookie).or_default().push((out.now.at, *held));
        out.step(if decision.pid != 0 { Step::LookAt(decision.pid) } else { Step::LookAtAll });
    }

    /// Listeners were tagged: the packets that waited for them go on.
    pub(in crate::core) fn listeners_tagged(
        &mut self,
        (is_all, began, listeners, has_unseen): (bool, Instant, &Listeners, bool),
        others: &mut Others<'_>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let ready: Vec<u64> = self
            .by_listener
            .keys()
            .copied()
            .filter(|cookie| shared.inventory.get(*cookie).is_some())
            .collect();
        for cookie in ready {
            self.release_all(cookie, others, shared, out);
        }
        if self.by_listener.keys().all(|cookie| listeners.is_waiting(*cookie)) {
            return;
        }
        if !is_all {
            // Another process may hold the socket.
            return out.step(Step::LookAtAll);
        }
        let lost: Vec<u64> = self
            .by_listener
            .iter()
            .filter(|(_, packets)| packets.iter().all(|(since, _)| *since < began))
            .map(|(cookie, _)| *cookie)
            .filter(|cookie| !listeners.is_waiting(*cookie))
            .collect();
        for cookie in lost {
            if has_unseen {
                // It is not known whether a rule refuses its name: no client is allowed.
                let packets = self.by_listener.remove(&cookie).unwrap_or_default();
                self.count -= packets.len();
                self.given_up += u64::try_from(packets.len()).unwrap_or(u64::MAX);
                continue;
            }
            self.name_by_process(cookie, shared, out);
            self.release_all(cookie, others, shared, out);
        }
    }

    /// No process holds the socket, as far as can be seen: from here on it is judged by the names its process name
    /// stands for.
    fn name_by_process(&mut self, cookie: u64, shared: &SharedState, out: &mut Outbox) {
        let first = self.by_listener.get(&cookie).and_then(|packets| packets.first());
        let Some(event) = first.map(|(_, held)| held.event) else { return };
        // The process name of an unprivileged process is not trusted.
        let is_privileged = u32::from(event.flags) & UNPRIVILEGED == 0;
        let names = if is_privileged { event.names } else { 0 };
        let tag = Tag { names, netns: event.netns, pid: event.pid, flags: 0 };
        out.warn(format!(
            "no process is found that holds the socket on port {} (cookie {cookie}): it is judged by the rules for {}",
            event.server_port,
            shared.policies.names_of(names).unwrap_or_default()
        ));
        out.write(Write::NameListener { cookie, tag });
    }

    fn release_all(&mut self, cookie: u64, others: &mut Others<'_>, shared: &SharedState, out: &mut Outbox) {
        let packets = self.by_listener.remove(&cookie).unwrap_or_default();
        self.count -= packets.len();
        let names = shared.inventory.get(cookie).map(|known| known.names.clone()).unwrap_or_default();
        for (since, held) in packets {
            if out.now.at.saturating_duration_since(since) >= PATIENCE {
                self.given_up += 1;
            } else if let Some(decision) = decision_of_held(&held) {
                self.identified(&held, &decision, &names, others, shared, out);
            }
        }
    }

    /// The verdict on a held attempt is known. If the user has to be asked for, `judgement` is for an unknown user.
    pub(in crate::core) fn decided(
        &mut self,
        attempt: Attempt,
        judgement: &Judgement,
        user: Option<UserWanted>,
        others: &mut Others<'_>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let Attempt { decision, names, mut facts, purpose, number, is_proven } = attempt;
        let VerdictPurpose::Held(held) = purpose else { return };
        if shared.is_audit() {
            // It has passed.
            if judgement.verdict == Verdict::Refuse {
                self.would_be_refused(decision, names, Some(judgement.clone()), facts, out);
            }
            return;
        }
        if user.is_none() && needs_text(&decision, judgement, &facts) {
            facts.show_banners();
            let purpose = VerdictPurpose::Held(held);
            return out.step(Step::Judge(Box::new(Attempt {
                decision,
                names,
                facts,
                purpose,
                number,
                is_proven,
            })));
        }
        self.answer((&held, &decision), judgement, (facts, user), others, shared, out);
    }

    /// In audit mode.
    fn would_be_refused(
        &mut self,
        decision: Decision,
        names: NamesSet,
        judgement: Option<Judgement>,
        facts: AttemptFacts,
        out: &mut Outbox,
    ) {
        if self.is_news(&decision, out.now.at) {
            let finished = finished(Fate::WouldRefuse, decision, names, judgement, facts);
            out.step(Step::Finish(Box::new(finished)));
        }
    }

    /// Writes the answer and re-injects the packet: the gate decides by the answer, and reports that.
    fn answer(
        &mut self,
        (held, decision): (&HeldPacket, &Decision),
        judgement: &Judgement,
        (mut facts, user): (AttemptFacts, Option<UserWanted>),
        others: &mut Others<'_>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let outcome = match judgement.verdict {
            // More is looked up once the user is known: nothing else can be decided by this answer.
            _ if user.is_some_and(|user| user.is_open) => Outcome::Ask,
            Verdict::Allow => Outcome::Allow,
            Verdict::Refuse => Outcome::Refuse,
        };
        let answer = match user.or(facts.in_vain()) {
            None => outcome as u32,
            Some(user) => {
                let timeout_s = u16::try_from(user.timeout_s).unwrap_or(u16::MAX);
                UserDecides { if_unknown: outcome, timeout_s }.to_answer()
            }
        };
        let now = out.now;
        let holds = facts.until().map(|until| until.saturating_duration_since(now.at).max(ANSWER_AT_LEAST));
        let marks = marks(judgement);
        let mut writes = Vec::new();
        let text = facts
            .shows_banners()
            .then(|| others.banners.leave((held, decision), judgement, shared, &mut writes, out));
        facts.hide_banners();
        if !is_in_force(shared, decision) {
            // The policy in force may decide otherwise: the packet is held again, for that policy.
            writes.push(Write::ForgetHeld(attempt_key(held, decision)));
        }
        let answer = HeldAnswer { answer, marks, text, holds };
        writes.extend(answer.writes((held, decision), facts, others, now));
        self.release(held, decision, writes, shared, out);
    }

    /// Writes, then re-injects the packet, at most once. If that fails, the client retransmits.
    fn release(
        &mut self,
        held: &HeldPacket,
        decision: &Decision,
        writes: Vec<Write>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let key = (attempt_key(held, decision), held.event.kind, decision.generation);
        let is_first = !held.bytes().is_empty() && self.sent.insert(key, out.now.at);
        if is_first {
            let held_ns = out.now.boot_ns.saturating_sub(held.event.time_ns);
            self.times.add(Duration::from_nanos(held_ns));
            self.note(decision.flow(), held.event.time_ns, out.now.at);
        }
        let packet = is_first.then(|| {
            let (netns, pid) = match shared.inventory.get(decision.cookie) {
                Some(known) => (known.netns, known.resident),
                None => (decision.netns, decision.pid),
            };
            Reinject {
                netns,
                pid,
                ifindex: decision.ifindex,
                by_device: u32::from(held.event.flags) & OF_ONE_DEVICE != 0,
                held: Box::new(*held),
            }
        });
        if packet.is_some() || !writes.is_empty() {
            out.act(Action::Release { writes, packet });
        }
    }

    /// Remembers since when an attempt was held.
    fn note(&mut self, flow: FlowKey, since_ns: u64, now: Instant) {
        self.since.entry(flow).or_insert(since_ns);
        self.since_order.push_back((now, flow));
        while let Some((at, flow)) = self.since_order.front()
            && (self.since_order.len() > 2 * MOST_WAITING || now.saturating_duration_since(*at) >= REMEMBERED)
        {
            self.since.remove(flow);
            self.since_order.pop_front();
        }
    }

    /// How long the attempt that is reported now was held.
    pub(in crate::core) fn held_for(&mut self, decision: &Decision) -> Option<Duration> {
        let since_ns = self.since.remove(&decision.flow())?;
        Some(Duration::from_nanos(decision.time_ns.saturating_sub(since_ns)))
    }

    /// Reports packets that a bound dropped, and drops those that waited too long.
    pub(in crate::core) fn second(&mut self, out: &mut Outbox) {
        let dropped = self.dropped - std::mem::replace(&mut self.told, self.dropped);
        if dropped > 0 {
            out.warn(format!(
                "{dropped} connection attempts were not held: {MOST_WAITING} wait already; their clients try again"
            ));
        }
        let now = out.now.at;
        for packets in self.by_listener.values_mut() {
            packets.retain(|(since, _)| now.saturating_duration_since(*since) < PATIENCE);
        }
        self.by_listener.retain(|_, packets| !packets.is_empty());
        let waiting = self.by_listener.values().map(Vec::len).sum();
        self.given_up += u64::try_from(self.count.saturating_sub(waiting)).unwrap_or(u64::MAX);
        self.count = waiting;
    }

    /// The rules that an attempt is to be judged by are not known any more: the policy in force holds its client's next
    /// packet.
    pub(in crate::core) fn abandoned(&mut self, attempt: &Attempt) {
        self.abandoned += u64::from(matches!(attempt.purpose, VerdictPurpose::Held(_)));
    }

    /// Whether an attempt was not reported before: over UDP each datagram is held, but only the first is reported.
    /// TCP attempts are held once each.
    fn is_news(&mut self, decision: &Decision, now: Instant) -> bool {
        decision.protocol != UDP || self.said.insert((decision.cookie, decision.client), now)
    }

    pub(in crate::core) fn counters(&self) -> [(Metric, u64); 3] {
        [
            (
                Metric::counter(
                    "hold_waiting_full",
                    "packets",
                    "Held packets that were dropped because too many wait for their listener.",
                ),
                self.dropped,
            ),
            (
                Metric::counter(
                    "hold_given_up",
                    "packets",
                    "Held packets that waited too long for their listener.",
                ),
                self.given_up,
            ),
            (
                Metric::counter(
                    "hold_abandoned",
                    "packets",
                    "Held packets of a policy whose rules are not known any more.",
                ),
                self.abandoned,
            ),
        ]
    }

    /// How many things are held: packets that wait, and their listeners.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 2] {
        [("held packets", self.count), ("listeners that are looked for", self.by_listener.len())]
    }
}

/// A held attempt whose listener is known.
fn decide(
    held: &HeldPacket,
    decision: &Decision,
    names: &NamesSet,
    others: &mut Others<'_>,
    shared: &SharedState,
    out: &mut Outbox,
) {
    let key = attempt_key(held, decision);
    if others.challenges.repeats(&key, held, out)
        || others.lookups.repeats(&key, held)
        || others.commands.is_asked(&key)
        || others.banners.is_read_for(&key)
    {
        return;
    }
    let facts = if shared.is_unnamed(decision.server_port) {
        AttemptFacts::unknown()
    } else {
        AttemptFacts::default()
    };
    out.step(Step::Judge(Box::new(Attempt {
        decision: *decision,
        names: names.clone(),
        facts,
        purpose: VerdictPurpose::Held(Box::new(*held)),
        number: None,
        is_proven: false,
    })));
}

/// Whether the policy that asked is the one in force.
fn is_in_force(shared: &SharedState, decision: &Decision) -> bool {
    shared.policies.generation() == Some(decision.generation)
}

/// Whether an allowed client gets a banner that was not read yet.
fn needs_text(decision: &Decision, judgement: &Judgement, facts: &AttemptFacts) -> bool {
    decision.protocol != UDP && marks(judgement) & BANNER != 0 && !facts.shows_banners()
}

/// The items seen within the last minute, at constant cost for each.
struct Recent<K> {
    at: HashMap<K, Instant>,
    order: VecDeque<(Instant, K)>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { at: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + std::hash::Hash> Recent<K> {
    /// Adds an item; whether it is new.
    fn insert(&mut self, key: K, now: Instant) -> bool {
        while let Some((at, oldest)) = self.order.front()
            && (now.saturating_duration_since(*at) >= REMEMBERED || self.order.len() >= 16 * MOST_WAITING)
        {
            self.at.remove(oldest);
            self.order.pop_front();
        }
        if self.at.contains_key(&key) {
            return false;
        }
        self.at.insert(key, now);
        self.order.push_back((now, key));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_remembered_for_a_minute_and_never_too_much() {
        let mut recent = Recent::default();
        let now = Instant::now();
        assert!(recent.insert(1, now));
        assert!(!recent.insert(1, now + REMEMBERED / 2));
        assert!(recent.insert(1, now + REMEMBERED));
        for key in 0..100_000_u32 {
            recent.insert(key, now + REMEMBERED);
        }
        assert_eq!((recent.at.len(), recent.order.len()), (16 * MOST_WAITING, 16 * MOST_WAITING));
    }
}
