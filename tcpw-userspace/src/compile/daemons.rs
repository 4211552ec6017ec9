//! Daemon names that the tables tell apart.
//!
//! In: the daemon patterns. Out: every combination of them that one name can
//! match, with such a name; and the combinations that several names can.
//! Invariant: a listener may have any name; none that exists is missing, or
//! it is said that some may be.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::{
    automaton::{GlobPart, parts},
    service::{Matches, NamePatterns},
};
use crate::{names::NamesSet, parse::rule::TextPattern};

/// Most states of all patterns together that are looked into.
const MAX_STATES: usize = 1 << 12;

/// Names that match the same patterns.
#[derive(Clone, Debug)]
pub(super) struct NameKind {
    /// The patterns.
    pub matches: Matches,
    /// One of the names.
    pub example: Vec<u8>,
    /// Whether a daemon list spells it out; else it stands for all names that match the patterns.
    pub is_spelled: bool,
}

/// Every kind of name.
#[derive(Debug, Default)]
pub(super) struct NameKinds {
    /// The kinds.
    pub kinds: Vec<NameKind>,
    /// Whether there may be more: too many patterns with wildcards.
    pub is_cut: bool,
}

impl NamePatterns {
    /// The kinds of names: those spelled out, sorted, and then the others.
    pub(super) fn kinds(&self) -> NameKinds {
        let mut spelled: BTreeSet<Vec<u8>> = self.literal.keys().map(|name| name.to_vec()).collect();
        if self.others.iter().any(|(pattern, _)| *pattern == TextPattern::Known) {
            spelled.insert(b"unknown".to_vec());
        }
        let kind = |name: Vec<u8>| NameKind {
            matches: self.matches(&NamesSet::new([&name])),
            example: name,
            is_spelled: true,
        };
        let mut kinds: Vec<NameKind> = spelled.into_iter().map(kind).collect();
        let mut walk = NameWalk::new(self);
        let is_cut = !walk.run();
        kinds.extend(walk.found);
        let mut known = BTreeSet::new();
        kinds.retain(|kind| kind.is_spelled || known.insert(kind.matches.clone()));
        // A name that reads as an IPv6 address may be spelled in many ways.
        let is_address =
            |(pattern, _): &(TextPattern, u32)| matches!(pattern, TextPattern::Bracketed(Some(_)));
        NameKinds { kinds, is_cut: is_cut || self.others.iter().any(is_address) }
    }
}

/// What every set of names with such kinds matches that differs for the lists.
///
/// `excepted` are the patterns for the sake of which a second name of a listener matters: those behind an EXCEPT make a list
/// match less. `None` if there are more than `limit`.
pub(super) fn unions(
    kinds: &NameKinds,
    excepted: &BTreeSet<u32>,
    none: Matches,
    limit: usize,
) -> Option<Vec<Matches>> {
    let more: BTreeSet<&Matches> = kinds
        .kinds
        .iter()
        .map(|kind| &kind.matches)
        .filter(|matches| {
            matches.iter().any(|number| excepted.contains(number) && none.binary_search(number).is_err())
        })
        .collect();
    let mut all: BTreeSet<Matches> = kinds.kinds.iter().map(|kind| kind.matches.clone()).collect();
    all.insert(none);
    let mut open: Vec<Matches> = all.iter().cloned().collect();
    while let Some(one) = open.pop() {
        for other in &more {
            let both: BTreeSet<u32> = one.iter().chain(other.iter()).copied().collect();
            let both: Matches = both.into_iter().collect();
            if !all.contains(&both) {
                if all.len() >= limit {
                    return None;
                }
                all.insert(both.clone());
                open.push(both);
            }
        }
    }
    (all.len() <= limit).then(|| all.into_iter().collect())
}

/// Positions in every pattern.
type PatternPositions = Vec<Vec<u16>>;

/// All names at once, a character at a time, through all patterns with wildcards.
struct NameWalk {
    patterns: Vec<(Vec<GlobPart>, u32)>,
    always: Vec<u32>,
    alphabet: Vec<u8>,
    found: Vec<NameKind>,
}

impl NameWalk {
    fn new(names: &NamePatterns) -> Self {
        let mut walk =
            Self { patterns: Vec::new(), always: Vec::new(), alphabet: Vec::new(), found: Vec::new() };
        let mut bytes = BTreeSet::new();
        for (pattern, number) in &names.others {
            // "unknown" is a name of its own.
            if pattern.matches_every_name() || *pattern == TextPattern::Known {
                walk.always.push(*number);
            } else if let Some(parts) = parts(pattern) {
                bytes.extend(
                    parts
                        .iter()
                        .filter_map(|part| if let GlobPart::Byte(byte) = part { Some(*byte) } else { None }),
                );
                walk.patterns.push((parts, *number));
            }
        }
        // One character that no pattern has stands for all of them.
        let other =
            (b'a'..=b'z').rev().chain(b'0'..=b'9').chain(128..=255).find(|byte| !bytes.contains(byte));
        walk.alphabet = other.into_iter().chain(bytes).collect();
        walk
    }

    /// Whether every state was looked at.
    fn run(&mut self) -> bool {
        let start: PatternPositions =
            self.patterns.iter().map(|(parts, _)| closure(parts, vec![0])).collect();
        // The empty name is none: the state before the first character is not one of a name's.
        let mut seen: HashSet<PatternPositions> = HashSet::new();
        let mut open = VecDeque::from([(start, Vec::new())]);
        let mut known = BTreeSet::new();
        while let Some((state, name)) = open.pop_front() {
            if !name.is_empty() {
                let accepted = self.patterns.iter().zip(&state).filter(|((parts, _), positions)| {
                    positions.iter().any(|position| usize::from(*position) == parts.len())
                });
                let mut matches: Vec<u32> =
                    self.always.iter().copied().chain(accepted.map(|((_, number), _)| *number)).collect();
                matches.sort_unstable();
                let matches = Matches::from(matches);
                if known.insert(matches.clone()) {
                    self.found.push(NameKind { matches, example: name.clone(), is_spelled: false });
                }
            }
            for &byte in &self.alphabet {
                let next: PatternPositions =
                    self.patterns.iter().zip(&state).map(|((parts, _), at)| step(parts, at, byte)).collect();
                if seen.contains(&next) {
                    continue;
                }
                if seen.len() >= MAX_STATES {
                    return false;
                }
                seen.insert(next.clone());
                open.push_back((next, [name.as_slice(), &[byte]].concat()));
            }
        }
        true
    }
}

fn step(parts: &[GlobPart], positions: &[u16], byte: u8) -> Vec<u16> {
    let mut next = Vec::new();
    for &position in positions {
        match parts.get(usize::from(position)) {
            Some(GlobPart::Many) => next.push(position),
            Some(GlobPart::Any) => next.push(position + 1),
            Some(GlobPart::Byte(own)) if *own == byte => next.push(position + 1),
            Some(GlobPart::Byte(_)) | None => {}
        }
    }
    closure(parts, next)
}

/// `*` may take nothing.
fn closure(parts: &[GlobPart], mut positions: Vec<u16>) -> Vec<u16> {
    for index in 0..positions.len() {
        let position = positions[index];
        if parts.get(usize::from(position)) == Some(&GlobPart::Many) {
            positions.push(position + 1);
        }
    }
    positions.sort_unstable();
    positions.dedup();
    positions
}
