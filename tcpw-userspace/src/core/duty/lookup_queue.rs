//! Look-ups that run or wait, and the answers of earlier ones.
//!
//! In: questions, each with the network of the client that it is asked for, and whether the client's address is proven.
//! Out: look-ups to begin, answers.
//! Invariant: a question is looked up once at a time; a number of look-ups run at once: at most half of them for clients
//! whose address is not proven, at most a quarter for the proven clients of one
//! network, and for its others; networks take turns, proven clients come first. Look-ups of addresses in /etc/hosts
//! ask no name server: they begin at once, and these limits do not count them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use tcpw_common::metric::Metric;

use super::lookups::size;
use crate::{
    config::Resolve,
    control::Histogram,
    core::{action::Action, lookup::Question, outbox::Outbox},
    resolve::{CachedValue, ExpiringCache, Found},
};

/// Look-ups that run or wait, and the answers of earlier ones.
pub(super) struct LookupQueue {
    at_once: usize,
    found_for: Duration,
    not_found_for: Duration,
    cache: ExpiringCache<Question, Found>,
    /// Addresses in /etc/hosts.
    local: HashSet<IpAddr>,
    /// Questions without an answer.
    open: HashMap<Question, OpenQuestion>,
    proven: FairQueue,
    unproven: FairQueue,
    running: Running,
    begun: u64,
    remembered: u64,
    failed: u64,
    /// How long look-ups took that had an answer.
    pub(super) times: Histogram,
}

/// A question without an answer.
struct OpenQuestion {
    /// Since when it is being looked up.
    began: Option<Instant>,
    network: IpNet,
    is_proven: bool,
    /// It is not one of those that are limited.
    is_local: bool,
}

/// How many look-ups run.
#[derive(Default)]
struct Running {
    all: usize,
    unproven: usize,
    /// By network and whether their client is proven: forged addresses take no turn of the network's clients.
    of_network: HashMap<(IpNet, bool), usize>,
}

impl LookupQueue {
    pub(super) fn new(settings: &Resolve) -> Self {
        Self {
            at_once: settings.at_once,
            found_for: settings.found_for,
            not_found_for: settings.not_found_for,
            cache: ExpiringCache::new(settings.kept),
            local: HashSet::new(),
            open: HashMap::new(),
            proven: FairQueue::default(),
            unproven: FairQueue::default(),
            running: Running::default(),
            begun: 0,
            remembered: 0,
            failed: 0,
            times: Histogram::default(),
        }
    }

    /// Answers that are kept.
    pub(super) fn remembered(&mut self, question: &Question, now: Instant) -> Option<&CachedValue<Found>> {
        let kept = self.cache.at(question, now);
        self.remembered += u64::from(kept.is_some());
        kept
    }

    /// Whether a question of a client of this network, whose address is not proven, would not have to wait for other
    /// look-ups.
    pub(super) fn begins_at_once(&self, question: &Question, network: IpNet) -> bool {
        self.open.get(question).is_some_and(|open| open.began.is_some())
            || self.is_local(question)
            || self.has_room_for_unproven() && self.running.of(network, false) < self.of_network()
    }

    /// These are the addresses in /etc/hosts.
    pub(super) fn local_names(&mut self, addresses: HashSet<IpAddr>) {
        self.local = addresses;
    }

    fn is_local(&self, question: &Question) -> bool {
        match question {
            Question::Name(address) => self.local.contains(address),
            Question::Netgroup { .. } => false,
        }
    }

    /// Most look-ups for one network.
    fn of_network(&self) -> usize {
        self.at_once.div_ceil(4)
    }

    /// Begins a look-up, at once or when others have ended.
    pub(super) fn begin(
        &mut self,
        question: &Question,
        (network, is_proven): (IpNet, bool),
        out: &mut Outbox,
    ) {
        let is_new = match self.open.get_mut(question) {
            None => true,
            // It waits, and now a proven client waits for it, too.
            Some(open) => open.began.is_none() && is_proven && !open.is_proven,
        };
        if is_new && self.is_local(question) {
            let open = OpenQuestion { began: Some(out.now.at), network, is_proven, is_local: true };
            self.open.insert(question.clone(), open);
            self.begun += 1;
            out.act(Action::LookUp(question.clone()));
        } else if is_new {
            let open = OpenQuestion { began: None, network, is_proven, is_local: false };
            self.open.insert(question.clone(), open);
            let queue = if is_proven { &mut self.proven } else { &mut self.unproven };
            queue.push(network, question.clone());
            self.start(out);
        }
    }

    /// No attempt waits for it any more: if it was not begun, it is not begun at all.
    pub(super) fn forget(&mut self, question: &Question) {
        if self.open.get(question).is_some_and(|open| open.began.is_none()) {
            self.open.remove(question);
        }
    }

