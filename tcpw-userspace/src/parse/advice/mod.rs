//! What to say of a table that libwrap would not, or would say too late.
//!
//! In: what the parser has seen. Out: [`Finding`]s; the rules are never changed.
//! Invariant: a fix that replaces text leaves nothing of its code behind.

mod brackets;
mod command;
mod daemon;
mod file;
mod follows;
mod known;
mod line;
mod list;
mod mistake;
mod name;
mod network;
mod option;
mod placeholder;
mod range;
mod separator;
mod table;
mod text;
mod tool;
mod user;
mod word;

pub(super) use daemon::daemon;
pub(super) use file::{file_cycle, file_deep, file_missing, file_rule, file_token, file_unreadable};
pub(super) use follows::{
    Place, client as follows_for_client, daemon as follows_for_daemon, line as follows_for_line,
};
pub(crate) use known::is_resident;
pub(super) use line::{comment, drop_noise, glued, line, nul};
pub(super) use list::list;
pub(super) use mistake::{
    Cut, Mistake, apart, cut, find as find_mistake, goes_on, is_mask, is_plain, joined as joined_lines,
    may_go_on, two_rules,
};
pub(super) use option::options;
pub(crate) use placeholder::is_placeholder;
pub(super) use separator::missing;
pub(super) use table::{broken_backslash, broken_line, table_missing, table_unreadable};
pub(super) use tool::{Writer, half_block, written};
pub(super) use user::client;

use super::{code::Code, diagnostic::Finding, lookalike, rule::TableKind};

/// A finding and its stretch of the joined line.
pub(super) type Placed = (usize, usize, Finding);

/// Where a host pattern stands.
#[derive(Clone, Copy)]
struct Side {
    /// The end of the connection it is compared with: `client` or `server`.
    end: &'static str,
    /// The table; `None` in a pattern file.
    kind: Option<TableKind>,
}

const NEVER: &str = "it never matches";

/// Text for a message, in quotes.
fn quote(text: &[u8]) -> String {
    format!("\"{}\"", shown(text))
}

/// Text that is safe to print and not too long.
fn shown(text: &[u8]) -> String {
    let start = &text[..text.len().min(80)];
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let printable: String = String::from_utf8_lossy(start).chars().map(visible).collect();
    let printable = lookalike::escaped(&printable);
    if start.len() < text.len() { printable + "..." } else { printable }
}

/// One byte string for another, everywhere.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = behind;
        } else {
            out.push(*byte);
            rest = behind;
        }
    }
    out
}
