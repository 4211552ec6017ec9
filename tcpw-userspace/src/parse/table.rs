//! A text to a table.
//!
//! Source: tcp_wrappers 7.6.q `hosts_access.c` `table_match`.

pub(crate) mod plain;
mod trial;

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

pub(super) use plain::PlainLines;
use plain::{LineForms, Plain};

use super::{
    advice::{self, Placed, Writer},
    code::Code,
    diagnostic::{Fix, Severity, Sink},
    lexer::{Lexer, Line, Source, count},
    line_starts::LineStarts,
    list, options,
    pattern::{self, Interfaces},
    rule::{
        ClientPattern, Complaint, DaemonPattern, List, OptionField, Origin, Rule, RuleOption, Rules, Span,
        Table, TableEnd, TableKind, TableText,
    },
    rules::{LineForm, PlainLine},
    table_text::offset,
    text::FileText,
};

/// Parses one table.
pub(super) fn parse(
    kind: TableKind,
    path: &Arc<PathBuf>,
    text: &FileText,
    (trial, plain): (Trial, PlainLines),
    interfaces: &mut Interfaces<'_>,
    diagnostics: &mut Sink,
) -> Table {
    let bytes = match text {
        FileText::Bytes(bytes) => Some(bytes),
        FileText::Missing | FileText::Unreadable(_) => None,
    };
    let mut table = Table {
        kind,
        path: Arc::clone(path),
        rules: Rules::new(Arc::new(TableText::new(Arc::clone(path), bytes.cloned()))),
        end: TableEnd::Complete,
        complaints: Vec::new(),
    };
    let whole = || Origin { path: Arc::clone(path), line: 1, column: 1, length: 1 };
    match text {
        FileText::Bytes(bytes) => {
            let source = Source { path, text: bytes };
            let writer = Writer::default();
            // To grow a list of a million entries takes twice its room for a while.
            if bytes.len() > LARGE {
                table.rules.reserve(memchr::memchr_iter(b'\n', bytes).count());
            }
            let forms = LineForms::new(plain);
            Parser { source, table: &mut table, interfaces, diagnostics, writer, trial, forms }.lines();
            table.rules.shrink();
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
    trial: Trial,
    forms: LineForms,
}

/// Whether the text is a table, or a fix that is tried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// A table.
    No,
    /// A fix, or a table of which only the rules are wanted: its own fixes are not tried, and no line is cited.
    Yes,
}

impl Parser<'_, '_, '_> {
    fn lines(&mut self) {
        let source = self.source;
        let mut open_mark = None;
        // Lines of the text that belong to the rule before them, as was said there.
        let mut told_until = 0;
        // The line before was meant to go on in this one.
        let mut is_rest = false;
        let mut lines = Lexer::new(source.text);
        loop {
            let plain = plain::read(lines.rest(), &self.forms.daemon);
            if plain.is_some_and(|plain| self.plain(&mut lines, plain)) {
                is_rest = false;
                self.writer = self.writer.after_rule();
                continue;
            }
            let Some(line) = lines.next() else { break };
            if let Some((origin, line_start)) =
                line.nul(source.path).filter(|_| !self.diagnostics.count(Code::W010.as_str(), source.path))
            {
                let finding = self.proven(advice::nul(), |parser, _| {
                    let text = source.text.get(line.span.clone()).unwrap_or_default();
                    let plain: Vec<u8> = text.iter().copied().filter(|byte| *byte != 0).collect();
                    let is_one = plain.len() + 1 == text.len();
                    let has_errors = || parser.tried(&plain).iter().any(|it| it.severity == Severity::Error);
                    (is_one && !has_errors()).then(Vec::new)
                });
                self.diagnostics.push(finding.at(origin, source.line_at(line_start)));
            }
            if line.broken {
                self.broken(&line);
                break;
            }
            let is_blank = line.bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
            if line.bytes.starts_with(b"#") {
                let joined = line.joins().next().filter(|_| line.nul(source.path).is_none());
                let found = advice::comment(&line.bytes, joined, self.writer);
                let mut found: Vec<Placed> = found.into_iter().collect();
                advice::follows_for_line(&mut found, self.table.kind);
                self.report_all(&line, found);
                let before = self.writer;
                self.writer = before.after(&line.bytes);
                let is_mark = self.writer != before && self.writer == Writer::SshGuard;
                open_mark = if is_mark { Some(line) } else { open_mark };
            } else if !is_blank {
                let mut found = self.line(&line);
                if let Some(plain) = plain {
                    self.learn(&line.bytes, plain, found.is_empty());
                }
                let was_rest = is_rest;
                is_rest = found.iter().any(|(_, _, it)| matches!(it.code, Code::W011 | Code::W017));
                if was_rest {
                    let follows = |code| matches!(code, Code::E005 | Code::E093 | Code::W020 | Code::W021);
                    found.retain(|(_, _, finding)| !follows(finding.code));
                }
                if line.span.start >= told_until {
                    let rest = if self.trial == Trial::No { lines.clone().next() } else { None };
                    let rest = rest.filter(|next| !next.broken && !next.has_nul());
                    let end = rest.and_then(|next| self.rest_of(&line, &next));
                    match end {
                        Some(end) => told_until = end,
                        None => self.report_all(&line, found),
                    }
                }
                self.writer = self.writer.after_rule();
            }
        }
        if let Some(mark) = open_mark.filter(|_| self.writer == Writer::SshGuard) {
            self.report(&mark, &Codes::default(), (0, mark.bytes.len() - 1, advice::half_block()));
        }
    }

    /// Adds the rule of a plain line, if lines with its form have no finding; whether it did.
    fn plain(&mut self, lines: &mut Lexer<'_>, plain: Plain) -> bool {
        let Some(Some(form)) = self.forms.number(lines.rest(), plain) else { return false };
        let Ok(client) = u8::try_from(plain.client) else { return false };
        let (start, line) = lines.pass(plain.length);
        let (net, bits, start) = (plain.net, plain.bits, offset(start));
        self.table.rules.push_plain(PlainLine { start, line, form, net, bits, client });
        true
    }

    /// Keeps the form of the last rule, whose line is a plain one, for the lines with the same.
    fn learn(&mut self, text: &[u8], plain: Plain, is_clean: bool) {
        if self.forms.plain == PlainLines::Left || self.forms.number(text, plain).is_some() {
            return;
        }
        let rule = self.table.rules.kept().last().filter(|_| is_clean);
        let form = rule.map(|rule| LineForm::of(rule, plain.end));
        let number = form.and_then(|form| self.table.rules.add_form(form));
        self.forms.insert(text, plain, number);
    }

    /// The table ends here: the line is too long, or lacks its newline.
    fn broken(&mut self, line: &Line<'_>) {
        self.table.end = TableEnd::Broken;
        self.complain(line.number, "missing newline or line too long");
        self.complain(line.number, "all the subsequent rules will be ignored");
        if let Some((at, has_newline)) = self.backslash(line) {
            let finding = advice::broken_backslash(self.table.kind, has_newline);
            let (number, start) = LineStarts::of(self.source.text).place_of(at);
            let origin = Origin {
                path: Arc::clone(self.source.path),
                line: number,
                column: count(at - start + 1),
                length: 1,
            };
            self.diagnostics.push(finding.at(origin, self.source.line_at(start)));
            return;
        }
        let finding = advice::broken_line(self.table.kind, line.is_full());
        self.report(line, &Codes::default(), (0, line.bytes.len(), finding));
    }

    /// Where the backslash stands in which the last line of the text ends, and whether a newline is behind it.
    fn backslash(&self, line: &Line<'_>) -> Option<(usize, bool)> {
        let text = self.source.text;
        if line.is_full() || line.has_nul() || line.span.end < text.len() {
            return None;
        }
        let has_newline = text.ends_with(b"\n");
        let before = text.strip_suffix(b"\n").unwrap_or(text);
        before.ends_with(b"\\").then(|| (before.len() - 1, has_newline))
    }

    /// Adds the rule of a line; what there is to say of it, by place.
    fn line(&mut self, line: &Line<'_>) -> Vec<Placed> {
        let Line { bytes, number, .. } = line;
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let mut found = advice::line(bytes, self.table.kind, self.source.path);
        let mut effect = self.table.kind;
        let (colons, fields) = advice::cut(bytes);
        let [colon, end] = colons;
        if colon < bytes.len() {
            effect = self::effect(self.table.kind, &fields);
            let daemons = self.daemons(line, colon, effect, &mut found);
            let clients = self.clients(line, colon + 1..end, effect, &mut found);
            found.extend(advice::options(bytes, &fields, self.table.kind));
            if !line.has_nul() {
                found.extend(advice::glued(bytes, line.joins(), end));
            }
            advice::written(bytes, [colon, end], self.writer, &mut found);
            self.mistakes(line, colons, &fields, &mut found);
            let options = fields.into_iter().map(|field| OptionField {
                span: Span::new(field.span.start, field.span.len()),
                option: field.option,
            });
            let options = options.collect();
            let source = Arc::clone(self.table.rules.text());
            let (start, daemons) = (offset(line.span.start), Arc::new(daemons));
            self.table.rules.push(Rule { source, start, number: *number, daemons, clients, options });
        } else {
            self.complain(*number, "missing \":\" separator");
            found.push((0, text.len(), advice::missing(text, self.writer, self.table.kind)));
            self.mistakes(line, colons, &fields, &mut found);
        }
        advice::drop_noise(&mut found);
        advice::follows_for_line(&mut found, effect);
        found.sort_by_key(|(at, _, _)| *at);
        found
    }

    /// Puts mistakes of the line as a whole in place of what they give rise to.
    fn mistakes(
        &mut self,
        line: &Line<'_>,
        colons: [usize; 2],
        fields: &[options::Field],
        found: &mut Vec<Placed>,
    ) {
        // What stands there is not what is written.
        let is_other = |code| matches!(code, Code::W011 | Code::W012 | Code::W013 | Code::W015 | Code::W017);
        let is_plain = fields.is_empty() && advice::is_plain(&line.bytes, colons);
        if is_plain || line.has_nul() || found.iter().any(|(_, _, finding)| is_other(finding.code)) {
            return;
        }
        let (kind, writer) = (self.table.kind, self.writer);
        let cut = advice::Cut { bytes: &line.bytes, colons, fields, kind, writer };
        let is_wrong = found.iter().any(|(_, _, finding)| finding.code.severity() == Severity::Error);
        let mut all = Vec::new();
        let first = advice::find_mistake(&cut);
        let is_plain = first.as_ref().is_none_or(|it| {
            let is_other = |code| matches!(code, Code::E151 | Code::E164 | Code::E168);
            it.place.2.code.severity() == Severity::Error && !is_other(it.place.2.code)
        });
        let two = if is_wrong && is_plain && self.trial == Trial::No {
            let mut is_clean = |text: &[u8]| {
                let found = self.tried(&[text, b"\n"].concat());
                !found.iter().any(|it| it.severity == Severity::Error || it.code == Code::W020.as_str())
            };
            advice::two_rules(&cut, &mut is_clean)
        } else {
            None
        };
        match two.or(first) {
            Some(mistake) => all.push(mistake),
            None => all.extend(advice::apart(&cut)),
        }
        for advice::Mistake { place, covers } in all {
            found.retain(|(at, _, finding)| {
                !covers.contains(at)
                    || matches!(finding.code, Code::W094)
                    || finding.code == Code::W013 && covers.start > 0
            });
            found.push(place);
        }
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
            let pattern = pattern::daemon(token, Span::new(at, token.len()), self.interfaces);
            let place = effects.at(at);
            let finding = advice::daemon(token, &pattern, place.effect);
            let finding = finding.map(|finding| advice::follows_for_daemon(finding, place));
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
        let mut effects = Effects::new(field, span.start, effect);
        list::build(list::tokens(field, span.start), |(at, token)| {
            let pattern = pattern::client(token, Span::new(at, token.len()), self.interfaces);
            let place = effects.at(at);
            let finding = advice::client(token, &pattern, place.effect);
            let finding = finding.map(|finding| advice::follows_for_client(finding, place));
            found.extend(finding.map(|finding| (at, token.len(), finding)));
            pattern
        })
    }

    fn complain(&mut self, number: u32, text: &str) {
        let path = self.source.path.display();
        let text = format!("warning: {path}, line {number}: {text}");
        self.table.complaints.push(Complaint { before: self.table.rules.len(), text });
    }

    fn report_all(&mut self, line: &Line<'_>, found: Vec<Placed>) {
        let codes = Codes::of(&found);
        let mut tried = 0;
        for (start, length, finding) in found {
            let has_fix = matches!(finding.fix, Some(Fix::Replace(_)));
            tried += usize::from(has_fix);
            // To try a fix is to read the line again: those of a line with very many are not offered.
            let finding = if has_fix && tried > MOST_TRIED { finding.without_fix() } else { finding };
            self.report(line, &codes, (start, length, finding));
        }
    }

    /// Reports a finding; `codes` are those of the line.
    fn report(&mut self, line: &Line<'_>, codes: &Codes, (start, length, finding): Placed) {
        if self.diagnostics.count(finding.code.as_str(), self.source.path) {
            return;
        }
        let mut origin = line.origin(self.source.path, start, length);
        let text = line.bytes.strip_suffix(b"\n").unwrap_or(&line.bytes);
        let is_cut = (origin.length as usize) < length;
        let is_rule =
            self.trial == Trial::No && !line.broken && !line.has_nul() && !line.bytes.starts_with(b"#");
        let code = finding.code;
        let is_whole =
            (start, length) == (0, text.trim_ascii_end().len()) && code.severity() > Severity::Hint;
        let mut with = None;
        let mut first = start;
        // What ends a physical line shows only there.
        let is_rule = is_rule && !matches!(code, Code::W011 | Code::W017);
        let finding = if is_rule {
            self.proven(finding, |parser, fix| {
                let end = text.len().min(start + length);
                let mended = [&text[..start], fix, text.get(end..).unwrap_or_default()].concat();
                if is_whole {
                    let whole = parser.complete(&mended, code, codes)?;
                    return Some(whole.trim_ascii_end().to_vec());
                }
                let is_good = parser.is_better(&mended, code, codes);
                with = Some(mended);
                is_good.then(|| fix.to_vec())
            })
        } else {
            finding
        };
        let mut finding = finding;
        // The underlined part is not all that the text is for: the whole rule is shown.
        if is_cut && let Some(Fix::Replace(fix)) = &finding.fix {
            let mended = if is_whole { Some(fix.clone().into_bytes()) } else { with };
            let mended = mended.filter(|_| is_rule);
            finding = match mended {
                Some(mended) => {
                    origin = line.origin(self.source.path, 0, text.len());
                    first = 0;
                    let end = line.span.end - usize::from(line.bytes.ends_with(b"\n"));
                    origin.length = count(end - line.span.start);
                    finding.replace(mended)
                }
                None => finding.without_fix(),
            };
        }
        let cited = match self.trial {
            Trial::No => self.source.line_at(line.physical_start(first)),
            Trial::Yes => b"",
        };
        self.diagnostics.push(finding.at(origin, cited));
    }
}

