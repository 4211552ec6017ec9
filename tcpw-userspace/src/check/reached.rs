//! Rules before the one that a finding is about.
//!
//! In: findings, and the tables. Out: the same; where other rules decide first, what follows from the mistake says so.
//! Invariant: said only if it is so for the rule as it stands and, where a fix is offered, with the fix, as
//! [`compile::unreachable`] has it.

use std::{collections::HashSet, ops::Range, path::PathBuf, sync::Arc};

use smallvec::SmallVec;

use super::verdicts::leads_to;
use crate::{
    compile::{self, Unreachable},
    evaluate::request::RuleIndex,
    parse::{
        self,
        code::Code,
        diagnostic::{Diagnostic, Fix, Severity},
        rule::{
            ClientPattern, DaemonPattern, List, Rule, RuleOption, RuleRef, Rules, Span, Table, TableKind,
            Tables,
        },
        text::{FileText, Texts},
    },
};

/// Most rules and patterns of files that are gone through for all findings together.
const MAX_RULES: usize = 50_000;

/// Adds to each finding which rules decide before the rule it is about.
pub(super) fn tell(tables: &Tables, texts: &Texts, diagnostics: &mut [Diagnostic]) {
    let wrong: HashSet<(PathBuf, u32)> = diagnostics
        .iter()
        .filter(|it| depends_on_reach(it))
        .flat_map(|it| std::iter::once(&it.origin).chain(it.places.iter().map(|more| &more.origin)))
        .map(|origin| (origin.path.to_path_buf(), origin.line))
        .collect();
    let mut left = MAX_RULES;
    for diagnostic in diagnostics.iter_mut().filter(|it| depends_on_reach(it)) {
        for (table, text) in [(&tables.allow, &texts.allow.1), (&tables.deny, &texts.deny.1)] {
            let FileText::Bytes(text) = text else { continue };
            if *table.path != *diagnostic.origin.path {
                continue;
            }
            let subject = Subject { tables, texts, table, text, diagnostic };
            let Some(note) = subject.note(&wrong, &mut left) else { continue };
            diagnostic.consequence = format!("{}; {note}", diagnostic.consequence).into();
        }
    }
}

/// Whether what follows from it happens only if its rule is reached.
fn depends_on_reach(diagnostic: &Diagnostic) -> bool {
    const OTHERS: [Code; 8] =
        [Code::W029, Code::W140, Code::W141, Code::W142, Code::W144, Code::W158, Code::W170, Code::E004];
    diagnostic.severity > Severity::Hint && !OTHERS.iter().any(|code| code.as_str() == diagnostic.code)
}

/// Whether a rule is reached.
enum Reach {
    /// Some request reaches it.
    Reached,
    /// No request matches it.
    Never,
    /// Other rules decide on all that match it.
    Behind(Vec<RuleIndex>),
}

/// A finding, and the table that it is in.
struct Subject<'a> {
    tables: &'a Tables,
    texts: &'a Texts,
    table: &'a Table,
    text: &'a [u8],
    diagnostic: &'a Diagnostic,
}

/// A part of a table.
struct Part {
    /// Its first line.
    first: u32,
    text: Vec<u8>,
    /// What the finding is about: columns of a line.
    line: u32,
    columns: Range<u32>,
}

