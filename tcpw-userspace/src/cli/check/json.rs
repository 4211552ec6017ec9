//! The check for a program: one JSON document.
//!
//! `format` is 1; fields may be added, and none changes its meaning. Lines, columns and
//! lengths count from 1, in bytes; text that is not UTF-8 has U+FFFD in it.

use std::{io::Write, path::Path};

use serde::Serialize;

use super::Failure;
use crate::{
    check::{Checked, Counts},
    parse::{
        diagnostic::{Diagnostic, Fix},
        rule::{Origin, Table, TableKind},
    },
};

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    /// The tables that were checked.
    tables: Vec<TableOut>,
    diagnostics: Vec<DiagnosticFields<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
struct TableOut {
    /// `allow` or `deny`.
    kind: &'static str,
    file: String,
    rules: usize,
}

#[derive(Serialize)]
struct DiagnosticFields<'a> {
    /// `error`, `warning` or `hint`.
    severity: String,
    code: &'static str,
    #[serde(flatten)]
    place: PlaceFields,
    message: &'a str,
    expected: Option<&'a str>,
    /// What to write or do.
    fix: Option<String>,
    /// Whether `fix` is the text to put in place of `length` bytes at `line`, `column`.
    fix_replaces: bool,
    consequence: &'a str,
    /// The physical line; of a very long one a part, from `cited_column` on.
    cited: Option<String>,
    cited_column: u32,
    related: Vec<RelatedOut<'a>>,
    /// How many more places of this cause the file has.
    more: usize,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<PlaceFields>,
}

#[derive(Serialize)]
struct PlaceFields {
    file: String,
    line: u32,
    column: u32,
    length: u32,
}

#[derive(Serialize)]
struct RelatedOut<'a> {
    #[serde(flatten)]
    place: PlaceFields,
    note: &'a str,
}

#[derive(Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    hints: usize,
    rules: usize,
}

/// Writes the document, and a newline.
pub(super) fn write(out: &mut impl Write, checked: &Checked, counts: Counts) -> Result<(), Failure> {
    let tables = [&checked.tables.allow, &checked.tables.deny];
    let document = Document {
        format: 1,
        tables: tables.into_iter().filter(|table| !table.path.as_os_str().is_empty()).map(table).collect(),
        diagnostics: checked.diagnostics.iter().map(found).collect(),
        summary: Summary {
            errors: counts.errors,
            warnings: counts.warnings,
            hints: counts.hints,
            rules: tables.into_iter().map(|table| table.rules.len()).sum(),
        },
    };
    serde_json::to_writer(&mut *out, &document).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

fn table(table: &Table) -> TableOut {
    let kind = match table.kind {
        TableKind::Allow => "allow",
        TableKind::Deny => "deny",
    };
    TableOut { kind, file: text(&table.path), rules: table.rules.len() }
}

fn found(diagnostic: &Diagnostic) -> DiagnosticFields<'_> {
    let Diagnostic { severity, code, origin, message, expected, fix, consequence, related, .. } = diagnostic;
    DiagnosticFields {
        severity: severity.to_string(),
        code,
        place: place(origin),
        message,
        expected: Some(expected.as_ref()).filter(|text| !text.is_empty()),
        fix: fix.as_ref().map(|fix| match fix {
            Fix::Replace(text) => text.clone(),
            Fix::Advice(words) => words.to_string(),
        }),
        fix_replaces: matches!(fix, Some(Fix::Replace(_))),
        consequence,
        cited: (!diagnostic.cited.is_empty())
            .then(|| String::from_utf8_lossy(&diagnostic.cited).into_owned()),
        cited_column: diagnostic.cited_from + 1,
        related: related.iter().map(|it| RelatedOut { place: place(&it.origin), note: &it.note }).collect(),
        more: diagnostic.more,
        places: diagnostic.places.iter().map(|it| place(&it.origin)).collect(),
    }
}

fn place(origin: &Origin) -> PlaceFields {
    let Origin { path, line, column, length } = origin;
    PlaceFields { file: text(path), line: *line, column: *column, length: *length }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
