//! Services: which policy each of them has.
//!
//! In: the daemon lists, the listeners' names, what is known of server addresses.
//! Out: classes of names and ports, and for each (names, port, server) its policy.
//! Invariant: services with the same policy match the same daemon lists; where a
//! match is in doubt they also have the same names and port, so that an answer
//! given for one of them holds for all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tcpw_common::{
    decide::EXEMPT_PORT,
    key::{Comm, NamesId},
    limits::MAX_COMMS,
    outcome::Outcome,
};

use super::{
    error::{CompileError, MAX_SERVICES},
    service::{DaemonLists, NameMatches, Truth},
};
use crate::names::NamesSet;

/// Comms, and the set of the names that share each.
pub(super) type Comms = Vec<(Comm, NamesId)>;

/// The services of a policy.
pub(super) struct Services {
    /// Every precomputed names-set and its class; the empty one is first, of class 0.
    pub names_sets: Vec<(NamesSet, u32)>,
    /// Comm of each literal daemon name, and the set of the names that share it.
    pub comms: Comms,
    /// Class of each known combination of matched daemon patterns.
    pub classes_of_matches: HashMap<NameMatches, u32>,
    /// Class of each port that a daemon list names or that is exempt.
    pub ports: Vec<(u16, u32)>,
    /// The daemon lists that match, for each policy.
    pub matching_lists: Vec<MatchingLists>,
    /// Policy of (names, port, server).
    pub policies: Vec<u32>,
    /// Classes of names, ports and servers.
    pub sizes: [usize; 3],
}

/// What makes a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MatchingLists {
    /// The daemon lists that match.
    pub lists: Vec<(usize, Truth)>,
    /// Those that match without the unproven names, if they differ.
    pub of_proven: Option<Vec<(usize, Truth)>>,
    /// Every name is unknown.
    pub is_unnamed: bool,
}

/// Ports that are not like others.
#[derive(Clone, Copy)]
pub(super) struct Ports<'a> {
    /// Never judged.
    pub exempt: &'a [u16],
    /// Every name is unknown.
    pub unnamed: &'a [u16],
}

impl Services {
    /// Computes the policy of every service.
    ///
    /// `servers` holds, per server class, which server patterns match; and then, if there are
    /// ports at which every name is unknown, which of them match there.
    pub(super) fn new(
        lists: &DaemonLists<'_>,
        servers: &[Vec<Truth>],
        listeners: &[NamesSet],
        special: Ports<'_>,
    ) -> Result<Self, CompileError> {
        let (sets, comms) = names_sets(lists, listeners)?;
        let mut classes: Vec<NameMatches> = Vec::new();
        let mut classes_of_matches = HashMap::new();
        let mut with_class = Vec::with_capacity(sets.len());
        for set in sets {
            let matches = lists.names.name_matches(&set);
            let class = *classes_of_matches.entry(matches.clone()).or_insert_with(|| {
                classes.push(matches);
                number(classes.len() - 1)
            });
            with_class.push((set, class));
        }

        let mut named = vec![None];
        let wanted: BTreeSet<u16> = lists.ports.iter().chain(special.unnamed).copied().collect();
        named.extend(wanted.into_iter().filter(|port| !special.exempt.contains(port)).map(Some));
        let mut ports: Vec<(u16, u32)> = named
            .iter()
            .enumerate()
            .filter_map(|(class, port)| port.map(|port| (port, number(class))))
            .collect();
        ports.extend(
            special
                .exempt
                .iter()
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(|port| (port, EXEMPT_PORT)),
        );

        let sizes = [classes.len(), named.len(), servers.len()];
        let count = sizes.iter().product();
        if count > MAX_SERVICES {
            let [names, ports, servers] = sizes;
            return Err(CompileError::Services { count, names, ports, servers });
        }
        let mut services = Self {
            names_sets: with_class,
            comms,
            classes_of_matches,
            ports,
            matching_lists: Vec::new(),
            policies: Vec::with_capacity(count),
            sizes,
        };
        let mut known = HashMap::new();
        for (names, matches) in classes.iter().enumerate() {
            for (class, port) in named.iter().enumerate() {
                let is_unnamed = port.is_some_and(|port| special.unnamed.contains(&port));
                for server in servers {
                    let (named, unnamed) = server.split_at(lists.servers.len());
                    let servers = if is_unnamed { unnamed } else { named };
                    let matched = lists.matched(&matches.all, *port, servers);
                    let of_proven = lists.matched(&matches.proven, *port, servers);
                    let doubt = matched
                        .iter()
                        .chain(&of_proven)
                        .any(|(_, truth)| *truth == Truth::Perhaps)
                        .then_some((names, class));
                    let of_proven = (of_proven != matched).then_some(of_proven);
                    let lists_of = MatchingLists { lists: matched, of_proven, is_unnamed };
                    let policy = *known.entry((lists_of.clone(), doubt)).or_insert_with(|| {
                        services.matching_lists.push(lists_of);
                        number(services.matching_lists.len() - 1)
                    });
                    services.policies.push(policy);
                }
            }
        }
        Ok(services)
    }

