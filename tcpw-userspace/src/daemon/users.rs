//! Connections that wait for their client's user: he is asked for, they are judged, and go on or end.
//!
//! In: connections the kernel holds, and what ident servers say. Out: connections whose data pass,
//! or that are ended; a line for each.
//! Invariant: a connection passes only by a verdict on it, given under the policy in force.
//! Look-ups at once are bounded, of a source too; beyond, the user is unknown, which is counted.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::socket::AddressFamily;
use tcpw_common::{
    key::{Address, AttemptKey},
    tag::Tag,
    user::{self, Pending, Waiting},
};
use tokio::{net::TcpSocket, sync::mpsc, task::spawn_blocking};

use super::{
    Daemon,
    facts::{Facts, UserWanted},
    judge,
    names::{Attempt, Purpose, source},
};
use crate::{
    config::{Config, Mode},
    evaluate::request::Judgement,
    events::{Decision, Fate},
    host::{Namespace, Namespaces, boot_ns},
    parse::rule::Text,
    reinject::{Ends, cookies, destroy},
    resolve::ident::{Connection, Lookup},
};

/// IPPROTO_TCP.
const TCP: u16 = 6;

/// How long handshakes of a policy before may go on: SYN-ACKs are sent again for a minute.
const HANDSHAKE: Duration = Duration::from_secs(120);

/// Connections that wait, and look-ups that run.
pub(super) struct Users {
    namespaces: Namespaces,
    number: u64,
    asking: HashMap<u64, Attempt>,
    by_source: HashMap<Address, usize>,
    /// Cookies of connections that are on their way to their verdict, or their end.
    known: HashSet<u64>,
    /// Refused connections that could not be ended: their network namespace, and a process in it.
    lingering: HashMap<u64, (u64, u32)>,
    /// Own ends of the look-ups that run.
    own: Own,
    unwanted_since: Option<Instant>,
    counts: Counts,
    said_limited: u64,
    sender: mpsc::UnboundedSender<News>,
    receiver: mpsc::UnboundedReceiver<News>,
}

type Own = Arc<Mutex<HashSet<(IpAddr, u16)>>>;

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    lookups: u64,
    found: u64,
    limited: u64,
    own: u64,
    allowed: u64,
    refused: u64,
    unended: u64,
}

/// What happened off the event loop.
pub(super) enum News {
    /// A look-up is over; `None` is unknown.
    User { number: u64, user: Option<Text> },
    /// A refused connection was ended, was gone, or could not be ended.
    Ended { waiting: Box<Waiting>, result: io::Result<bool> },
    /// Sockets of a namespace.
    Sockets { netns: u64, cookies: io::Result<HashSet<u64>> },
    /// Sockets that have SO_KEEPALIVE now, or are gone.
    KeptAlive(HashSet<u64>),
}

impl Users {
    pub(super) fn new(config: &Config) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            namespaces: Namespaces::new(&config.proc_root),
            number: 0,
            asking: HashMap::new(),
            by_source: HashMap::new(),
            known: HashSet::new(),
            lingering: HashMap::new(),
            own: Arc::default(),
            unwanted_since: None,
            counts: Counts::default(),
            said_limited: 0,
            sender,
            receiver,
        }
    }

    /// For news from elsewhere.
    pub(super) fn sender(&self) -> mpsc::UnboundedSender<News> {
        self.sender.clone()
    }

    /// The next news. Cancel safe.
    pub(super) async fn next(&mut self) -> News {
        match self.receiver.recv().await {
            Some(news) => news,
            // Never: a sender is our own.
            None => std::future::pending().await,
        }
    }

    pub(super) fn keep_namespaces(&mut self, is_in_use: impl Fn(u64) -> bool) {
        let lingering: HashSet<u64> = self.lingering.values().map(|(netns, _)| *netns).collect();
        self.namespaces.keep_only(|netns| is_in_use(netns) || lingering.contains(&netns));
    }

    pub(super) fn counters(&self) -> impl Iterator<Item = (String, u64)> {
        let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        let Counts { lookups, found, limited, own, allowed, refused, unended } = self.counts;
        [
            ("users_asked_for", lookups),
            ("users_found", found),
            ("users_limited", limited),
            ("users_own", own),
            ("users_allowed", allowed),
            ("users_refused", refused),
            ("users_not_ended", unended),
            ("users_asking", size(self.asking.len())),
            ("users_waiting", size(self.known.len())),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
    }

    fn is_own(&self, client: SocketAddr) -> bool {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).contains(&(client.ip(), client.port()))
    }
}

