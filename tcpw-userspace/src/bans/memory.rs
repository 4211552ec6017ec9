//! The kernel's table of bans in memory: for the simulation, and to compare the kernel's decisions with the table's.
//!
//! In: the changes that the kernel is given. Out: the same look-ups that the kernel makes. No I/O.

use std::collections::{BTreeSet, HashMap};

use tcpw_common::{
    ban::{Ban, BanKey, Bans, BansInUse, Scopes},
    decide::{Header, Tables},
    flat::{BucketV4, ChunkV4, FlatTables, LowsV6, NodeV6},
    key::{Address, NamesId},
};

use super::KernelChange;

/// The bans, as the kernel has them.
#[derive(Clone, Debug, Default)]
pub struct MemoryBans {
    bans: HashMap<(BanKey, u8), Ban>,
    lengths: BTreeSet<u8>,
    scopes: HashMap<NamesId, Scopes>,
    in_use: BansInUse,
}

impl MemoryBans {
    /// Makes changes; with `replace_all`, bans that are not among them end.
    pub fn change(&mut self, changes: &[KernelChange], in_use: BansInUse, replace_all: bool) {
        if replace_all {
            self.bans.clear();
            self.lengths.clear();
        }
        for KernelChange { key, bits, until_ns } in changes {
            match until_ns {
                Some(until_ns) => {
                    self.lengths.insert(*bits);
                    self.bans.insert((*key, *bits), Ban::new(*bits, *until_ns));
                }
                None => drop(self.bans.remove(&(*key, *bits))),
            }
        }
        self.in_use = in_use;
    }

    /// The scopes of a names-set; `None`: they are forgotten.
    pub fn set_scopes(&mut self, names: NamesId, scopes: Option<Scopes>) {
        match scopes {
            Some(scopes) => drop(self.scopes.insert(names, scopes)),
            None => drop(self.scopes.remove(&names)),
        }
    }
}

/// The tables and the bans, as the kernel has both at one time.
#[derive(Clone, Copy, Debug)]
pub struct WithBans<'a, T> {
    /// The tables.
    pub tables: &'a T,
    /// The bans.
    pub bans: &'a MemoryBans,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub now_ns: u64,
}

impl<T> Bans for WithBans<'_, T> {
    fn in_use(&self) -> BansInUse {
        self.bans.in_use
    }
    fn ban(&self, scope: u32, client: &Address, bits: u32) -> Option<&Ban> {
        let key = BanKey::new(scope, *client);
        let lengths = self.bans.lengths.iter().rev().filter(|length| u32::from(**length) <= bits);
        lengths.copied().find_map(|length| self.bans.bans.get(&(key.trunc(length), length)))
    }
    fn scopes(&self, names: NamesId) -> Option<&Scopes> {
        self.bans.scopes.get(&names)
    }
    fn now_ns(&self) -> u64 {
        self.now_ns
    }
}

impl<T: Tables> FlatTables for WithBans<'_, T> {
    fn bucket_v4(&self, slot: u32, index: u32) -> Option<&BucketV4> {
        self.tables.bucket_v4(slot, index)
    }
    fn chunk_v4(&self, slot: u32, index: u32) -> Option<&ChunkV4> {
        self.tables.chunk_v4(slot, index)
    }
    fn node_v6(&self, slot: u32, index: u32) -> Option<&NodeV6> {
        self.tables.node_v6(slot, index)
    }
    fn lows_v6(&self, slot: u32, index: u32) -> Option<&LowsV6> {
        self.tables.lows_v6(slot, index)
    }
}