    /// Joins policies with the same outcomes, then classes with the same policies.
    ///
    /// `rows` are the outcomes per policy and client class; the joined ones remain.
    /// Returns the new class of every server class.
    ///
    /// Policies that ask stay apart: their answers may differ.
    pub(super) fn join(&mut self, rows: &mut Vec<Vec<u8>>) -> Vec<u32> {
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut joined = Vec::with_capacity(rows.len());
        for row in rows.drain(..) {
            let asks = row.contains(&(Outcome::Ask as u8));
            let policy = match known.get(&row) {
                Some(&policy) if !asks => policy,
                Some(_) | None => {
                    kept.push(row.clone());
                    known.insert(row, number(kept.len() - 1));
                    number(kept.len() - 1)
                }
            };
            joined.push(policy);
        }
        *rows = kept;
        for policy in &mut self.policies {
            *policy = joined[*policy as usize];
        }

        let names = self.join_axis(0);
        let ports = self.join_axis(1);
        let servers = self.join_axis(2);
        for (_, class) in &mut self.names_sets {
            *class = names[*class as usize];
        }
        for class in self.classes_of_matches.values_mut() {
            *class = names[*class as usize];
        }
        for (_, class) in &mut self.ports {
            if *class != EXEMPT_PORT {
                *class = ports[*class as usize];
            }
        }
        self.ports.retain(|(_, class)| *class != 0);
        self.ports.sort_unstable();
        if self.sizes[1] == 1 && !self.ports.is_empty() {
            self.add_port_class();
        }
        servers
    }

    /// Joins the classes of one axis that agree everywhere; gives each its new class.
    fn join_axis(&mut self, axis: usize) -> Vec<u32> {
        let stride: usize = self.sizes[axis + 1..].iter().product();
        let size = self.sizes[axis];
        let slice = |class: usize| -> Vec<u32> {
            self.policies
                .iter()
                .enumerate()
                .filter(|(index, _)| index / stride % size == class)
                .map(|(_, policy)| *policy)
                .collect()
        };
        let mut known = HashMap::new();
        let mut first = Vec::new();
        let mut joined = Vec::with_capacity(size);
        for class in 0..size {
            joined.push(*known.entry(slice(class)).or_insert_with(|| {
                first.push(class);
                number(first.len() - 1)
            }));
        }
        let keep = |index: usize| first.binary_search(&(index / stride % size)).is_ok();
        let mut index = 0;
        self.policies.retain(|_| {
            index += 1;
            keep(index - 1)
        });
        self.sizes[axis] = first.len();
        joined
    }

    /// The lookup reads the ports only if there are two classes of them: an exempt
    /// port needs a second one, which nothing is in.
    fn add_port_class(&mut self) {
        let servers = self.sizes[2];
        self.policies = self.policies.chunks(servers).flat_map(|row| [row, row].concat()).collect();
        self.sizes[1] = 2;
    }
}

/// The empty set, the listeners', and those of the daemons the tables name.
fn names_sets(
    lists: &DaemonLists<'_>,
    listeners: &[NamesSet],
) -> Result<(BTreeSet<NamesSet>, Comms), CompileError> {
    let mut by_comm: BTreeMap<Comm, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for name in &lists.literals {
        // libwrap ignores case, the kernel's look-up does not.
        for name in [name.to_vec(), name.to_ascii_lowercase()] {
            by_comm.entry(comm(&name)).or_default().insert(name);
        }
    }
    if by_comm.len() > MAX_COMMS as usize {
        return Err(CompileError::Names { count: by_comm.len() });
    }
    let mut sets = BTreeSet::from([NamesSet::default()]);
    sets.extend(listeners.iter().cloned());
    let mut comms = Vec::with_capacity(by_comm.len());
    for (comm, names) in by_comm {
        let all = NamesSet::new(&names);
        comms.push((comm, all.id()));
        sets.extend(names.iter().map(|name| NamesSet::new([name])));
        sets.insert(all);
    }
    let ids: BTreeSet<NamesId> = sets.iter().map(NamesSet::id).collect();
    if ids.len() < sets.len() {
        return Err(CompileError::SameId);
    }
    Ok((sets, comms))
}

fn comm(name: &[u8]) -> Comm {
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().zip(&name[..name.len().min(15)]) {
        *to = *from;
    }
    comm
}

/// Numbers of classes and policies; all are bounded far below.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
