//! Mistakes that are seen in a line as a whole, not in one of its words.
//!
//! In: a joined line as libwrap cuts it. Out: one [`Mistake`], which stands for all that its words alone
//! would give rise to. Invariant: a fix is the text as it was meant, whole; the caller offers it only
//! if the line is free of mistakes with it.

mod apart;
mod command;
mod comment;
mod goes_on;
mod ipv6;
mod lookalike;
mod option_word;
mod port;
mod template;
mod two_rules;

pub(in crate::parse) use apart::{apart, is_mask};
pub(in crate::parse) use goes_on::{goes_on, joined, may_go_on};
pub(in crate::parse) use two_rules::two_rules;

use std::ops::Range;

use super::{Finding, Place, Placed, Writer};
use crate::parse::{
    list::{self, is_except, tokens},
    options::{self, Field},
    rule::{RuleOption, TableKind},
};

/// A line as libwrap cuts it.
pub(in crate::parse) struct Cut<'a> {
    /// The joined line, with its newline.
    pub(in crate::parse) bytes: &'a [u8],
    /// The colons behind the daemon list and behind the client list; the line's end if there is none.
    pub(in crate::parse) colons: [usize; 2],
    /// The option fields.
    pub(in crate::parse) fields: &'a [Field],
    pub(in crate::parse) kind: TableKind,
    pub(in crate::parse) writer: Writer,
}

impl<'a> Cut<'a> {
    /// The line without its newline and the blanks before it: every word of the line is in it. A form feed is
    /// white space elsewhere, and a word here.
    fn text(&self) -> &'a [u8] {
        let is_blank = |byte: &u8| *byte != b',' && list::is_separator(*byte);
        let end = self.bytes.iter().rposition(|byte| !is_blank(byte)).map_or(0, |last| last + 1);
        &self.bytes[..end]
    }

    /// The client list.
    fn clients(&self) -> &'a [u8] {
        let [colon, end] = self.colons;
        self.bytes.get(colon + 1..end).unwrap_or_default()
    }

    /// Whether there is a colon behind the daemon list.
    fn is_rule(&self) -> bool {
        self.colons[0] < self.bytes.len()
    }

    /// What the rule was to do with its clients: what its last option says, else what its table does.
    fn meant(&self) -> TableKind {
        match self.fields.last().map(|field| &field.option) {
            Some(Ok(RuleOption::Allow)) => TableKind::Allow,
            Some(Ok(RuleOption::Deny | RuleOption::Twist(_))) => TableKind::Deny,
            Some(_) | None => self.kind,
        }
    }

    /// What the rule does with its clients.
    fn outcome(&self) -> TableKind {
        match self.fields.iter().any(|field| field.option.is_err()) {
            true => TableKind::Deny,
            false => self.meant(),
        }
    }

    /// Where a client stands that begins at an offset.
    fn place(&self, at: usize) -> Place {
        let start = self.colons[0] + 1;
        let before = tokens(self.clients(), start).filter(|(place, word)| *place < at && is_except(word));
        let is_excepted = before.count() % 2 == 1;
        let effect = if is_excepted { self.meant().other() } else { self.meant() };
        Place { effect, is_excepted }
    }

    /// A mistake that concerns the whole line.
    fn whole(&self, finding: Finding) -> Mistake {
        let end = self.text().len();
        Mistake { place: (0, end, finding), covers: 0..usize::MAX }
    }
}

/// Whether a line without options is one daemon and addresses, as most lines of large tables are: no mistake of
/// this room is in it.
pub(in crate::parse) fn is_plain(bytes: &[u8], [colon, end]: [usize; 2]) -> bool {
    let (daemons, clients) =
        (&bytes[..colon.min(bytes.len())], bytes.get(colon + 1..end).unwrap_or_default());
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let is_address = |byte: &u8| byte.is_ascii_digit() || b"./".contains(byte);
    let is_whole = |word: &[u8]| {
        let is_mask =
            [&b"255."[..], b"0.", b"/"].iter().any(|start| word.starts_with(start)) || word.ends_with(b"/");
        let is_part = word.contains(&b'.') && word.iter().any(u8::is_ascii_digit);
        word.iter().all(is_address) && is_part && !is_mask
    };
    daemons.first().is_some_and(u8::is_ascii_alphanumeric)
        && daemons.iter().all(is_name)
        && list::tokens(clients, 0).all(|(_, word)| is_whole(word))
}

/// What is wrong with a line as a whole.
pub(in crate::parse) struct Mistake {
    /// The finding.
    pub(in crate::parse) place: Placed,
    /// Findings that begin here are consequences of it.
    pub(in crate::parse) covers: Range<usize>,
}

/// The first mistake of a line, in the order of what hides what.
pub(in crate::parse) fn find(cut: &Cut<'_>) -> Option<Mistake> {
    template::template(cut)
        .or_else(|| lookalike::lookalike(cut))
        .or_else(|| comment::comment(cut))
        .or_else(|| ipv6::ipv6(cut))
        .or_else(|| port::port(cut))
        .or_else(|| command::command(cut))
        .or_else(|| option_word::option_word(cut))
}

/// Cuts a text into its fields, as the table's parser does.
pub(in crate::parse) fn cut(bytes: &[u8]) -> ([usize; 2], Vec<Field>) {
    let Some(colon) = list::split_at(bytes, b':') else {
        return ([bytes.len(); 2], Vec::new());
    };
    let behind = &bytes[colon + 1..];
    let end = list::split_at(behind, b':').map_or(bytes.len(), |at| colon + 1 + at);
    let fields = if end < bytes.len() { options::parse(bytes, end + 1) } else { Vec::new() };
    ([colon, end], fields)
}

/// The name of the option that a field begins with, in lower case.
fn option_name(field: &[u8]) -> Vec<u8> {
    let end =
        field.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'=').unwrap_or(field.len());
    field[..end].to_ascii_lowercase()
}

/// Options whose value is a text for the shell, or any other text.
fn takes_text(name: &[u8]) -> bool {
    matches!(name, b"spawn" | b"twist" | b"aclexec" | b"setenv")
}
