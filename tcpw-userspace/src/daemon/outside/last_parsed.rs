//! What was parsed last, so that texts are parsed once: to find out which files they name, and for their rules.
//!
//! In: texts. Out: their rules and diagnostics. No invariant but that they are of these texts.

use std::sync::{Arc, Mutex, PoisonError};

use crate::parse::{self, Parsed, text::Texts};

/// A clone shares it.
#[derive(Clone, Default)]
pub(super) struct LastParsed(Arc<Mutex<Option<(Texts, Parsed)>>>);

impl LastParsed {
    /// Parses texts unless they were parsed last, and has a look at the rules.
    pub(super) fn look<T>(&self, texts: &Texts, look: impl FnOnce(&Parsed) -> T) -> T {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, parsed)) = &*last
            && known == texts
        {
            return look(parsed);
        }
        // Before the next is made: together they take more memory.
        *last = None;
        let parsed = parse::parse(texts);
        let seen = look(&parsed);
        *last = Some((texts.clone(), parsed));
        seen
    }

    /// Takes the rules away; parses texts that were not parsed last.
    pub(super) fn take(&self, texts: &Texts) -> Parsed {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match last {
            Some((known, parsed)) if known == *texts => parsed,
            Some(_) | None => parse::parse(texts),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::parse::text::FileText;

    #[test]
    fn rules_are_of_the_texts_that_are_asked_for() {
        let texts = |deny: &str| Texts {
            allow: (Arc::new("hosts.allow".into()), FileText::Missing),
            deny: (Arc::new("hosts.deny".into()), FileText::Bytes(deny.as_bytes().into())),
            files: BTreeMap::new(),
        };
        let count = |parsed: &Parsed| parsed.tables.deny.rules.len();
        let (one, two) = (texts("ALL: 10.\n"), texts("ALL: 10.\nALL: 11.\n"));
        let last = LastParsed::default();
        assert_eq!((last.look(&one, count), last.look(&two, count), last.look(&two, count)), (1, 2, 2));
        assert_eq!((count(&last.take(&two)), count(&last.take(&one)), count(&last.take(&two))), (2, 1, 2));
    }
}
