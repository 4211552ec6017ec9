//! The lines that diagnostics cite.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::parse::{
    diagnostic::{Diagnostic, Finding},
    line_starts::LineStarts,
    rule::{Origin, Rule},
    text::{FileText, Texts},
};

/// The lines of the tables.
pub(super) struct Places<'a> {
    texts: &'a Texts,
    starts: HashMap<PathBuf, LineStarts>,
}

impl<'a> Places<'a> {
    pub(super) fn new(texts: &'a Texts) -> Self {
        Self { texts, starts: HashMap::new() }
    }

    /// A finding at its place, with the line cited.
    pub(super) fn at(&mut self, finding: Finding, origin: Origin) -> Diagnostic {
        let line = self.line(&origin);
        finding.at(origin, line)
    }

    /// A finding on a rule as a whole.
    pub(super) fn at_rule(&mut self, finding: Finding, rule: &Rule) -> Diagnostic {
        let origin = rule.origin();
        let line = self.line(&origin);
        // The underline leaves out the blanks around the rule.
        let start = line.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
        let length = line.trim_ascii().len().max(1);
        let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let origin = Origin { column: count(start + 1), length: count(length), ..origin };
        finding.at(origin, line)
    }

    /// A physical line without its newline.
    fn line(&mut self, origin: &Origin) -> &'a [u8] {
        let Some(text) = self.text(&origin.path) else { return &[] };
        let starts = self.starts.entry(origin.path.to_path_buf()).or_insert_with(|| LineStarts::of(text));
        starts.line(text, origin.line)
    }

    fn text(&self, path: &Path) -> Option<&'a [u8]> {
        let tables = [&self.texts.allow, &self.texts.deny];
        let table = tables.into_iter().find(|table| table.0.as_path() == path).map(|table| &table.1);
        match table.or_else(|| self.texts.files.get(path))? {
            FileText::Bytes(bytes) => Some(bytes),
            FileText::Missing | FileText::Unreadable(_) => None,
        }
    }
}

/// The first place of a file.
pub(super) fn whole(path: &Arc<PathBuf>) -> Origin {
    Origin { path: Arc::clone(path), line: 1, column: 1, length: 1 }
}
