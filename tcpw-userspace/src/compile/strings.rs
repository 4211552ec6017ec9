//! INTERIM until the evaluator is merged.
use super::automaton::Glob;
use crate::evaluate::request::Verdict;
use crate::parse::rule::{Rule, RuleOption, TableKind, TextPattern};

pub(crate) fn matches(pattern: &TextPattern, subject: &[u8]) -> bool {
    match pattern {
        TextPattern::All => true,
        TextPattern::Known => !subject.eq_ignore_ascii_case(b"unknown"),
        TextPattern::Exact(text) => text.eq_ignore_ascii_case(subject),
        TextPattern::Prefix(text) => {
            subject.len() >= text.len() && subject[..text.len()].eq_ignore_ascii_case(text)
        }
        TextPattern::Suffix(text) => {
            subject.len() > text.len() && subject[subject.len() - text.len()..].eq_ignore_ascii_case(text)
        }
        TextPattern::Bracketed(_) => false,
        TextPattern::Glob(_) => {
            Glob::new(pattern).is_some_and(|g| g.accepts(g.run(g.start(), &subject.to_ascii_lowercase())))
        }
    }
}

pub(crate) fn outcome_of(rule: &Rule, table: TableKind) -> Verdict {
    let mut verdict = match table {
        TableKind::Allow => Verdict::Allow,
        TableKind::Deny => Verdict::Refuse,
    };
    for field in &rule.options {
        match &field.option {
            Ok(RuleOption::Allow) => verdict = Verdict::Allow,
            Ok(RuleOption::Deny | RuleOption::Twist(_)) | Err(_) => verdict = Verdict::Refuse,
            Ok(_) => {}
        }
    }
    verdict
}
