//! Refused clients that are led to us: they get their rule's banner, or the program of its `twist`.
//!
//! In: what the kernel says it leads here, and the connections that arrive. Out: each connection
//! handed to the helper, or ended; a line for each attempt.
//! Invariant: a connection is judged under the policy that led it here, by its own addresses; who
//! is allowed by then, or has nothing coming to him, is ended. What waits is bounded.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tcpw_common::{
    key::{Address, AttemptKey, as_v4, mapped},
    outcome::STEER as STEERED,
    service::{STEER, Service, ServiceKey},
    user::ends,
};
use tokio::sync::mpsc;

use super::{
    Daemon,
    effects::marks,
    facts::Facts,
    held::answer_key,
    judge,
    names::{Attempt, Purpose},
};
use crate::{
    compile,
    config::Mode,
    effects,
    evaluate::{
        judgement::Action,
        request::{Judgement, Verdict},
    },
    events::{self, Decision, Fate},
    host::boot_ns,
    log::{line, priority},
    names::NamesSet,
    redirect::{Family, RedirectListener, RedirectedConnection, abort},
};

const TCP: u16 = 6;

/// Connections that wait for the event loop.
const QUEUE: usize = 64;

/// Connections in hand: those that wait for names and users, too.
const MOST_IN_HAND: usize = 256;

/// Attempts whose connection has not arrived yet.
const MOST_EXPECTED: usize = 8192;

/// How long a handshake may take. One that takes longer is an attempt that never connected.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long the event of a connection may be on its way.
const EVENT_DELAY: Duration = Duration::from_millis(500);

/// The kernel may tell once more of an attempt whose connection has arrived.
const REMEMBERED: Duration = Duration::from_secs(130);

/// A flow: its network namespace, and both ends.
type Flow = (u64, AttemptKey);

/// Attempts that were led here, and the sockets that take them.
pub(super) struct Steers {
    takers: BTreeMap<(u64, Family), RedirectListener>,
    /// A namespace without a family, and the like, is said once.
    failed: BTreeMap<(u64, Family), String>,
    expected: HashMap<Flow, (Instant, Decision)>,
    arrived: HashMap<Flow, (Instant, Steered)>,
    done: HashMap<Flow, Instant>,
    /// One for each connection in hand.
    in_hand: Arc<()>,
    turned_away: Arc<AtomicU64>,
    served: u64,
    /// Connections the kernel told nothing of: their flow had one just before, or the event was lost.
    unannounced: u64,
    /// Whether the policy in force leads anybody here, when last looked at.
    is_on: bool,
    said_turned_away: u64,
    sender: mpsc::Sender<RedirectedConnection>,
    receiver: mpsc::Receiver<RedirectedConnection>,
}

/// A connection on its way to what its rule has for it.
pub(super) struct Steered {
    arrival: RedirectedConnection,
    _in_hand: Arc<()>,
}

