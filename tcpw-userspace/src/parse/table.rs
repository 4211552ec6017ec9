//! A text to a table.
//!
//! Source: tcp_wrappers 7.6.q `hosts_access.c` `table_match`.

use std::{ops::Range, path::PathBuf, sync::Arc};

use super::{
    advice::{self, Placed},
    diagnostic::Finding,
    lexer::{Lexer, Line, Source},
    list, options,
    pattern::{self, Interfaces},
    report::Report,
    rule::{
        ClientPattern, Complaint, DaemonPattern, List, OptionField, Origin, Rule, Table, TableEnd, TableKind,
    },
    text::FileText,
};

/// Parses one table.
pub(super) fn parse(
    kind: TableKind,
    path: &Arc<PathBuf>,
    text: &FileText,
    interfaces: &mut Interfaces<'_>,
    report: &mut Report,
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
            Parser { source, table: &mut table, interfaces, report }.lines();
        }
        FileText::Missing => report.add(advice::table_missing(kind), whole, || b""),
        FileText::Unreadable(why) => {
            table.end = TableEnd::Broken;
            let text = format!("warning: cannot open {}: {why}", path.display());
            table.complaints.push(Complaint { before: 0, text });
            report.add(advice::table_unreadable(kind, why), whole, || b"");
        }
    }
    table
}

struct Parser<'a, 'b, 'c> {
    source: Source<'a>,
    table: &'b mut Table,
    interfaces: &'b mut Interfaces<'c>,
    report: &'b mut Report,
}

impl Parser<'_, '_, '_> {
    fn lines(&mut self) {
        let source = self.source;
        for line in Lexer::new(source.text) {
            if let Some((origin, line_start)) = line.nul(source.path) {
                self.report.add(advice::nul(), || origin, || source.line_at(line_start));
            }
            if line.broken {
                self.broken(&line);
                return;
            }
            let is_blank = line.bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
            if is_blank || line.bytes.starts_with(b"#") {
                continue;
            }
            self.line(&line);
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
            let daemons = self.daemons(line, colon, &mut found);
            let clients = self.clients(line, colon + 1..end, &mut found);
            let options =
                if end < bytes.len() { self.options(line, end + 1, &mut found) } else { Vec::new() };
            advice::unbracketed(bytes, [colon, end], &mut found);
            let origin = line.origin(self.source.path, 0, text.len());
            let rule = Rule { origin, number: *number, text: text.into(), daemons, clients, options };
            self.table.rules.push(rule);
        } else {
            self.complain(*number, "missing \":\" separator");
            found.push((0, text.len(), advice::missing_separator(text)));
        }
        found.sort_by_key(|(at, _, _)| *at);
        for (at, length, finding) in found {
            self.report(line, at, length, finding);
        }
    }

    fn daemons(&mut self, line: &Line<'_>, end: usize, found: &mut Vec<Placed>) -> List<DaemonPattern> {
        let field = &line.bytes[..end];
        advice::list(field, 0, "daemon", found);
        list::build(list::tokens(field, 0), |(at, token)| {
            let origin = line.origin(self.source.path, at, token.len());
            let pattern = pattern::daemon(token, origin, self.interfaces);
            found.extend(advice::daemon(token, &pattern).map(|finding| (at, token.len(), finding)));
            pattern
        })
    }

    fn clients(
        &mut self,
        line: &Line<'_>,
        span: Range<usize>,
        found: &mut Vec<Placed>,
    ) -> List<ClientPattern> {
        let field = &line.bytes[span.clone()];
        advice::list(field, span.start, "client", found);
        let comment = advice::inline_comment(field, span.start);
        let comment_start = comment.as_ref().map_or(usize::MAX, |(at, _, _)| *at);
        found.extend(comment);
        list::build(list::tokens(field, span.start), |(at, token)| {
            let origin = line.origin(self.source.path, at, token.len());
            let pattern = pattern::client(token, origin, self.interfaces);
            let finding = advice::client(token, &pattern).filter(|_| at < comment_start);
            found.extend(finding.map(|finding| (at, token.len(), finding)));
            pattern
        })
    }

    fn options(&mut self, line: &Line<'_>, base: usize, found: &mut Vec<Placed>) -> Vec<OptionField> {
        let fields = options::parse(&line.bytes, base).into_iter();
        let fields = fields.map(|options::Field { span, text, option }| {
            let (at, length) = (span.start, span.len());
            found.extend(advice::option(&text, &option).map(|finding| (at, length, finding)));
            OptionField { origin: line.origin(self.source.path, at, length), option }
        });
        fields.collect()
    }

    fn complain(&mut self, number: u32, text: &str) {
        let path = self.source.path.display();
        let text = format!("warning: {path}, line {number}: {text}");
        self.table.complaints.push(Complaint { before: self.table.rules.len(), text });
    }

    fn report(&mut self, line: &Line<'_>, start: usize, length: usize, finding: Finding) {
        let Self { source, report, .. } = self;
        let origin = || line.origin(source.path, start, length);
        report.add(finding, origin, || source.line_at(line.physical_start(start)));
    }
}
