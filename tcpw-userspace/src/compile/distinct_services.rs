//! The services that the tables tell apart.
//!
//! In: daemon lists, of one pair of tables or of two. Out: every service, with the daemon
//! lists that match it.
//! Invariant: a service that is not listed is treated as one that is, if it has one name.

use std::{collections::BTreeMap, net::IpAddr, rc::Rc};

use super::{
    classes,
    daemons::NameKind,
    deciding_rules::Records,
    error::{CompileError, MAX_SERVICES},
    networks::Networks,
    region::Regions,
    service::{DaemonLists, Truth},
};
use crate::{names::NamesSet, parse::rule::Text};

/// One service, or all that the tables do not tell from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// Its daemon.
    pub daemon: DaemonName,
    /// Its port.
    pub port: Port,
    /// Its address.
    pub server: ServerAddress,
}

/// The name of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DaemonName {
    /// One that a daemon list spells out, or that was asked for.
    Named(Text),
    /// Any other that these patterns match.
    Matching {
        /// The patterns.
        patterns: Vec<Text>,
        /// One such name.
        example: Text,
    },
    /// Any other.
    Other {
        /// One such name.
        example: Text,
        /// The tables tell no names apart.
        is_any: bool,
    },
}

impl DaemonName {
    /// The name, or one of the names.
    pub fn example(&self) -> &Text {
        match self {
            Self::Named(name) => name,
            Self::Matching { example, .. } | Self::Other { example, .. } => example,
        }
    }
}

/// The port of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// This one.
    Number(u16),
    /// Any that no daemon list names.
    Other,
    /// The tables name no port.
    Any,
}

/// The server's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServerAddress {
    /// The tables tell no server addresses apart.
    Any,
    /// In these networks.
    In(Rc<Networks>),
    /// Any address that is not in the networks of another service.
    Other(Rc<Networks>),
}

/// Which services are wanted.
#[derive(Clone, Debug, Default)]
pub struct ServiceFilter {
    /// With this daemon name.
    pub daemon: Option<Text>,
    /// On this port.
    pub port: Option<u16>,
    /// At this server address.
    pub server: Option<IpAddr>,
}

/// Daemon lists that match a service, or may.
pub(super) type MatchedLists = Vec<(usize, Truth)>;

/// Every service that the lists tell apart, by the lists that match it.
pub(super) fn services(
    lists: &DaemonLists<'_>,
    servers: &[Rc<Regions>],
    only: &ServiceFilter,
    records: &mut Records,
) -> Result<BTreeMap<MatchedLists, Vec<Service>>, CompileError> {
    let names = names(lists, only)?;
    let ports: Vec<(Port, Option<u16>)> = match only.port {
        Some(port) => vec![(Port::Number(port), Some(port))],
        None if lists.ports.is_empty() => vec![(Port::Any, None)],
        None => {
            let named = lists.ports.iter().map(|port| (Port::Number(*port), Some(*port)));
            named.chain([(Port::Other, None)]).collect()
        }
    };
    let servers = self::servers(servers, only)?;
    let count = names.len() * ports.len() * servers.len();
    if count > MAX_SERVICES {
        let (names, ports, servers) = (names.len(), ports.len(), servers.len());
        return Err(CompileError::Services { count, names, ports, servers });
    }
    let mut services: BTreeMap<MatchedLists, Vec<Service>> = BTreeMap::new();
    for (daemon, matches) in &names {
        for (port, number) in &ports {
            for (server, truths) in &servers {
                records.spend(lists.len())?;
                let matched = lists.matched(matches, *number, truths);
                let service = Service { daemon: daemon.clone(), port: *port, server: server.clone() };
                services.entry(matched).or_default().push(service);
            }
        }
    }
    Ok(services)
}

fn names(
    lists: &DaemonLists<'_>,
    only: &ServiceFilter,
) -> Result<Vec<(DaemonName, super::service::Matches)>, CompileError> {
    if let Some(name) = &only.daemon {
        return Ok(vec![(DaemonName::Named(name.clone()), lists.names.matches(&NamesSet::new([name])))]);
    }
    let all = lists.names.kinds();
    if all.is_cut {
        return Err(CompileError::DaemonPatterns);
    }
    let is_any = all.kinds.len() == 1;
    let name = |kind: NameKind| {
        let example: Text = kind.example.into();
        let patterns = lists.names.distinctive(&kind.matches);
        let daemon = match (kind.is_spelled, patterns.is_empty()) {
            (true, _) => DaemonName::Named(example),
            (false, false) => DaemonName::Matching { patterns, example },
            (false, true) => DaemonName::Other { example, is_any },
        };
        (daemon, kind.matches)
    };
    Ok(all.kinds.into_iter().map(name).collect())
}

/// Every class of server addresses, and which server patterns match it.
fn servers(
    regions: &[Rc<Regions>],
    only: &ServiceFilter,
) -> Result<Vec<(ServerAddress, Vec<Truth>)>, CompileError> {
    if let Some(address) = only.server {
        let networks = Networks::of(address);
        let truths = regions.iter().map(|region| region.truth_at(address)).collect();
        return Ok(vec![(ServerAddress::In(Rc::new(networks)), truths)]);
    }
    let (cell_classes, truths) = classes::servers(regions)?;
    let networks = cell_classes.networks();
    if networks.len() == 1 {
        return Ok(truths.into_iter().map(|truths| (ServerAddress::Any, truths)).collect());
    }
    let largest = Networks::largest(&networks);
    let server = |(class, networks): (usize, Networks)| {
        let networks = Rc::new(networks);
        if Some(class) == largest { ServerAddress::Other(networks) } else { ServerAddress::In(networks) }
    };
    Ok(networks
        .into_iter()
        .enumerate()
        .map(server)
        .zip(truths)
        .filter(|(server, _)| !server.is_nowhere())
        .collect())
}

impl ServerAddress {
    /// An address of it; `None` if every address is.
    pub fn example(&self) -> Option<IpAddr> {
        match self {
            Self::Any => None,
            Self::In(networks) | Self::Other(networks) => networks.iter().next().map(|net| net.addr()),
        }
    }

    /// No address: the last one of a family alone.
    fn is_nowhere(&self) -> bool {
        match self {
            Self::Any => false,
            Self::In(networks) | Self::Other(networks) => networks.is_empty(),
        }
    }
}