impl Subject<'_> {
    /// What there is to say; `left`: how many more rules may be gone through.
    fn note(&self, wrong: &HashSet<(PathBuf, u32)>, left: &mut usize) -> Option<String> {
        let origin = &self.diagnostic.origin;
        let rule = self.table.rules.at_line(origin.line).and_then(|index| self.table.rules.get(index));
        let first = rule.as_ref().map_or(origin.line, |rule| rule.line());
        let before = self.table.rules.before_line(first);
        let last = rule.as_ref().map_or(origin.line, |rule| rule.number.max(rule.line()));
        let listed: usize = self.tables.files.values().map(|file| file.patterns.len()).sum();
        *left = left.checked_sub(before + self.tables.allow.rules.len() + listed)?;
        let as_it_stands = rule.map(|rule| {
            let columns = origin.column..origin.column.saturating_add(origin.length);
            self.reach(narrowed(&rule, origin.line, &columns), before)
        });
        let is_reached = matches!(as_it_stands, Some(Reach::Reached));
        let Some(mended) = self.mended(first, last) else {
            return match as_it_stands {
                Some(Reach::Behind(by)) => self.says(&by, "this rule", wrong),
                Some(Reach::Reached | Reach::Never) | None => None,
            };
        };
        let Part { line, columns, .. } = &mended;
        let line = line - mended.first + 1;
        let rules = self.rules_of(&mended.text);
        let many = rules.len() > 1;
        if is_reached && !many {
            return None;
        }
        let reaches: Vec<(Reach, Rule)> = rules
            .into_iter()
            .map(|rule| (self.reach(narrowed(&rule, line, columns), before), rule))
            .collect();
        let mut behind = reaches.iter().filter_map(|(reach, rule)| match reach {
            Reach::Behind(by) => Some((by, rule)),
            Reach::Reached | Reach::Never => None,
        });
        let (by, rule) = behind.next()?;
        if behind.next().is_none() && many {
            return self.says(by, &format!("\"{}\"", shown(&rule.text())), wrong);
        }
        if is_reached { None } else { self.says(by, "this rule", wrong) }
    }

    /// Lines of the table with the fix of the finding.
    fn mended(&self, first: u32, last: u32) -> Option<Part> {
        let Diagnostic { origin, fix, code, .. } = self.diagnostic;
        let line_start = |line| self.table.rules.text().line_start(line);
        let start = line_start(first)?;
        let at = line_start(origin.line)? + origin.column as usize - 1;
        let end = at + origin.length as usize;
        let with = match fix {
            Some(Fix::Replace(with)) => with.clone().into_bytes(),
            Some(Fix::Advice(_)) | None if *code == Code::E003.as_str() => {
                [self.text.get(at..end)?, b"\n"].concat()
            }
            Some(Fix::Advice(_)) | None => return None,
        };
        let behind = line_start(last + 1).unwrap_or(self.text.len());
        let newline =
            |at: usize| self.text[at..].iter().position(|byte| *byte == b'\n').map(|to| at + to + 1);
        let behind = behind.max(newline(end.min(self.text.len())).unwrap_or(self.text.len()));
        let text = [self.text.get(start..at)?, &with, self.text.get(end..behind)?, b"\n"].concat();
        let width = u32::try_from(with.len()).ok()?;
        Some(Part { first, text, line: origin.line, columns: origin.column..origin.column + width })
    }

    /// The rules of a text in place of this table.
    fn rules_of(&self, text: &[u8]) -> Vec<Rule> {
        let empty = || FileText::Bytes(Arc::new([]));
        let path = |table: &Table| Arc::clone(&table.path);
        let mut texts = Texts {
            allow: (path(&self.tables.allow), empty()),
            deny: (path(&self.tables.deny), empty()),
            files: self.texts.files.clone(),
        };
        let text = FileText::Bytes(text.into());
        match self.table.kind {
            TableKind::Allow => texts.allow.1 = text,
            TableKind::Deny => texts.deny.1 = text,
        }
        let tables = parse::tables(&texts);
        let rules = match self.table.kind {
            TableKind::Allow => tables.allow.rules,
            TableKind::Deny => tables.deny.rules,
        };
        rules.iter().map(RuleRef::into_owned).collect()
    }

    /// Whether a rule in this table behind so many others is reached.
    fn reach(&self, rule: Rule, before: usize) -> Reach {
        let mut tables = Tables {
            allow: shell(&self.tables.allow),
            deny: shell(&self.tables.deny),
            files: self.tables.files.clone(),
        };
        let own = match self.table.kind {
            TableKind::Allow => &mut tables.allow,
            TableKind::Deny => {
                tables.allow.rules.clone_from(&self.tables.allow.rules);
                &mut tables.deny
            }
        };
        own.rules = self.table.rules.first(before);
        let index = RuleIndex { table: self.table.kind, index: own.rules.len() };
        own.rules.push(rule);
        match compile::unreachable(&tables).into_iter().find(|it| it.rule == index) {
            None => Reach::Reached,
            Some(Unreachable { by, .. }) if by.is_empty() => Reach::Never,
            Some(Unreachable { by, .. }) => Reach::Behind(by),
        }
    }

    /// That rules decide before another one.
    fn says(&self, by: &[RuleIndex], what: &str, wrong: &HashSet<(PathBuf, u32)>) -> Option<String> {
        let rules: Vec<(TableKind, RuleRef<'_>)> = by
            .iter()
            .filter_map(|index| {
                let table = match index.table {
                    TableKind::Allow => &self.tables.allow,
                    TableKind::Deny => &self.tables.deny,
                };
                Some((index.table, table.rules.get(index.index)?))
            })
            .collect();
        let (kind, first) = rules.first()?;
        let place = |rule: &Rule| format!("{}:{}", rule.path().display(), rule.line());
        let is_wrong = |rule: &Rule| {
            let lines = rule.line()..=rule.number.max(rule.line());
            wrong.iter().any(|(path, line)| path.as_path() == rule.path().as_path() && lines.contains(line))
        };
        let as_it_stands = if rules.iter().any(|(_, rule)| is_wrong(rule)) { ", as it stands," } else { "" };
        if rules.len() > 1 {
            let others = rules.len() - 1;
            let rest = if others == 1 { "1 more rule".to_owned() } else { format!("{others} more rules") };
            return Some(format!("but {} and {rest} decide before {what}", place(first)));
        }
        let has_command = first.options.iter().any(|it| matches!(it.option, Ok(RuleOption::Aclexec(_))));
        let verdict = match leads_to(first, *kind) {
            _ if has_command => "",
            TableKind::Allow => ", and allows these clients",
            TableKind::Deny => ", and refuses these clients",
        };
        Some(format!("but {}{as_it_stands} decides before {what}{verdict}", place(first)))
    }
}