/// Bytes of a table whose lines are counted first.
const LARGE: usize = 1 << 16;

/// Most fixes of one line that are tried.
const MOST_TRIED: usize = 16;

/// How many findings of each code a line has.
#[derive(Default)]
struct Codes(HashMap<&'static str, usize>);

impl Codes {
    fn of(found: &[Placed]) -> Self {
        let mut codes = Self::default();
        for (_, _, finding) in found {
            *codes.0.entry(finding.code.as_str()).or_default() += 1;
        }
        codes
    }

    fn count(&self, code: &str) -> usize {
        self.0.get(code).copied().unwrap_or_default()
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
    place: advice::Place,
}

impl Effects {
    fn new(field: &[u8], start: usize, effect: TableKind) -> Self {
        let excepts = list::tokens(field, start).filter(|(_, token)| list::is_except(token));
        Self { excepts: excepts.map(|(at, _)| at).collect(), place: advice::Place::plain(effect) }
    }

    /// Of the token at an offset; tokens are asked for in order.
    fn at(&mut self, at: usize) -> advice::Place {
        while self.excepts.pop_front_if(|except| *except < at).is_some() {
            let advice::Place { effect, is_excepted } = self.place;
            self.place = advice::Place { effect: effect.other(), is_excepted: !is_excepted };
        }
        self.place
    }
}
