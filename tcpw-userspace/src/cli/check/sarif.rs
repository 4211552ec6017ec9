//! The check for code scanners: SARIF 2.1.0.
//!
//! One run; one rule for each code that was found; one result for each finding, with its further places as related
//! locations, and its fix as a replacement. Columns count characters from 1.
//! Source: OASIS "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".

use std::{collections::BTreeMap, io::Write, path::Path};

use serde_json::{Value, json};

use super::Failure;
use crate::{
    check::{Checked, registry},
    parse::{
        diagnostic::{Diagnostic, Fix, Severity},
        rule::Origin,
        text::{FileText, Texts},
    },
};

/// Where the format is defined.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Writes the log, and a newline.
pub(super) fn write(out: &mut impl Write, checked: &Checked, texts: &Texts) -> Result<(), Failure> {
    let mut codes: Vec<&str> = checked.diagnostics.iter().map(|it| it.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let index: BTreeMap<&str, usize> = codes.iter().enumerate().map(|(index, code)| (*code, index)).collect();
    let rules: Vec<Value> = codes.iter().filter_map(|code| rule(code)).collect();
    let results: Vec<Value> = checked.diagnostics.iter().map(|it| result(it, &index, texts)).collect();
    let driver = json!({
        "name": "tcpw",
        "version": env!("CARGO_PKG_VERSION"),
        "rules": rules,
    });
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results }],
    });
    serde_json::to_writer(&mut *out, &log).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Hint => "note",
    }
}

/// What a code means.
fn rule(code: &str) -> Option<Value> {
    let entry = registry::find(code).ok()?;
    let samples =
        |samples: &[registry::Sample]| samples.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let help = format!(
        "{}\n\nWrong:\n{}\n\nWhat libwrap does with it: {}\n\nRight:\n{}",
        entry.text,
        samples(entry.wrong),
        entry.consequence,
        samples(entry.right),
    );
    Some(json!({
        "id": code,
        "shortDescription": { "text": entry.code.title() },
        "fullDescription": { "text": entry.text },
        "help": { "text": help },
        "defaultConfiguration": { "level": level(entry.code.severity()) },
    }))
}

fn result(diagnostic: &Diagnostic, index: &BTreeMap<&str, usize>, texts: &Texts) -> Value {
    let Diagnostic { severity, code, origin, message, consequence, expected, fix, more, .. } = diagnostic;
    let mut text = format!("{message}: {consequence}.");
    match fix {
        Some(Fix::Replace(fix)) => {
            text.push_str(&format!(" Perhaps: {}", diagnostic.suggestion(fix).join("\n")));
        }
        Some(Fix::Advice(words)) => text.push_str(&format!(" {words}.")),
        None if !expected.is_empty() => text.push_str(&format!(" Expected: {expected}.")),
        None => {}
    }
    if *more > 0 {
        text.push_str(&format!(" {} times in this file.", more + 1));
    }
    let mut value = json!({
        "ruleId": code,
        "ruleIndex": index.get(code).copied().unwrap_or_default(),
        "level": level(*severity),
        "message": { "text": text },
        "locations": [location(origin, texts)],
    });
    let places = diagnostic.places.iter().map(|it| (&it.origin, "the same"));
    let related = diagnostic.related.iter().map(|it| (&it.origin, it.note.as_str()));
    let related: Vec<Value> = related
        .chain(places)
        .enumerate()
        .map(|(id, (origin, note))| {
            let mut location = location(origin, texts);
            location["id"] = json!(id);
            location["message"] = json!({ "text": note });
            location
        })
        .collect();
    if !related.is_empty() {
        value["relatedLocations"] = json!(related);
    }
    if let Some(Fix::Replace(fix)) = fix {
        let change = json!({
            "artifactLocation": { "uri": uri(&origin.path) },
            "replacements": [{ "deletedRegion": region(origin, texts), "insertedContent": { "text": fix } }],
        });
        value["fixes"] = json!([{ "description": { "text": "the text as it was perhaps meant" }, "artifactChanges": [change] }]);
    }
    value
}

fn location(origin: &Origin, texts: &Texts) -> Value {
    json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(&origin.path) },
            "region": region(origin, texts),
        },
    })
}

/// Lines and columns of a place; it may go over more than one line.
fn region(origin: &Origin, texts: &Texts) -> Value {
    let Origin { line, column, length, .. } = origin;
    let (start, length) = (*column as usize - 1, *length as usize);
    let text = bytes(&origin.path, texts);
    let mut lines = text.split(|byte| *byte == b'\n').skip(*line as usize - 1);
    let first = lines.next().unwrap_or_default();
    let count = |text: &[u8]| String::from_utf8_lossy(text).chars().count() + 1;
    let start = start.min(first.len());
    let start_column = count(&first[..start]);
    let (mut end_line, mut left, mut current) = (*line, start + length, first);
    while left > current.len() {
        let Some(next) = lines.next() else { break };
        left -= current.len() + 1;
        end_line += 1;
        current = next;
    }
    let end_column = count(&current[..left.min(current.len())]);
    json!({
        "startLine": line,
        "startColumn": start_column,
        "endLine": end_line,
        "endColumn": if end_line == *line { end_column.max(start_column) } else { end_column },
    })
}

fn bytes<'a>(path: &Path, texts: &'a Texts) -> &'a [u8] {
    let tables = [&texts.allow, &texts.deny];
    let table = tables.into_iter().find(|(table, _)| table.as_path() == path).map(|(_, text)| text);
    match table.or_else(|| texts.files.get(path)) {
        Some(FileText::Bytes(bytes)) => bytes,
        Some(FileText::Missing | FileText::Unreadable(_)) | None => &[],
    }
}

/// A path as a reference: below the current directory without it, else with its scheme.
fn uri(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    if path.is_absolute() { format!("file://{text}") } else { text }
}
