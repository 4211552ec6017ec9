//! Pattern files: tokens without comments, commas or EXCEPT.
//!
//! Source: tcp_wrappers 7.6.q `hosts_access.c` `hostfile_match`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    advice, as_file,
    diagnostic::Sink,
    lexer::{Source, count},
    number::is_space,
    pattern::{self, Interfaces},
    rule::{HostPattern, Origin, PatternFile, Tables},
    rule_hosts,
    text::FileText,
};

/// Nesting beyond which libwrap, which keeps every file open, may fail.
const DEEP: u32 = 64;

/// Parses every pattern file.
pub(super) fn parse(
    files: &BTreeMap<PathBuf, FileText>,
    interfaces: &mut Interfaces<'_>,
    diagnostics: &mut Sink,
) -> BTreeMap<PathBuf, PatternFile> {
    let mut parsed = BTreeMap::new();
    for (name, text) in files {
        let path = Arc::new(name.clone());
        let mut file = PatternFile { path: Arc::clone(&path), patterns: Vec::new(), unreadable: None };
        match text {
            FileText::Bytes(bytes) => {
                let source = Source { path: &path, text: bytes };
                file.patterns = tokens(source, interfaces, diagnostics);
            }
            FileText::Missing if name.starts_with("/sys/class/net") => {}
            FileText::Missing => diagnostics.push(advice::file_missing().at(start(&path), b"")),
            FileText::Unreadable(why) => {
                diagnostics.push(advice::file_unreadable(why).at(start(&path), b""));
                file.unreadable = Some(why.clone());
            }
        }
        parsed.insert(name.clone(), file);
    }
    parsed
}

fn start(path: &Arc<PathBuf>) -> Origin {
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
        let mut commented = false;
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
            if let Some(finding) = advice::file_token(word, &host, commented) {
                commented |= word.starts_with(b"#");
                diagnostics.push(finding.at(origin.clone(), cited));
            }
            patterns.push((origin, host));
        }
    }
    patterns
}

/// Finds files that include themselves, and deep nesting.
pub(super) fn check_nesting(tables: &Tables, diagnostics: &mut Sink) {
    report_cycles(tables, diagnostics);
    let mut level: BTreeSet<&Path> = rule_hosts(tables).filter_map(as_file).collect();
    let mut seen: BTreeSet<&Path> = BTreeSet::new();
    for depth in 1.. {
        let reached: Vec<&Path> = level.into_iter().filter(|path| seen.insert(path)).collect();
        if reached.is_empty() {
            return;
        }
        if depth == DEEP + 1 {
            let files = reached.iter().filter_map(|path| tables.files.get(*path));
            diagnostics.extend(files.map(|file| advice::file_deep().at(start(&file.path), b"")));
        }
        level = reached.into_iter().flat_map(|path| inclusions(tables, path)).map(|(_, to)| to).collect();
    }
}

fn inclusions<'a>(tables: &'a Tables, path: &Path) -> impl Iterator<Item = (&'a Origin, &'a Path)> + use<'a> {
    let patterns = tables.files.get(path).map_or(&[][..], |file| &file.patterns);
    patterns.iter().filter_map(|(origin, host)| Some((origin, as_file(host)?)))
}

/// Depth-first search without recursion: an inclusion of a file that is still open closes a cycle.
fn report_cycles(tables: &Tables, diagnostics: &mut Sink) {
    let mut done: BTreeSet<&Path> = BTreeSet::new();
    for root in tables.files.keys() {
        let mut open: Vec<(&Path, Vec<(&Origin, &Path)>)> = Vec::new();
        let mut on_stack: BTreeSet<&Path> = BTreeSet::new();
        if done.insert(root) {
            open.push((root, inclusions(tables, root).collect()));
            on_stack.insert(root);
        }
        while let Some((path, rest)) = open.last_mut() {
            let Some((origin, to)) = rest.pop() else {
                on_stack.remove(path);
                open.pop();
                continue;
            };
            if on_stack.contains(to) {
                diagnostics.push(advice::file_cycle(to).at(origin.clone(), b""));
            } else if done.insert(to) {
                open.push((to, inclusions(tables, to).collect()));
                on_stack.insert(to);
            }
        }
    }
}
