//! A text to a table.
//!
//! Source: tcp_wrappers 7.6.q `hosts_access.c` `table_match`.

use std::{collections::VecDeque, ops::Range, path::PathBuf, sync::Arc};

use super::{
    advice::{self, Placed, Writer},
    diagnostic::{Finding, Fix, Sink},
    lexer::{Lexer, Line, Source},
    list, options,
    pattern::{self, Interfaces},
    rule::{
        ClientPattern, Complaint, DaemonPattern, List, OptionField, Origin, Rule, RuleOption, Table,
        TableEnd, TableKind,
    },
    text::FileText,
};

/// Parses one table.
pub(super) fn parse(
    kind: TableKind,
    path: &Arc<PathBuf>,
    text: &FileText,
    interfaces: &mut Interfaces<'_>,
    diagnostics: &mut Sink,
) -> Table {
    let mut table = Table {
        kind,
        path: Arc::clone(path),
        rules: Vec::new(),
        end: TableEnd::Complete,
        complaints: Vec::new(),
    };
    let whole = || Origin { path: Arc::clone(path), line: 1, column: 1, length: 1 };
    match text {
        FileText::Bytes(bytes) => {
            let source = Source { path, text: bytes };
            let writer = Writer::default();
            Parser { source, table: &mut table, interfaces, diagnostics, writer }.lines();
        }
        FileText::Missing => diagnostics.push(advice::table_missing(kind).at(whole(), b"")),
        FileText::Unreadable(why) => {
            table.end = TableEnd::Broken;
            let text = format!("warning: cannot open {}: {why}", path.display());
            table.complaints.push(Complaint { before: 0, text });
            diagnostics.push(advice::table_unreadable(kind, why).at(whole(), b""));
        }
    }
    table
}

struct Parser<'a, 'b, 'c> {
    source: Source<'a>,
    table: &'b mut Table,
    interfaces: &'b mut Interfaces<'c>,
    diagnostics: &'b mut Sink,
    /// Who writes the line at hand.
    writer: Writer,
}

