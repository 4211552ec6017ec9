//! Which rule decides where, for one service.
//!
//! In: the parts of the rules that match the service, in rule order. Out: for every cell
//! of the address space what decides there, and the rules that may match before.
//! Invariant: as in libwrap the first rule that matches decides, but for a failed `aclexec`:
//! it ends its table, and every later rule that has options but no verdict of its own does not decide.
//! One of three implementations of first match; [`super::outcomes`] says why there are three.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use super::{
    cells::{Cells, OpenCells},
    conditions::{Condition, HangsOn, ListPart},
    error::CompileError,
    region::{AddressNumber, Intervals},
};
use crate::{
    evaluate::request::{RuleIndex, Verdict},
    parse::rule::TableKind,
};

/// Most steps, of a few nanoseconds each, for one survey.
pub(super) const MAX_STEPS: usize = 1 << 28;

/// What the tables say, as far as the address tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressVerdict {
    /// Every such client is allowed.
    Allow,
    /// Every such client is refused.
    Refuse,
    /// It depends on the client's name or user, or on something else an address does not tell.
    Depends,
}

/// Where the search ends if no rule before matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decider {
    /// At this rule.
    Rule(RuleIndex),
    /// At one of these rules, which do the same.
    Rules(RuleRun),
    /// At the end: no rule matches, access is granted.
    NoRule,
    /// At the place where hosts.deny is broken: access is refused.
    TableBroken,
}

/// Rules in a row that do the same, each to an address or network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleRun {
    /// The first one.
    pub first: RuleIndex,
    /// Index of the last one, in the same table.
    pub last: usize,
}

impl RuleRun {
    /// How many rules there are.
    pub fn count(self) -> usize {
        self.last + 1 - self.first.index
    }
}

/// What decides about some clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleDecision {
    /// The verdict.
    pub answer: AddressVerdict,
    /// Where the search ends if none of `before` matches.
    pub by: Decider,
    /// The rules that may match before that, in order; none if the verdict does not hang on it.
    pub before: Vec<RuleIndex>,
    /// What else than the address they look at.
    pub hangs_on: HangsOn,
}

/// A decision, and what else can be compared of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ComparedDecision {
    pub decision: RuleDecision,
    /// Equal for decisions that are alike for all clients, whatever their names and users.
    pub meaning: u64,
    /// Equal for decisions with the same side effects.
    pub effects: u64,
    /// The rules of these that may match before the search ends.
    pub acting: Vec<RuleIndex>,
}

/// All records, each with a number.
#[derive(Default)]
pub(super) struct Records {
    pub all: Vec<ComparedDecision>,
    numbers: HashMap<ComparedDecision, u32, ahash::RandomState>,
    /// Steps taken so far.
    pub steps: usize,
}

impl Records {
    fn number(&mut self, record: ComparedDecision) -> u32 {
        if let Some(&known) = self.numbers.get(&record) {
            return known;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(record.clone());
        self.numbers.insert(record, number);
        number
    }

    /// Counts work.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), CompileError> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS { Err(CompileError::Survey) } else { Ok(()) }
    }
}

/// What a matching rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RuleEffect {
    /// It decides.
    Verdict(Verdict),
    /// It refuses, unless an `aclexec` before it failed: a rule of hosts.deny with options, none of which decides.
    Spoilable,
    /// Its `aclexec` decides whether it decides.
    Command,
}

/// A part of a rule, as it is applied to the cells.
pub(super) struct RulePart<'a> {
    pub rule: RuleIndex,
    /// The rule, or the run that it is the first of.
    pub by: Decider,
    pub part: &'a ListPart,
    /// The part's conditions, with that of the daemon list if there is one.
    pub conditions: Rc<[Condition]>,
    pub hangs_on: HangsOn,
    pub kind: RuleEffect,
    /// Equal for rules with the same side effects; 0 for none.
    pub effects: u64,
}

const ALLOW: u8 = 1;
const REFUSE: u8 = 2;

fn bit(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Allow => ALLOW,
        Verdict::Refuse => REFUSE,
    }
}

