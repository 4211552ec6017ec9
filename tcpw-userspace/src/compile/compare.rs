//! Tables as they were loaded, compared with the rules they come from.
//!
//! In: a policy, what it was compiled from, and its tables as they were read back. Out: how many questions had the
//! answer of the evaluator, or the first that had not.
//! Invariant: the questions are about both sides of the borders between regions of the rules, at each service in turn:
//! all borders, or of more than [`MAX_BORDERS`] of a family as many chosen at random. `Ask` is right at any place: the
//! evaluator then decides in user space.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    panic::resume_unwind,
    thread,
};

use ipnet::IpNet;
use tcpw_common::{
    decide::{EXEMPT_PORT, Tables, decide},
    key::{Address, Query, as_v4, mapped},
    outcome::Outcome,
};

use super::{PolicySource, policy::Policy, prefix::Prefix, region::AddressNumber};
use crate::{
    evaluate::{
        decide_by_names, numeric_host,
        request::{AccessRequest, Judgement, Reason, Verdict},
    },
    events::ip,
    names::NamesSet,
    parse::rule::Text,
};

/// Most borders of one address family at which a policy is compared; each brings two addresses.
pub const MAX_BORDERS: usize = 50_000;

/// Most questions of a comparison, if all its addresses can be asked about at every service.
const MAX_QUESTIONS: usize = 20_000;

/// Tables that do not say what the rules say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A look-up that must succeed did not.
    #[error("the loaded tables have no answer for {client} at {service}: please report this")]
    Broken {
        /// The client.
        client: IpAddr,
        /// Names, server address and port of the listener.
        service: String,
    },
    /// Another outcome.
    #[error(
        "the loaded tables say {loaded:?} for {client} at {service}, the rules {expected:?}: please report this"
    )]
    Other {
        /// The client.
        client: IpAddr,
        /// Names, server address and port of the listener.
        service: String,
        /// Outcome of the tables.
        loaded: Outcome,
        /// What the rules say.
        expected: Outcome,
    },
}

/// Where a client connects to.
#[derive(Clone, Copy)]
struct Destination<'a> {
    names: &'a NamesSet,
    server: &'a ServerEnd,
    port: u16,
}

/// An address of the server, and its text.
struct ServerEnd {
    address: Address,
    text: String,
}

/// Addresses that the evaluator is told of at once.
const READ_AHEAD: usize = 512;

/// A thread of its own pays for this many addresses.
const OF_A_THREAD: usize = 4096;

/// Most threads.
const THREADS: usize = 4;

