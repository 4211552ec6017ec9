//! The table of bans.
//!
//! In: changes. Out: what changes in the kernel's table. Invariant: what was given out for the kernel and this table say the
//! same of every client; no more networks with a ban lie in one another than the kernel looks at.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    ops::Bound,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use tcpw_common::{
    ban::{BanKey, BansInUse, EVERY_DAEMON, MAX_NESTED_BANS, MAX_SCOPES, Scopes},
    limits::MAX_BANS,
};

use super::{BanEntry, BanFacts, BanOf, milliseconds, prefix, scope_of};
use crate::names::NamesSet;

/// For the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelChange {
    /// Scope and first address.
    pub key: BanKey,
    /// Bits of the network.
    pub bits: u8,
    /// Until when: CLOCK_BOOTTIME, nanoseconds, `u64::MAX` for good; `None`: the ban ends now.
    pub until_ns: Option<u64>,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// For the kernel.
    pub kernel: KernelChange,
    /// There was a ban of the same, which this one replaces.
    pub is_replaced: bool,
}

/// Every ban.
#[derive(Clone, Debug, Default)]
pub struct BanTable {
    all: BTreeMap<Key, Kept>,
    /// By the time of their end: CLOCK_BOOTTIME, nanoseconds. Those for good are left out.
    ends: BTreeSet<(u64, Key)>,
    /// Daemons that have bans of their own, and how many, by scope.
    daemons: HashMap<u32, (String, usize)>,
    /// How many networks there are of each family, scope and length.
    lengths: BTreeMap<(bool, u32, u8), usize>,
}

/// Ordered so that the networks that lie in one come after it, before all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    network: IpNet,
    scope: u32,
}

#[derive(Clone, Debug)]
struct Kept {
    since: u64,
    until: Option<u64>,
    until_ns: u64,
    /// The same for all bans of one order.
    told: Arc<Told>,
}

/// Why, and who asked for it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    reason: String,
    by: String,
}

