//! Questions to the resolver, ident servers, sock_diag(7) and the file system.
//!
//! In: questions. Out: answers, as inputs. Each runs on a thread or task of its own; the core bounds their
//! number.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::socket::{AddressFamily, setsockopt, sockopt::KeepAlive};
use tcpw_common::user::Waiting;
use tokio::{net::TcpSocket, task::spawn_blocking};

use super::{Results, guard::guarded};
use crate::{
    check::facts::System as HostFacts,
    check::foresee::problems,
    config::Config,
    core::{Input, input::UserAnswer, policies::Rules},
    effects::commands_of,
    evaluate::request::Banner,
    events::{Decision, ip},
    host::{Namespace, Namespaces, Starter, socket_cookie},
    listeners::duplicates_of,
    parse::rule::Text,
    redirect::read_banner,
    reinject::{Ends, cookies, destroy, inodes},
    resolve::{
        Question,
        ident::{IdentConnection, IdentLookup},
    },
    resolver::ResolverClient,
};

/// Starts the threads and tasks.
pub(super) struct Asker {
    namespaces: Arc<Mutex<Namespaces>>,
    /// tcpw's own ends of connections to ident servers.
    own: Own,
    resolver: ResolverClient,
    config: Config,
    results: Results,
}

type Own = Arc<Mutex<HashSet<(IpAddr, u16)>>>;

impl Asker {
    pub(super) fn new(config: &Config, starter: Arc<Starter>, results: Results) -> Self {
        let told = results.clone();
        let tell = move |question, found| drop(told.send(Input::LookedUp { question, found }.into()));
        Self {
            resolver: ResolverClient::start(starter, tell),
            namespaces: Arc::new(Mutex::new(Namespaces::new(&config.proc_root))),
            own: Own::default(),
            config: config.clone(),
            results,
        }
    }

    /// Asks the resolver. Nothing waits for a look-up that does not return.
    pub(super) fn look_up(&self, question: Question) {
        self.resolver.look_up(question);
    }

    /// Asks a client's host for its user.
    pub(super) fn ask_user(&self, number: u64, decision: Decision, pids: Vec<u32>, timeout_s: u32) {
        let client = SocketAddr::new(ip(&decision.client), decision.client_port);
        let server = SocketAddr::new(ip(&decision.server), decision.server_port);
        let connection = IdentConnection { client, server, ifindex: decision.ifindex };
        let (own, namespaces, results) =
            (Arc::clone(&self.own), Arc::clone(&self.namespaces), self.results.clone());
        let resolver = self.resolver.clone();
        tokio::spawn(async move {
            let answer = if locked(&own).contains(&(client.ip(), client.port())) {
                UserAnswer::Own
            } else {
                let netns = decision.netns;
                match spawn_blocking(move || find(&namespaces, netns, pids)).await {
                    Ok(Ok(namespace)) => ask(namespace, connection, timeout_s, &own, &resolver).await,
                    Ok(Err(error)) => UserAnswer::NoNamespace(error.to_string()),
                    Err(error) => UserAnswer::NoNamespace(error.to_string()),
                }
            };
            let _ = results.send(Input::UserTold { number, answer }.into());
        });
    }

    /// Ends a connection.
    pub(super) fn destroy(&self, waiting: Box<Waiting>, pids: Vec<u32>) {
        let (namespaces, results) = (Arc::clone(&self.namespaces), self.results.clone());
        drop(spawn_blocking(move || {
            let flow = waiting.flow;
            let ends = Ends {
                cookie: waiting.socket,
                local: SocketAddr::new(ip(&flow.server), flow.server_port),
                remote: SocketAddr::new(ip(&flow.client), flow.client_port),
                ifindex: waiting.pending.ifindex,
            };
            let result = find(&namespaces, waiting.pending.tag.netns, pids)
                .and_then(|namespace| namespace.run(|| destroy(&ends)))
                .map_err(|error| error.to_string());
            let _ = results.send(Input::Destroyed { waiting, result }.into());
        }));
    }

    /// Lists the sockets of a namespace.
    pub(super) fn list_sockets(&self, netns: u64, pid: u32) {
        let (namespaces, results) = (Arc::clone(&self.namespaces), self.results.clone());
        drop(spawn_blocking(move || {
            let cookies = find(&namespaces, netns, [pid]).and_then(|namespace| namespace.run(cookies));
            let cookies = cookies.map_err(|error| error.to_string());
            let _ = results.send(Input::Sockets { netns, cookies }.into());
        }));
    }

