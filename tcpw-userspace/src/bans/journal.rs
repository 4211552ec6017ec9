//! Bans as they are stored: one JSON object a line, in the order of the changes.
//!
//! In: changes, or a text. Out: lines, or bans. Invariant: what the lines of a text say in their order is what was in force
//! when the last whole one was written; a last line that is not whole is left out and told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BanEntry, BanOf};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A ban is set.
    Ban(BanEntry),
    /// A ban ends.
    Unban(BanOf),
}

impl Line {
    /// Its text, with the newline.
    pub fn text(&self) -> String {
        // It has no map with other keys than texts: it cannot fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// What a text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Its lines.
    pub lines: Vec<Line>,
    /// Numbers of the lines that are none, from 1, each with why.
    pub wrong: Vec<(usize, String)>,
}

/// Reads a text.
pub fn read(text: &[u8]) -> Stored {
    let mut stored = Stored::default();
    for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match (line.ends_with(b"\n"), serde_json::from_slice(line)) {
            (true, Ok(line)) => stored.lines.push(line),
            (true, Err(error)) => stored.wrong.push((number + 1, error.to_string())),
            (false, _) => stored.wrong.push((number + 1, "it has no end: writing it was interrupted".into())),
        }
    }
    stored
}

/// The bans that are left of changes in their order, as changes.
pub fn replay(lines: impl IntoIterator<Item = Line>) -> Vec<Line> {
    let mut left = BTreeMap::new();
    for line in lines {
        match line {
            Line::Ban(BanEntry { of, facts }) => drop(left.insert(of, facts)),
            Line::Unban(of) => drop(left.remove(&of)),
        }
    }
    left.into_iter().map(|(of, facts)| Line::Ban(BanEntry { of, facts })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bans::BanFacts;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let of = BanOf::new("192.0.2.0/24".parse().unwrap(), Some("sshd"));
        let facts = BanFacts { since: 1, until: Some(2), reason: "a \"word\"\n".into(), by: "root".into() };
        let lines = [Line::Ban(BanEntry { of: of.clone(), facts }), Line::Unban(of)];
        let text: String = lines.iter().map(Line::text).collect();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(read(text.as_bytes()), Stored { lines: lines.to_vec(), wrong: Vec::new() });
        let cut = read(&text.as_bytes()[..text.len() - 3]);
        assert_eq!((cut.lines.len(), cut.wrong.len(), cut.wrong[0].0), (1, 1, 2));
        assert_eq!(replay(lines.clone()), []);
        assert_eq!(replay([&lines[..1], &lines[..1]].concat()), lines[..1]);
        let odd = read(b"{}\n");
        assert_eq!((odd.lines.len(), odd.wrong[0].0), (0, 1));
    }
}
