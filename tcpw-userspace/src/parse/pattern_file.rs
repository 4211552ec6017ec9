//! Pattern files: words separated by white space. `#`, commas and EXCEPT mean nothing there.
//!
//! Source: tcp_wrappers 7.6.q `hosts_access.c` `hostfile_match`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{
    advice,
    diagnostic::Sink,
    lexer::{Source, count},
    number::is_space,
    pattern::{self, Interfaces},
    rule::{HostPattern, Origin, PatternFile},
    text::FileText,
};

/// Parses every pattern file.
pub(super) fn parse(
    files: &BTreeMap<PathBuf, FileText>,
    interfaces: &mut Interfaces<'_>,
    diagnostics: &mut Sink,
) -> BTreeMap<PathBuf, PatternFile> {
    let parsed = files.iter().map(|(name, text)| {
        let path = Arc::new(name.clone());
        let mut file = PatternFile { path: Arc::clone(&path), patterns: Vec::new(), unreadable: None };
        match text {
            FileText::Bytes(bytes) => {
                let source = Source { path: &path, text: bytes };
                file.patterns = tokens(source, interfaces, diagnostics);
            }
            // A network interface, or a mask: spelt like a path, but no file.
            FileText::Missing if name.starts_with("/sys/class/net") || advice::is_mask(name) => {}
            FileText::Missing => diagnostics.push(advice::file_missing().at(start(&path), b"")),
            FileText::Unreadable(why) => {
                diagnostics.push(advice::file_unreadable(why).at(start(&path), b""));
                file.unreadable = Some(why.clone());
            }
        }
        (name.clone(), file)
    });
    parsed.collect()
}

pub(super) fn start(path: &Arc<PathBuf>) -> Origin {
    Origin { path: Arc::clone(path), line: 1, column: 1, length: 1 }
}

fn tokens(
    source: Source<'_>,
    interfaces: &mut Interfaces<'_>,
    diagnostics: &mut Sink,
) -> Vec<(Origin, HostPattern)> {
    let mut patterns = Vec::new();
    for (number, line) in (1..).zip(source.text.split_inclusive(|byte| *byte == b'\n')) {
        let cited = line.strip_suffix(b"\n").unwrap_or(line);
        let mut at = 0;
        let rule = advice::file_rule(cited);
        let mut is_after_comment = rule.is_some();
        if let Some((length, finding)) = rule {
            let origin =
                Origin { path: Arc::clone(source.path), line: number, column: 1, length: count(length) };
            diagnostics.push(finding.at(origin, cited));
        }
        for word in line.split(|byte| is_space(*byte)) {
            let column = at;
            at += word.len() + 1;
            if word.is_empty() {
                continue;
            }
            // fscanf(3) reads on, but the C string ends at a NUL.
            let token = word.split(|byte| *byte == 0).next().unwrap_or_default();
            let origin = Origin {
                path: Arc::clone(source.path),
                line: number,
                column: count(column + 1),
                length: count(word.len()),
            };
            let host = pattern::host(token, interfaces);
            if let Some(finding) = advice::file_token(word, &host, is_after_comment) {
                is_after_comment |= word.starts_with(b"#");
                diagnostics.push(finding.at(origin.clone(), cited));
            }
            patterns.push((origin, host));
        }
    }
    patterns
}
