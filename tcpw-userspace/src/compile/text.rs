//! Text patterns on addresses: which addresses have a text that matches.
//!
//! In: a text pattern. Out: intervals, sure where every address of them matches,
//! doubtful where their number would pass the limit.
//! Invariant: an address outside of all intervals does not match.

use std::{collections::HashMap, rc::Rc};

use super::{
    automaton::{DOTTED, Glob, States},
    region::{AddressNumber, Collector},
    text_v6::collect_v6,
};

/// Most intervals of one pattern and family; `*.5.*` has 65,791.
pub(super) const MAX_INTERVALS: usize = 1 << 17;

/// Most prefixes of one length that are looked into for IPv6.
const MAX_UNDECIDED: usize = 1 << 12;

/// How far a pattern is spelled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Up to the limits above.
    Full,
    /// IPv6 prefixes of a few words, IPv4 ones of a few octets.
    Brief,
    /// Not at all: everything that may match is in doubt.
    None,
}

impl Effort {
    fn intervals(self) -> usize {
        match self {
            Self::Full => MAX_INTERVALS,
            Self::Brief => 1 << 10,
            Self::None => 1,
        }
    }

    fn undecided(self) -> usize {
        match self {
            Self::Full => MAX_UNDECIDED,
            Self::Brief => 1 << 8,
            Self::None => 0,
        }
    }
}

/// Adds the addresses whose text the pattern matches.
///
/// Returns what it cost, in blocks looked at.
pub(super) fn collect(glob: &Glob, effort: Effort, out: &mut Collector) -> usize {
    let before = out.v4.len() + out.v4_doubtful.len();
    collect_v4(glob, effort.intervals(), out);
    (out.v4.len() + out.v4_doubtful.len() - before) / 16 + collect_v6(glob, effort.undecided(), out)
}

/// How many addresses of a block match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    None,
    Some,
    All,
}

fn collect_v4(glob: &Glob, limit: usize, out: &mut Collector) {
    let mut walk =
        WalkV4 { glob, octets: std::array::from_fn(|octet| octet.to_string()), parts: HashMap::new() };
    let start = glob.start();
    let octets = (0..=4u8)
        .rev()
        .find(|&octets| octets == 0 || walk.count(0, start, octets, &mut HashMap::new()) <= limit)
        .unwrap_or(0);
    let blocks = walk.blocks(0, start, octets, &mut HashMap::new());
    out.v4.extend(&blocks.v4);
    out.v4_doubtful.extend(&blocks.v4_doubtful);
}

/// A walk over the octets of IPv4 addresses; blocks with equal states are equal.
struct WalkV4<'a> {
    glob: &'a Glob,
    octets: [String; 256],
    parts: HashMap<(u8, States), Coverage>,
}

impl WalkV4<'_> {
    fn child(&self, level: u8, states: States, octet: usize) -> States {
        let states = if level == 0 { states } else { self.glob.step(states, b'.') };
        self.glob.run(states, self.octets[octet].as_bytes())
    }

    fn part(&mut self, level: u8, states: States) -> Coverage {
        if level == 4 {
            return if self.glob.accepts(states) { Coverage::All } else { Coverage::None };
        }
        if !self.glob.may_accept(states, DOTTED) {
            return Coverage::None;
        }
        if let Some(&known) = self.parts.get(&(level, states)) {
            return known;
        }
        let mut seen = [false; 3];
        for octet in 0..256 {
            let child = self.child(level, states, octet);
            seen[self.part(level + 1, child) as usize] = true;
        }
        let part = match seen {
            [true, false, false] => Coverage::None,
            [false, false, true] => Coverage::All,
            _ => Coverage::Some,
        };
        self.parts.insert((level, states), part);
        part
    }

    /// Intervals that a walk down to `depth` octets gives, before neighbours join.
    fn count(
        &mut self,
        level: u8,
        states: States,
        depth: u8,
        known: &mut HashMap<(u8, States), usize>,
    ) -> usize {
        match self.part(level, states) {
            Coverage::None => return 0,
            Coverage::All => return 1,
            Coverage::Some if level == depth => return 1,
            Coverage::Some => {}
        }
        if let Some(&count) = known.get(&(level, states)) {
            return count;
        }
        let mut count = 0usize;
        for octet in 0..256 {
            let child = self.child(level, states, octet);
            count = count.saturating_add(self.count(level + 1, child, depth, known));
        }
        known.insert((level, states), count);
        count
    }

    /// What matches below a block, relative to its first address.
    fn blocks(
        &mut self,
        level: u8,
        states: States,
        depth: u8,
        known: &mut HashMap<(u8, States), Rc<Collector>>,
    ) -> Rc<Collector> {
        if let Some(blocks) = known.get(&(level, states)) {
            return Rc::clone(blocks);
        }
        let mut out = Collector::default();
        let block = (0, 0.prefix_last(level * 8));
        match self.part(level, states) {
            Coverage::None => {}
            Coverage::All => out.v4.push(block),
            Coverage::Some if level == depth => out.v4_doubtful.push(block),
            Coverage::Some => {
                for octet in 0..256u32 {
                    let child = self.child(level, states, octet as usize);
                    let below = self.blocks(level + 1, child, depth, known);
                    let shift = |(first, last): &(u32, u32)| {
                        let at = octet << (24 - 8 * level);
                        (at | first, at | last)
                    };
                    out.v4.extend(below.v4.iter().map(shift));
                    out.v4_doubtful.extend(below.v4_doubtful.iter().map(shift));
                }
            }
        }
        let out = Rc::new(out);
        known.insert((level, states), Rc::clone(&out));
        out
    }
}