    /// Sets SO_KEEPALIVE on those of these sockets that were accepted.
    pub(super) fn keep_alive(&self, sockets: Vec<(u64, u64, Vec<u32>)>) {
        let (namespaces, results) = (Arc::clone(&self.namespaces), self.results.clone());
        let proc_root = self.config.proc_root.clone();
        drop(spawn_blocking(move || {
            let mut by_namespace: HashMap<u64, (Vec<u32>, HashSet<u64>)> = HashMap::new();
            for (socket, netns, pids) in sockets {
                by_namespace.entry(netns).or_insert_with(|| (pids, HashSet::new())).1.insert(socket);
            }
            let mut done = HashSet::new();
            for (netns, (pids, cookies)) in by_namespace {
                let set = guarded("setting SO_KEEPALIVE", || {
                    find(&namespaces, netns, pids)
                        .and_then(|namespace| set_keep_alive(&namespace, &cookies, &proc_root))
                });
                match set {
                    Some(Ok(set)) => done.extend(set),
                    Some(Err(error)) => log::debug!("keepalive: {error}"),
                    None => {}
                }
            }
            let _ = results.send(Input::KeptAlive(done).into());
        }));
    }

    /// Reads a banner file.
    pub(super) fn read_banner(&self, directory: PathBuf, daemon: Vec<u8>) {
        let results = self.results.clone();
        drop(spawn_blocking(move || {
            let banner = guarded("reading a banner", || read_banner(&directory, &daemon));
            let banner = banner.unwrap_or(Banner::Missing);
            let _ = results.send(Input::BannerRead { file: (directory, daemon), banner }.into());
        }));
    }

    /// Checks the commands of the tables, and warns of those that cannot work. On a thread: it looks up users and
    /// groups.
    pub(super) fn check_commands(&self, rules: Rules) {
        let facts = HostFacts { effects: Some(self.config.effects.clone()), ..HostFacts::default() };
        drop(spawn_blocking(move || {
            let mut found = [0_usize; 2];
            for (origin, text) in commands_of(rules.tables()) {
                let problems = problems(text, &facts);
                for problem in &problems {
                    log::warn!("{}:{}:{}: {problem}", origin.path.display(), origin.line, origin.column);
                }
                found = [found[0] + 1, found[1] + problems.len()];
            }
            if found[0] > 0 {
                log::info!("checked {} commands of the tables: {} problems", found[0], found[1]);
            }
        }));
    }

    /// Closes the files of every namespace except these.
    pub(super) fn keep_namespaces(&self, in_use: &HashSet<u64>) {
        // A thread holds the lock while it opens one; then the next scan does this.
        if let Ok(mut namespaces) = self.namespaces.try_lock() {
            namespaces.keep_only(|netns| in_use.contains(&netns));
        }
    }
}

fn find(
    namespaces: &Mutex<Namespaces>,
    netns: u64,
    pids: impl IntoIterator<Item = u32>,
) -> io::Result<Namespace> {
    locked(namespaces).find(netns, pids)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ask(
    namespace: Namespace,
    connection: IdentConnection,
    timeout_s: u32,
    own: &Own,
    resolver: &ResolverClient,
) -> UserAnswer {
    match asked(namespace, connection, timeout_s, own, resolver).await {
        Ok(Some(user)) => UserAnswer::Known(user),
        Ok(None) => UserAnswer::Unknown(None),
        Err(error) => UserAnswer::Unknown(Some(error.to_string())),
    }
}

async fn asked(
    namespace: Namespace,
    connection: IdentConnection,
    timeout_s: u32,
    own: &Own,
    resolver: &ResolverClient,
) -> io::Result<Option<Text>> {
    let is_v4 = connection.server.is_ipv4();
    let family = if is_v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = spawn_blocking(move || namespace.tcp_socket(family)).await.map_err(io::Error::other)??;
    let lookup = IdentLookup::new(TcpSocket::from_std_stream(socket.into()), connection)?;
    let end = (lookup.own().ip(), lookup.own().port());
    locked(own).insert(end);
    let (limit, began) = (Duration::from_secs(timeout_s.into()), Instant::now());
    let reply = lookup.ask(limit).await;
    locked(own).remove(&end);
    match reply {
        Some(reply) => Ok(resolver.user(reply, limit.saturating_sub(began.elapsed())).await),
        None => Ok(None),
    }
}

/// Sets it on the sockets that were accepted; returns these and those that are gone.
fn set_keep_alive(
    namespace: &Namespace,
    cookies: &HashSet<u64>,
    proc_root: &Path,
) -> io::Result<HashSet<u64>> {
    let inodes = namespace.run(|| inodes(cookies))?;
    let mut done: HashSet<u64> =
        cookies.iter().copied().filter(|cookie| !inodes.contains_key(cookie)).collect();
    // A socket has an inode once it was accepted.
    let accepted: HashSet<u64> = inodes.into_values().filter(|inode| *inode != 0).collect();
    if accepted.is_empty() {
        return Ok(done);
    }
    for socket in duplicates_of(proc_root, &accepted) {
        let cookie = socket_cookie(socket.as_fd())?;
        if cookies.contains(&cookie) {
            setsockopt(&socket, KeepAlive, &true)?;
            done.insert(cookie);
        }
    }
    Ok(done)
}
