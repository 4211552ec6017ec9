//! Pattern files in pattern files: those that include themselves, and deep nesting.
//!
//! Source: tcp_wrappers 7.6.q `hosts_access.c` `hostfile_match`, which calls itself.

use std::{collections::HashMap, path::Path};

use super::{
    advice, as_file,
    diagnostic::Sink,
    pattern_file,
    rule::{HostPattern, Origin, PatternFile, Tables},
    rule_hosts,
};

/// Nesting beyond which libwrap, which keeps every file open, may fail.
const DEEP: u32 = 64;

/// The files that were read, and which of them name which.
struct Inclusions<'a> {
    files: Vec<&'a PatternFile>,
    numbers: HashMap<&'a Path, usize>,
}

/// Finds files that include themselves, and deep nesting.
pub(super) fn check(tables: &Tables, diagnostics: &mut Sink) {
    let files: Vec<_> = tables.files.values().collect();
    let numbers = tables.files.keys().enumerate().map(|(number, path)| (path.as_path(), number)).collect();
    let inclusions = Inclusions { files, numbers };
    inclusions.report_cycles(diagnostics);
    inclusions.report_depth(tables, diagnostics);
}

impl<'a> Inclusions<'a> {
    /// The files that a file names, and where it does.
    fn of(&self, number: usize) -> impl Iterator<Item = (&'a Origin, usize)> {
        let named = |(origin, host): &'a (Origin, HostPattern)| Some((origin, self.number(host)?));
        self.files[number].patterns.iter().filter_map(named)
    }

    fn number(&self, host: &HostPattern) -> Option<usize> {
        self.numbers.get(as_file(host)?).copied()
    }

    /// Depth-first search without recursion: an inclusion of a file that is still open closes a cycle.
    fn report_cycles(&self, diagnostics: &mut Sink) {
        let mut is_done = vec![false; self.files.len()];
        let mut is_open = vec![false; self.files.len()];
        for root in 0..self.files.len() {
            let mut open: Vec<(usize, Vec<(&Origin, usize)>)> = Vec::new();
            if !std::mem::replace(&mut is_done[root], true) {
                open.push((root, self.of(root).collect()));
                is_open[root] = true;
            }
            while let Some((number, rest)) = open.last_mut() {
                let Some((origin, to)) = rest.pop() else {
                    is_open[*number] = false;
                    open.pop();
                    continue;
                };
                if is_open[to] {
                    diagnostics.push(advice::file_cycle(&self.files[to].path).at(origin.clone(), b""));
                } else if !std::mem::replace(&mut is_done[to], true) {
                    open.push((to, self.of(to).collect()));
                    is_open[to] = true;
                }
            }
        }
    }

    /// Breadth-first search from the tables.
    fn report_depth(&self, tables: &Tables, diagnostics: &mut Sink) {
        let mut is_seen = vec![false; self.files.len()];
        let mut level: Vec<usize> = rule_hosts(tables).filter_map(|host| self.number(host)).collect();
        for depth in 1.. {
            level.retain(|number| !std::mem::replace(&mut is_seen[*number], true));
            if level.is_empty() {
                return;
            }
            if depth == DEEP + 1 {
                for number in &level {
                    let path = &self.files[*number].path;
                    diagnostics.push(advice::file_deep().at(pattern_file::start(path), b""));
                }
            }
            level = level.iter().flat_map(|number| self.of(*number)).map(|(_, to)| to).collect();
        }
    }
}