    /// A look-up is over. Returns the answer to keep and how long it took; `None` if it could not be begun.
    pub(super) fn finished(
        &mut self,
        question: &Question,
        found: Option<Found>,
        out: &mut Outbox,
    ) -> Option<(CachedValue<Found>, Duration)> {
        let now = out.now.at;
        let open = self.open.remove(question);
        if let Some(open) = open.as_ref().filter(|open| open.began.is_some() && !open.is_local) {
            self.running.ended(open);
        }
        let began = open.and_then(|open| open.began);
        let Some(found) = found else {
            self.begun = self.begun.saturating_sub(1);
            self.failed += 1;
            self.start(out);
            return None;
        };
        let holds = if found.is_something() { self.found_for } else { self.not_found_for };
        let kept = CachedValue { value: found, since: now, until: now + holds };
        self.cache.keep(question.clone(), kept.value.clone(), kept.since, kept.until);
        self.start(out);
        let took = began.map(|began| now.saturating_duration_since(began));
        took.into_iter().for_each(|took| self.times.add(took));
        Some((kept, took.unwrap_or_default()))
    }

    fn has_room_for_unproven(&self) -> bool {
        self.running.all < self.at_once && self.running.unproven < self.at_once.div_ceil(2)
    }

    fn start(&mut self, out: &mut Outbox) {
        let of_network = self.of_network();
        while self.running.all < self.at_once {
            let mut question = self.proven.pop(|network| self.running.of(*network, true) < of_network);
            if question.is_none() && self.has_room_for_unproven() {
                question = self.unproven.pop(|network| self.running.of(*network, false) < of_network);
            }
            let Some(question) = question else { return };
            // Questions that were dropped meanwhile, or wait for a proven client now, are still in their queue.
            let Some(open) = self.open.get_mut(&question).filter(|open| open.began.is_none()) else {
                continue;
            };
            open.began = Some(out.now.at);
            self.running.began(open);
            self.begun += 1;
            out.act(Action::LookUp(question));
        }
    }

    /// How many questions have no answer yet, those in the queues counted again.
    pub(super) fn open(&self) -> usize {
        self.open.len() + self.proven.len() + self.unproven.len()
    }

    /// How many look-ups run.
    pub(super) fn running(&self) -> usize {
        self.running.all
    }

    pub(super) fn counters(&self) -> Vec<(Metric, u64)> {
        vec![
            (Metric::counter("lookups", "look-ups", "Look-ups that were begun."), self.begun),
            (Metric::gauge("lookups_running", "look-ups", "Look-ups that run."), size(self.running.all)),
            (
                Metric::gauge("lookups_open", "look-ups", "Look-ups that run or wait to be begun."),
                size(self.open.len()),
            ),
            (
                Metric::counter("lookups_without_thread", "look-ups", "Look-ups that could not be begun."),
                self.failed,
            ),
            (
                Metric::counter("names_remembered", "look-ups", "Questions that were answered from memory."),
                self.remembered,
            ),
            (
                Metric::gauge("names_kept", "answers", "Answers of look-ups in memory."),
                size(self.cache.len()),
            ),
            (
                Metric::counter(
                    "names_evicted",
                    "answers",
                    "Answers of look-ups that were forgotten before their time.",
                ),
                self.cache.evicted(),
            ),
        ]
    }
}

impl Running {
    fn of(&self, network: IpNet, is_proven: bool) -> usize {
        self.of_network.get(&(network, is_proven)).copied().unwrap_or(0)
    }

    fn began(&mut self, open: &OpenQuestion) {
        self.all += 1;
        self.unproven += usize::from(!open.is_proven);
        *self.of_network.entry((open.network, open.is_proven)).or_default() += 1;
    }

    fn ended(&mut self, open: &OpenQuestion) {
        self.all -= 1;
        self.unproven -= usize::from(!open.is_proven);
        let key = (open.network, open.is_proven);
        if let Some(count) = self.of_network.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.of_network.remove(&key);
            }
        }
    }
}

/// Questions of networks, which take turns.
#[derive(Default)]
struct FairQueue {
    by_network: HashMap<IpNet, VecDeque<Question>>,
    /// Each network that has questions, once.
    turns: VecDeque<IpNet>,
}

impl FairQueue {
    fn push(&mut self, network: IpNet, question: Question) {
        let questions = self.by_network.entry(network).or_default();
        if questions.is_empty() {
            self.turns.push_back(network);
        }
        questions.push_back(question);
    }

    /// The next question of a network that may begin one.
    fn pop(&mut self, may_begin: impl Fn(&IpNet) -> bool) -> Option<Question> {
        let at = self.turns.iter().position(may_begin)?;
        let network = self.turns.remove(at)?;
        let questions = self.by_network.get_mut(&network)?;
        let question = questions.pop_front();
        if questions.is_empty() {
            self.by_network.remove(&network);
        } else {
            self.turns.push_back(network);
        }
        question
    }