/// One rule that may match, or where the search ends.
#[derive(Clone, Copy)]
struct SearchEntry {
    by: Decider,
    bits: u8,
    conditions: u64,
    hangs_on: HangsOn,
    effects: u64,
    /// Distinguishes entries of the same bits: commands.
    kind: RuleEffect,
}

/// How sure it is that an `aclexec` failed before.
const SPOILT: u8 = 2;
const PERHAPS: u8 = 1;

/// One service, on its way through the rules.
struct RuleWalk<'a> {
    records: &'a mut Records,
    has_commands: bool,
    entries: Vec<SearchEntry>,
    /// Entries that every cell open at that time has.
    everywhere: Vec<u32>,
    seen: HashSet<Condition>,
    /// Entries of single cells, as lists: the list before, and one entry more.
    links: Vec<(u32, u32)>,
    link_numbers: HashMap<(u32, u32), u32, ahash::RandomState>,
    ends: HashMap<(u32, usize, u32), u32, ahash::RandomState>,
    /// The last one of these.
    last_end: Option<((u32, usize, u32), u32)>,
}

/// The empty list.
const NIL: u32 = u32::MAX;

/// What decides in each cell, by the numbers of records.
pub(super) struct DecidingRules {
    pub v4: Vec<u32>,
    pub v6: Vec<u32>,
}

impl DecidingRules {
    /// Charts one service. `parts` are in the order of the rules.
    pub(super) fn of(
        cells: (&Cells<u32>, &Cells<u128>),
        parts: &[RulePart<'_>],
        default: (Decider, Verdict),
        records: &mut Records,
    ) -> Result<Self, CompileError> {
        let is_command =
            |part: &RulePart<'_>| part.rule.table == TableKind::Allow && part.kind == RuleEffect::Command;
        let has_commands = parts.iter().any(is_command);
        let mut walk = RuleWalk {
            records,
            has_commands,
            entries: Vec::new(),
            everywhere: Vec::new(),
            seen: HashSet::new(),
            links: Vec::new(),
            link_numbers: HashMap::default(),
            ends: HashMap::default(),
            last_end: None,
        };
        let mut v4 = FamilyCells::new(cells.0, has_commands);
        let mut v6 = FamilyCells::new(cells.1, has_commands);
        walk.records.spend(cells.0.len() + cells.1.len())?;
        for part in parts {
            let Some(entries_of) = walk.entries_of(part) else { continue };
            walk.apply(&mut v4, part, &part.part.regions.v4.sure, &entries_of)?;
            walk.apply(&mut v6, part, &part.part.regions.v6.sure, &entries_of)?;
        }
        let (by, verdict) = default;
        let kind = RuleEffect::Verdict(verdict);
        let hangs_on = HangsOn::default();
        let end =
            walk.entry(SearchEntry { by, bits: bit(verdict), conditions: 0, hangs_on, effects: 0, kind });
        walk.close_all(&mut v4, end)?;
        walk.close_all(&mut v6, end)?;
        Ok(Self { v4: v4.out, v6: v6.out })
    }
}

/// The cells of one family while their outcomes are computed.
struct FamilyCells<'c, W> {
    cells: &'c Cells<W>,
    /// Cells whose search has not ended.
    open: OpenCells,
    /// Of these, cells whose search of hosts.allow has not ended; where no command can end it, `open` tells.
    in_allow: Option<OpenCells>,
    lists: Vec<u32>,
    spoilt: Vec<u8>,
    out: Vec<u32>,
}

impl<'c, W: AddressNumber> FamilyCells<'c, W> {
    fn new(cells: &'c Cells<W>, has_commands: bool) -> Self {
        let len = cells.len();
        Self {
            cells,
            open: OpenCells::new(len),
            in_allow: has_commands.then(|| OpenCells::new(len)),
            lists: vec![NIL; len],
            spoilt: if has_commands { vec![0; len] } else { Vec::new() },
            out: vec![0; len],
        }
    }

    fn spoilt(&self, cell: usize) -> usize {
        self.spoilt.get(cell).copied().unwrap_or(0).into()
    }
}

/// A part's entries, by how sure it is that a command failed before.
struct PartEntries {
    entries: [u32; 3],
    is_sure: bool,
}

