//! One cause, one finding: findings of one kind in one file become the first of them, with a count.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use crate::parse::{
    code::Code,
    diagnostic::{Diagnostic, Fix, Further, Severity},
};

/// Most findings of one kind that are shown one by one, where each has a text of its own to write.
const WITH_FIX: usize = 5;

/// The same where nothing is to be written.
const WITHOUT_FIX: usize = 3;

/// Most further places that are kept.
const PLACES: usize = 100;

/// Findings that have one cause: file, code, and for rules that nothing reaches those before them and what follows.
type Cause = (Arc<PathBuf>, &'static str, Vec<(Arc<PathBuf>, u32)>, String);

/// Makes one finding of those that have one cause; they are sorted by place.
pub(super) fn group(diagnostics: &mut Vec<Diagnostic>) {
    let mut counts: HashMap<Cause, usize> = HashMap::new();
    for diagnostic in &*diagnostics {
        *counts.entry(cause(diagnostic)).or_default() += 1;
    }
    let mut first: HashMap<Cause, usize> = HashMap::new();
    let mut kept: Vec<Diagnostic> = Vec::with_capacity(diagnostics.len());
    for diagnostic in diagnostics.drain(..) {
        let cause = cause(&diagnostic);
        let count = counts.get(&cause).copied().unwrap_or_default();
        if count <= alone(&diagnostic) {
            kept.push(diagnostic);
            continue;
        }
        let is_needless = is(&diagnostic, Code::H173);
        let index = *first.entry(cause).or_insert(kept.len());
        match kept.get_mut(index) {
            None => kept.push(diagnostic),
            Some(head) => {
                head.more += 1 + diagnostic.more;
                if head.places.len() < PLACES {
                    let by = diagnostic.related.into_iter().next().filter(|_| is_needless);
                    head.places.push(Further { origin: diagnostic.origin, by: by.map(|it| it.origin) });
                }
            }
        }
    }
    // The message names the rule that makes it needless.
    kept.iter_mut().filter(|it| is(it, Code::H173)).for_each(|it| it.related.clear());
    *diagnostics = kept;
}

fn cause(diagnostic: &Diagnostic) -> Cause {
    let origin = &diagnostic.origin;
    let (others, consequence) = if is(diagnostic, Code::W141) {
        (diagnostic.related.as_slice(), diagnostic.consequence.to_string())
    } else {
        (&[] as &[_], String::new())
    };
    let others = others.iter().map(|it| (Arc::clone(&it.origin.path), it.origin.line)).collect();
    (Arc::clone(&origin.path), diagnostic.code, others, consequence)
}

/// How many of its kind are shown one by one.
fn alone(diagnostic: &Diagnostic) -> usize {
    match (&diagnostic.fix, diagnostic.severity) {
        _ if [Code::W141, Code::W159, Code::W170, Code::H173].iter().any(|code| is(diagnostic, *code)) => 1,
        (Some(Fix::Replace(_)), _) => WITH_FIX,
        (Some(Fix::Advice(_)) | None, Severity::Hint) => 1,
        (Some(Fix::Advice(_)) | None, Severity::Warning | Severity::Error) => WITHOUT_FIX,
    }
}

fn is(diagnostic: &Diagnostic, code: Code) -> bool {
    diagnostic.code == code.as_str()
}
