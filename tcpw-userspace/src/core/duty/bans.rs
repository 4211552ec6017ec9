//! Bans: which clients are refused whatever the files say.
//!
//! In: orders at the control socket, stored bans, the names of listeners, the time. Out: writes to the kernel's table, lines
//! to be stored, replies. Invariant: the kernel has a ban before it is said to be set, and its end before it is said to be
//! over; what it has is what the table has. A listener is tagged only after the kernel knows which bans its names have.
//! A ban is stored before the reply.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use tcpw_common::{
    ban::{EVERY_DAEMON, Scopes},
    key::NamesId,
    metric::Metric,
};

use super::control::reply;
use crate::{
    bans::{
        BanEntry, BanFacts, BanOf, KernelChange,
        journal::{Line, Stored},
        milliseconds,
    },
    control::{BanList, BanOrder, BanResult, Banned, ListedBan, Response},
    core::{
        action::{Action, BanWrites},
        input::Scanned,
        outbox::Outbox,
        shared::SharedState,
    },
    names::NamesSet,
};

/// Bans whose end is handled at once.
const OVER_AT_ONCE: usize = 20_000;

/// Bans in one part of the list.
const LISTED: usize = 10_000;

/// Wrong lines of the stored bans that are told one by one.
const TOLD: usize = 5;

/// What the kernel knows besides the table of bans.
#[derive(Default)]
pub(in crate::core) struct Bans {
    /// The scopes of names-sets, of those that have any.
    scopes: HashMap<NamesId, Scopes>,
    /// Names-sets with more names that bans are for than the kernel looks at: each is told once.
    told: HashSet<NamesId>,
}

impl Bans {
    /// The stored bans; the kernel's table is made to hold them and no others.
    pub(in crate::core) fn start(&mut self, stored: Stored, shared: &mut SharedState, out: &mut Outbox) {
        for (number, why) in stored.wrong.iter().take(TOLD) {
            out.warn(format!("line {number} of the stored bans: {why}: it is left out"));
        }
        if stored.wrong.len() > TOLD {
            out.warn(format!("{} more lines of the stored bans are left out", stored.wrong.len() - TOLD));
        }
        let now = (out.now.boot_ns, out.now.wall);
        for line in stored.lines {
            match line {
                Line::Ban(BanEntry { of, facts }) => {
                    let of = BanOf::new(of.network, of.daemon.as_deref());
                    if let Err(why) = shared.bans.set(&of, &facts, now) {
                        out.warn(format!("the stored ban of {} is left out: {why}", of.network));
                    }
                }
                Line::Unban(of) => drop(shared.bans.end(&of)),
            }
        }
        let over = shared.bans.end_those_over(out.now.boot_ns, usize::MAX);
        let over = over.into_iter().map(|(of, _)| Line::Unban(of)).collect();
        out.act(Action::WriteBans(Box::new(BanWrites {
            changes: shared.bans.kernel().collect(),
            in_use: shared.bans.in_use(),
            scopes: Vec::new(),
            replace_all: true,
        })));
        store(over, None, out);
        if !shared.bans.is_empty() {
            out.info(format!("{} stored bans are in force", shared.bans.len()));
        }
    }

    /// Sets bans.
    pub(in crate::core) fn ban(
        &mut self,
        request: u64,
        order: BanOrder,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let BanOrder { of, seconds, reason, by } = order;
        let since = milliseconds(out.now.wall);
        let until = seconds.map(|seconds| since.saturating_add(seconds.saturating_mul(1000)));
        let facts = BanFacts { since, until, reason, by };
        let mut result = BanResult::default();
        let exempt = &shared.config.exempt.addresses;
        let mut wanted = Vec::new();
        for of in all(of) {
            match exempt.iter().find(|exempt| exempt.contains(&of.network)) {
                Some(exempt) => {
                    result.refused.push((of.network, format!("{exempt} is exempt: it is never judged")));
                }
                None => wanted.push(of),
            }
        }
        let set = shared.bans.set_all(&wanted, &facts, (out.now.boot_ns, out.now.wall));
        let (mut changes, mut lines) = (Vec::new(), Vec::new());
        for (of, set) in wanted.into_iter().zip(set) {
            match set {
                Ok(change) => {
                    changes.push(change.kernel);
                    result.done += 1;
                    result.replaced += usize::from(change.is_replaced);
                    lines.push(Line::Ban(BanEntry { of, facts: facts.clone() }));
                }
                Err(why) => result.refused.push((of.network, why)),
            }
        }
        self.write(changes, shared, out);
        store(lines, Some((request, result)), out);
    }