/// Compares tables with rules; `evaluate` is the reference evaluator over the rules of `source`, and is told of some
/// addresses ahead by `read_ahead`. Returns the number of questions. Each thread has the tables from `tables`.
///
/// # Errors
/// A difference.
pub fn compare<T: Tables>(
    tables: impl Fn() -> T + Sync,
    policy: &Policy,
    source: &PolicySource<'_>,
    read_ahead: impl Fn(&[IpAddr]) + Sync,
    evaluate: impl Fn(&AccessRequest<'_>) -> Judgement + Sync,
) -> Result<usize, Difference> {
    let [of_v4, of_v6] = [true, false].map(|is_v4| Destinations::new(policy, source, is_v4));
    let most = of_v4.count().max(of_v6.count());
    let is_all = policy.borders.len().saturating_mul(most) <= MAX_QUESTIONS;
    let part = |first: usize, clients: &[Address]| -> Result<usize, Difference> {
        let (tables, mut asked) = (tables(), 0);
        for (number, client) in clients.iter().enumerate() {
            if number % READ_AHEAD == 0 {
                let clients = clients[number..].iter().take(READ_AHEAD);
                read_ahead(&clients.map(ip).collect::<Vec<_>>());
            }
            let destinations = if as_v4(client).is_some() { &of_v4 } else { &of_v6 };
            let count = if is_all { destinations.count() } else { destinations.count().min(1) };
            for destination in 0..count {
                // Beyond the limit the services take turns, in no order that the borders have.
                let destination =
                    if is_all { destination } else { turn(first + number, destinations.count()) };
                ask(&tables, client, &destinations.get(destination), source, &evaluate)?;
            }
            asked += count;
        }
        Ok(asked)
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let length = policy.borders.len().div_ceil(threads).max(OF_A_THREAD);
    let mut parts = (0..).step_by(length).zip(policy.borders.chunks(length));
    let own = parts.next();
    thread::scope(|scope| {
        let part = &part;
        let others: Vec<_> = parts
            .map(|(first, clients)| {
                let thread = thread::Builder::new().spawn_scoped(scope, move || part(first, clients));
                thread.map_err(|_no_thread| (first, clients))
            })
            .collect();
        let own = own.map_or(Ok(0), |(first, clients)| part(first, clients));
        let others = others.into_iter().map(|other| match other {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err((first, clients)) => part(first, clients),
        });
        others.chain([own]).sum()
    })
}

/// Which of some things has its turn: both sides of a border, one after the other, meet each of them.
fn turn(number: usize, count: usize) -> usize {
    spread(number) % count
}

/// A number whose every bit hangs on all bits of another one.
/// splitmix64: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
fn spread(number: usize) -> usize {
    let mut mixed = (number as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(mixed ^ mixed >> 31).unwrap_or_default()
}

/// Every kind of destination that the policy tells apart, for clients of one address family.
struct Destinations<'a> {
    sets: Vec<&'a NamesSet>,
    servers: Vec<ServerEnd>,
    ports: Vec<u16>,
}

impl<'a> Destinations<'a> {
    fn new(policy: &'a Policy, source: &PolicySource<'_>, is_v4: bool) -> Self {
        let named: HashSet<u16> = policy.ports.iter().map(|(port, _)| *port).collect();
        let unnamed_port =
            (1..=u16::MAX).find(|port| !named.contains(port) && !source.unnamed_ports.contains(port));
        let judged = policy.ports.iter().filter(|(_, class)| *class != EXEMPT_PORT).map(|(port, _)| *port);
        let ports: BTreeSet<u16> =
            judged.chain(source.exempt_ports.iter().copied()).chain(unnamed_port).collect();
        let of_v4 = policy.servers_v4.iter().flat_map(|(prefix, _)| both_ends::<u32>(prefix)).map(mapped);
        let of_v6 = policy.servers_v6.iter().flat_map(|(prefix, _)| both_ends::<u128>(prefix));
        let end = |address: Address| ServerEnd { address, text: numeric_host(ip(&address)) };
        Self {
            sets: policy.names_sets.iter().map(|(names, _)| names).collect(),
            servers: if is_v4 { of_v4.map(end).collect() } else { of_v6.map(end).collect() },
            ports: ports.into_iter().collect(),
        }
    }

    fn count(&self) -> usize {
        self.sets.len().saturating_mul(self.servers.len()).saturating_mul(self.ports.len())
    }

    fn get(&self, number: usize) -> Destination<'_> {
        let (rest, port) = (number / self.ports.len(), number % self.ports.len());
        let (set, server) = (rest / self.servers.len(), rest % self.servers.len());
        Destination { names: self.sets[set], server: &self.servers[server], port: self.ports[port] }
    }
}

/// The first and the last address of a prefix.
fn both_ends<W: AddressNumber>(prefix: &Prefix<W::Bytes>) -> [W::Bytes; 2] {
    let first = W::from_bytes(prefix.address);
    [first.to_bytes(), first.prefix_last(prefix.bits).to_bytes()]
}

fn ask<T: Tables>(
    tables: &T,
    client: &Address,
    destination: &Destination<'_>,
    source: &PolicySource<'_>,
    evaluate: &impl Fn(&AccessRequest<'_>) -> Judgement,
) -> Result<(), Difference> {
    let Destination { names, server, port } = *destination;
    let query = Query { names: names.id(), client: *client, server: server.address, port };
    let client = ip(client);
    let service = || format!("{names}@{}, port {port}", server.text);
    let loaded =
        decide(tables, &query).ok_or_else(|| Difference::Broken { client, service: service() })?.outcome;
    let expected = if is_exempt(client, source) || source.exempt_ports.contains(&port) {
        Outcome::Exempt
    } else if loaded == Outcome::Ask {
        return Ok(());
    } else {
        let client = numeric_host(client);
        let of_names = |names: Vec<Text>| {
            evaluate(&AccessRequest {
                daemons: &names,
                client_address: Some(&client),
                server_address: Some(&server.text),
                server_port: Some(port),
                ..AccessRequest::default()
            })
        };
        let judgement = decide_by_names(names, of_names, |judged| Some(judged.verdict)).decided();
        if judgement.reason == Reason::Exit {
            // libwrap ends the daemon where a text becomes too long with this client's address.
            return Ok(());
        }
        match judgement.verdict {
            Verdict::Allow => Outcome::Allow,
            Verdict::Refuse => Outcome::Refuse,
        }
    };
    if loaded == expected {
        return Ok(());
    }
    Err(Difference::Other { client, service: service(), loaded, expected })
}

fn is_exempt(client: IpAddr, source: &PolicySource<'_>) -> bool {
    source.exempt_networks.iter().any(|network| match (network, client) {
        // Only a network inside `::ffff:0:0/96` is one of IPv4 clients.
        (IpNet::V6(network), IpAddr::V4(v4)) => {
            network.prefix_len() >= 96 && network.contains(&v4.to_ipv6_mapped())
        }
        _ => network.contains(&client),
    })
}

/// Both sides of borders between cells: of all, or of [`MAX_BORDERS`] of them.
pub(super) fn both_sides<W: AddressNumber>(starts: &[W]) -> Vec<W> {
    // The first cell begins with the family: there is no other side.
    let inner = starts.get(1..).unwrap_or_default();
    let mut sides = vec![W::MIN];
    let mut add = |start: &W| sides.extend([start.previous().unwrap_or(W::MIN), *start]);
    if inner.len() <= MAX_BORDERS {
        inner.iter().for_each(&mut add);
    } else {
        for number in 0..MAX_BORDERS {
            add(&inner[spread(inner.len().wrapping_add(number)) % inner.len()]);
        }
    }
    sides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_at_both_sides() {
        for count in 1..=16 {
            for side in [0, 1] {
                let turns = (0..200).map(|border| turn(2 * border + side, count));
                assert_eq!(turns.collect::<HashSet<usize>>().len(), count, "side {side} of {count}");
            }
        }
    }

    #[test]
    fn both_sides_of_each_border_are_chosen() {
        assert_eq!(both_sides(&[0_u32]), [0]);
        assert_eq!(both_sides(&[0_u32, 10, 20]), [0, 9, 10, 19, 20]);
        let many: Vec<u32> = (0..1_000_000).map(|number| number * 16).collect();
        let sides = both_sides(&many);
        assert_eq!(sides.len(), 2 * MAX_BORDERS + 1);
        let distinct: std::collections::HashSet<u32> = sides.iter().copied().collect();
        assert!(distinct.len() > 90_000, "{}", distinct.len());
        assert!(sides[1..].iter().all(|side| matches!(side % 16, 0 | 15)));
    }
}