impl Steers {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self {
            takers: BTreeMap::new(),
            failed: BTreeMap::new(),
            expected: HashMap::new(),
            arrived: HashMap::new(),
            done: HashMap::new(),
            in_hand: Arc::new(()),
            turned_away: Arc::default(),
            served: 0,
            unannounced: 0,
            is_on: false,
            said_turned_away: 0,
            sender,
            receiver,
        }
    }

    /// The next connection. Cancel safe.
    pub(super) async fn next(&mut self) -> RedirectedConnection {
        match self.receiver.recv().await {
            Some(arrival) => arrival,
            // Never: a sender is our own.
            None => std::future::pending().await,
        }
    }

    /// Whether a listening socket is one of these: no service.
    pub(super) fn is_own(&self, cookie: u64) -> bool {
        self.takers.values().any(|taker| taker.cookie() == cookie)
    }

    pub(super) fn counters(&self) -> [(String, u64); 4] {
        let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        [
            ("steered_served", self.served),
            ("steered_unannounced", self.unannounced),
            ("steered_turned_away", self.turned_away.load(Ordering::Relaxed)),
            ("steered_in_hand", size(Arc::strong_count(&self.in_hand) - 1)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }
}

impl Daemon {
    /// Whether the policy in force leads anybody here.
    pub(super) fn steers(&self) -> bool {
        let current = self.policies.current.as_ref();
        self.config.mode == Mode::Enforce && current.is_some_and(|current| current.policy.steers)
    }

    /// Whether a client is led here whoever its user is.
    pub(super) fn is_sure_to_steer(&self, decision: &Decision, judgement: &Judgement) -> bool {
        let (Some(rule), Some(rules)) = (judgement.rule, self.policies.rules_of(decision.generation)) else {
            return false;
        };
        let has_command = judgement.effects.iter().any(|it| matches!(it.action, Action::Aclexec { .. }));
        marks(judgement) & STEERED != 0 && !has_command && !compile::users_choose(&rules.tables, rule)
    }

    /// A policy is in force: what is certified may have to be certified otherwise.
    pub(super) fn prepare_steering(&mut self) {
        let is_on = self.steers();
        if std::mem::replace(&mut self.steers.is_on, is_on) != is_on {
            self.scans.look_at_all();
        }
    }

    /// Sees to the sockets of a namespace: there while a certified service needs them.
    pub(super) fn see_to_takers(&mut self, netns: u64, file: Option<&File>) {
        for family in [Family::V4, Family::V6] {
            let key = (netns, family);
            let is_wanted = self.kernel.resets().is_some_and(|resets| {
                resets.certified(netns).any(|(key, service)| is_of(key, service, family))
            });
            let Some(file) = file.filter(|_| is_wanted) else {
                self.steers.takers.remove(&key);
                self.steers.failed.remove(&key);
                continue;
            };
            if self.steers.takers.contains_key(&key) {
                continue;
            }
            match self.make_taker(file, netns, family) {
                Ok(taker) => {
                    self.steers.failed.remove(&key);
                    self.steers.takers.insert(key, taker);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    if self.steers.failed.get(&key) != Some(&error) {
                        log::error!(
                            "{family:?} clients of a network namespace get no banner and no twist, they are refused: {error}"
                        );
                        self.steers.failed.insert(key, error);
                    }
                }
            }
        }
    }

    fn make_taker(&mut self, file: &File, netns: u64, family: Family) -> anyhow::Result<RedirectListener> {
        use std::os::fd::AsFd as _;
        let bound = RedirectListener::bind(file, netns, family)?;
        self.kernel.mark_taker(bound.as_fd(), netns)?;
        let socket = bound.as_fd().try_clone_to_owned()?;
        let taker = bound.listen(self.steers.sender.clone(), Arc::clone(&self.steers.turned_away))?;
        self.kernel.add_taker(socket.as_fd(), netns, family.number())?;
        Ok(taker)
    }

    /// The kernel leads an attempt here.
    pub(super) fn steered(&mut self, decision: &Decision) {
        let flow = flow_of(decision);
        if let Some((_, steered)) = self.steers.arrived.remove(&flow) {
            return self.take(steered, decision);
        }
        if self.steers.expected.len() >= MOST_EXPECTED {
            return self.report(&Decision { fate: Fate::Refused, ..*decision });
        }
        self.steers.expected.insert(flow, (Instant::now(), *decision));
    }

    /// A connection has arrived.
    pub(super) fn arrived(&mut self, arrival: RedirectedConnection) {
        let flow = flow_of_arrival(&arrival);
        if Arc::strong_count(&self.steers.in_hand) > MOST_IN_HAND {
            self.steers.turned_away.fetch_add(1, Ordering::Relaxed);
            if let Some((_, decision)) = self.steers.expected.remove(&flow) {
                self.finish_steered(flow, &decision);
            }
            return abort(arrival.stream);
        }
        let steered = Steered { arrival, _in_hand: Arc::clone(&self.steers.in_hand) };
        match self.steers.expected.remove(&flow) {
            Some((_, decision)) => self.take(steered, &decision),
            None => drop(self.steers.arrived.insert(flow, (Instant::now(), steered))),
        }
    }

    fn finish_steered(&mut self, flow: Flow, decision: &Decision) {
        self.steers.done.insert(flow, Instant::now());
        self.report(&Decision { fate: Fate::Refused, ..*decision });
    }

    /// Connection and attempt have found each other.
    fn take(&mut self, steered: Steered, decision: &Decision) {
        self.steers.done.insert(flow_of(decision), Instant::now());
        let mut facts = if self.is_unnamed(decision.server_port) {
            Facts::unknown()
        } else {
            self.hanging.facts_of(&answer_key(decision)).cloned().unwrap_or_default()
        };
        facts.show_banners();
        let names = self.names_of(decision);
        let purpose = Purpose::Steered(Box::new(steered));
        self.pursue(Attempt { decision: *decision, names, facts, purpose }, None);
    }

    /// A connection's names and user are known, and what its rule has for it.
    pub(super) fn serve(
        &mut self,
        steered: Steered,
        decision: &Decision,
        names: &NamesSet,
        judgement: &Judgement,
        facts: &Facts,
    ) {
        let refused = Decision { fate: Fate::Refused, ..*decision };
        if decision.generation != 0 && facts.is_empty() {
            self.check(&refused, names, judgement, false);
        }
        if judgement.verdict == Verdict::Allow {
            // The tables changed, or a name did: it tries again.
            abort(steered.arrival.stream);
            return self.write_line(&refused, names, None, facts);
        }
        for warning in &judgement.warnings {
            log::debug!("{}: {warning}", events::ip(&decision.client));
        }
        let service = effects::service(&judgement.effects);
        let is_served = service.is_something()
            && self.effects.serve(events::ip(&decision.client), &service, steered.arrival.stream.into());
        self.steers.served += u64::from(is_served);
        match &service.twist {
            Some(command) if is_served => {
                // An IPv4 client is not spelled as on an IPv6 socket: libwrap does not here.
                let plain = Decision { socket_is_v6: false, ..*decision };
                let host = judge::host_text(&plain, facts, Some(judgement));
                let message = line::twist(&host, &crate::evaluate::quoted_bytes(command));
                self.write_message(&refused, names, Some(judgement), message, priority::REFUSED);
            }
            Some(_) | None => self.write_line(&refused, names, Some(judgement), facts),
        }
        self.act(&refused, Some(judgement));
    }

    /// Takes up what waited too long for its other half, and forgets what is over.
    pub(super) fn watch_steered(&mut self) {
        let now = Instant::now();
        let late: Vec<(Flow, Decision)> = self
            .steers
            .expected
            .extract_if(|_, (since, _)| now.duration_since(*since) >= HANDSHAKE)
            .map(|(flow, (_, decision))| (flow, decision))
            .collect();
        for (flow, decision) in late {
            // The ACK of a SYN cookie is no second attempt.
            if !self.steers.done.contains_key(&flow) {
                self.report(&Decision { fate: Fate::Refused, ..decision });
            }
        }
        let unannounced: Vec<Steered> = self
            .steers
            .arrived
            .extract_if(|_, (since, _)| now.duration_since(*since) >= EVENT_DELAY)
            .map(|(_, (_, steered))| steered)
            .collect();
        for steered in unannounced {
            match self.decision_of_arrival(&steered.arrival) {
                Some(decision) => {
                    self.steers.unannounced += 1;
                    self.take(steered, &decision);
                }
                None => abort(steered.arrival.stream),
            }
        }
        self.steers.done.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        let turned_away = self.steers.turned_away.load(Ordering::Relaxed);
        let news = turned_away - std::mem::replace(&mut self.steers.said_turned_away, turned_away);
        if news > 0 {
            log::warn!(
                "{news} refused clients got no banner and no twist: {MOST_IN_HAND} are in hand already"
            );
        }
    }

    /// An attempt whose event was lost, under the policy of today: by the certified service.
    fn decision_of_arrival(&mut self, arrival: &RedirectedConnection) -> Option<Decision> {
        let (_, key) = flow_of_arrival(arrival);
        let every = if as_v4(&key.server).is_some() { mapped([0; 4]) } else { [0; 16] };
        let service = |local: Address| ServiceKey {
            netns: arrival.netns,
            local,
            port: key.server_port,
            protocol: TCP,
            reserved: 0,
        };
        let wanted = [key.server, every].map(service);
        let resets = self.kernel.resets()?;
        let find = |wanted: &ServiceKey| resets.certified(wanted.netns).find(|(key, _)| *key == wanted);
        let (_, service) = wanted.iter().find_map(find)?;
        Some(Decision {
            fate: Fate::Steered,
            time_ns: boot_ns(),
            netns: arrival.netns,
            names: service.names,
            cookie: service.cookie,
            pid: service.pid,
            ifindex: 0,
            client: key.client,
            server: key.server,
            client_port: key.client_port,
            server_port: key.server_port,
            socket_is_v6: service.family == Family::V6.number(),
            protocol: TCP,
            policy: 0,
            generation: 0,
        })
    }
}

fn is_of(key: &ServiceKey, service: &Service, family: Family) -> bool {
    let is_v4 = as_v4(&key.local).is_some();
    service.flags & STEER != 0 && is_v4 == (family == Family::V4)
}

fn flow_of(decision: &Decision) -> Flow {
    let Decision { client, server, client_port, server_port, .. } = *decision;
    (decision.netns, ends(client, server, client_port, server_port))
}

fn flow_of_arrival(arrival: &RedirectedConnection) -> Flow {
    let address = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(v4) => mapped(v4.octets()),
        std::net::IpAddr::V6(v6) => v6.octets(),
    };
    let (client, server) = (address(arrival.client.ip()), address(arrival.server.ip()));
    (arrival.netns, ends(client, server, arrival.client.port(), arrival.server.port()))
}
