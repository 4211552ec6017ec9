//! Positions of rules or patterns that may match, in order: a merge of the lists an index yields.

use super::keys::HashedPosition;

/// Positions of rules or of patterns.
#[derive(Debug)]
pub(in crate::evaluate) struct Candidates<'a> {
    lists: Vec<&'a [HashedPosition]>,
    /// Whether the lists were made.
    is_found: bool,
    /// Whether the client's name was known at that time.
    is_named: bool,
    /// The last position that was yielded.
    last: Option<usize>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new() -> Self {
        Self { lists: Vec::new(), is_named: false, last: None, is_found: false }
    }

    /// The next position. `find` makes the lists, and makes them again once the client's name has become known:
    /// some patterns have other keys from then on.
    pub(super) fn next(
        &mut self,
        is_named: bool,
        find: impl FnOnce(&mut Vec<&'a [HashedPosition]>),
    ) -> Option<usize> {
        if !self.is_found || is_named != self.is_named {
            (self.is_found, self.is_named) = (true, is_named);
            self.lists.clear();
            find(&mut self.lists);
            if let Some(last) = self.last {
                for list in &mut self.lists {
                    *list = &list[list.partition_point(|entry| entry.position() <= last)..];
                }
            }
        }
        let position =
            self.lists.iter().filter_map(|list| list.first()).map(|entry| entry.position()).min()?;
        for list in &mut self.lists {
            while let [first, rest @ ..] = list
                && first.position() == position
            {
                *list = rest;
            }
        }
        self.last = Some(position);
        Some(position)
    }
}