impl Parser<'_, '_, '_> {
    fn lines(&mut self) {
        let source = self.source;
        let mut open_mark = None;
        for line in Lexer::new(source.text) {
            if let Some((origin, line_start)) = line.nul(source.path) {
                self.diagnostics.push(advice::nul().at(origin, source.line_at(line_start)));
            }
            if line.broken {
                self.broken(&line);
                break;
            }
            let is_blank = line.bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
            if line.bytes.starts_with(b"#") {
                let joined = line.joins().next().filter(|_| line.nul(source.path).is_none());
                let found = advice::comment(&line.bytes, joined, self.writer);
                self.report_all(&line, found);
                let before = self.writer;
                self.writer = before.after(&line.bytes);
                let is_mark = self.writer != before && self.writer == Writer::SshGuard;
                open_mark = if is_mark { Some(line) } else { open_mark };
            } else if !is_blank {
                self.line(&line);
                self.writer = self.writer.after_rule();
            }
        }
        if let Some(mark) = open_mark.filter(|_| self.writer == Writer::SshGuard) {
            self.report(&mark, 0, mark.bytes.len() - 1, advice::half_block());
        }
    }

    /// The table ends here: the line is too long, or lacks its newline.
    fn broken(&mut self, line: &Line<'_>) {
        self.table.end = TableEnd::Broken;
        self.complain(line.number, "missing newline or line too long");
        self.complain(line.number, "all the subsequent rules will be ignored");
        let finding = advice::broken_line(self.table.kind, line.is_full());
        self.report(line, 0, line.bytes.len(), finding);
    }

    fn line(&mut self, line: &Line<'_>) {
        let Line { bytes, number, .. } = line;
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let mut found = advice::line(bytes);
        if let Some(colon) = list::split_at(bytes, b':') {
            let behind = &bytes[colon + 1..];
            let end = list::split_at(behind, b':').map_or(bytes.len(), |at| colon + 1 + at);
            let fields = if end < bytes.len() { options::parse(bytes, end + 1) } else { Vec::new() };
            let effect = effect(self.table.kind, &fields);
            let daemons = self.daemons(line, colon, effect, &mut found);
            let clients = self.clients(line, colon + 1..end, effect, &mut found);
            found.extend(advice::options(bytes, &fields, self.table.kind));
            if line.nul(self.source.path).is_none() {
                found.extend(advice::glued(bytes, line.joins(), end));
            }
            advice::unbracketed(bytes, [colon, end], self.writer, &mut found);
            advice::written(bytes, [colon, end], self.writer, &mut found);
            let options = fields.into_iter().map(|field| OptionField {
                origin: line.origin(self.source.path, field.span.start, field.span.len()),
                option: field.option,
            });
            let options = options.collect();
            let origin = line.origin(self.source.path, 0, text.len());
            let rule = Rule { origin, number: *number, text: text.into(), daemons, clients, options };
            self.table.rules.push(rule);
        } else {
            self.complain(*number, "missing \":\" separator");
            found.push((0, text.len(), advice::missing(text, self.writer)));
        }
        advice::drop_noise(&mut found);
        found.sort_by_key(|(at, _, _)| *at);
        self.report_all(line, found);
    }

    fn daemons(
        &mut self,
        line: &Line<'_>,
        end: usize,
        effect: TableKind,
        found: &mut Vec<Placed>,
    ) -> List<DaemonPattern> {
        let field = &line.bytes[..end];
        advice::list(field, 0, end, "daemon", found);
        let mut effects = Effects::new(field, 0, effect);
        list::build(list::tokens(field, 0), |(at, token)| {
            let origin = line.origin(self.source.path, at, token.len());
            let pattern = pattern::daemon(token, origin, self.interfaces);
            let finding = advice::daemon(token, &pattern, effects.at(at));
            found.extend(finding.map(|finding| (at, token.len(), finding)));
            pattern
        })
    }

    fn clients(
        &mut self,
        line: &Line<'_>,
        span: Range<usize>,
        effect: TableKind,
        found: &mut Vec<Placed>,
    ) -> List<ClientPattern> {
        let field = &line.bytes[span.clone()];
        advice::list(field, span.start, span.start - 1, "client", found);
        let comment = advice::inline_comment(field, span.start);
        let comment_start = comment.as_ref().map_or(usize::MAX, |(at, _, _)| *at);
        found.extend(comment);
        let mut effects = Effects::new(field, span.start, effect);
        list::build(list::tokens(field, span.start), |(at, token)| {
            let origin = line.origin(self.source.path, at, token.len());
            let pattern = pattern::client(token, origin, self.interfaces);
            let effect = effects.at(at);
            let finding = (at < comment_start).then(|| advice::client(token, &pattern, effect)).flatten();
            found.extend(finding.map(|finding| (at, token.len(), finding)));
            pattern
        })
    }

    fn complain(&mut self, number: u32, text: &str) {
        let path = self.source.path.display();
        let text = format!("warning: {path}, line {number}: {text}");
        self.table.complaints.push(Complaint { before: self.table.rules.len(), text });
    }

    fn report_all(&mut self, line: &Line<'_>, found: impl IntoIterator<Item = Placed>) {
        for (at, length, finding) in found {
            self.report(line, at, length, finding);
        }
    }

    fn report(&mut self, line: &Line<'_>, start: usize, length: usize, mut finding: Finding) {
        if self.diagnostics.count(finding.code.as_str(), self.source.path) {
            return;
        }
        let origin = line.origin(self.source.path, start, length);
        // The underlined part is not all of it: the text replaces more than that.
        if (origin.length as usize) < length
            && let Some(Fix::Replace(text)) = finding.fix.take()
        {
            finding = finding.advise(text);
        }
        let cited = self.source.line_at(line.physical_start(start));
        self.diagnostics.push(finding.at(origin, cited));
    }
}

/// What a match of a rule leads to, as far as its options tell.
fn effect(kind: TableKind, fields: &[options::Field]) -> TableKind {
    match fields.last().map(|field| &field.option) {
        Some(Ok(RuleOption::Allow)) => TableKind::Allow,
        Some(Ok(RuleOption::Deny)) => TableKind::Deny,
        Some(_) | None => kind,
    }
}

/// What a match of each token leads to: each EXCEPT turns it round.
struct Effects {
    excepts: VecDeque<usize>,
    effect: TableKind,
}

impl Effects {
    fn new(field: &[u8], start: usize, effect: TableKind) -> Self {
        let excepts = list::tokens(field, start).filter(|(_, token)| list::is_except(token));
        Self { excepts: excepts.map(|(at, _)| at).collect(), effect }
    }

    /// Of the token at an offset; tokens are asked for in order.
    fn at(&mut self, at: usize) -> TableKind {
        while self.excepts.pop_front_if(|except| *except < at).is_some() {
            self.effect = match self.effect {
                TableKind::Allow => TableKind::Deny,
                TableKind::Deny => TableKind::Allow,
            };
        }
        self.effect
    }
}
