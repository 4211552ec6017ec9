//! Plain lines: `daemon: address` and `daemon: network` of IPv4, as a list of bans has them; `: allow` or `: deny` may
//! follow.
//!
//! In: the text from a line on. Out: the line's rule as numbers, or nothing: then the line is parsed as any other.
//! Invariant: a line that is taken has exactly this rule and no finding, whatever stands before and behind it, if a
//! line that differs in its client alone had none before.

use std::collections::HashMap;

/// A plain line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    /// Length of the daemon's name.
    pub(crate) daemon: usize,
    /// Where the colon behind it is.
    pub(crate) colon: usize,
    /// Where the client begins.
    pub(crate) client: usize,
    /// Where it ends: what is between here and the newline is `: allow`, `: deny` or nothing.
    pub(crate) end: usize,
    /// Length of the line, newline included.
    pub(crate) length: usize,
    /// The address or network.
    pub(crate) net: u32,
    /// Length of the prefix, if there is one.
    pub(crate) bits: Option<u8>,
}

/// Longest daemon's name, and most blanks in a row.
const LONGEST: usize = 64;

/// Reads the line that the text begins with; `daemon` is the name on the last such line.
pub(crate) fn read(text: &[u8], daemon: &[u8]) -> Option<Plain> {
    let is_same =
        !daemon.is_empty() && text.starts_with(daemon) && !text.get(daemon.len()).is_some_and(is_part);
    let daemon = if is_same { daemon.len() } else { name(text)? };
    let colon = after_blanks(text, daemon);
    if text.get(colon) != Some(&b':') {
        return None;
    }
    let client = after_blanks(text, colon + 1);
    let (net, mut at) = address(text, client)?;
    let bits = match text.get(at)? {
        b'/' => {
            let (bits, behind) = number(text, at + 1)?;
            at = behind;
            Some(u8::try_from(bits).ok().filter(|bits| (1..=32).contains(bits))?)
        }
        _ => None,
    };
    let host_bits = bits.map_or(u32::MAX, |bits| u32::MAX.checked_shr(bits.into()).unwrap_or(0));
    let is_right = match bits {
        // An address that ends in 0 is a network without its length.
        None => net & 0xff != 0,
        Some(_) => net & host_bits == 0,
    };
    // 0 and 255 are the beginning of masks.
    let is_usual = is_right && !matches!(net >> 24, 0 | 255);
    let end = at;
    at = after_verdict(text, end)?;
    (is_usual && text.get(at) == Some(&b'\n') && is_followed(&text[at + 1..])).then_some(Plain {
        daemon,
        colon,
        client,
        end,
        length: at + 1,
        net,
        bits,
    })
}

/// Whether a byte may be part of a daemon's name.
fn is_part(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(byte)
}

/// Length of the name that a text begins with.
fn name(text: &[u8]) -> Option<usize> {
    let length = text.iter().take(LONGEST).take_while(|byte| is_part(byte)).count();
    text.first()?.is_ascii_alphanumeric().then_some(length)
}

/// The first place from one on where no blank is.
fn after_blanks(text: &[u8], at: usize) -> usize {
    let behind = text.get(at..).unwrap_or_default();
    at + behind.iter().take(LONGEST).take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// What is behind the client: nothing, or one option that is a verdict alone; the place behind it.
fn after_verdict(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) == Some(&b'\n') {
        return Some(at);
    }
    let colon = after_blanks(text, at);
    if text.get(colon) != Some(&b':') {
        return None;
    }
    let verdict = after_blanks(text, colon + 1);
    let behind = text.get(verdict..).unwrap_or_default();
    let is_at_start = |word: &[u8]| behind.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    let word = [&b"allow"[..], b"deny"].into_iter().find(|word| is_at_start(word))?;
    Some(verdict + word.len())
}

/// A number of at most three digits without leading zeros, and what is behind it.
fn number(text: &[u8], at: usize) -> Option<(u32, usize)> {
    let digit =
        |at: usize| text.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let first = digit(at)?;
    let Some(second) = digit(at + 1) else { return Some((first, at + 1)) };
    if first == 0 {
        return None;
    }
    let Some(third) = digit(at + 2) else { return Some((first * 10 + second, at + 2)) };
    Some((first * 100 + second * 10 + third, at + 3))
}

/// Four numbers with dots between them.
fn address(text: &[u8], mut at: usize) -> Option<(u32, usize)> {
    let mut bits = 0;
    for part in 0..4 {
        if part > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let (octet, behind) = number(text, at)?;
        if octet > 255 {
            return None;
        }
        bits = bits << 8 | octet;
        at = behind;
    }
    Some((bits, at))
}

const EXCEPT: &[u8] = b"EXCEPT";

/// Whether what follows is plainly not the rest of this line.
fn is_followed(next: &[u8]) -> bool {
    match next.first() {
        None | Some(b'#' | b'\n') => true,
        Some(b'E' | b'e') => {
            let word = &next[..next.len().min(EXCEPT.len())];
            // A line that is continued may become the word.
            !word.eq_ignore_ascii_case(EXCEPT) && !word.contains(&b'\\')
        }
        Some(first) => first.is_ascii_alphabetic(),
    }
}

