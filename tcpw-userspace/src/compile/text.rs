//! Text patterns on addresses: which addresses have a text that matches.
//!
//! In: a text pattern. Out: intervals, sure where every address of them matches,
//! doubtful where their number would pass the limit.
//! Invariant: an address outside of all intervals does not match.
//! Source: glibc `inet_ntop.c` for the text of an IPv6 address.

use std::{collections::HashMap, net::Ipv4Addr};

use super::{
    automaton::{DOTTED, Glob, HEX, States},
    region::{Collector, Word},
};

/// Most intervals of one pattern and family; `*.5.*` has 65,791.
pub(super) const MAX_INTERVALS: usize = 1 << 17;

/// Most prefixes of one length that are looked into for IPv6.
const MAX_UNDECIDED: usize = 1 << 16;

/// Adds the addresses whose text the pattern matches, in about `limit` intervals per family.
///
/// Returns what it cost, in blocks looked at.
pub(super) fn collect(glob: &Glob, limit: usize, out: &mut Collector) -> usize {
    let before = out.v4.len();
    collect_v4(glob, limit, out);
    out.v4.len() - before + collect_v6(glob, limit, out)
}

/// How many addresses of a block match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
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
    walk.emit(0, start, octets, 0, out);
}

/// A walk over the octets of IPv4 addresses; blocks with equal states are equal.
struct WalkV4<'a> {
    glob: &'a Glob,
    octets: [String; 256],
    parts: HashMap<(u8, States), Part>,
}

impl WalkV4<'_> {
    fn child(&self, level: u8, states: States, octet: usize) -> States {
        let states = if level == 0 { states } else { self.glob.step(states, b'.') };
        self.glob.run(states, self.octets[octet].as_bytes())
    }

    fn part(&mut self, level: u8, states: States) -> Part {
        if level == 4 {
            return if self.glob.accepts(states) { Part::All } else { Part::None };
        }
        if !self.glob.may_accept(states, DOTTED) {
            return Part::None;
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
            [true, false, false] => Part::None,
            [false, false, true] => Part::All,
            _ => Part::Some,
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
            Part::None => return 0,
            Part::All => return 1,
            Part::Some if level == depth => return 1,
            Part::Some => {}
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

    fn emit(&mut self, level: u8, states: States, depth: u8, first: u32, out: &mut Collector) {
        let block = (first, first.prefix_last(level * 8));
        match self.part(level, states) {
            Part::None => {}
            Part::All => out.v4.push(block),
            Part::Some if level == depth => out.v4_doubtful.push(block),
            Part::Some => {
                for octet in 0..256 {
                    let child = self.child(level, states, octet as usize);
                    self.emit(level + 1, child, depth, first | (octet << (24 - 8 * level)), out);
                }
            }
        }
    }
}

fn collect_v6(glob: &Glob, limit: usize, out: &mut Collector) -> usize {
    let mut undecided = vec![0u128];
    let mut cost = 0;
    for nibbles in 0..=32u8 {
        cost += undecided.len();
        let mut deeper = Vec::new();
        for first in undecided {
            match part_v6(glob, first, nibbles) {
                Part::None => {}
                Part::All => out.v6.push((first, first.prefix_last(nibbles * 4))),
                Part::Some => deeper.push(first),
            }
        }
        if deeper.is_empty() {
            break;
        }
        if deeper.len() * 16 > limit.min(MAX_UNDECIDED) {
            out.v6_doubtful.extend(deeper.iter().map(|first| (*first, first.prefix_last(nibbles * 4))));
            break;
        }
        undecided = deeper
            .iter()
            .flat_map(|first| (0..16u128).map(move |nibble| first | nibble << (124 - 4 * u32::from(nibbles))))
            .collect();
    }
    cost
}

/// How many addresses that begin with these nibbles match.
///
/// Every text that such an address may have is looked at, as far as the nibbles
/// fix it; which zero words it leaves out (`::`) depends on later ones.
fn part_v6(glob: &Glob, first: u128, nibbles: u8) -> Part {
    let prefix = PrefixV6 { words: words(first), nibbles };
    let mut seen = [false; 3];
    for gap in prefix.gaps() {
        let (text, alphabet) = prefix.text(gap);
        let states = glob.run(glob.start(), text.as_bytes());
        let part = if alphabet.is_empty() {
            if glob.accepts(states) { Part::All } else { Part::None }
        } else if glob.accepts_any(states) {
            Part::All
        } else if glob.may_accept(states, alphabet) {
            Part::Some
        } else {
            Part::None
        };
        seen[part as usize] = true;
    }
    match seen {
        [_, false, false] => Part::None,
        [false, false, true] => Part::All,
        _ => Part::Some,
    }
}

fn words(address: u128) -> [u16; 8] {
    std::net::Ipv6Addr::from_bits(address).segments()
}

/// The words an address leaves out as `::`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Gap {
    begin: usize,
    end: usize,
}