impl Daemon {
    /// The kernel says that a connection waits.
    pub(super) fn waits(&mut self, cookie: u64) {
        if self.users.known.contains(&cookie) {
            return;
        }
        match self.kernel.waiting_one(cookie) {
            Ok(Some(waiting)) => self.take_up(&waiting),
            // It was released when nobody was here.
            Ok(None) => {}
            Err(error) => log::error!("{error:#}"),
        }
    }

    /// There was no room for a connection that has to wait: its user is unknown.
    pub(super) fn slips(&mut self, decision: &Decision) {
        self.judge_connection(&waiting_of(decision), true);
    }

    fn take_up(&mut self, waiting: &Waiting) {
        self.users.known.insert(waiting.ends.cookie);
        if waiting.refused != 0 {
            // A process before this one did not come to end it.
            return self.end(waiting);
        }
        // Nobody was here in time: the kernel took the user for unknown.
        self.judge_connection(waiting, boot_ns() >= waiting.deadline_ns);
    }

    fn judge_connection(&mut self, waiting: &Waiting, is_user_unknown: bool) {
        let decision = decision_of(waiting);
        // What was found out before its handshake went on is not found out again, nor run again.
        let mut facts = self.commands.take_facts(&decision).unwrap_or_default();
        if is_user_unknown {
            facts.learn_user(None);
        }
        let facts = if self.is_unnamed(decision.server_port) { Facts::unknown() } else { facts };
        let names = self.names_of(&decision);
        let purpose = Purpose::Connection(Box::new(*waiting));
        self.pursue(Attempt { decision, names, facts, purpose }, None);
    }

    /// The evaluator asks for the user; `judgement` is that of an unknown one.
    pub(super) fn user_wanted(&mut self, mut attempt: Attempt, judgement: &Judgement, user: UserWanted) {
        if attempt.decision.protocol != TCP {
            // Only a connection has a user.
            attempt.facts.learn_user(None);
            attempt.facts.no_user_for(user);
            return self.pursue(attempt, None);
        }
        match attempt.purpose {
            // He decides nothing, and there is no connection yet: the text says that he is unknown.
            Purpose::Held(_) if attempt.facts.shows_banners() => {
                attempt.facts.learn_user(None);
                self.pursue(attempt, None);
            }
            // There is no connection whose user could be asked for.
            Purpose::Live(_) => self.conclude(attempt, judgement, None),
            Purpose::Held(_) if self.config.mode == Mode::Enforce => {
                // Whoever he is, the client is led to us: there he is asked for.
                let user = Some(user).filter(|_| !self.is_sure_to_steer(&attempt.decision, judgement));
                self.conclude(attempt, judgement, user);
            }
            Purpose::Held(_) | Purpose::Connection(_) | Purpose::Steered(_) => {
                self.ask(attempt, user.timeout_s);
            }
        }
    }

    fn ask(&mut self, mut attempt: Attempt, timeout_s: u32) {
        let (client, server) = judge::ends(&attempt.decision);
        let limits = &self.config.resolve;
        let of_source = self.users.by_source.get(&source(&attempt.decision.client)).copied().unwrap_or(0);
        let namespace = if self.users.is_own(client) {
            self.users.counts.own += 1;
            None
        } else if self.users.asking.len() >= limits.users_at_once || of_source >= limits.users_of_a_source {
            self.users.counts.limited += 1;
            None
        } else {
            self.namespace_of(&attempt.decision)
        };
        let Some(namespace) = namespace else {
            attempt.facts.learn_user(None);
            return self.pursue(attempt, None);
        };
        self.users.number += 1;
        let number = self.users.number;
        self.users.counts.lookups += 1;
        *self.users.by_source.entry(source(&attempt.decision.client)).or_default() += 1;
        let connection = Connection { client, server, ifindex: attempt.decision.ifindex };
        let (own, sender) = (Arc::clone(&self.users.own), self.users.sender.clone());
        self.users.asking.insert(number, attempt);
        tokio::spawn(async move {
            let user = look_up(namespace, connection, timeout_s, &own).await.unwrap_or_else(|error| {
                log::debug!("the user of {client} is unknown: {error}");
                None
            });
            // The daemon may have ended meanwhile.
            let _ = sender.send(News::User { number, user });
        });
    }