impl RuleWalk<'_> {
    fn entry(&mut self, entry: SearchEntry) -> u32 {
        self.entries.push(entry);
        u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
    }

    /// Makes a part's entries; adds one that is the same for all open cells to them at once.
    fn entries_of(&mut self, part: &RulePart<'_>) -> Option<PartEntries> {
        let is_sure = part.conditions.is_empty();
        // Where the same condition decided before, it does not hold here.
        let new = part.conditions.iter().filter(|condition| !self.seen.contains(condition));
        let conditions = new.clone().map(hash).fold(0u64, u64::wrapping_add);
        if !is_sure && new.clone().next().is_none() {
            return None;
        }
        let one = |bits: u8, command: bool| SearchEntry {
            by: part.by,
            bits,
            conditions,
            hangs_on: HangsOn { command: part.hangs_on.command || command, ..part.hangs_on },
            effects: part.effects,
            kind: part.kind,
        };
        let entries = match (part.kind, part.rule.table) {
            (RuleEffect::Verdict(verdict), _) => [self.entry(one(bit(verdict), false)); 3],
            (RuleEffect::Command, TableKind::Allow) => [self.entry(one(ALLOW, true)); 3],
            (RuleEffect::Command, TableKind::Deny) => [self.entry(one(ALLOW | REFUSE, true)); 3],
            (RuleEffect::Spoilable, _) => [(REFUSE, false), (ALLOW | REFUSE, true), (ALLOW, false)]
                .map(|(bits, command)| self.entry(one(bits, command))),
        };
        let is_even = match part.kind {
            RuleEffect::Verdict(_) => part.rule.table == TableKind::Deny || !self.has_commands,
            RuleEffect::Spoilable => !self.has_commands,
            RuleEffect::Command => part.rule.table == TableKind::Deny,
        };
        if !is_sure && is_even && part.part.regions.is_everything() {
            self.everywhere.push(entries[0]);
            self.seen.extend(part.conditions.iter());
            return None;
        }
        Some(PartEntries { entries, is_sure })
    }

    fn apply<W: AddressNumber>(
        &mut self,
        cells_of: &mut FamilyCells<'_, W>,
        part: &RulePart<'_>,
        intervals: &Intervals<W>,
        entries_of: &PartEntries,
    ) -> Result<(), CompileError> {
        let in_allow = part.rule.table == TableKind::Allow;
        let ends_allow = in_allow && part.kind == RuleEffect::Command;
        let ranges = cells_of.cells.cut(intervals);
        self.records.spend(ranges.len())?;
        for (begin, end) in ranges {
            let (begin, end) = (begin as usize, end as usize);
            let find = |cells_of: &mut FamilyCells<'_, W>, cell| match &mut cells_of.in_allow {
                Some(skip) if in_allow => skip.find(cell),
                Some(_) | None => cells_of.open.find(cell),
            };
            let mut cell = find(cells_of, begin);
            while cell < end {
                self.records.spend(1)?;
                let entry = entries_of.entries[cells_of.spoilt(cell)];
                if entries_of.is_sure && !ends_allow {
                    cells_of.out[cell] = self.end(cells_of.lists[cell], entry)?;
                    cells_of.open.remove(cell);
                    if let Some(skip) = &mut cells_of.in_allow {
                        skip.remove(cell);
                    }
                } else {
                    cells_of.lists[cell] = self.link(cells_of.lists[cell], entry);
                    if ends_allow {
                        let spoilt = &mut cells_of.spoilt[cell];
                        *spoilt = if entries_of.is_sure { SPOILT } else { PERHAPS.max(*spoilt) };
                        if entries_of.is_sure
                            && let Some(skip) = &mut cells_of.in_allow
                        {
                            skip.remove(cell);
                        }
                    }
                }
                cell = find(cells_of, cell + 1);
            }
        }
        Ok(())
    }

    fn close_all<W: AddressNumber>(
        &mut self,
        cells_of: &mut FamilyCells<'_, W>,
        entry: u32,
    ) -> Result<(), CompileError> {
        let mut cell = cells_of.open.find(0);
        while cell < cells_of.out.len() {
            cells_of.out[cell] = self.end(cells_of.lists[cell], entry)?;
            cells_of.open.remove(cell);
            cell = cells_of.open.find(cell + 1);
        }
        Ok(())
    }

    fn link(&mut self, before: u32, entry: u32) -> u32 {
        let next = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
        *self.link_numbers.entry((before, entry)).or_insert_with(|| {
            self.links.push((before, entry));
            next
        })
    }

    /// The record of a cell whose search ends.
    fn end(&mut self, list: u32, end: u32) -> Result<u32, CompileError> {
        let key = (list, self.everywhere.len(), end);
        if let Some((_, known)) = self.last_end.filter(|(last, _)| *last == key) {
            return Ok(known);
        }
        if let Some(&known) = self.ends.get(&key) {
            self.last_end = Some((key, known));
            return Ok(known);
        }
        let mut before = self.everywhere.clone();
        let mut at = list;
        while let Some(&(next, entry)) = self.links.get(at as usize) {
            before.push(entry);
            at = next;
        }
        before.sort_unstable();
        self.records.spend(before.len())?;
        // Where a condition was asked for before, it does not hold; a command has none.
        let mut asked = HashSet::new();
        let mut before: Vec<SearchEntry> = before.iter().map(|entry| self.entries[*entry as usize]).collect();
        before.retain(|entry| entry.conditions == 0 || asked.insert(entry.conditions));
        let number = self.records.number(record(&before, self.entries[end as usize]));
        self.ends.insert(key, number);
        Ok(number)
    }
}