/// Whether plain lines are taken by the reader of plain lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::parse) enum PlainLines {
    /// They are.
    #[default]
    Taken,
    /// They are left to the parser of all lines, which comes to the same.
    Left,
}

/// The line forms of a table, each with a number.
#[derive(Default)]
pub(super) struct LineForms {
    pub(super) plain: PlainLines,
    /// By what is before the client, up to the colon, and what is behind it. No number where such a line has a finding,
    /// or there are too many.
    numbers: HashMap<Box<[u8]>, Option<u16>, ahash::RandomState>,
    /// The last one, and its number.
    last: (Vec<u8>, u16),
    /// Name of the daemon on the last line that was looked up.
    pub(super) daemon: Vec<u8>,
    wanted: Vec<u8>,
}

impl LineForms {
    /// None yet.
    pub(super) fn new(plain: PlainLines) -> Self {
        Self { plain, ..Self::default() }
    }

    /// The number of a line's form, if lines with it have no finding; `None` if there was none yet.
    pub(super) fn number(&mut self, text: &[u8], line: Plain) -> Option<Option<u16>> {
        let [before, behind] = Self::parts(text, line);
        if self.daemon != text[..line.daemon] {
            self.daemon.clear();
            self.daemon.extend_from_slice(&text[..line.daemon]);
        }
        self.wanted.clear();
        self.wanted.extend_from_slice(before);
        self.wanted.extend_from_slice(behind);
        if self.last.0 == self.wanted {
            return Some(Some(self.last.1));
        }
        let known = *self.numbers.get(self.wanted.as_slice())?;
        if let Some(number) = known {
            self.last.0.clone_from(&self.wanted);
            self.last.1 = number;
        }
        Some(known)
    }

    /// Gives a line's form its number, or none.
    pub(super) fn insert(&mut self, text: &[u8], line: Plain, number: Option<u16>) {
        self.numbers.insert(Self::parts(text, line).concat().into(), number);
    }

    fn parts(text: &[u8], line: Plain) -> [&[u8]; 2] {
        [&text[..=line.colon], &text[line.end..line.length - 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> bool {
        read(text.as_bytes(), b"").is_some()
    }

    #[test]
    fn plain_lines_are_taken() {
        let line = read(b"sshd:\t 10.1.0.0/16\nALL: ALL\n", b"sshd").unwrap();
        let (net, bits) = (0x0a01_0000, Some(16));
        assert_eq!(line, Plain { daemon: 4, colon: 4, client: 7, end: 18, length: 19, net, bits });
        let line = read(b"sshd : 10.1.0.0/16 :\tDeny\n", b"ssh").unwrap();
        assert_eq!(line, Plain { daemon: 4, colon: 5, client: 7, end: 18, length: 26, net, bits });
        for text in [
            "ALL: 1.2.3.4: allow\n",
            "ALL : 1.2.3.4:DENY\nALL: ALL\n",
            "ALL:1.2.3.4\n",
            "in.ftpd: 10.255.0.1\n#\n",
            "x_y-z: 1.2.3.4/32\n\n",
            "2a: 1.2.3.4\nevery: ALL\n",
        ] {
            assert!(taken(text), "{text}");
        }
    }

    #[test]
    fn all_others_are_left() {
        for text in [
            "",
            "ALL: 1.2.3.4",
            "ALL 1.2.3.4\n",
            "ALL: 1.2.3.4 \n",
            "ALL: 1.2.3.4\r\n",
            "ALL: 01.2.3.4\n",
            "ALL: 1.2.3.256\n",
            "ALL: 1.2.3.0\n",
            "ALL: 1.2.3\n",
            "ALL: 1.2.3.4.5\n",
            "ALL: 1.2.3.4/24\n",
            "ALL: 1.2.3.0/0\n",
            "ALL: 1.2.3.0/033\n",
            "ALL: 1.2.3.4/33\n",
            "ALL: 255.0.0.0/8\n",
            "ALL: 0.0.0.1\n",
            "ALL: 1.2.3.4:\n",
            "ALL: 1.2.3.4: denied\n",
            "ALL: 1.2.3.4: deny \n",
            "ALL: 1.2.3.4: deny:\n",
            "ALL: 1.2.3.4: allow: deny\n",
            "ALL: 1.2.3.4: deny\\\n",
            "ALL: 1.2.3.4\\\n",
            "ALL: 1.2.3.4\n except 5.6.7.8\n",
            "ALL: 1.2.3.4\nexcept 5.6.7.8\n",
            "ALL: 1.2.3.4\n5.6.7.8\n",
            "a@b: 1.2.3.4\n",
            ".a: 1.2.3.4\n",
            ": 1.2.3.4\n",
        ] {
            assert!(!taken(text), "{text}");
        }
    }
}