/// An IPv6 address of which the first nibbles are known; the others are 0 in `words`.
struct PrefixV6 {
    words: [u16; 8],
    nibbles: u8,
}

impl PrefixV6 {
    /// Words known in full.
    fn known(&self) -> usize {
        usize::from(self.nibbles / 4)
    }

    fn may_be_zero(&self, word: usize) -> bool {
        self.words[word] == 0
    }

    fn may_be_nonzero(&self, word: usize) -> bool {
        word >= self.known() || self.words[word] != 0
    }

    /// Every gap an address with this prefix may have. `None` stands for no gap
    /// and for all gaps behind the known words, whose texts do not differ yet.
    fn gaps(&self) -> Vec<Option<Gap>> {
        let mut gaps = Vec::new();
        if !self.has_gap() {
            gaps.push(None);
        }
        for begin in 0..7.min(self.known() + 1) {
            for end in begin + 2..=8 {
                let gap = Gap { begin, end };
                if self.may_have(gap) {
                    gaps.push(Some(gap));
                }
            }
        }
        let behind = self.known() + 1..7;
        if !gaps.contains(&None)
            && behind.into_iter().any(|begin| (begin + 2..=8).any(|end| self.may_have(Gap { begin, end })))
        {
            gaps.push(None);
        }
        gaps
    }

    /// Whether the known words have two zeros in a row.
    fn has_gap(&self) -> bool {
        self.words[..self.known()].windows(2).any(|pair| pair == [0, 0])
    }

    /// The first of the longest runs of zero words is left out.
    fn may_have(&self, gap: Gap) -> bool {
        let zeros = (gap.begin..gap.end).all(|word| self.may_be_zero(word));
        let bounded = (gap.begin == 0 || self.may_be_nonzero(gap.begin - 1))
            && (gap.end == 8 || self.may_be_nonzero(gap.end));
        if !zeros || !bounded {
            return false;
        }
        let mut run = 0;
        for word in 0..self.known() {
            run = if self.words[word] == 0 && !(gap.begin..gap.end).contains(&word) { run + 1 } else { 0 };
            let longest = gap.end - gap.begin - usize::from(word < gap.begin);
            if run > longest {
                return false;
            }
        }
        true
    }

    /// The text as far as it is known, and the characters that may follow.
    fn text(&self, gap: Option<Gap>) -> (String, &'static [u8]) {
        use std::fmt::Write;
        let mut text = String::new();
        if gap == Some(Gap { begin: 0, end: 6 }) {
            if self.nibbles < 32 {
                return ("::".to_owned(), DOTTED);
            }
            let low = (u32::from(self.words[6]) << 16) | u32::from(self.words[7]);
            return (format!("::{}", Ipv4Addr::from_bits(low)), &[]);
        }
        for word in 0..8 {
            if let Some(gap) = gap
                && (gap.begin..gap.end).contains(&word)
            {
                if word == gap.begin {
                    text.push(':');
                }
                continue;
            }
            if word > 0 {
                text.push(':');
            }
            if word < self.known() {
                // Writing to a String does not fail.
                let _ = write!(text, "{:x}", self.words[word]);
                continue;
            }
            if word == self.known() && self.words[word] != 0 {
                let unknown = 16 - 4 * u32::from(self.nibbles % 4);
                let _ = write!(text, "{:x}", self.words[word] >> unknown);
            }
            return (text, HEX);
        }
        if gap.is_some_and(|gap| gap.end == 8) {
            text.push(':');
        }
        (text, &[])
    }
}

/// The text of an IPv6 address as glibc prints it.
pub(super) fn text_v6(address: u128) -> String {
    let prefix = PrefixV6 { words: words(address), nibbles: 32 };
    let gap = prefix.gaps().into_iter().next().flatten();
    prefix.text(gap).0
}
