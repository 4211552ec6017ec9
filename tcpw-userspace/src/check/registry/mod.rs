//! What each code means: `tcpw check --explain`.
//!
//! Invariant: every code has one entry, its wrong example yields the code, and its right
//! one yields neither the code nor any error or warning.

mod daemons;
mod files;
mod lines;
mod lists;
mod names;
mod networks;
mod numeric;
mod options;
mod pattern_files;
mod tables;
mod tools;

use std::fmt;

use crate::parse::code::Code;

/// What a code means.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The code.
    pub code: Code,
    /// What is the matter, and why.
    pub text: &'static str,
    /// An example that is wrong.
    pub wrong: &'static [Sample],
    /// What libwrap does with it.
    pub consequence: &'static str,
    /// The same, right.
    pub right: &'static [Sample],
}

/// A file of an example.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its path.
    pub path: &'static str,
    /// What it is.
    pub state: State,
}

/// What a file of an example is.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// A file with this text.
    Text(&'static str),
    /// The same, and every user may write it.
    Writable(&'static str),
    /// A text, then another one so many times, and a newline.
    Long(&'static str, &'static str, usize),
    /// So many files, the path with a number behind it, each of which names the next.
    Chain(usize),
    /// There is none.
    Missing,
    /// It cannot be read.
    Unreadable,
    /// A directory.
    Directory,
    /// A symbolic link that leads nowhere.
    Dangling,
    /// A FIFO.
    Fifo,
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            State::Text(text) | State::Writable(text) => {
                let mode = if matches!(self.state, State::Writable(_)) { " (mode 666)" } else { "" };
                write!(out, "{}{mode}:", self.path)?;
                for line in text.split_inclusive('\n') {
                    let end = if line.ends_with('\n') { "" } else { "  (no newline)" };
                    write!(out, "\n    {}{end}", visible(line.trim_end_matches('\n')))?;
                }
                Ok(())
            }
            State::Long(head, unit, times) => {
                write!(out, "{}:\n    {head}{unit}{unit}{unit}... ({times} times)", self.path)
            }
            State::Chain(length) => {
                write!(out, "{0}1 names {0}2, {0}2 names {0}3, and so on, {length} files", self.path)
            }
            State::Missing => write!(out, "{}: does not exist", self.path),
            State::Unreadable => write!(out, "{}: cannot be read", self.path),
            State::Directory => write!(out, "{}: a directory", self.path),
            State::Dangling => write!(out, "{}: a symbolic link to a file that does not exist", self.path),
            State::Fifo => write!(out, "{}: a FIFO", self.path),
        }
    }
}

/// Text with its control characters and odd blanks shown; long runs are cut.
fn visible(line: &str) -> String {
    let mut text = String::new();
    for character in line.chars().take(100) {
        match character {
            ' '..='~' | '\t' => text.push(character),
            character if character.is_alphabetic() => text.push(character),
            character => text.extend(character.escape_default()),
        }
    }
    if line.chars().nth(100).is_some() { text + "..." } else { text }
}

/// Every entry, by code.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    let groups: [&'static [Entry]; 11] = [
        files::ENTRIES,
        lines::ENTRIES,
        lists::ENTRIES,
        names::ENTRIES,
        networks::ENTRIES,
        numeric::ENTRIES,
        options::ENTRIES,
        pattern_files::ENTRIES,
        tools::ENTRIES,
        daemons::ENTRIES,
        tables::ENTRIES,
    ];
    let mut all: Vec<&'static Entry> = groups.into_iter().flatten().collect();
    all.sort_by_key(|entry| entry.code);
    all.into_iter()
}

/// The entry of a code as a person writes it: any case, leading zeros or not.
///
/// # Errors
/// There is none: codes that are near.
pub fn find(written: &str) -> Result<&'static Entry, Vec<Code>> {
    let upper = written.trim().to_ascii_uppercase();
    let (letter, digits) = upper.split_at(upper.find(|c: char| c.is_ascii_digit()).unwrap_or(upper.len()));
    let plain = format!("{letter}{digits:0>3}");
    entries().find(|entry| entry.code.as_str() == plain).ok_or_else(|| near(&plain))
}

/// Codes that differ in one or two characters, those with the nearest numbers first.
fn near(written: &str) -> Vec<Code> {
    let number = |code: &str| code.get(1..).and_then(|digits| digits.parse::<u16>().ok()).unwrap_or_default();
    let distance = |code: Code| {
        let code = code.as_str();
        (strsim::osa_distance(code, written), number(code).abs_diff(number(written)))
    };
    let mut codes: Vec<((usize, u16), Code)> =
        Code::ALL.iter().map(|code| (distance(*code), *code)).collect();
    codes.retain(|((distance, _), _)| *distance <= 2);
    codes.sort_unstable();
    codes.into_iter().map(|(_, code)| code).take(4).collect()
}

const fn entry(
    code: Code,
    text: &'static str,
    wrong: &'static [Sample],
    consequence: &'static str,
    right: &'static [Sample],
) -> Entry {
    Entry { code, text, wrong, consequence, right }
}

const fn file(path: &'static str, text: &'static str) -> Sample {
    Sample { path, state: State::Text(text) }
}

const fn is(path: &'static str, state: State) -> Sample {
    Sample { path, state }
}

const ALLOW: &str = "/etc/hosts.allow";
const DENY: &str = "/etc/hosts.deny";

const fn allow(text: &'static str) -> Sample {
    file(ALLOW, text)
}

const fn deny(text: &'static str) -> Sample {
    file(DENY, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_entry() {
        let explained: Vec<Code> = entries().map(|entry| entry.code).collect();
        assert_eq!(explained, Code::ALL);
    }

    #[test]
    fn codes_are_found_as_they_are_written() {
        for written in ["W012", "w012", "w12", " W12 "] {
            assert_eq!(find(written).unwrap().code, Code::W012, "{written}");
        }
        assert!(find("W019").unwrap_err().contains(&Code::W018));
        assert!(find("bananas").unwrap_err().is_empty());
    }
}
