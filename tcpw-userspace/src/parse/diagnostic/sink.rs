//! Where diagnostics are collected: all kinds, but of one kind and file only so many.

use std::{collections::HashMap, path::Path};

use super::Diagnostic;

/// Most diagnostics of one code that are kept for one file.
const KEPT: usize = 1000;

/// Diagnostics, in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    found: Vec<Diagnostic>,
    /// Of each code of the file at hand, how many were kept, and where the last of them is.
    kinds: HashMap<&'static str, (usize, usize)>,
}

impl Sink {
    /// Keeps a diagnostic, or counts it at the last of its kind that was kept.
    ///
    /// Diagnostics of one file come one after the other.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.found.last().is_some_and(|last| last.origin.path != diagnostic.origin.path) {
            self.kinds.clear();
        }
        let (count, last) = self.kinds.entry(diagnostic.code).or_default();
        if *count == KEPT
            && let Some(last) = self.found.get_mut(*last)
        {
            last.more += 1 + diagnostic.more;
            return;
        }
        (*count, *last) = (*count + 1, self.found.len());
        self.found.push(diagnostic);
    }

    /// Counts one more of a kind of which enough is kept; whether it did. Then the diagnostic need not be made.
    pub(crate) fn count(&mut self, code: &'static str, path: &Path) -> bool {
        if self.found.last().is_none_or(|last| last.origin.path.as_os_str() != path.as_os_str()) {
            return false;
        }
        let Some((KEPT, last)) = self.kinds.get(code) else { return false };
        let Some(last) = self.found.get_mut(*last) else { return false };
        last.more += 1;
        true
    }

    /// Everything kept.
    pub(crate) fn into_found(self) -> Vec<Diagnostic> {
        self.found
    }
}

impl Extend<Diagnostic> for Sink {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        diagnostics.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use super::*;
    use crate::parse::{code::Code, diagnostic::Finding, rule::Origin};

    #[test]
    fn what_is_too_much_is_counted() {
        let mut sink = Sink::default();
        for (path, count) in [("a", KEPT + 7), ("b", 1)] {
            let path = Arc::new(PathBuf::from(path));
            let origin = Origin { path, line: 1, column: 1, length: 1 };
            let finding = Finding::new(Code::W010, "", "", "");
            sink.extend((0..count).map(|_| finding.clone().at(origin.clone(), b"")));
            let is_full = count > KEPT;
            assert_eq!(sink.count(Code::W010.as_str(), &origin.path), is_full);
            assert!(!sink.count(Code::W011.as_str(), &origin.path));
        }
        let found = sink.into_found();
        assert_eq!(found.len(), KEPT + 1);
        assert_eq!((found[KEPT - 1].more, found[KEPT].more), (8, 0));
    }
}
