//! Places in the tables, with what stands there.

use std::{cell::RefCell, collections::HashMap, path::PathBuf};

use serde::Serialize;

use crate::{
    evaluate::quoted_bytes,
    parse::{
        Parsed,
        diagnostic::{Diagnostic, Fix, Severity},
        line_starts::LineStarts,
        rule::{Origin, Rule, Tables},
        text::{FileText, Texts},
    },
};

/// The tables and their texts.
pub(super) struct TablesAndTexts {
    /// Parsed.
    pub(super) tables: Tables,
    /// As they were read.
    pub(super) texts: Texts,
    /// What is wrong with them.
    pub(super) diagnostics: Vec<Diagnostic>,
    starts: RefCell<HashMap<PathBuf, LineStarts>>,
}

/// A place, and its text.
#[derive(Clone, Debug, Serialize)]
pub(super) struct QuotedPlace {
    /// File.
    pub(super) file: String,
    /// Physical line.
    pub(super) line: u32,
    /// Column in bytes.
    pub(super) column: u32,
    /// What stands there.
    pub(super) text: String,
}

impl TablesAndTexts {
    pub(super) fn new(Parsed { tables, diagnostics }: Parsed, texts: Texts) -> Self {
        Self { tables, texts, diagnostics, starts: RefCell::default() }
    }

    /// The place of an origin.
    pub(super) fn at(&self, origin: &Origin) -> QuotedPlace {
        let text = self.text(origin).map(quoted_bytes).unwrap_or_default();
        QuotedPlace {
            file: origin.path.display().to_string(),
            line: origin.line,
            column: origin.column,
            text,
        }
    }

    /// What is wrong with a rule, each mistake in one line.
    pub(super) fn mistakes(&self, rule: &Rule) -> Vec<String> {
        let lines = rule.line()..=rule.number.max(rule.line());
        let is_here = |it: &&Diagnostic| {
            it.severity > Severity::Hint && it.origin.path == *rule.path() && lines.contains(&it.origin.line)
        };
        let one_line = |it: &Diagnostic| {
            let fix = match &it.fix {
                Some(Fix::Replace(text)) => match it.suggestion(text).as_slice() {
                    [line] => format!("; perhaps: {line}"),
                    _ => String::new(),
                },
                Some(Fix::Advice(_)) | None => String::new(),
            };
            format!("{}: {}{fix} [{}]", it.message, it.consequence, it.code)
        };
        self.diagnostics.iter().filter(is_here).map(one_line).collect()
    }

    fn text(&self, origin: &Origin) -> Option<&[u8]> {
        let Texts { allow, deny, files } = &self.texts;
        let tables = [allow, deny].into_iter().find(|(path, _)| *path == origin.path).map(|(_, text)| text);
        let FileText::Bytes(bytes) = tables.or_else(|| files.get(origin.path.as_ref()))? else { return None };
        let mut starts = self.starts.borrow_mut();
        let starts = starts.entry(origin.path.to_path_buf()).or_insert_with(|| LineStarts::of(bytes));
        let line = starts.line(bytes, origin.line);
        let start = usize::try_from(origin.column).ok()?.checked_sub(1)?;
        let rest = line.get(start..)?;
        Some(&rest[..rest.len().min(usize::try_from(origin.length).ok()?)])
    }
}