impl BanTable {
    /// Sets bans of the same facts; one of the same network and daemon is replaced. `now`: CLOCK_BOOTTIME in nanoseconds, and
    /// the time of day. For each what came of it, or why it is not set.
    pub fn set_all<'a>(
        &mut self,
        all: impl IntoIterator<Item = &'a BanOf>,
        facts: &BanFacts,
        now: (u64, SystemTime),
    ) -> Vec<Result<Change, String>> {
        let told = Arc::new(Told { reason: facts.reason.clone(), by: facts.by.clone() });
        all.into_iter().map(|of| self.set_told(of, facts, &told, now)).collect()
    }

    /// Sets a ban, as [`set_all`](Self::set_all) does.
    ///
    /// # Errors
    /// It is one too many: the figure.
    pub fn set(&mut self, of: &BanOf, facts: &BanFacts, now: (u64, SystemTime)) -> Result<Change, String> {
        let last = self.all.last_key_value().map(|(_, kept)| Arc::clone(&kept.told));
        let told = last
            .filter(|told| told.reason == facts.reason && told.by == facts.by)
            .unwrap_or_else(|| Arc::new(Told { reason: facts.reason.clone(), by: facts.by.clone() }));
        self.set_told(of, facts, &told, now)
    }

    fn set_told(
        &mut self,
        of: &BanOf,
        facts: &BanFacts,
        told: &Arc<Told>,
        now: (u64, SystemTime),
    ) -> Result<Change, String> {
        let key = self.key(of);
        let is_replaced = self.all.contains_key(&key);
        if !is_replaced {
            self.refuse_too_many(of, key)?;
            if let Some(daemon) = &of.daemon {
                self.daemons.entry(key.scope).or_insert_with(|| (daemon.clone(), 0)).1 += 1;
            }
            *self.lengths.entry(length(key)).or_default() += 1;
        }
        let until_ns = until_ns(facts, now);
        let kept = Kept { since: facts.since, until: facts.until, until_ns, told: Arc::clone(told) };
        if let Some(before) = self.all.insert(key, kept) {
            self.ends.remove(&(before.until_ns, key));
        }
        if until_ns != u64::MAX {
            self.ends.insert((until_ns, key));
        }
        Ok(Change { kernel: kernel_change(key, Some(until_ns)), is_replaced })
    }

    fn refuse_too_many(&self, of: &BanOf, key: Key) -> Result<(), String> {
        if self.all.len() >= MAX_BANS as usize {
            return Err(format!("there are {MAX_BANS} bans, which is the most there can be"));
        }
        let other = self.daemons.get(&key.scope).filter(|(name, _)| Some(name) != of.daemon.as_ref());
        if let Some((other, _)) = other.filter(|_| of.daemon.is_some()) {
            return Err(format!("the kernel has one number for this daemon and {other}"));
        }
        let nested = self.nested_with(key);
        if nested > MAX_NESTED_BANS {
            return Err(format!(
                "it would be one of {nested} banned networks that lie in one another, and the kernel looks at {MAX_NESTED_BANS}"
            ));
        }
        Ok(())
    }

    /// How many networks lie in one another, this one among them.
    fn nested_with(&self, key: Key) -> u32 {
        let (is_v6, scope, bits) = length(key);
        let of_lengths = |from: u8, to: u8| {
            self.lengths.range((is_v6, scope, from)..(is_v6, scope, to)).map(|((_, _, bits), _)| *bits)
        };
        let has = |bits: &u8| {
            let network = IpNet::new(key.network.addr(), *bits).map(|network| network.trunc());
            network.is_ok_and(|network| self.all.contains_key(&Key { network, scope }))
        };
        let above = of_lengths(0, bits).filter(has).count();
        // As many lengths as there are below are as many networks at most: mostly that is few enough.
        let lengths_below = of_lengths(bits + 1, 129).count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        if number(above + 1 + lengths_below) <= MAX_NESTED_BANS {
            return number(above + 1 + lengths_below);
        }
        let (mut deepest, mut around) = (0, Vec::<IpNet>::new());
        let within = self.all.range(key..).map(|(key, _)| key);
        for below in within.take_while(|it| key.network.contains(&it.network)).filter(|it| it.scope == scope)
        {
            if below.network == key.network {
                continue;
            }
            while around.pop_if(|outer| !outer.contains(&below.network)).is_some() {}
            around.push(below.network);
            deepest = deepest.max(around.len());
        }
        number(above + 1 + deepest)
    }

    /// Ends a ban; `None` if there is none.
    pub fn end(&mut self, of: &BanOf) -> Option<KernelChange> {
        self.end_key(self.key(of))
    }

    fn end_key(&mut self, key: Key) -> Option<KernelChange> {
        let kept = self.all.remove(&key)?;
        self.ends.remove(&(kept.until_ns, key));
        if let Some((_, count)) = self.daemons.get_mut(&key.scope) {
            *count -= 1;
            if *count == 0 {
                self.daemons.remove(&key.scope);
            }
        }
        if let Some(count) = self.lengths.get_mut(&length(key)) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length(key));
            }
        }
        Some(kernel_change(key, None))
    }

    /// Ends those that are over; at most so many.
    pub fn end_those_over(&mut self, now_ns: u64, most: usize) -> Vec<(BanOf, KernelChange)> {
        let mut over = Vec::new();
        while let Some((until_ns, key)) = self.ends.first().copied()
            && over.len() < most
            && until_ns <= now_ns
        {
            let of = self.of(&key);
            over.extend(self.end_key(key).map(|change| (of, change)));
        }
        over
    }

    /// What the kernel must know of them.
    pub fn in_use(&self) -> BansInUse {
        BansInUse { any: (!self.all.is_empty()).into(), scoped: (!self.daemons.is_empty()).into() }
    }

    /// The scopes of a names-set; those beyond the first few are left out, and counted.
    pub fn scopes_of(&self, names: &NamesSet) -> (Scopes, usize) {
        let mut scopes: Scopes = [EVERY_DAEMON; MAX_SCOPES as usize];
        if self.daemons.is_empty() {
            return (scopes, 0);
        }
        let scope = |name: &[u8]| scope_of(&String::from_utf8_lossy(name).to_ascii_lowercase());
        let found: BTreeSet<u32> =
            names.iter().map(|name| scope(name)).filter(|scope| self.daemons.contains_key(scope)).collect();
        for (place, scope) in scopes.iter_mut().zip(&found) {
            *place = *scope;
        }
        (scopes, found.len().saturating_sub(scopes.len()))
    }

    /// The ban that refuses a client of a listener with these names at a time, CLOCK_BOOTTIME: that which ends last.
    pub fn refuses(&self, client: &IpAddr, names: &NamesSet, now_ns: u64) -> Option<BanEntry> {
        let client = client.to_canonical();
        let (scopes, _) = self.scopes_of(names);
        let scopes = std::iter::once(EVERY_DAEMON).chain(scopes.into_iter().filter(|it| *it != EVERY_DAEMON));
        let keys = scopes.flat_map(|scope| {
            let lengths = self.lengths.range((client.is_ipv6(), scope, 0)..=(client.is_ipv6(), scope, 128));
            lengths.filter_map(move |((_, _, bits), _)| {
                let network = IpNet::new(client, *bits).ok()?.trunc();
                Some(Key { network, scope })
            })
        });
        let found = keys.filter_map(|key| Some((key, self.all.get(&key)?)));
        let in_force = found.filter(|(_, kept)| now_ns < kept.until_ns);
        let (key, kept) = in_force.max_by_key(|(_, kept)| kept.until_ns)?;
        Some(self.entry(&key, kept))
    }

    /// So many bans after one, in the order of their networks, each with the seconds that are left.
    pub fn after(&self, after: Option<&BanOf>, most: usize, now_ns: u64) -> Vec<(BanEntry, Option<u64>)> {
        let from = match after.map(|of| self.key(of)) {
            Some(key) => Bound::Excluded(key),
            None => Bound::Unbounded,
        };
        let left = |kept: &Kept| kept.until_ns.saturating_sub(now_ns).div_ceil(1_000_000_000);
        let listed = self.all.range((from, Bound::Unbounded)).take(most);
        let listed = listed
            .map(|(key, kept)| (self.entry(key, kept), (kept.until_ns != u64::MAX).then(|| left(kept))));
        listed.collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them for the kernel.
    pub fn kernel(&self) -> impl Iterator<Item = KernelChange> {
        self.all.iter().map(|(key, kept)| kernel_change(*key, Some(kept.until_ns)))
    }

    fn key(&self, of: &BanOf) -> Key {
        Key { network: of.network, scope: of.daemon.as_deref().map_or(EVERY_DAEMON, scope_of) }
    }

    fn of(&self, key: &Key) -> BanOf {
        let daemon = self.daemons.get(&key.scope).map(|(daemon, _)| daemon.clone());
        BanOf { network: key.network, daemon }
    }

    fn entry(&self, key: &Key, kept: &Kept) -> BanEntry {
        let Told { reason, by } = &*kept.told;
        let facts = BanFacts { since: kept.since, until: kept.until, reason: reason.clone(), by: by.clone() };
        BanEntry { of: self.of(key), facts }
    }
}

