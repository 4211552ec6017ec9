//! What was parsed last, so that texts are parsed once: to find out which files they name, for their rules, and when they
//! are read again though nothing changed.
//!
//! In: texts. Out: their rules and diagnostics. Invariant: they are of these texts. Rules that were taken live as long as
//! who took them needs them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

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
pub(super) struct LastParsed(Arc<Mutex<Option<Last>>>);

struct Last {
    texts: Texts,
    diagnostics: Vec<Diagnostic>,
    rules: Weak<IndexedTables>,
    /// Keeps the rules until they are taken.
    _kept: Option<Arc<IndexedTables>>,
}

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

    fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|it| it.severity == Severity::Error)
    }

    fn as_last(&self, texts: &Texts, kept: Option<Arc<IndexedTables>>) -> Last {
        Last {
            texts: texts.clone(),
            diagnostics: self.diagnostics.clone(),
            rules: Arc::downgrade(&self.rules),
            _kept: kept,
        }
    }
}

impl Last {
    fn parsed(&self) -> Option<ParsedTexts> {
        Some(ParsedTexts { rules: self.rules.upgrade()?, diagnostics: self.diagnostics.clone() })
    }
}

impl LastParsed {
    /// Parses texts unless they were parsed last; whether they have errors, and their rules.
    pub(super) fn rules_of(&self, texts: &Texts) -> (bool, Arc<IndexedTables>) {
        let parsed = self.parsed(texts, true);
        (parsed.has_errors(), parsed.rules)
    }

    /// As [`rules_of`](Self::rules_of); from here on the rules are kept only as long as somebody needs them.
    pub(super) fn take(&self, texts: &Texts) -> ParsedTexts {
        self.parsed(texts, false)
    }

    fn parsed(&self, texts: &Texts, keeps: bool) -> ParsedTexts {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Others are freed before these are parsed: together they take more memory.
        let known = last.take().filter(|known| known.texts == *texts).and_then(|known| known.parsed());
        let parsed = known.unwrap_or_else(|| ParsedTexts::of(texts));
        *last = Some(parsed.as_last(texts, keeps.then(|| Arc::clone(&parsed.rules))));
        parsed
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
        let taken = last.take(&two).rules;
        assert!(Arc::ptr_eq(&taken, &last.rules_of(&two).1), "they are still needed");
        assert!(Arc::ptr_eq(&taken, &last.take(&two).rules));
        let weak = Arc::downgrade(&taken);
        drop(taken);
        assert_eq!(weak.strong_count(), 0, "nobody needs them");
        assert_eq!(
            [texts("ALL: 10.\n"), texts("ALL 10.\n")].map(|texts| last.rules_of(&texts).0),
            [false, true]
        );
        assert_eq!([&two, &one, &two].map(|texts| count(&last.take(texts).rules)), [2, 1, 2]);
    }
}
