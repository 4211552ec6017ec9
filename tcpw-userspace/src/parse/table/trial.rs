//! Fixes are tried out before they are offered: the text with a fix is parsed like any other.
//!
//! In: a finding with a fix. Out: the same, or without the fix if something would still be wrong.

use std::sync::Arc;

use super::{Codes, LineForms, Parser, Trial};
use crate::parse::{
    advice,
    code::Code,
    diagnostic::{Diagnostic, Finding, Fix, Severity, Sink},
    lexer::{Lexer, Line, Source, count},
    rule::{Origin, Rules, Table, TableEnd},
};

/// Most lines that are joined in one fix.
const MOST_LINES: usize = 20;

/// Most fixes that one whole line is mended with.
const MOST_FIXES: usize = 8;

impl Parser<'_, '_, '_> {
    /// Reports a rule that goes on in the next lines; the end of the last of them.
    pub(super) fn rest_of(&mut self, line: &Line<'_>, next: &Line<'_>) -> Option<usize> {
        let source = self.source;
        if self.trial == Trial::Yes || line.has_nul() || !advice::may_go_on(&line.bytes, &next.bytes) {
            return None;
        }
        let written = |line: &Line<'_>| {
            let text = source.text.get(line.span.clone()).unwrap_or_default();
            text.strip_suffix(b"\n").unwrap_or(text).to_vec()
        };
        let mut lines = vec![written(line)];
        let mut joined = line.bytes.trim_ascii_end().to_vec();
        let mut end = line.span.end;
        let start = next.span.start;
        for next in Lexer::new(source.text.get(start..)?).take(MOST_LINES) {
            let span = next.span.start + start..next.span.end + start;
            let with_newline = [joined.as_slice(), b"\n"].concat();
            let (colons, fields) = advice::cut(&with_newline);
            let (kind, writer) = (self.table.kind, self.writer);
            let cut = advice::Cut { bytes: &with_newline, colons, fields: &fields, kind, writer };
            let text = next.bytes.strip_suffix(b"\n").unwrap_or(&next.bytes).to_vec();
            if next.broken || next.has_nul() || !advice::goes_on(&cut, &text) {
                break;
            }
            joined = [joined.as_slice(), b" ", text.trim_ascii()].concat();
            let raw = source.text.get(span.clone()).unwrap_or_default();
            lines.push(raw.strip_suffix(b"\n").unwrap_or(raw).to_vec());
            end = span.end;
        }
        if lines.len() < 2 {
            return None;
        }
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let finding = advice::joined_lines(&lines, line.number, self.table.kind);
        let finding = self.proven(finding, |parser, fix| parser.complete(fix, Code::E157, &Codes::default()));
        // If they are no rule together, each is told of by itself.
        finding.fix.as_ref()?;
        let origin = Origin {
            path: Arc::clone(source.path),
            line: line.first_line(),
            column: 1,
            length: count(end - line.span.start - 1),
        };
        self.diagnostics.push(finding.at(origin, source.line_at(line.span.start)));
        Some(end)
    }

    /// A finding with its fix as it was found good, or without.
    pub(super) fn proven(
        &mut self,
        finding: Finding,
        try_fix: impl FnOnce(&mut Self, &[u8]) -> Option<Vec<u8>>,
    ) -> Finding {
        let Some(Fix::Replace(fix)) = &finding.fix else { return finding };
        if self.trial == Trial::Yes {
            return finding;
        }
        match try_fix(self, fix.as_bytes()) {
            Some(fix) => finding.replace(fix),
            None => finding.without_fix(),
        }
    }

    /// What there is to say of a text that stands in place of a line; its fixes are not tried.
    pub(super) fn tried(&self, text: &[u8]) -> Vec<Diagnostic> {
        let text = if text.ends_with(b"\n") { text.to_vec() } else { [text, b"\n"].concat() };
        let path = self.source.path;
        let mut table = Table {
            kind: self.table.kind,
            path: Arc::clone(path),
            rules: Rules::default(),
            end: TableEnd::Complete,
            complaints: Vec::new(),
        };
        let mut sink = Sink::default();
        let mut interfaces = self.interfaces.again();
        Parser {
            source: Source { path, text: &text },
            table: &mut table,
            interfaces: &mut interfaces,
            diagnostics: &mut sink,
            writer: self.writer,
            trial: Trial::Yes,
            forms: LineForms::default(),
        }
        .lines();
        sink.into_found()
    }

    /// Whether a text has less of a code than the line of these codes, and nothing worse that is new.
    pub(super) fn is_better(&self, mended: &[u8], code: Code, codes: &Codes) -> bool {
        let found = self.tried(mended);
        let mut after = Codes::default();
        for it in &found {
            *after.0.entry(it.code).or_default() += 1;
        }
        let is_new =
            |it: &Diagnostic| it.severity > Severity::Hint && after.count(it.code) > codes.count(it.code);
        after.count(code.as_str()) < codes.count(code.as_str()).max(1) && !found.iter().any(is_new)
    }

    /// A fix for a whole line with the fixes of what is left in it; `None` if something stays wrong.
    pub(super) fn complete(&self, fix: &[u8], code: Code, codes: &Codes) -> Option<Vec<u8>> {
        let mut text = fix.to_vec();
        for _ in 0..MOST_FIXES {
            let found = self.tried(&text);
            let was_there = |it: &Diagnostic| codes.count(it.code) > 0;
            let is_left = |it: &&Diagnostic| {
                it.severity == Severity::Error
                    || it.code == code.as_str()
                    || it.severity == Severity::Warning && !was_there(it)
            };
            let Some(left) = found.iter().find(is_left) else { return Some(text) };
            text = apply(&text, left)?;
        }
        None
    }
}

/// A text with the fix of a diagnostic.
fn apply(text: &[u8], diagnostic: &Diagnostic) -> Option<Vec<u8>> {
    let Some(Fix::Replace(with)) = &diagnostic.fix else { return None };
    let Origin { line, column, length, .. } = diagnostic.origin;
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.by_ref().take(line as usize - 1).map(<[u8]>::len).sum();
    let start = before + column as usize - 1;
    let end = (start + length as usize).min(text.len());
    Some([text.get(..start)?, with.as_bytes(), text.get(end..)?].concat())
}