    fn len(&self) -> usize {
        self.by_network.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{client_network::client_network, tests::now};

    fn question(client: &str) -> (Question, IpNet) {
        let client = client.parse().unwrap();
        (Question::Name(client), client_network(client))
    }

    fn queue(at_once: usize) -> (LookupQueue, Outbox) {
        (LookupQueue::new(&Resolve { at_once, ..Resolve::default() }), Outbox::new(now()))
    }

    fn begun(out: &mut Outbox) -> Vec<String> {
        let begun = out.actions.drain(..).map(|action| {
            let Action::LookUp(Question::Name(client)) = action else { panic!("{action:?}") };
            client.to_string()
        });
        begun.collect()
    }

    #[test]
    fn address_in_etc_hosts_neither_waits_nor_takes_a_turn() {
        let (mut queue, mut out) = queue(1);
        queue.local_names(["10.9.0.1".parse().unwrap()].into());
        let (silent, network) = question("10.0.0.1");
        queue.begin(&silent, (network, false), &mut out);
        let (local, network) = question("10.9.0.1");
        assert!(queue.begins_at_once(&local, network));
        queue.begin(&local, (network, false), &mut out);
        queue.begin(&local, (network, true), &mut out);
        assert_eq!(begun(&mut out), ["10.0.0.1", "10.9.0.1"]);
        assert_eq!((queue.running(), queue.open()), (1, 2));
        queue.finished(&local, Some(Found::Member(false)), &mut out);
        assert_eq!((queue.running(), queue.open()), (1, 1));
        queue.finished(&silent, None, &mut out);
        assert_eq!((queue.running(), queue.open()), (0, 0));
    }

    #[test]
    fn half_of_the_lookups_are_kept_for_proven_clients() {
        let (mut queue, mut out) = queue(8);
        for number in 0..20 {
            let (question, network) = question(&format!("10.0.{number}.1"));
            assert_eq!(queue.begins_at_once(&question, network), number < 4, "{number}");
            queue.begin(&question, (network, false), &mut out);
        }
        assert_eq!(begun(&mut out).len(), 4);
        for number in 0..20 {
            let (question, network) = question(&format!("10.1.{number}.1"));
            queue.begin(&question, (network, true), &mut out);
        }
        assert_eq!(begun(&mut out), ["10.1.0.1", "10.1.1.1", "10.1.2.1", "10.1.3.1"]);
        // A look-up for an unproven client ends: the next one is for a proven client.
        queue.finished(&question("10.0.0.1").0, None, &mut out);
        assert_eq!(begun(&mut out), ["10.1.4.1"]);
        // A proven client waits for the same: the question goes to the others that wait.
        let (same, network) = question("10.0.10.1");
        queue.begin(&same, (network, true), &mut out);
        for number in 4..20 {
            queue.finished(&question(&format!("10.1.{number}.1")).0, None, &mut out);
        }
        assert!(begun(&mut out).contains(&"10.0.10.1".into()));
    }

    #[test]
    fn networks_take_turns_and_none_has_more_than_a_quarter() {
        let (mut queue, mut out) = queue(8);
        for number in 1..100 {
            let (question, network) = question(&format!("10.0.0.{number}"));
            queue.begin(&question, (network, true), &mut out);
        }
        let (other, network) = question("2001:db8::1");
        queue.begin(&other, (network, true), &mut out);
        assert_eq!(begun(&mut out), ["10.0.0.1", "10.0.0.2", "2001:db8::1"]);
        let (forged, network) = question("10.0.0.200");
        for at in 0..2 {
            let (one, network) = question(&format!("10.0.0.20{at}"));
            assert!(queue.begins_at_once(&one, network), "those of proven clients do not count");
            queue.begin(&one, (network, false), &mut out);
        }
        assert!(queue.begins_at_once(&forged, network), "it runs");
        assert!(!queue.begins_at_once(&question("10.0.0.209").0, network), "a quarter of the network's");
        assert_eq!(begun(&mut out), ["10.0.0.200", "10.0.0.201"]);
        queue.finished(&question("10.0.0.1").0, None, &mut out);
        assert_eq!(begun(&mut out), ["10.0.0.3"]);
        queue.forget(&question("10.0.0.4").0);
        queue.finished(&question("10.0.0.2").0, None, &mut out);
        assert_eq!(begun(&mut out), ["10.0.0.5"], "nobody waits for 10.0.0.4");
    }

    #[test]
    fn nothing_is_left_of_what_has_ended() {
        let (mut queue, mut out) = queue(2);
        let all = ["10.0.0.1", "10.0.1.1", "10.0.2.1", "10.0.3.1"].map(question);
        for (at, (question, network)) in all.iter().enumerate() {
            queue.begin(question, (*network, at % 2 == 0), &mut out);
        }
        while queue.running() > 0 {
            for client in begun(&mut out) {
                queue.finished(&question(&client).0, None, &mut out);
            }
        }
        assert_eq!((queue.open(), queue.running.unproven, queue.running.of_network.len()), (0, 0, 0));
        assert!(queue.proven.turns.is_empty() && queue.unproven.turns.is_empty());
    }
}