    /// The namespace of a connection's listener.
    pub(super) fn namespace_of(&mut self, decision: &Decision) -> Option<Namespace> {
        let others = self.registry.all().into_iter().filter(|(_, known)| known.netns == decision.netns);
        let pids: Vec<u32> =
            std::iter::once(decision.pid).chain(others.map(|(_, known)| known.resident)).collect();
        match self.users.namespaces.find(decision.netns, pids) {
            Ok(namespace) => Some(namespace),
            Err(error) => {
                log::warn!(
                    "the network namespace of port {} cannot be entered: {error}",
                    decision.server_port
                );
                None
            }
        }
    }

    /// Something that was done off the event loop is done.
    pub(super) fn user_news(&mut self, news: News) {
        match news {
            News::User { number, user } => {
                let Some(mut attempt) = self.users.asking.remove(&number) else {
                    return;
                };
                let source = source(&attempt.decision.client);
                if let Some(count) = self.users.by_source.get_mut(&source) {
                    *count -= 1;
                    if *count == 0 {
                        self.users.by_source.remove(&source);
                    }
                }
                self.users.counts.found += u64::from(user.is_some());
                attempt.facts.learn_user(user);
                self.pursue(attempt, None);
            }
            News::Ended { waiting, result } => self.ended(&waiting, result),
            News::KeptAlive(done) => self.kept_alive(&done),
            News::Sockets { netns, cookies: Ok(alive) } => {
                let is_gone =
                    |cookie: &u64, place: &mut (u64, u32)| place.0 == netns && !alive.contains(cookie);
                let gone: Vec<u64> =
                    self.users.lingering.extract_if(is_gone).map(|(cookie, _)| cookie).collect();
                gone.into_iter().for_each(|cookie| self.forget(cookie));
            }
            News::Sockets { cookies: Err(error), .. } => {
                log::debug!("the sockets of a network namespace were not listed: {error}");
            }
        }
    }

    /// A connection that waited may go on.
    pub(super) fn let_go(&mut self, waiting: &Waiting, decision: &Decision) {
        self.users.counts.allowed += 1;
        self.forget(waiting.ends.cookie);
        self.nudge(waiting, decision);
    }

    /// A connection that waited ends.
    pub(super) fn turn_away(&mut self, waiting: &Waiting) {
        self.users.counts.refused += 1;
        if let Err(error) = self.kernel.refuse_waiting(waiting) {
            // One for which there was no room has no entry.
            log::debug!("{error:#}");
        }
        self.end(waiting);
    }

    /// The connection is done with.
    fn forget(&mut self, cookie: u64) {
        self.users.known.remove(&cookie);
        if let Err(error) = self.kernel.stop_waiting(cookie) {
            log::error!("{error:#}");
        }
    }

    /// Ends a refused connection.
    fn end(&mut self, waiting: &Waiting) {
        let decision = decision_of(waiting);
        let (remote, local) = judge::ends(&decision);
        let ends = Ends { cookie: waiting.ends.cookie, local, remote, ifindex: decision.ifindex };
        let waiting = Box::new(*waiting);
        match self.namespace_of(&decision) {
            None => self.ended(&waiting, Err(io::ErrorKind::NotFound.into())),
            Some(namespace) => {
                let sender = self.users.sender.clone();
                drop(spawn_blocking(move || {
                    let result = namespace.run(|| destroy(&ends));
                    let _ = sender.send(News::Ended { waiting, result });
                }));
            }
        }
    }