    /// Ends bans.
    pub(in crate::core) fn unban(
        &mut self,
        request: u64,
        of: Banned,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let mut result = BanResult::default();
        let (mut changes, mut lines) = (Vec::new(), Vec::new());
        for of in all(of) {
            match shared.bans.end(&of) {
                Some(change) => {
                    result.done += 1;
                    changes.push(change);
                    lines.push(Line::Unban(of));
                }
                None => {
                    let covers =
                        shared.bans.refuses(&of.network.addr(), &NamesSet::default(), out.now.boot_ns);
                    let but = covers.map(|ban| format!("; the {ban} is for it, too")).unwrap_or_default();
                    result.refused.push((of.network, format!("there is no such ban{but}")));
                }
            }
        }
        self.write(changes, shared, out);
        store(lines, Some((request, result)), out);
    }

    /// A part of the list.
    pub(in crate::core) fn list(
        &self,
        request: u64,
        after: Option<&BanOf>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let bans = shared.bans.after(after, LISTED, out.now.boot_ns).into_iter();
        let bans = bans.map(|(ban, left_s)| ListedBan { ban, left_s }).collect();
        reply(request, Response::Bans(BanList { bans, total: shared.bans.len() }), out);
    }

    /// Listeners were seen that may be tagged next.
    pub(in crate::core) fn seen(&mut self, scanned: &Scanned, shared: &SharedState, out: &mut Outbox) {
        let names = scanned.listeners.iter().flat_map(|seen| [seen.names.clone(), seen.names.proven()]);
        let scopes = self.new_scopes(names, shared, out);
        write(Vec::new(), scopes, shared, out);
    }

    /// Ends bans that are over, and brings the kernel's names-sets up to date.
    pub(in crate::core) fn second(&mut self, shared: &mut SharedState, out: &mut Outbox) {
        let over = shared.bans.end_those_over(out.now.boot_ns, OVER_AT_ONCE);
        let (lines, changes) = over.into_iter().map(|(of, change)| (Line::Unban(of), change)).unzip();
        self.write(changes, shared, out);
        store(lines, None, out);
    }

    /// Writes changes, and the scopes of every names-set that is known.
    fn write(&mut self, changes: Vec<KernelChange>, shared: &SharedState, out: &mut Outbox) {
        let in_use = shared.bans.in_use();
        if in_use.scoped == 0 && self.scopes.is_empty() {
            return write(changes, Vec::new(), shared, out);
        }
        let mut scopes = self.new_scopes(shared.known_names(), shared, out);
        let gone: Vec<NamesId> =
            self.scopes.keys().copied().filter(|id| shared.find_names(*id).is_none()).collect();
        for id in gone {
            self.scopes.remove(&id);
            scopes.push((id, None));
        }
        self.told.retain(|id| shared.find_names(*id).is_some());
        write(changes, scopes, shared, out);
    }

    /// The scopes that the kernel does not know yet.
    fn new_scopes(
        &mut self,
        all: impl IntoIterator<Item = NamesSet>,
        shared: &SharedState,
        out: &mut Outbox,
    ) -> Vec<(NamesId, Option<Scopes>)> {
        if shared.bans.in_use().scoped == 0 {
            return Vec::new();
        }
        let mut news = Vec::new();
        for names in all {
            let (id, (scopes, left_out)) = (names.id(), shared.bans.scopes_of(&names));
            if left_out > 0 && self.told.insert(id) {
                out.error(format!(
                    "{left_out} bans of one daemon each do not hold for the listener named {names}: the kernel looks at those for {} of its names",
                    scopes.len()
                ));
            }
            let has_some = scopes.iter().any(|scope| *scope != EVERY_DAEMON);
            if self.scopes.get(&id).map_or(has_some, |before| *before != scopes) {
                self.scopes.insert(id, scopes);
                news.push((id, Some(scopes)));
            }
        }
        news
    }

    pub(in crate::core) fn counters(&self, shared: &SharedState) -> [(Metric, u64); 1] {
        let bans = u64::try_from(shared.bans.len()).unwrap_or(u64::MAX);
        [(Metric::gauge("bans", "bans", "Bans in force."), bans)]
    }
}

fn all(of: Banned) -> impl Iterator<Item = BanOf> {
    let Banned { networks, daemon } = of;
    networks.into_iter().map(move |network: IpNet| BanOf::new(network, daemon.as_deref()))
}

fn write(
    changes: Vec<KernelChange>,
    scopes: Vec<(NamesId, Option<Scopes>)>,
    shared: &SharedState,
    out: &mut Outbox,
) {
    if !changes.is_empty() || !scopes.is_empty() {
        let in_use = shared.bans.in_use();
        out.act(Action::WriteBans(Box::new(BanWrites { changes, in_use, scopes, replace_all: false })));
    }
}

/// Stores changes, if there are any, and then replies.
fn store(lines: Vec<Line>, result: Option<(u64, BanResult)>, out: &mut Outbox) {
    match result {
        Some((request, result)) if lines.is_empty() => reply(request, Response::Banned(result), out),
        reply if !lines.is_empty() => out.act(Action::StoreBans { lines, reply }),
        _nothing_changed => {}
    }
}
