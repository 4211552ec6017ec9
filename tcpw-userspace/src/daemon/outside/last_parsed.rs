//! What was parsed last, so that texts are parsed once: to find out which files they name, and for their rules.
//!
//! In: texts. Out: their rules and diagnostics. No invariant but that they are of these texts.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    evaluate::IndexedTables,
    parse::{
        self,
        diagnostic::{Diagnostic, Severity},
        text::Texts,
    },
};

/// A clone shares it.
#[derive(Clone, Default)]
pub(super) struct LastParsed(Arc<Mutex<Option<(Texts, ParsedTexts)>>>);

/// What was parsed; the index of the rules is not made yet.
pub(super) struct ParsedTexts {
    pub(super) rules: Arc<IndexedTables>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl ParsedTexts {
    fn of(texts: &Texts) -> Self {
        let parsed = parse::parse(texts);
        let rules = Arc::new(IndexedTables::without_index(Arc::new(parsed.tables)));
        Self { rules, diagnostics: parsed.diagnostics }
    }

    fn rules(&self) -> (bool, Arc<IndexedTables>) {
        let has_errors = self.diagnostics.iter().any(|it| it.severity == Severity::Error);
        (has_errors, Arc::clone(&self.rules))
    }
}

impl LastParsed {
    /// Parses texts unless they were parsed last; whether they have errors, and their rules.
    pub(super) fn rules_of(&self, texts: &Texts) -> (bool, Arc<IndexedTables>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, parsed)) = &*last
            && known == texts
        {
            return parsed.rules();
        }
        // Before the next is made: together they take more memory.
        *last = None;
        let parsed = ParsedTexts::of(texts);
        let rules = parsed.rules();
        *last = Some((texts.clone(), parsed));
        rules
    }

    /// Takes the rules away; parses texts that were not parsed last.
    pub(super) fn take(&self, texts: &Texts) -> ParsedTexts {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match last {
            Some((known, parsed)) if known == *texts => parsed,
            Some(_) | None => ParsedTexts::of(texts),
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
        let count = |rules: &IndexedTables| rules.tables().deny.rules.len();
        let (one, two) = (texts("ALL: 10.\n"), texts("ALL: 10.\nALL: 11.\n"));
        let last = LastParsed::default();
        assert_eq!([&one, &two, &two].map(|texts| count(&last.rules_of(texts).1)), [1, 2, 2]);
        assert!(Arc::ptr_eq(&last.rules_of(&two).1, &last.take(&two).rules));
        assert_eq!(
            [texts("ALL: 10.\n"), texts("ALL 10.\n")].map(|texts| last.rules_of(&texts).0),
            [false, true]
        );
        assert_eq!([&two, &one, &two].map(|texts| count(&last.take(texts).rules)), [2, 1, 2]);
    }
}
