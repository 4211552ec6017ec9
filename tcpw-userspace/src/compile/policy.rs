//! The compiled policy: the tables of one slot.

use std::collections::HashMap;

use tcpw_common::{
    decide::{FLAT_V4, FLAT_V6, Header, NAMES_COUNT},
    key::{Address, Comm, NamesId, as_v4},
    layout::SPARE_WORDS,
};

use super::{
    client_table::ClientTable,
    flat::{FlatV4, FlatV6},
    prefix::{Prefix, PrefixTable},
    region::AddressNumber,
    service::{NameMatches, NamePatterns},
};
use crate::names::NamesSet;

/// Everything that one slot of the kernel's tables holds.
///
/// Equal tables give equal policies, entry for entry.
#[derive(Clone, Debug)]
pub struct Policy {
    /// IPv4 clients and their classes.
    pub clients_v4: ClientTable<[u8; 4], FlatV4>,
    /// IPv6 clients and their classes.
    pub clients_v6: ClientTable<[u8; 16], FlatV6>,
    /// IPv4 local address prefixes and their classes; the smallest such table, with a /0.
    pub servers_v4: PrefixTable<[u8; 4]>,
    /// IPv6 local address prefixes and their classes, likewise.
    pub servers_v6: PrefixTable<[u8; 16]>,
    /// Classes of the precomputed names-sets, but for those of class 0, which needs no entry.
    pub names: Vec<(NamesId, u32)>,
    /// Classes of ports, but for those of class 0; `EXEMPT_PORT` for an exempt one.
    pub ports: Vec<(u16, u32)>,
    /// Policy of a service, at `(names * port_classes + port) * server_classes + server`.
    pub policies: Vec<u32>,
    /// Outcome byte, with its marks, at `policy * client_classes + class`.
    pub outcomes: Vec<u8>,
    /// For each literal daemon name of the tables, cut to a comm: the names-set of all such names.
    pub comms: Vec<(Comm, NamesId)>,
    /// Every precomputed names-set with its class, the empty one first.
    pub names_sets: Vec<(NamesSet, u32)>,
    /// Clients at which the loaded tables are compared with the rules: see [`compare`](super::compare()).
    pub borders: Vec<Address>,
    /// For each class of clients one of them, IPv4 and IPv6, if it has any.
    pub examples: Vec<[Option<Address>; 2]>,
    /// A rule acts on accepted connections: they have to be watched.
    pub acts_on_accepted: bool,
    /// Some rule has something for the clients it refuses: a banner, or the program of `twist`.
    pub redirects: bool,
    /// Some rule has a banner for the clients it allows.
    pub has_allow_banners: bool,
    pub(super) sizes: Sizes,
    pub(super) patterns: NamePatterns,
    pub(super) classes_of_matches: HashMap<NameMatches, u32>,
}

/// How many classes of each kind a policy has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) clients: u32,
    pub(super) ports: u32,
    pub(super) servers: u32,
    pub(super) names: u32,
}

impl Sizes {
    /// From the outcomes per policy, and the classes of names, ports and servers.
    pub(super) fn new(rows: &[Vec<u8>], [names, ports, servers]: [usize; 3]) -> Self {
        let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        Self {
            clients: number(rows.first().map_or(0, Vec::len)),
            ports: number(ports),
            servers: number(servers),
            names: number(names),
        }
    }
}

impl Policy {
    /// Lets go of what is not needed once the tables are loaded and compared: borders, and the ranges of flat tables.
    pub(crate) fn forget_loaded(&mut self) {
        self.borders = Vec::new();
        if let ClientTable::Flat(table) = &mut self.clients_v4 {
            table.forget_ranges();
        }
        if let ClientTable::Flat(table) = &mut self.clients_v6 {
            table.forget_ranges();
        }
    }

    /// The header of its slot.
    pub fn header(&self, generation: u32, flags: u32) -> Header {
        // The listeners known so far may be treated alike, and the next one not.
        let names_count = if self.patterns.tell_apart() { NAMES_COUNT } else { 0 };
        let flat_v4 = if self.clients_v4.flat().is_some() { FLAT_V4 } else { 0 };
        let flat_v6 = if self.clients_v6.flat().is_some() { FLAT_V6 } else { 0 };
        Header {
            generation,
            flags: flags | names_count | flat_v4 | flat_v6,
            client_classes: self.sizes.clients,
            port_classes: self.sizes.ports,
            server_classes: self.sizes.servers,
            names_classes: self.sizes.names,
            spare: SPARE_WORDS,
        }
    }

    /// The policy of a service: the row of `outcomes`; `server` is the local address.
    pub fn row(&self, names: u32, port: u32, server: &Address) -> Option<u32> {
        let server = match as_v4(server) {
            Some(v4) => class_at::<u32>(&self.servers_v4, v4),
            None => class_at::<u128>(&self.servers_v6, *server),
        };
        let index = (names * self.sizes.ports + port) * self.sizes.servers + server;
        self.policies.get(index as usize).copied()
    }

    /// The class of any names-set; `None` if only compiling anew with it can tell.
    ///
    /// With a class other than 0, one more entry of `names` makes the set known.
    pub fn class_of(&self, names: &NamesSet) -> Option<u32> {
        self.classes_of_matches.get(&self.patterns.name_matches(names)).copied()
    }
}

/// The class of the longest prefix that has the address.
fn class_at<W: AddressNumber>(table: &PrefixTable<W::Bytes>, address: W::Bytes) -> u32 {
    let address = W::from_bytes(address);
    let has = |prefix: &Prefix<W::Bytes>| address.prefix_first(prefix.bits).to_bytes() == prefix.address;
    let found = table.iter().filter(|(prefix, _)| has(prefix)).max_by_key(|(prefix, _)| prefix.bits);
    found.map_or(0, |(_, class)| *class)
}
