//! A table in canonical form: `daemons: clients: option: option`.
//!
//! In: the text of a table. Out: [`Formatted`]: a text that says the same, and the lines
//! that were left as they are because their spelling is their meaning. No I/O.
//! Invariant: parse, print, parse is the identity on verdicts ([`same_rules`]); every rule is
//! read again as it was printed, and left as it was if it does not read the same.
//! The author's line breaks stay before options and inside commands. Tabs become blanks, but for those in quotes
//! and in commands with a substitution or a here-document.
//! Source: hosts_access(5), whose examples write `ALL: some.host.name, .some.domain` and
//! `ALL EXCEPT in.fingerd`: commas between patterns, so that a list is seen to be one.
#![forbid(unsafe_code)]

mod command;
mod layout;
mod rule;
mod same;
mod word;

pub use command::same_command;
pub use same::same_rules;

use std::{collections::HashMap, fmt};

use crate::parse::{
    lexer::{Lexer, Line},
    plain,
};

/// A table in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    /// The text.
    pub text: Vec<u8>,
    /// The lines that were left byte for byte as they were.
    pub kept: Vec<Kept>,
}

/// A line that was left as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Physical line where it begins, from 1.
    pub line: u32,
    /// Why.
    pub why: Why,
}

/// Why a line was left as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is longer than libwrap's buffer: the table ends there.
    TooLong,
    /// It is the last one and has no newline: the table ends there.
    NoNewline,
    /// It has a NUL byte, which glues lines.
    Nul,
    /// No `:` between daemons and clients.
    NoSeparator,
    /// Brackets that are not in pairs hide colons.
    Brackets,
    /// A `#` that begins no comment.
    InnerComment,
    /// One of its options is wrong.
    WrongOption,
    /// A backslash, the last character of the line or of an option but for blanks, would begin to
    /// mean something.
    Backslash,
    /// In canonical form it would be longer than libwrap's buffer.
    WouldBeTooLong,
}

impl Why {
    /// Whether libwrap rejects the line, or what follows it.
    pub fn is_error(self) -> bool {
        match self {
            Self::TooLong | Self::NoNewline | Self::NoSeparator | Self::WrongOption => true,
            Self::Nul | Self::Brackets | Self::InnerComment | Self::Backslash | Self::WouldBeTooLong => false,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::TooLong => "the line is longer than 2047 bytes: libwrap reads nothing from here on",
            Self::NoNewline => "the last line has no newline: libwrap does not read it",
            Self::Nul => "it has a NUL byte",
            Self::NoSeparator => "it has no \":\" between daemons and clients",
            Self::Brackets => "its brackets are not in pairs",
            Self::InnerComment => "a \"#\" behind the first column begins no comment",
            Self::WrongOption => "one of its options is wrong",
            Self::Backslash => "a backslash before its blanks would continue the line or escape a colon",
            Self::WouldBeTooLong => "in canonical form it would be longer than 2047 bytes",
        })
    }
}

/// Brings a table into canonical form.
pub fn format(text: &[u8]) -> Formatted {
    let mut formatted = Formatted { text: Vec::with_capacity(text.len() + 1), kept: Vec::new() };
    let mut end = 0;
    let mut plain = PlainForms::default();
    let mut lines = Lexer::new(text);
    loop {
        if let Some(length) = plain.append(lines.rest(), &mut formatted.text) {
            lines.pass(length);
            end += length;
            continue;
        }
        let Some(line) = lines.next() else { break };
        // libwrap reads nothing behind a broken line.
        let stretch = if line.broken { &text[line.span.start..] } else { &text[line.span.clone()] };
        end = line.span.start + stretch.len();
        match canonical(&line, stretch) {
            Ok(canonical) => formatted.text.extend(canonical),
            Err(why) => {
                formatted.kept.push(Kept { line: line.first_line(), why });
                formatted.text.extend_from_slice(stretch);
            }
        }
        if line.broken {
            break;
        }
    }
    // Continuations of nothing at the end of the text are no line.
    formatted.text.extend_from_slice(&text[end..]);
    formatted
}

/// What stands before the client in plain lines, and its canonical form: most lines of a large table begin alike.
#[derive(Default)]
struct PlainForms {
    forms: HashMap<Vec<u8>, Option<Vec<u8>>, ahash::RandomState>,
    /// Name of the daemon on the last plain line.
    daemon: Vec<u8>,
}

/// Longest beginning of a line that is kept: with any client it is not broken.
const MOST_BEFORE: usize = 40;

impl PlainForms {
    /// Appends the canonical form of the line that a text begins with, if it is a plain one; its length.
    fn append(&mut self, text: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let line = plain::read(text, &self.daemon)?;
        if line.client > MOST_BEFORE || line.end + 1 < line.length {
            return None;
        }
        let (before, client) = text.get(..line.length)?.split_at(line.client);
        if !before.starts_with(&self.daemon) || self.daemon.len() != line.daemon {
            self.daemon = before[..line.daemon].to_vec();
        }
        if !self.forms.contains_key(before) {
            let canonical = rule::canonical(&text[..line.length], &[]).ok();
            let form = canonical.and_then(|all| Some(all.strip_suffix(client)?.to_vec()));
            self.forms.insert(before.to_vec(), form);
        }
        out.extend_from_slice(self.forms.get(before)?.as_deref()?);
        out.extend_from_slice(client);
        Some(line.length)
    }
}

/// One joined line, which stands in the text as `stretch`, in canonical form.
fn canonical(line: &Line<'_>, stretch: &[u8]) -> Result<Vec<u8>, Why> {
    if line.broken {
        return Err(if line.is_full() { Why::TooLong } else { Why::NoNewline });
    }
    if line.has_nul() {
        return Err(Why::Nul);
    }
    if line.bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        return Ok(b"\n".to_vec());
    }
    if line.bytes.starts_with(b"#") {
        return comment(stretch);
    }
    rule::canonical(&line.bytes, &line.joins().collect::<Vec<_>>())
}

/// A comment stays as it is, but for the carriage return of another system's newline.
fn comment(stretch: &[u8]) -> Result<Vec<u8>, Why> {
    let line = stretch.strip_suffix(b"\n").unwrap_or(stretch);
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    if end < line.len() && line[..end].ends_with(b"\\") {
        return Err(Why::Backslash);
    }
    Ok([&stretch[..end], b"\n"].concat())
}

#[cfg(test)]
mod tests;