fn length(key: Key) -> (bool, u32, u8) {
    (matches!(key.network, IpNet::V6(_)), key.scope, key.network.prefix_len())
}

fn kernel_change(key: Key, until_ns: Option<u64>) -> KernelChange {
    let (first, bits) = prefix(&key.network);
    KernelChange { key: BanKey::new(key.scope, first), bits, until_ns }
}

/// The end of a ban by the kernel's clock.
fn until_ns(facts: &BanFacts, (boot_ns, wall): (u64, SystemTime)) -> u64 {
    let Some(until) = facts.until else { return u64::MAX };
    let passed = Duration::from_millis(milliseconds(wall));
    let until = Duration::from_millis(until).saturating_sub(passed);
    // One that ends is told from one that does not.
    boot_ns.saturating_add(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX)).min(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const NOW: (u64, SystemTime) = (1_000, UNIX_EPOCH);

    fn facts(until: Option<u64>) -> BanFacts {
        BanFacts { since: 0, until, reason: String::new(), by: String::new() }
    }

    fn of(network: &str, daemon: Option<&str>) -> BanOf {
        BanOf::new(network.parse().unwrap(), daemon)
    }

    #[test]
    fn ban_refuses_until_it_is_over() {
        let mut table = BanTable::default();
        let sshd = NamesSet::new(["sshd"]);
        let client: IpAddr = "192.0.2.7".parse().unwrap();
        table.set(&of("192.0.2.0/24", None), &facts(Some(1_000)), NOW).unwrap();
        let end = 1_000 + 1_000_000_000;
        let refuses = |table: &BanTable, now| table.refuses(&client, &sshd, now).is_some();
        assert_eq!([end - 1, end].map(|now| refuses(&table, now)), [true, false]);
        assert!(refuses(&table, 0) && table.in_use().any == 1);
        assert!(table.end_those_over(end - 1, 9).is_empty());
        assert_eq!(table.end_those_over(end, 9).len(), 1);
        assert!(table.is_empty() && table.in_use().any == 0 && table.lengths.is_empty());
    }

    #[test]
    fn ban_of_a_daemon_is_for_it_alone() {
        let mut table = BanTable::default();
        let change = table.set(&of("2001:db8::/32", Some("SSHD")), &facts(None), NOW).unwrap();
        assert!(change.kernel.until_ns == Some(u64::MAX) && change.kernel.bits == 32);
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(table.refuses(&client, &NamesSet::new(["sshd"]), 5).is_some());
        assert!(table.refuses(&client, &NamesSet::new(["nginx"]), 5).is_none());
        let (scopes, left_out) = table.scopes_of(&NamesSet::new(["sshd", "ssh"]));
        assert_eq!((scopes.iter().filter(|it| **it != EVERY_DAEMON).count(), left_out), (1, 0));
        // Replaced, not doubled.
        assert!(table.set(&of("2001:db8::/32", Some("sshd")), &facts(Some(5)), NOW).unwrap().is_replaced);
        assert_eq!((table.len(), table.ends.len(), table.in_use().scoped), (1, 1, 1));
        table.end(&of("2001:db8::/32", Some("sshd"))).unwrap();
        assert_eq!((table.len(), table.ends.len(), table.in_use().scoped), (0, 0, 0));
    }

    #[test]
    fn names_beyond_the_scopes_of_a_listener_are_counted() {
        let mut table = BanTable::default();
        let names = ["a", "b", "c", "d", "e", "f"];
        for name in names {
            table.set(&of("192.0.2.0/24", Some(name)), &facts(None), NOW).unwrap();
        }
        let (scopes, left_out) = table.scopes_of(&NamesSet::new(names));
        assert!(scopes.iter().all(|it| *it != EVERY_DAEMON) && left_out == 2);
    }

    #[test]
    fn fifth_network_in_one_another_is_refused_with_the_figure() {
        let nets = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.1/32", "10.1.1.0/28"];
        // In whatever order they come.
        for first in 0..nets.len() {
            let mut table = BanTable::default();
            let mut order: Vec<&str> = nets.to_vec();
            order.rotate_left(first);
            let (last, others) = order.split_last().unwrap();
            for network in others {
                table.set(&of(network, None), &facts(None), NOW).unwrap();
            }
            // Beside them, in another scope and in another family there is room.
            for free in ["10.1.2.0/24", "10.2.0.0/16", "::/0"] {
                table.set(&of(free, None), &facts(None), NOW).unwrap();
            }
            table.set(&of(last, Some("sshd")), &facts(None), NOW).unwrap();
            let refused = table.set(&of(last, None), &facts(None), NOW).unwrap_err();
            assert!(refused.contains("one of 5 ") && refused.contains("looks at 4"), "{last}: {refused}");
            // One that is there is replaced.
            assert!(table.set(&of(others[0], None), &facts(None), NOW).unwrap().is_replaced);
        }
    }

    #[test]
    fn mapped_and_host_bits_are_one_network() {
        for text in ["192.0.2.7/24", "::ffff:192.0.2.0/120"] {
            assert_eq!(of(text, None), of("192.0.2.0/24", None), "{text}");
        }
        assert_eq!(prefix(&of("192.0.2.0/24", None).network).1, 120);
    }

    #[test]
    fn list_goes_on_where_a_part_of_it_ended() {
        let mut table = BanTable::default();
        for network in ["192.0.2.1/32", "192.0.2.2/32", "2001:db8::/32"] {
            table.set(&of(network, None), &facts(Some(1_500)), NOW).unwrap();
        }
        table.set(&of("192.0.2.2/32", Some("sshd")), &facts(None), NOW).unwrap();
        let (mut all, mut after) = (Vec::new(), None);
        while let Some((entry, left)) = table.after(after.as_ref(), 1, 1_000).pop() {
            all.push((entry.of.network.to_string(), entry.of.daemon.is_some(), left));
            after = Some(entry.of);
        }
        let text = |network: &str, is_scoped, left| (network.to_owned(), is_scoped, left);
        let wanted = [
            text("192.0.2.1/32", false, Some(2)),
            text("192.0.2.2/32", false, Some(2)),
            text("192.0.2.2/32", true, None),
            text("2001:db8::/32", false, Some(2)),
        ];
        assert_eq!(all, wanted);
    }
}