fn record(before: &[SearchEntry], end: SearchEntry) -> ComparedDecision {
    let bits = before.iter().fold(end.bits, |bits, entry| bits | entry.bits);
    let answer = match (bits & ALLOW, bits & REFUSE) {
        (ALLOW, 0) => AddressVerdict::Allow,
        (0, REFUSE) => AddressVerdict::Refuse,
        (_, _) => AddressVerdict::Depends,
    };
    let mut rules: Vec<RuleIndex> = Vec::new();
    let mut hangs_on = HangsOn::default();
    if answer == AddressVerdict::Depends {
        hangs_on = before.iter().fold(end.hangs_on, |all, entry| all | entry.hangs_on);
        for entry in before {
            if let Decider::Rule(rule) = entry.by
                && entry.by != end.by
            {
                rules.push(rule);
            }
        }
        rules.dedup();
    }
    let with_effects: Vec<_> = before
        .iter()
        .filter(|entry| entry.effects != 0)
        .map(|entry| (entry.conditions, entry.effects))
        .collect();
    let mut acting: Vec<RuleIndex> = before
        .iter()
        .filter(|entry| entry.effects != 0 && entry.by != end.by)
        .filter_map(|entry| if let Decider::Rule(rule) = entry.by { Some(rule) } else { None })
        .collect();
    acting.dedup();
    ComparedDecision {
        acting,
        decision: RuleDecision { answer, by: end.by, before: rules, hangs_on },
        meaning: if answer == AddressVerdict::Depends { meaning(before, end) } else { hash(&bits) },
        effects: if with_effects.is_empty() { end.effects } else { hash(&(with_effects, end.effects)) },
    }
}

/// Verdicts as bits, the command if they are one's, and the sum of the conditions.
type ConditionGroup = (u8, Option<(RuleEffect, u64)>, u64);

/// Rules in a row with the same verdict are one condition; the last ones add nothing if the end says the same.
fn meaning(before: &[SearchEntry], end: SearchEntry) -> u64 {
    let mut groups: Vec<ConditionGroup> = Vec::new();
    for entry in before {
        // A command is a condition of its own, told by the side effects of its rule.
        let command = (entry.hangs_on.command).then_some((entry.kind, entry.effects));
        match groups.last_mut() {
            Some((bits, None, conditions)) if command.is_none() && *bits == entry.bits => {
                *conditions = conditions.wrapping_add(entry.conditions);
            }
            Some(_) | None => groups.push((entry.bits, command, entry.conditions)),
        }
    }
    let command = (end.hangs_on.command).then_some((end.kind, end.effects));
    if command.is_none()
        && groups.last().is_some_and(|(bits, command, _)| command.is_none() && *bits == end.bits)
    {
        groups.pop();
    }
    hash(&(groups, end.bits, command))
}

/// The same in every process: no key is random.
pub(super) fn hash(it: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    it.hash(&mut hasher);
    hasher.finish()
}
