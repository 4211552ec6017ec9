//! How things stand.

use std::{
    collections::{HashMap, HashSet},
    os::fd::AsFd as _,
    time::{SystemTime, UNIX_EPOCH},
};

use tcpw_common::{decide::EXEMPT_PORT, outcome::of_entry};
use tokio::task::{JoinError, JoinSet};

use super::{Daemon, policy::InForce, registry::Known};
use crate::{
    compile::Policy,
    control::{ListenerStatus, LogStatus, Reply, Response, Status, TableStatus, TablesStatus, TagState},
    listeners::{Listener, NamePart, NameSource},
    parse::rule::Table,
};

/// Looks at every socket of the host, each for an answer that waits.
pub(super) type Looks = JoinSet<(Vec<Listener>, Reply)>;

impl Daemon {
    /// Looks at every listening socket of the host, guarded or not, off the event loop.
    pub(super) fn look_around(&mut self, reply: Reply) {
        let scanner = self.scans.everywhere();
        self.looks.spawn_blocking(move || (scanner.scan_all(), reply));
    }

    /// Answers with what was seen.
    pub(super) fn tell_status(&mut self, seen: Result<(Vec<Listener>, Reply), JoinError>) {
        match seen {
            Ok((all, reply)) => {
                // Of sockets out of scope nobody reported the bind.
                self.mark_bound();
                reply.send(Response::Status(Box::new(self.status(&all))));
            }
            Err(error) => log::error!("a status was not told: {error}"),
        }
    }

    /// The state a `tcpw status` shows.
    fn status(&self, all: &[Listener]) -> Status {
        let current = self.policies.current.as_ref();
        let mut counters: std::collections::BTreeMap<String, u64> = self
            .kernel
            .counters
            .read()
            .into_iter()
            .map(|(metric, value)| (metric.name.to_owned(), value))
            .collect();
        counters.insert("disagreements".into(), self.disagreements);
        let commands = self.effects.counts();
        counters.extend(
            [
                ("unjudged", self.unjudged),
                ("undecided_by_command", self.commands.undecided),
                ("commands_run", commands.run),
                ("commands_suppressed", commands.suppressed),
                ("commands_lost", commands.lost),
                ("commands_timed_out", commands.timed_out),
            ]
            .map(|(name, count)| (name.to_owned(), count)),
        );
        counters.extend(self.name_counters());
        counters.extend(self.users.counters());
        counters.extend(self.steers.counters());
        self.add_banner_counters(&mut counters);
        let (with, without) = self.kernel.resets.as_ref().map_or((0, 0), |it| it.links());
        for (name, count) in [("reset_namespaces", with), ("reset_namespaces_without", without)] {
            counters.insert(name.into(), u64::try_from(count).unwrap_or(u64::MAX));
        }
        let held = self.kernel.users.waiting().map_or(0, |all| all.len());
        counters.insert("hold_waiting_full".into(), self.waiting.dropped());
        counters.insert("users_held".into(), u64::try_from(held).unwrap_or(u64::MAX));
        let counts = self.lines.counts();
        let mut said = HashMap::new();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            mode: self.config.mode,
            enforcing_since: seconds(self.enforcing_since),
            generation: current.map_or(0, |current| current.generation),
            applied_at: current.map_or(0, |current| seconds(current.applied_at)),
            tables: TablesStatus {
                allow: table(current, |current| &current.rules.tables.allow),
                deny: table(current, |current| &current.rules.tables.deny),
            },
            problem: self.policies.problem.clone(),
            cgroup: self.config.cgroup.clone(),
            pinned: self.config.pin,
            listeners: self.sockets(all, &mut said),
            counters,
            log: LogStatus { written: counts.written, failed: counts.lost },
        }
    }
}