/// A table without its rules.
fn shell(table: &Table) -> Table {
    Table {
        kind: table.kind,
        path: Arc::clone(&table.path),
        rules: Rules::default(),
        end: table.end,
        complaints: Vec::new(),
    }
}

/// The rule with those patterns alone that stand in some columns of a line, if any do.
fn narrowed(rule: &Rule, line: u32, columns: &Range<u32>) -> Rule {
    let mut rule = rule.clone();
    let of = rule.clone();
    let is_in = |span: Span| {
        let origin = of.place(span);
        origin.line == line && origin.column < columns.end && columns.start < origin.column + origin.length
    };
    let is_whole = |span: Span| !is_in(span);
    let daemons: SmallVec<[DaemonPattern; 1]> =
        parse::tokens(&rule.daemons).filter(|it| is_in(it.span)).cloned().collect();
    let clients: SmallVec<[ClientPattern; 1]> =
        parse::tokens(&rule.clients).filter(|it| is_in(it.span)).cloned().collect();
    let has_other_daemons = parse::tokens(&rule.daemons).any(|it| is_whole(it.span));
    let has_other_clients = parse::tokens(&rule.clients).any(|it| is_whole(it.span));
    if clients.is_empty() && !daemons.is_empty() && has_other_daemons {
        rule.daemons = Arc::new(List { patterns: daemons, except: None });
    } else if daemons.is_empty() && !clients.is_empty() && has_other_clients {
        rule.clients = List { patterns: clients, except: None };
    }
    rule
}

/// A rule's text.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text.trim_ascii()).chars().take(60).collect()
}