impl<T: Tables> Tables for WithBans<'_, T> {
    fn active(&self) -> Option<u32> {
        self.tables.active()
    }
    fn header(&self, slot: u32) -> Option<Header> {
        self.tables.header(slot)
    }
    fn client_v4(&self, slot: u32, client: [u8; 4]) -> Option<u32> {
        self.tables.client_v4(slot, client)
    }
    fn client_v6(&self, slot: u32, client: Address) -> Option<u32> {
        self.tables.client_v6(slot, client)
    }
    fn server_v4(&self, slot: u32, server: [u8; 4]) -> Option<u32> {
        self.tables.server_v4(slot, server)
    }
    fn server_v6(&self, slot: u32, server: Address) -> Option<u32> {
        self.tables.server_v6(slot, server)
    }
    fn names(&self, slot: u32, names: NamesId) -> Option<u32> {
        self.tables.names(slot, names)
    }
    fn port(&self, slot: u32, port: u16) -> Option<u32> {
        self.tables.port(slot, port)
    }
    fn policy(&self, slot: u32, index: u32) -> Option<u32> {
        self.tables.policy(slot, index)
    }
    fn outcome(&self, slot: u32, index: u32) -> Option<u8> {
        self.tables.outcome(slot, index)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::UNIX_EPOCH};

    use proptest::prelude::*;
    use tcpw_common::{ban::BANNED, outcome::Outcome};

    use super::*;
    use crate::{
        bans::{BanFacts, BanOf, BanTable},
        events::address,
        names::NamesSet,
    };

    const CLIENTS: [&str; 6] =
        ["10.0.0.1", "10.0.0.2", "10.0.1.1", "2001:db8::1", "2001:db8:0:1::1", "::ffff:10.0.0.1"];
    const BITS: [u8; 8] = [0, 8, 16, 24, 30, 31, 32, 128];
    const DAEMONS: [Option<&str>; 4] = [None, Some("a"), Some("B"), Some("c")];

    fn names() -> [NamesSet; 4] {
        [
            NamesSet::default(),
            NamesSet::new(["a"]),
            NamesSet::new(["A", "b"]),
            NamesSet::new(["c"]).with_unproven(["a"]),
        ]
    }

    /// A network of a client, a daemon, and for how many milliseconds; 0: for good. Or: the ban ends.
    fn orders() -> impl Strategy<Value = Vec<(BanOf, Option<u64>)>> {
        let client = prop::sample::select(&CLIENTS[..]);
        let order = (
            client,
            prop::sample::select(&BITS[..]),
            prop::sample::select(&DAEMONS[..]),
            prop::option::of(0..6_u64),
        );
        let of = order.prop_filter_map("no such network", |(client, bits, daemon, ms)| {
            let network = ipnet::IpNet::new(client.parse().ok()?, bits).ok()?;
            Some((BanOf::new(network, daemon), ms))
        });
        prop::collection::vec(of, 0..20)
    }

    proptest! {
        /// Whatever was ordered, whenever it is asked: with those that are over still there, and without.
        #[test]
        fn kernel_and_table_agree(orders in orders(), cleaned_at in 0..8_u64) {
            let (mut table, mut bans) = (BanTable::default(), MemoryBans::default());
            for (of, ms) in orders {
                let change = match ms {
                    Some(ms) => {
                        let until = (ms > 0).then_some(ms);
                        let facts = BanFacts { since: 0, until, reason: String::new(), by: String::new() };
                        table.set(&of, &facts, (0, UNIX_EPOCH)).ok().map(|change| change.kernel)
                    }
                    None => table.end(&of),
                };
                bans.change(change.as_slice(), table.in_use(), false);
            }
            for step in 0..8_u64 {
                let now_ns = step * 1_000_000;
                if step == cleaned_at {
                    let over = table.end_those_over(now_ns, usize::MAX);
                    let over: Vec<_> = over.into_iter().map(|(_, change)| change).collect();
                    bans.change(&over, table.in_use(), false);
                }
                for names in names() {
                    let (scopes, left_out) = table.scopes_of(&names);
                    prop_assert_eq!(left_out, 0);
                    bans.set_scopes(names.id(), Some(scopes));
                    for client in CLIENTS {
                        let client: IpAddr = client.parse().unwrap();
                        let kernel = WithBans { tables: &(), bans: &bans, now_ns };
                        let entry =
                            tcpw_common::ban::with_bans(&kernel, Outcome::Ask as u32, &address(client), names.id());
                        let expected = table.refuses(&client, &names, now_ns);
                        let is_banned = entry & 0xffff_ffff == u64::from(BANNED);
                        prop_assert_eq!(is_banned, expected.is_some(), "{} {} {:?}", client, names, expected);
                    }
                }
            }
            let all: Vec<_> = table.kernel().collect();
            let mut anew = MemoryBans::default();
            anew.change(&all, table.in_use(), true);
            prop_assert_eq!(anew.bans, bans.bans);
        }
    }

    #[test]
    fn ban_never_opens_and_exempt_stays_exempt() {
        let (mut table, mut bans) = (BanTable::default(), MemoryBans::default());
        let facts = BanFacts { since: 0, until: None, reason: String::new(), by: String::new() };
        let of = BanOf::new("10.0.0.0/8".parse().unwrap(), None);
        let change = table.set(&of, &facts, (0, UNIX_EPOCH)).unwrap();
        bans.change(&[change.kernel], table.in_use(), false);
        let kernel = WithBans { tables: &(), bans: &bans, now_ns: 0 };
        let client = address("10.0.0.1".parse().unwrap());
        // With marks: a banner, a report.
        for (entry, is_banned) in
            [(0, false), (1, true), (2, false), (3, true), (2 + 16, false), (1 + 32 + 4, true)]
        {
            let with = tcpw_common::ban::with_bans(&kernel, entry, &client, 0);
            assert_eq!(with, u64::from(if is_banned { BANNED } else { entry }), "{entry}");
        }
    }
}