impl Daemon {
    fn name_counters(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = self.lookups.counts();
        let (kept, evicted) = self.lookups.kept();
        let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        [
            ("lookups", counts.begun),
            ("lookups_running", size(self.lookups.running())),
            ("lookups_open", size(self.lookups.open())),
            ("lookups_without_thread", counts.failed),
            ("names_remembered", counts.remembered),
            ("names_kept", size(kept)),
            ("names_evicted", evicted),
            ("names_waiting", size(self.hanging.len())),
            ("names_limited", self.hanging.counts.dropped),
            ("names_given_up", self.hanging.counts.given_up),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
    }

    /// What is guarded and still there, and then what is not.
    fn sockets(&self, all: &[Listener], said: &mut HashMap<u32, String>) -> Vec<ListenerStatus> {
        let current = self.policies.current.as_ref();
        let seen: HashSet<u64> = all.iter().map(|listener| listener.cookie).collect();
        let known = self.registry.all();
        let known = known.into_iter().filter(|(cookie, _)| seen.contains(cookie));
        let mut rows: Vec<ListenerStatus> =
            known.map(|(_, known)| listener(known, current, self.on_deny(known), said)).collect();
        let is_other =
            |it: &&Listener| self.registry.get(it.cookie).is_none() && !self.steers.is_own(it.cookie);
        let others = all.iter().filter(is_other).filter(|it| self.is_service(it));
        let mut others: Vec<ListenerStatus> = others.map(|it| self.unguarded(it)).collect();
        others.sort_by_key(|it| (it.tag != TagState::Outside, it.local.port(), it.pid));
        rows.extend(others);
        rows
    }

    /// A socket that no scan has tagged: out of scope, or too new.
    fn unguarded(&self, it: &Listener) -> ListenerStatus {
        let tag = match &it.socket {
            _ if !it.is_guarded => TagState::Outside,
            Some(socket) if self.kernel.tags.read(socket.as_fd()).is_ok_and(|tag| tag.is_some()) => {
                TagState::Provisional
            }
            Some(_) | None => TagState::Missing,
        };
        let (found_by, policy) = match tag {
            TagState::Outside => (found_by(it.found, &it.parts), "not judged: outside the cgroup"),
            TagState::Provisional => ("process name only".into(), "that of its process name"),
            TagState::Written | TagState::Missing => ("nobody yet".into(), "that of any daemon"),
        };
        ListenerStatus {
            pid: it.pid,
            ident: it.ident.clone(),
            names: texts(&it.names),
            netns: it.netns,
            local: it.local,
            protocol: protocol(it.protocol),
            found_by,
            policy: policy.into(),
            on_deny: if tag == TagState::Outside { "-".into() } else { "drop".into() },
            tag,
        }
    }
}

fn texts(names: &crate::names::NamesSet) -> Vec<String> {
    names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn protocol(number: u16) -> String {
    match number {
        6 => "tcp".into(),
        17 => "udp".into(),
        262 => "mptcp".into(),
        other => other.to_string(),
    }
}

/// How the names were found.
fn found_by(found: NameSource, parts: &[NamePart]) -> String {
    match found {
        NameSource::Process if parts == [NamePart::Comm] => "process name only".into(),
        NameSource::Process => {
            let parts: Vec<&str> = parts
                .iter()
                .map(|part| match part {
                    NamePart::Executable => "executable",
                    NamePart::Unit => "unit",
                    NamePart::Argv => "argv",
                    NamePart::Comm => "process name",
                })
                .collect();
            parts.join(", ")
        }
        NameSource::Xinetd => "xinetd.conf".into(),
        NameSource::Inetd => "inetd.conf".into(),
        NameSource::Systemd => "systemd socket".into(),
        NameSource::Settings => "tcpw.toml".into(),
        NameSource::Nobody => "nobody".into(),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn table(current: Option<&InForce>, which: impl Fn(&InForce) -> &Table) -> TableStatus {
    match current {
        Some(current) => {
            let table = which(current);
            TableStatus {
                path: (*table.path).clone(),
                rules: table.rules.len(),
                errors: current.errors_of(table.kind),
            }
        }
        None => TableStatus { path: std::path::PathBuf::new(), rules: 0, errors: 0 },
    }
}

fn listener(
    known: &Known,
    current: Option<&InForce>,
    on_deny: &str,
    said: &mut HashMap<u32, String>,
) -> ListenerStatus {
    ListenerStatus {
        pid: known.pid,
        ident: known.ident.clone(),
        names: texts(&known.names),
        netns: known.netns,
        local: known.local,
        protocol: protocol(known.protocol),
        found_by: found_by(known.found, &known.parts),
        policy: current.map_or_else(|| "none".into(), |current| summary(&current.policy, known, said)),
        on_deny: on_deny.into(),
        tag: match known.untagged {
            None => TagState::Written,
            Some(_) => TagState::Missing,
        },
    }
}

/// A listener's policy in a few words. Where the local address counts, that of addresses no rule names.
/// Many listeners share a policy, whose words are in `said` after the first.
fn summary(policy: &Policy, known: &Known, said: &mut HashMap<u32, String>) -> String {
    let port = known.local.port();
    let port_class = policy.ports.iter().find(|(one, _)| *one == port).map_or(0, |(_, class)| *class);
    if port_class == EXEMPT_PORT {
        return "exempt port".into();
    }
    let header = policy.header(0, 0);
    // What carries no tag is judged as a daemon without names.
    let names_class = if known.untagged.is_none() { policy.class_of(&known.names).unwrap_or(0) } else { 0 };
    let index = (names_class * header.port_classes + port_class) * header.server_classes;
    let Some(row) = policy.policies.get(index as usize) else {
        return "none".into();
    };
    said.entry(*row).or_insert_with(|| words(policy, *row)).clone()
}

/// A row of outcomes in a few words.
fn words(policy: &Policy, row: u32) -> String {
    let first = row as usize * policy.header(0, 0).client_classes as usize;
    let outcome = |class: &u32| policy.outcomes.get(first + *class as usize).copied().and_then(of_entry);
    let of_clients = policy
        .clients_v4
        .iter()
        .map(|(_, class)| class)
        .chain(policy.clients_v6.iter().map(|(_, class)| class));
    let mut seen = [0_usize; 4];
    for (found, _marks) in of_clients.filter_map(outcome) {
        seen[found as usize] += 1;
    }
    let [exempt, allow, refuse, ask] = seen;
    match (allow, refuse, ask) {
        (_, 0, 0) => "allows all".into(),
        (0, _, 0) if exempt == 0 => "refuses all".into(),
        (0, _, 0) => "refuses all but exempt addresses".into(),
        (_, _, 0) => format!("by address: {allow} prefixes allow, {refuse} refuse"),
        _ => format!("by address: {allow} prefixes allow, {refuse} refuse, {ask} ask"),
    }
}
