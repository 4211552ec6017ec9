//! A text to a table.
//!
//! Source: tcp_wrappers 7.6.q `hosts_access.c` `table_match`.

use std::{path::PathBuf, sync::Arc};

use super::{
    advice,
    diagnostic::{Diagnostic, Finding},
    lexer::{Lexer, Line, Source},
    list, options,
    pattern::{self, Interfaces},
    rule::{Complaint, List, OptionField, Origin, Rule, Table, TableEnd, TableKind},
    text::FileText,
};

/// Parses one table.
pub(super) fn parse(
    kind: TableKind,
    path: &Arc<PathBuf>,
    text: &FileText,
    interfaces: &mut Interfaces<'_>,
    diagnostics: &mut Vec<Diagnostic>,
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
            Parser { source, table: &mut table, interfaces, diagnostics }.lines();
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
    diagnostics: &'b mut Vec<Diagnostic>,
}

impl Parser<'_, '_, '_> {
    fn lines(&mut self) {
        let source = self.source;
        for line in Lexer::new(source.text) {
            if let Some((origin, line_start)) = line.nul(source.path) {
                self.diagnostics.push(advice::nul().at(origin, source.line_at(line_start)));
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
        for (at, length, finding) in advice::line(bytes) {
            self.report(line, at, length, finding);
        }
        let Some(colon) = list::split_at(bytes, b':') else {
            self.complain(*number, "missing \":\" separator");
            self.report(line, 0, text.len(), advice::missing_separator(text));
            return;
        };
        let behind = &bytes[colon + 1..];
        let clients_end = list::split_at(behind, b':').map_or(bytes.len(), |at| colon + 1 + at);
        let colon_in_address = self.unbracketed(line, colon) || self.unbracketed(line, clients_end);
        let daemons = self.daemons(line, colon);
        let clients = self.clients(line, colon + 1, clients_end);
        let options = if clients_end < bytes.len() {
            self.options(line, clients_end + 1, colon_in_address)
        } else {
            Vec::new()
        };
        let origin = line.origin(self.source.path, 0, text.len());
        self.table.rules.push(Rule { origin, number: *number, text: text.into(), daemons, clients, options });
    }

    fn daemons(&mut self, line: &Line<'_>, end: usize) -> List<super::rule::DaemonPattern> {
        let field = &line.bytes[..end];
        self.list_advice(line, field, 0, "daemon");
        list::build(list::tokens(field, 0), |(at, token)| {
            let origin = line.origin(self.source.path, at, token.len());
            let pattern = pattern::daemon(token, origin, self.interfaces);
            if let Some(finding) = advice::daemon(token, &pattern) {
                self.report(line, at, token.len(), finding);
            }
            pattern
        })
    }

    fn clients(&mut self, line: &Line<'_>, start: usize, end: usize) -> List<super::rule::ClientPattern> {
        let field = &line.bytes[start..end];
        self.list_advice(line, field, start, "client");
        let comment = advice::inline_comment(field, start);
        if let Some((at, length, finding)) = comment.clone() {
            self.report(line, at, length, finding);
        }
        let comment_from = comment.map_or(usize::MAX, |(at, _, _)| at);
        list::build(list::tokens(field, start), |(at, token)| {
            let origin = line.origin(self.source.path, at, token.len());
            let pattern = pattern::client(token, origin, self.interfaces);
            let finding = advice::client(token, &pattern).filter(|_| at < comment_from);
            if let Some(finding) = finding {
                self.report(line, at, token.len(), finding);
            }
            pattern
        })
    }

    fn options(&mut self, line: &Line<'_>, base: usize, colon_in_address: bool) -> Vec<OptionField> {
        let fields = options::parse(&line.bytes, base);
        let mut list = Vec::with_capacity(fields.len());
        for field in fields {
            let (at, length) = (field.span.start, field.span.len());
            let finding = advice::option(&field.text, &field.option).filter(|finding| {
                // The address already said what is wrong.
                !(colon_in_address && finding.code.starts_with('E'))
            });
            if let Some(finding) = finding {
                self.report(line, at, length, finding);
            }
            let origin = line.origin(self.source.path, at, length);
            list.push(OptionField { origin, option: field.option });
        }
        list
    }

    /// Whether a colon that split the line belongs to an IPv6 address.
    fn unbracketed(&mut self, line: &Line<'_>, colon: usize) -> bool {
        let Some((span, finding)) = advice::unbracketed(&line.bytes, colon) else { return false };
        self.report(line, span.start, span.len(), finding);
        true
    }

    fn list_advice(&mut self, line: &Line<'_>, field: &[u8], start: usize, what: &str) {
        for (at, length, finding) in advice::list(field, start, what) {
            self.report(line, at, length, finding);
        }
    }

    fn complain(&mut self, number: u32, text: &str) {
        let path = self.source.path.display();
        let text = format!("warning: {path}, line {number}: {text}");
        self.table.complaints.push(Complaint { before: self.table.rules.len(), text });
    }

    fn report(&mut self, line: &Line<'_>, start: usize, length: usize, finding: Finding) {
        let origin = line.origin(self.source.path, start, length);
        let cited = self.source.line_at(line.physical_start(start));
        self.diagnostics.push(finding.at(origin, cited));
    }
}
