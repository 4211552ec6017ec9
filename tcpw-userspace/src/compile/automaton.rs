//! Text patterns as automata over the text of an address.
//!
//! In: a text pattern. Out: a [`Glob`] whose states are a bit set, so that a
//! walk over all addresses shares the states of common beginnings.
//! Source: tcp_wrappers 7.6.q `hosts_access.c`, `string_match`, `match_pattern_ylo`.

use crate::parse::rule::TextPattern;

/// Positions in a pattern; the last one accepts.
pub(super) type States = u128;

/// Characters of an IPv6 address without an embedded IPv4 one.
pub(super) const HEX: &[u8] = b"0123456789abcdef:";
/// Characters of an IPv4 address.
pub(super) const DOTTED: &[u8] = b"0123456789.";

/// More parts than an address text has room for; every part but `*` takes a character.
const MAX_PARTS: usize = 100;

/// One part of a text pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GlobPart {
    /// This character; letters are lower case and stand for both.
    Byte(u8),
    /// One character.
    Any,
    /// Any characters, or none; never two in a row.
    Many,
}

/// The parts of a textual pattern; `None` for a bracketed address.
pub(super) fn parts(pattern: &TextPattern) -> Option<Vec<GlobPart>> {
    let mut parts = Vec::new();
    match pattern {
        TextPattern::Glob(text) => {
            for &byte in text {
                parts.push(match byte {
                    b'*' => GlobPart::Many,
                    b'?' => GlobPart::Any,
                    byte => GlobPart::Byte(byte.to_ascii_lowercase()),
                });
            }
            fold_stars(&mut parts);
        }
        TextPattern::Suffix(text) => {
            parts.extend([GlobPart::Any, GlobPart::Many]);
            parts.extend(literal(text));
        }
        TextPattern::Prefix(text) => {
            parts.extend(literal(text));
            parts.push(GlobPart::Many);
        }
        TextPattern::Exact(text) => parts.extend(literal(text)),
        TextPattern::All | TextPattern::Known => parts.push(GlobPart::Many),
        TextPattern::Bracketed(_) => return None,
    }
    Some(parts)
}

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Glob {
    accept: States,
    many: States,
    any: States,
    bytes: [States; 128],
}

impl Glob {
    /// The automaton of a textual pattern.
    ///
    /// `None` where no address can match: the pattern is too long, or has a character that no address has.
    pub(super) fn new(pattern: &TextPattern) -> Option<Self> {
        Self::from_parts(&parts(pattern)?)
    }

    fn from_parts(parts: &[GlobPart]) -> Option<Self> {
        if parts.len() > MAX_PARTS {
            return None;
        }
        let mut glob = Self { accept: 1 << parts.len(), many: 0, any: 0, bytes: [0; 128] };
        for (position, part) in parts.iter().enumerate() {
            let bit = 1 << position;
            match part {
                GlobPart::Many => glob.many |= bit,
                GlobPart::Any => glob.any |= bit,
                GlobPart::Byte(byte) if HEX.contains(byte) || *byte == b'.' => {
                    glob.bytes[usize::from(*byte)] |= bit;
                }
                GlobPart::Byte(_) => return None,
            }
        }
        Some(glob)
    }

    /// Before the first character.
    pub(super) fn start(&self) -> States {
        self.closure(1)
    }

    /// After one more character.
    pub(super) fn step(&self, states: States, byte: u8) -> States {
        let advancing = states & (self.any | self.bytes[usize::from(byte & 127)]);
        self.closure((advancing << 1) | (states & self.many))
    }

    /// After more characters.
    pub(super) fn run(&self, states: States, text: &[u8]) -> States {
        text.iter().fold(states, |states, &byte| self.step(states, byte))
    }

    /// Whether the text so far matches.
    pub(super) fn accepts(&self, states: States) -> bool {
        states & self.accept != 0
    }

    /// Whether every continuation matches: the pattern ends in `*` and that is reached.
    pub(super) fn accepts_any(&self, states: States) -> bool {
        states & self.many & (self.accept >> 1) != 0
    }

    /// Whether some continuation made of `alphabet` matches.
    pub(super) fn may_accept(&self, mut states: States, alphabet: &[u8]) -> bool {
        let taken =
            alphabet.iter().fold(self.any, |taken, &byte| taken | self.bytes[usize::from(byte & 127)]);
        loop {
            let more = self.closure(states | ((states & taken) << 1));
            if more == states {
                return self.accepts(states);
            }
            states = more;
        }
    }

    /// `*` may take nothing. One step is enough: no two `*` are adjacent.
    fn closure(&self, states: States) -> States {
        states | ((states & self.many) << 1)
    }
}

fn literal(text: &[u8]) -> impl Iterator<Item = GlobPart> {
    text.iter().map(|byte| GlobPart::Byte(byte.to_ascii_lowercase()))
}

/// libwrap's `**` takes at least one character where it ends the pattern, else it is `*`.
fn fold_stars(parts: &mut Vec<GlobPart>) {
    let doubled = parts.ends_with(&[GlobPart::Many, GlobPart::Many]);
    parts.dedup_by(|a, b| *a == GlobPart::Many && *b == GlobPart::Many);
    if doubled {
        parts.pop();
        parts.extend([GlobPart::Any, GlobPart::Many]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let pattern = TextPattern::Glob(pattern.as_bytes().into());
        Glob::new(&pattern).is_some_and(|glob| glob.accepts(glob.run(glob.start(), text.as_bytes())))
    }

    #[test]
    fn double_star_at_the_end_needs_a_character() {
        assert!(!matches("1**", "1"));
        assert!(matches("1**", "12"));
        assert!(!matches("1***", "1"));
        assert!(matches("1***", "12"));
        assert!(matches("**1", "1"));
        assert!(matches("*?*", "1"));
        assert!(!matches("*?*", ""));
    }

    #[test]
    fn suffix_is_proper() {
        let glob = Glob::new(&TextPattern::Suffix(b".1"[..].into())).unwrap();
        assert!(glob.accepts(glob.run(glob.start(), b"1.2.3.1")));
        assert!(!glob.accepts(glob.run(glob.start(), b".1")));
    }

    #[test]
    fn what_no_address_can_spell_has_no_automaton() {
        assert!(Glob::new(&TextPattern::Suffix(b".example.com"[..].into())).is_none());
        assert!(Glob::new(&TextPattern::Glob(b"?".repeat(101).into())).is_none());
    }

    #[test]
    fn stars_without_number_are_one() {
        assert!(matches(&format!("{}1", "*".repeat(1000)), "9.9.9.1"));
    }

    #[test]
    fn continuation_keeps_to_its_alphabet() {
        let glob = Glob::new(&TextPattern::Glob(b"*.5.*"[..].into())).unwrap();
        assert!(!glob.may_accept(glob.start(), HEX));
        assert!(glob.may_accept(glob.start(), DOTTED));
    }
}
