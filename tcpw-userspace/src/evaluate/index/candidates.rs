//! Positions worth a look, in order: a merge of the lists an index yields.

use super::keys::Entry;

/// Positions of rules or of patterns.
#[derive(Debug)]
pub(in crate::evaluate) struct Candidates<'a> {
    lists: Vec<&'a [Entry]>,
    /// Whether the lists were made.
    is_found: bool,
    /// Whether the client's name was known then.
    is_named: bool,
    /// The last position that was yielded.
    last: Option<usize>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new() -> Self {
        Self { lists: Vec::new(), is_named: false, last: None, is_found: false }
    }

    /// The next position. `find` makes the lists, anew once the client's name has become known: what was
    /// only asked for it until then has keys of its own from there on.
    pub(super) fn next(&mut self, is_named: bool, find: impl FnOnce(&mut Vec<&'a [Entry]>)) -> Option<usize> {
        if !self.is_found || is_named != self.is_named {
            (self.is_found, self.is_named) = (true, is_named);
            self.lists.clear();
            find(&mut self.lists);
            if let Some(last) = self.last {
                for list in &mut self.lists {
                    *list = &list[list.partition_point(|entry| entry.position <= last)..];
                }
            }
        }
        let position = self.lists.iter().filter_map(|list| list.first()).map(|entry| entry.position).min()?;
        for list in &mut self.lists {
            while let [first, rest @ ..] = list
                && first.position == position
            {
                *list = rest;
            }
        }
        self.last = Some(position);
        Some(position)
    }
}
