//! What changes between two pairs of tables, in meaning.
//!
//! In: parsed tables, old and new. Out: for every service that they tell apart the clients
//! that are treated differently, as the fewest networks, with what decided and what decides.
//! Invariant: a client in no change has the same verdict, whatever names and users are; in
//! a change of [`ChangeKind::Verdict`] every client has another one.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::{
    cells::Cells,
    classes::check,
    conditions::ConditionNumbers,
    deciding_rules::{AddressVerdict, ComparedDecision, DecidingRules, Records, RuleDecision},
    distinct_services::{self, Service, ServiceFilter},
    error::{CompileError, MAX_CELLS},
    networks::{Networks, runs},
    service::DaemonLists,
    survey::{Detail, SurveyedRules, servers, single_rules},
};
use crate::{evaluate::request::Lookup, parse::rule::Tables};

/// Clients of some services that are treated differently.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Change {
    /// What changes.
    pub kind: ChangeKind,
    /// The services.
    pub services: Vec<Service>,
    /// Their clients' addresses.
    pub networks: Networks,
    /// What decided about them. Of a change of [`ChangeKind::Effects`] `before` are the rules
    /// that may match and have other options than `allow` and `deny`.
    pub old: RuleDecision,
    /// What decides about them, likewise.
    pub new: RuleDecision,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// The verdict, for every client.
    Verdict,
    /// The verdict, for some names or users, or results of a command.
    Depends,
    /// Not the verdict, but side effects: other options.
    Effects,
}

/// Says what changes.
///
/// `lookup` is asked whether the users and groups of options exist.
///
/// # Errors
///
/// There is too much to say.
pub fn diff(
    old: &Tables,
    new: &Tables,
    lookup: &dyn Lookup,
    detail: Detail,
) -> Result<Vec<Change>, CompileError> {
    let mut records = Records::default();
    let mut lists = DaemonLists::default();
    let mut conditions = ConditionNumbers::default();
    let rules =
        [old, new].map(|tables| SurveyedRules::read(tables, lookup, &mut lists, &mut conditions, detail));
    let servers = servers(&lists, &[old, new]);
    let by_lists = distinct_services::services(&lists, &servers, &ServiceFilter::default(), &mut records)?;
    let mut joined: BTreeMap<Change, Vec<Service>> = BTreeMap::new();
    for (matched, services) in by_lists {
        let parts = rules.each_ref().map(|rules| rules.parts(&matched, &mut conditions));
        let v4 = Cells::new(parts.iter().flatten().map(|it| &it.part.regions.v4));
        let v6 = Cells::new(parts.iter().flatten().map(|it| &it.part.regions.v6));
        check("IPv4", v4.len(), MAX_CELLS)?;
        check("IPv6", v6.len(), MAX_CELLS)?;
        let deciding = |side: usize, records: &mut Records| {
            DecidingRules::of((&v4, &v6), &parts[side], rules[side].default, records)
        };
        let (before, after) = (deciding(0, &mut records)?, deciding(1, &mut records)?);
        for change in compare(&records.all, (&v4, &v6), &before, &after) {
            for change in by_single_rules([old, new], change) {
                joined.entry(change).or_default().extend(services.iter().cloned());
            }
        }
    }
    let with = |(change, mut services): (Change, Vec<Service>)| {
        services.sort_unstable();
        Change { services, ..change }
    };
    let mut all: Vec<Change> = joined.into_iter().map(with).collect();
    all.sort_unstable();
    Ok(all)
}

/// The parts of a change: of a few networks it is told which rule of a run decides.
fn by_single_rules([old, new]: [&Tables; 2], change: Change) -> Vec<Change> {
    let mut all = Vec::new();
    for (by_old, networks) in single_rules(old, &change.old, change.networks.clone()) {
        for (by_new, networks) in single_rules(new, &change.new, networks) {
            let old = RuleDecision { by: by_old, ..change.old.clone() };
            let new = RuleDecision { by: by_new, ..change.new.clone() };
            all.push(Change { networks, old, new, ..change.clone() });
        }
    }
    all
}

/// The kind of a change, and the numbers of both records.
type Changed = (ChangeKind, u32, u32);

/// Intervals of both families.
type FamilySpans = (Vec<(u32, u32)>, Vec<(u128, u128)>);

fn compare(
    records: &[ComparedDecision],
    (v4, v6): (&Cells<u32>, &Cells<u128>),
    old: &DecidingRules,
    new: &DecidingRules,
) -> Vec<Change> {
    // Where nothing changes, it does not matter what decides.
    let mut known: HashMap<(u32, u32), Option<Changed>> = HashMap::new();
    let mut change = |pair: (&u32, &u32)| {
        let pair = (*pair.0, *pair.1);
        *known.entry(pair).or_insert_with(|| {
            let kind = kind(&records[pair.0 as usize], &records[pair.1 as usize])?;
            Some((kind, pair.0, pair.1))
        })
    };
    let v4_changes: Vec<_> = old.v4.iter().zip(&new.v4).map(&mut change).collect();
    let v6_changes: Vec<_> = old.v6.iter().zip(&new.v6).map(&mut change).collect();
    let decision = |kind, number: u32| {
        let ComparedDecision { decision, acting, .. } = &records[number as usize];
        match kind {
            ChangeKind::Verdict | ChangeKind::Depends => decision.clone(),
            ChangeKind::Effects => RuleDecision { before: acting.clone(), ..decision.clone() },
        }
    };
    let mut keys = HashMap::new();
    let mut key = |(kind, old, new): Changed| {
        let make = || Rc::new((kind, decision(kind, old), decision(kind, new)));
        Rc::clone(keys.entry((old, new)).or_insert_with(make))
    };
    let mut found: BTreeMap<Rc<(ChangeKind, RuleDecision, RuleDecision)>, FamilySpans> = BTreeMap::new();
    for (change, run) in runs(&v4.starts, &v4_changes) {
        if let Some(change) = change {
            found.entry(key(change)).or_default().0.push(run);
        }
    }
    for (change, run) in runs(&v6.starts, &v6_changes) {
        if let Some(change) = change {
            found.entry(key(change)).or_default().1.push(run);
        }
    }
    let change = |(key, (v4, v6)): (Rc<(ChangeKind, RuleDecision, RuleDecision)>, FamilySpans)| {
        let (kind, old, new) = (key.0, key.1.clone(), key.2.clone());
        Change { kind, services: Vec::new(), networks: Networks::new(v4, v6), old, new }
    };
    found.into_iter().map(change).collect()
}

fn kind(old: &ComparedDecision, new: &ComparedDecision) -> Option<ChangeKind> {
    let answers = (old.decision.answer, new.decision.answer);
    if let (AddressVerdict::Allow, AddressVerdict::Refuse) | (AddressVerdict::Refuse, AddressVerdict::Allow) =
        answers
    {
        return Some(ChangeKind::Verdict);
    }
    if answers.0 != answers.1 || old.meaning != new.meaning {
        return Some(ChangeKind::Depends);
    }
    (old.effects != new.effects).then_some(ChangeKind::Effects)
}
