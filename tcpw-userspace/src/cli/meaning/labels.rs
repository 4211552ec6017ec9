//! Services in the fewest words: `sshd, in.ftpd`, `every daemon on port 22`.

use std::collections::BTreeSet;

use crate::compile::{DaemonName, Port, ServerAddress, Service};

use super::words::{SHOWN, list, printable};

/// A service's daemon, port and address.
type ServiceKey<'a> = (&'a DaemonName, &'a Port, &'a ServerAddress);

/// What was asked for, which a label need not distinguish.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct FilteredBy {
    /// A port.
    pub(in crate::cli) port: bool,
    /// A server address.
    pub(in crate::cli) server: bool,
}

/// All services there are: what a group of them is told against.
pub(in crate::cli) struct AllServices<'a> {
    daemons: BTreeSet<&'a DaemonName>,
    ports: BTreeSet<&'a Port>,
    servers: BTreeSet<&'a ServerAddress>,
    asked: FilteredBy,
}

impl<'a> AllServices<'a> {
    /// `all` are the services of all groups.
    pub(in crate::cli) fn new(all: impl Iterator<Item = &'a Service>, asked: FilteredBy) -> Self {
        let mut own =
            Self { daemons: BTreeSet::new(), ports: BTreeSet::new(), servers: BTreeSet::new(), asked };
        for service in all {
            own.daemons.insert(&service.daemon);
            own.ports.insert(&service.port);
            own.servers.insert(&service.server);
        }
        own
    }

    /// A group in as few words as it takes; the first ones of many, or all.
    pub(in crate::cli) fn label(&self, group: &[Service], all: bool) -> String {
        let labels = self.labels(group);
        let shown = if all || labels.len() <= SHOWN + 1 { labels.len() } else { SHOWN };
        let text = labels[..shown].join(", ");
        match labels.len() - shown {
            0 => text,
            more => format!("{text} and {more} more"),
        }
    }

    fn labels(&self, group: &[Service]) -> Vec<String> {
        let have: BTreeSet<ServiceKey<'_>> =
            group.iter().map(|it| (&it.daemon, &it.port, &it.server)).collect();
        let mut open = have.clone();
        let mut labels = Vec::new();
        // Widest first: which of daemon, port and address a label leaves open.
        for free in [
            [true, true, true],
            [false, true, true],
            [true, false, true],
            [true, true, false],
            [true, false, false],
            [false, false, true],
            [false, true, false],
            [false, false, false],
        ] {
            let mut tried = BTreeSet::new();
            for key in &have {
                let [any_daemon, any_port, any_server] = free;
                let fixed = (
                    (!any_daemon).then_some(key.0),
                    (!any_port).then_some(key.1),
                    (!any_server).then_some(key.2),
                );
                if !open.contains(key) || !tried.insert(fixed) {
                    continue;
                }
                let keys = self.keys(*key, free);
                if keys.iter().all(|key| have.contains(key)) {
                    for key in keys {
                        open.remove(&key);
                    }
                    labels.push(self.one(*key, free));
                }
            }
        }
        labels
    }

    /// All services that are as this one, but for what is free.
    fn keys<'b>(
        &'b self,
        (daemon, port, server): ServiceKey<'b>,
        [any_daemon, any_port, any_server]: [bool; 3],
    ) -> Vec<ServiceKey<'b>> {
        let mut keys = Vec::new();
        for &daemon in self.daemons.iter().filter(|it| any_daemon || **it == daemon) {
            for &port in self.ports.iter().filter(|it| any_port || **it == port) {
                for &server in self.servers.iter().filter(|it| any_server || **it == server) {
                    keys.push((daemon, port, server));
                }
            }
        }
        keys
    }

    /// What is free is left out; so is what distinguishes nothing, unless it was asked for.
    fn one(
        &self,
        (daemon, port, server): ServiceKey<'_>,
        [any_daemon, any_port, any_server]: [bool; 3],
    ) -> String {
        let mut text =
            if any_daemon && self.daemons.len() > 1 { "every daemon".to_owned() } else { name(daemon) };
        if self.asked.port || (!any_port && self.ports.len() > 1) {
            match port {
                Port::Number(port) => text.push_str(&format!(" on port {port}")),
                Port::Other => text.push_str(" on any other port"),
                Port::Any => {}
            }
        }
        if self.asked.server || (!any_server && self.servers.len() > 1) {
            match server {
                ServerAddress::Any => {}
                ServerAddress::In(networks) => text.push_str(&format!(" at {}", list(networks, false))),
                ServerAddress::Other(_) => text.push_str(" at any other address"),
            }
        }
        text
    }
}

/// A daemon in words.
pub(super) fn name(daemon: &DaemonName) -> String {
    match daemon {
        DaemonName::Named(name) => printable(name),
        DaemonName::Matching { patterns, .. } => {
            let patterns: Vec<_> = patterns.iter().map(|pattern| printable(pattern)).collect();
            format!("any other daemon that matches {}", patterns.join(" and "))
        }
        DaemonName::Other { is_any: true, .. } => "every daemon".to_owned(),
        DaemonName::Other { is_any: false, .. } => "any other daemon".to_owned(),
    }
}
