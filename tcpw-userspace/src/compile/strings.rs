//! INTERIM until the evaluator is merged.
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
        TextPattern::Glob(text) => glob(text, subject),
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

fn glob(pattern: &[u8], subject: &[u8]) -> bool {
    match (pattern, subject) {
        ([], _) => subject.is_empty(),
        ([b'*'], _) => true,
        ([b'*', rest @ ..], _) => (0..subject.len()).any(|from| glob(rest, &subject[from..])),
        ([b'?', pattern @ ..], [_, subject @ ..]) => glob(pattern, subject),
        ([a, pattern @ ..], [b, subject @ ..]) => a.eq_ignore_ascii_case(b) && glob(pattern, subject),
        ([_, ..], []) => false,
    }
}
