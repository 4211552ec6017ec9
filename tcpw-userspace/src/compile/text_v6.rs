//! Text patterns on IPv6 addresses.
//!
//! In: an automaton. Out: intervals, sure or doubtful.
//! Invariant: an address outside of all intervals does not match. v4-mapped
//! addresses do not count: their text is that of an IPv4 address.
//! Source: glibc `inet_ntop.c` for the text of an address.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{
    automaton::{DOTTED, Glob, HEX, States},
    region::{AddressNumber, Collector},
    text::Coverage,
};

/// Adds the IPv6 addresses whose text the pattern matches; looks into at most `limit`
/// prefixes of one length. Returns how many it looked at.
pub(super) fn collect_v6(glob: &Glob, limit: usize, out: &mut Collector) -> usize {
    let mut undecided = vec![0u128];
    let mut cost = 0;
    for nibbles in 0..=32u8 {
        cost += undecided.len();
        let mut deeper = Vec::new();
        for first in undecided {
            match part_v6(glob, first, nibbles) {
                Coverage::None => {}
                Coverage::All => out.v6.push((first, first.prefix_last(nibbles * 4))),
                Coverage::Some => deeper.push(first),
            }
        }
        if deeper.is_empty() {
            break;
        }
        if deeper.len() * 16 > limit {
            for first in deeper {
                doubt_v6(glob, first, nibbles, out);
            }
            break;
        }
        undecided = deeper
            .iter()
            .flat_map(|first| (0..16u128).map(move |nibble| first | nibble << (124 - 4 * u32::from(nibbles))))
            .collect();
    }
    cost
}

/// Leaves a block in doubt, but for its beginning: with zeros behind it, as
/// networks and `::` have them, a text is often decided.
fn doubt_v6(glob: &Glob, first: u128, nibbles: u8, out: &mut Collector) {
    let mut doubtful = Some(first);
    for words in nibbles / 4 + 1..8 {
        let zeros = (first, first.prefix_last(words * 16));
        match part_v6(glob, first, words * 4) {
            Coverage::Some => continue,
            Coverage::None => {}
            Coverage::All => out.v6.push(zeros),
        }
        doubtful = zeros.1.next();
        break;
    }
    let last = first.prefix_last(nibbles * 4);
    if let Some(doubtful) = doubtful.filter(|doubtful| *doubtful <= last) {
        out.v6_doubtful.push((doubtful, last));
    }
}

/// How many addresses that begin with these nibbles match.
///
/// Every text that such an address may have is looked at, as far as the nibbles
/// fix it; which zero words it leaves out (`::`) depends on later ones.
fn part_v6(glob: &Glob, first: u128, nibbles: u8) -> Coverage {
    let prefix = PrefixV6 { words: words(first), nibbles };
    let mut seen = [false; 3];
    for gap in prefix.gaps() {
        let (text, next) = prefix.text(gap);
        let states = glob.run(glob.start(), text.as_bytes());
        let alphabet = match next {
            Next::End => {
                let part = if glob.accepts(states) { Coverage::All } else { Coverage::None };
                seen[part as usize] = true;
                continue;
            }
            Next::Word | Next::Digits => HEX,
            Next::Octets => DOTTED,
        };
        let all = glob.accepts_any(states) || (next == Next::Word && accepts_after_word(glob, states));
        let part = match (all, glob.may_accept(states, alphabet)) {
            (true, _) => Coverage::All,
            (false, true) => Coverage::Some,
            (false, false) => Coverage::None,
        };
        seen[part as usize] = true;
    }
    match seen {
        [_, false, false] => Coverage::None,
        [false, false, true] => Coverage::All,
        _ => Coverage::Some,
    }
}

/// Whether everything matches once a word and its colon are read: `*:*`.
fn accepts_after_word(glob: &Glob, states: States) -> bool {
    let mut open = BTreeSet::from([states]);
    for _ in 0..4 {
        open = open
            .iter()
            .flat_map(|states| b"0123456789abcdef".iter().map(|&digit| glob.step(*states, digit)))
            .collect();
        if !open.iter().all(|states| glob.accepts_any(glob.step(*states, b':'))) {
            return false;
        }
    }
    true
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

/// What follows the known part of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing.
    End,
    /// A word, a colon, and more.
    Word,
    /// Digits, colons, or nothing.
    Digits,
    /// An IPv4 address.
    Octets,
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

    /// The text as far as it is known, and what follows.
    fn text(&self, gap: Option<Gap>) -> (String, Next) {
        use std::fmt::Write;
        let mut text = String::new();
        if gap == Some(Gap { begin: 0, end: 6 }) {
            if self.nibbles < 32 {
                return ("::".to_owned(), Next::Octets);
            }
            let low = (u32::from(self.words[6]) << 16) | u32::from(self.words[7]);
            return (format!("::{}", Ipv4Addr::from_bits(low)), Next::End);
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
            let whole = word > self.known() || self.nibbles.is_multiple_of(4);
            return (text, if whole && word < 7 { Next::Word } else { Next::Digits });
        }
        if gap.is_some_and(|gap| gap.end == 8) {
            text.push(':');
        }
        (text, Next::End)
    }
}

/// The text of an IPv6 address as glibc prints it.
pub(super) fn text_v6(address: u128) -> String {
    let prefix = PrefixV6 { words: words(address), nibbles: 32 };
    let gap = prefix.gaps().into_iter().next().flatten();
    prefix.text(gap).0
}
