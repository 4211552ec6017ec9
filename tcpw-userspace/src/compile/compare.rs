//! Tables as they were loaded, compared with the rules they come from.
//!
//! In: a policy, what it was compiled from, and its tables as they were read back. Out: how many questions had the
//! answer of the evaluator, or the first that had not.
//! Invariant: the questions are about both sides of the borders between regions of the rules, at each service in turn:
//! all borders, or of more than [`MAX_BORDERS`] of a family as many chosen at random. `Ask` is right at any place: the
//! evaluator then decides in user space.

use std::net::IpAddr;

use tcpw_common::{
    decide::{EXEMPT_PORT, Tables, decide},
    key::{Address, Query, as_v4, mapped},
    outcome::Outcome,
};

use super::{PolicySource, policy::Policy, region::AddressNumber};
use crate::{
    evaluate::{
        decide_by_names, numeric_host,
        request::{AccessRequest, Judgement, Verdict},
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
struct Place<'a> {
    names: &'a NamesSet,
    server: Address,
    port: u16,
}

/// Compares tables with rules; `evaluate` is the reference evaluator over the rules of `source`. Returns the number
/// of questions.
///
/// # Errors
/// The first difference.
pub fn compare<T: Tables>(
    tables: &T,
    policy: &Policy,
    source: &PolicySource<'_>,
    evaluate: impl Fn(&AccessRequest<'_>) -> Judgement,
) -> Result<usize, Difference> {
    let places = [places(policy, source, true), places(policy, source, false)];
    let all = policy.borders.len() * places[0].len().max(places[1].len());
    let mut asked = 0;
    for (number, client) in policy.borders.iter().enumerate() {
        let places = &places[usize::from(as_v4(client).is_none())];
        if all <= MAX_QUESTIONS {
            for place in places {
                ask(tables, client, place, source, &evaluate)?;
            }
            asked += places.len();
        } else {
            ask(tables, client, &places[number % places.len()], source, &evaluate)?;
            asked += 1;
        }
    }
    Ok(asked)
}

/// Every kind of place that the policy tells apart.
fn places<'a>(policy: &'a Policy, source: &PolicySource<'_>, is_v4: bool) -> Vec<Place<'a>> {
    let named = |port: &u16| policy.ports.iter().any(|(named, _)| named == port);
    let unnamed_port = (1..=u16::MAX).find(|port| !named(port) && !source.unnamed_ports.contains(port));
    let ports = policy.ports.iter().filter(|(_, class)| *class != EXEMPT_PORT).map(|(port, _)| *port);
    let ports: Vec<u16> = ports.chain(unnamed_port).collect();
    let servers: Vec<Address> = if is_v4 {
        policy.servers_v4.iter().map(|(prefix, _)| mapped(prefix.address)).collect()
    } else {
        policy.servers_v6.iter().map(|(prefix, _)| prefix.address).collect()
    };
    let sets = policy.names_sets.iter().map(|(names, _)| names);
    let of_set = |names: &'a NamesSet| {
        let at = |server: Address| ports.iter().map(move |port| Place { names, server, port: *port });
        servers.iter().copied().flat_map(at).collect::<Vec<_>>()
    };
    sets.flat_map(of_set).collect()
}

fn ask<T: Tables>(
    tables: &T,
    client: &Address,
    place: &Place<'_>,
    source: &PolicySource<'_>,
    evaluate: &impl Fn(&AccessRequest<'_>) -> Judgement,
) -> Result<(), Difference> {
    let Place { names, server, port } = *place;
    let query = Query { names: names.id(), client: *client, server, port };
    let (client, server) = (ip(client), ip(&server));
    let service = || format!("{names}@{server}, port {port}");
    let loaded =
        decide(tables, &query).ok_or_else(|| Difference::Broken { client, service: service() })?.outcome;
    let expected = if is_exempt(client, source) {
        Outcome::Exempt
    } else if loaded == Outcome::Ask {
        return Ok(());
    } else {
        let [client, server] = [client, server].map(numeric_host);
        let of_names = |names: Vec<Text>| {
            evaluate(&AccessRequest {
                daemons: &names,
                client_address: Some(&client),
                server_address: Some(&server),
                server_port: Some(port),
                ..AccessRequest::default()
            })
        };
        match decide_by_names(names, of_names, |judged| Some(judged.verdict)).decided().verdict {
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
        (ipnet::IpNet::V6(network), IpAddr::V4(v4)) => network.contains(&v4.to_ipv6_mapped()),
        _ => network.contains(&client),
    })
}

/// Both sides of borders between cells: of all, or of [`MAX_BORDERS`] of them.
pub(super) fn both_sides<W: AddressNumber>(starts: &[W]) -> Vec<W> {
    // The first cell begins with the family: there is no other side.
    let inner = starts.get(1..).unwrap_or_default();
    let mut seed = starts.len() as u64;
    let mut random = || {
        // splitmix64: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    let mut sides = vec![W::MIN];
    let mut add = |start: &W| sides.extend([start.previous().unwrap_or(W::MIN), *start]);
    if inner.len() <= MAX_BORDERS {
        inner.iter().for_each(&mut add);
    } else {
        for _ in 0..MAX_BORDERS {
            add(&inner[usize::try_from(random()).unwrap_or_default() % inner.len()]);
        }
    }
    sides
}

#[cfg(test)]
mod tests {
    use super::*;

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