    fn ended(&mut self, waiting: &Waiting, result: io::Result<bool>) {
        let cookie = waiting.ends.cookie;
        match result {
            Ok(true) => return self.forget(cookie),
            // Its client has given up, most likely; until that is certain nothing passes.
            Ok(false) => {}
            Err(error) => {
                self.users.counts.unended += 1;
                if self.users.counts.unended == 1 {
                    log::error!("a refused connection cannot be ended, its data are dropped: {error}");
                }
            }
        }
        self.users.lingering.insert(cookie, (waiting.pending.tag.netns, waiting.pending.tag.pid));
    }

    /// Says what bounds did, takes up what nobody knows of, and ends what is not needed any more.
    pub(super) fn watch_users(&mut self) {
        let limited = self.users.counts.limited;
        let news = limited - std::mem::replace(&mut self.users.said_limited, limited);
        if news > 0 {
            log::warn!(
                "{news} users were not asked for and are unknown: {} look-ups ran already, or {} for one client",
                self.config.resolve.users_at_once,
                self.config.resolve.users_of_a_source
            );
        }
        if !self.kernel.has_users() {
            return;
        }
        let waiting = match self.kernel.waiting() {
            Ok(waiting) => waiting,
            Err(error) => return log::error!("{error:#}"),
        };
        // An event of its own may have been lost, or have gone to a process before this one.
        for one in waiting
            .iter()
            .filter(|one| !self.users.known.contains(&one.ends.cookie))
            .copied()
            .collect::<Vec<_>>()
        {
            self.take_up(&one);
        }
        self.look_for_lingering();
        let is_wanted = self.policies.current.as_ref().is_some_and(|current| current.asks_for_users);
        if is_wanted || !waiting.is_empty() {
            self.users.unwanted_since = None;
            return;
        }
        if self.users.unwanted_since.get_or_insert_with(Instant::now).elapsed() >= HANDSHAKE
            && let Err(error) = self.kernel.end_users()
        {
            log::error!("{error:#}");
        }
    }

    fn look_for_lingering(&mut self) {
        let places: HashMap<u64, u32> = self.users.lingering.values().copied().collect();
        for (netns, pid) in places {
            // It was entered before, and is kept: else nobody can say, and they stay refused.
            if let Ok(namespace) = self.users.namespaces.find(netns, [pid]) {
                let sender = self.users.sender.clone();
                drop(spawn_blocking(move || {
                    let _ = sender.send(News::Sockets { netns, cookies: namespace.run(cookies) });
                }));
            }
        }
    }
}

/// Asks the client's host.
async fn look_up(
    namespace: Namespace,
    connection: Connection,
    timeout_s: u32,
    own: &Own,
) -> io::Result<Option<Text>> {
    let is_v4 = connection.server.is_ipv4();
    let family = if is_v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = spawn_blocking(move || namespace.tcp_socket(family)).await.map_err(io::Error::other)??;
    let lookup = Lookup::new(TcpSocket::from_std_stream(socket.into()), connection)?;
    let end = (lookup.own().ip(), lookup.own().port());
    let ends = || own.lock().unwrap_or_else(PoisonError::into_inner);
    ends().insert(end);
    let user = lookup.ask(Duration::from_secs(timeout_s.into())).await;
    ends().remove(&end);
    Ok(user)
}

/// A connection as a decision about it.
fn decision_of(waiting: &Waiting) -> Decision {
    let Waiting { ends, pending, since_ns, .. } = waiting;
    Decision {
        fate: Fate::Held,
        time_ns: *since_ns,
        netns: pending.tag.netns,
        names: pending.tag.names,
        cookie: 0,
        pid: pending.tag.pid,
        ifindex: pending.ifindex,
        client: ends.client,
        server: ends.server,
        client_port: ends.client_port,
        server_port: ends.server_port,
        socket_is_v6: pending.family == libc::AF_INET6.cast_unsigned(),
        protocol: TCP,
        policy: 0,
        // Judged under the policy in force.
        generation: 0,
    }
}

/// As if it waited. No answer made it wait.
fn waiting_of(decision: &Decision) -> Waiting {
    let ends = user::ends(decision.client, decision.server, decision.client_port, decision.server_port);
    let family = if decision.socket_is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    Waiting {
        ends: AttemptKey { cookie: decision.cookie, ..ends },
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
