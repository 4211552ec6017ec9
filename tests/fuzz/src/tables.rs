//! The tables and their pattern files.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tcpw_userspace::{
    evaluate::{
        Unknown, evaluate,
        judgement::{Effect, EffectAction},
        request::{AccessRequest, HostName, Judgement, Known},
    },
    format::{format, same_command, same_rules},
    parse::{
        Parsed,
        diagnostic::Diagnostic,
        parse, parse_slowly, pattern_files as files_named,
        rule::{Tables, Text},
        text::{FileText, Texts},
    },
};

use crate::lookup::Answers;

/// Rounds of reading the files that files name.
const ROUNDS: usize = 4;

/// hosts.allow, then hosts.deny behind a line of `--`, then behind another the text of every pattern file.
pub fn tables(data: &[u8]) {
    let mut parts = Parts::of(data);
    let parsed = parse_all(&parts.next(), &parts.next(), &parts.next());
    ask(&parsed.tables);
}

/// The option part of a rule that matches everybody.
pub fn options(data: &[u8]) {
    let rule = [b"ALL: ALL: ", data, b"\n"].concat();
    for (allow, deny) in [(rule.as_slice(), &b"ALL: ALL: spawn %c\n"[..]), (b"", rule.as_slice())] {
        ask(&parse_all(allow, deny, b"").tables);
    }
}

/// The text of every pattern file that a table names, and that those name.
pub fn pattern_files(data: &[u8]) {
    ask(&parse_all(b"ALL: /a EXCEPT /b\nALL@/c: x@/d\n", b"ALL: ALL\n", data).tables);
}

/// A table: its canonical form decides the same.
pub fn fmt(data: &[u8]) {
    if let Some(objection) = changed_meaning(data) {
        panic!("{objection}");
    }
}

/// What is wrong with the canonical form of a table, if anything is.
pub fn changed_meaning(text: &[u8]) -> Option<String> {
    let formatted = format(text);
    let shown = || format!("{}\n--- became\n{}", text.escape_ascii(), formatted.text.escape_ascii());
    if format(&formatted.text).text != formatted.text {
        return Some(format!("a second time changes it: {}", shown()));
    }
    // As hosts.allow beside a hosts.deny that refuses everybody, and as hosts.deny alone.
    let both = |text: &[u8]| {
        [(text, &b"ALL: ALL\n"[..]), (&[], text)].map(|(allow, deny)| parsed(allow, deny, b"").tables)
    };
    for (before, after) in both(text).iter().zip(&both(&formatted.text)) {
        if !(same_rules(&before.allow, &after.allow) && same_rules(&before.deny, &after.deny)) {
            return Some(format!("other rules: {}", shown()));
        }
        for (one, other) in ask(before).iter().zip(&ask(after)) {
            if !same_judgement(one, other) {
                return Some(format!("{one:?} has become {other:?}: {}", shown()));
            }
        }
    }
    None
}

/// Whether two judgements say the same: all but warnings, and blanks of a command that the shell does not see.
fn same_judgement(one: &Judgement, other: &Judgement) -> bool {
    let decided = |judgement: &Judgement| {
        let Judgement { verdict, reason, rule, severity, client, effects: _, warnings: _ } =
            judgement.clone();
        (verdict, reason, rule, severity, client)
    };
    let same_effect = |(one, other): (&Effect, &Effect)| {
        one.rule == other.rule
            && match (&one.action, &other.action) {
                (EffectAction::Spawn(one), EffectAction::Spawn(other))
                | (
                    EffectAction::Aclexec { command: one, .. },
                    EffectAction::Aclexec { command: other, .. },
                ) => same_command(one, other),
                (
                    EffectAction::Twist { command: one, client: one_client },
                    EffectAction::Twist { command: other, client: other_client },
                ) => same_command(one, other) && one_client == other_client,
                (one, other) => one == other,
            }
    };
    decided(one) == decided(other)
        && one.effects.len() == other.effects.len()
        && one.effects.iter().zip(&other.effects).all(same_effect)
}

/// The parts of an input, which lines of `--` separate.
struct Parts<'a>(Option<&'a [u8]>);

impl<'a> Parts<'a> {
    const SEPARATOR: &'static [u8] = b"\n--\n";

    fn of(data: &'a [u8]) -> Self {
        Self(Some(data))
    }

    fn next(&mut self) -> Vec<u8> {
        let Some(rest) = self.0 else { return Vec::new() };
        let at = rest.windows(Self::SEPARATOR.len()).position(|window| window == Self::SEPARATOR);
        self.0 = at.map(|at| &rest[at + Self::SEPARATOR.len()..]);
        // The newline before the separator is the part's own.
        at.map_or(rest, |at| &rest[..=at]).to_vec()
    }
}

/// Parses the tables, with every file they name, and holds the diagnostics against the texts.
fn parse_all(allow: &[u8], deny: &[u8], file: &[u8]) -> Parsed {
    let parsed = parsed(allow, deny, file);
    for diagnostic in &parsed.diagnostics {
        let text = match diagnostic.origin.path.to_str() {
            Some("hosts.allow") => allow,
            Some("hosts.deny") => deny,
            _ => file,
        };
        hold(diagnostic, text);
    }
    parsed
}

/// A diagnostic cites the line it names, at a column it has.
fn hold(diagnostic: &Diagnostic, text: &[u8]) {
    let Diagnostic { origin, cited, cited_from, .. } = diagnostic;
    let shown = diagnostic.to_string();
    // The path is shown without its control characters.
    let place = format!(":{}:{}: ", origin.line, origin.column);
    assert!(shown.lines().next().is_some_and(|line| line.contains(&place)), "no {place:?} in {shown}");
    assert!(origin.line > 0 && origin.column > 0 && origin.length > 0, "{origin:?}");
    if !cited.is_empty() {
        let line = text.split(|byte| *byte == b'\n').nth(origin.line as usize - 1);
        let line = line.unwrap_or_else(|| panic!("there is no line {}: {shown}", origin.line));
        assert!(
            line[*cited_from as usize..].starts_with(cited),
            "{shown} does not cite {}",
            line.escape_ascii()
        );
        assert!(origin.column as usize <= line.len() + 1, "{shown} has no column {}", origin.column);
    }
}

fn parsed(allow: &[u8], deny: &[u8], file: &[u8]) -> Parsed {
    let table = |name: &str, text: &[u8]| (Arc::new(PathBuf::from(name)), FileText::Bytes(text.into()));
    let mut texts =
        Texts { allow: table("hosts.allow", allow), deny: table("hosts.deny", deny), files: BTreeMap::new() };
    let mut parsed = parse_both_ways(&texts);
    for _ in 0..ROUNDS {
        let named = files_named(&parsed.tables);
        let before = texts.files.len();
        for path in named {
            texts.files.entry(path).or_insert_with_key(|path| match path.as_os_str().len() % 4 {
                0 if path.starts_with("/sys") => FileText::Missing,
                3 => FileText::Unreadable("Permission denied".into()),
                _ => FileText::Bytes(file.into()),
            });
        }
        if texts.files.len() == before {
            break;
        }
        parsed = parse_both_ways(&texts);
    }
    parsed
}

/// The reader of plain lines and the parser of all lines say the same.
fn parse_both_ways(texts: &Texts) -> Parsed {
    let (parsed, slowly) = (parse(texts), parse_slowly(texts));
    assert_eq!(parsed.tables, slowly.tables, "{texts:?}");
    assert_eq!(parsed.diagnostics, slowly.diagnostics, "{texts:?}");
    parsed
}

/// Puts fixed questions to the evaluator.
fn ask(tables: &Tables) -> Vec<Judgement> {
    let sshd = [Text::from(*b"sshd")];
    let several = [Text::from(*b"in.telnetd"), Text::from(*b"unknown")];
    let name = HostName::Known(Text::from(*b"a.example.com"));
    let known = AccessRequest {
        daemons: &sshd,
        client_address: Some("10.1.2.3"),
        server_address: Some("192.168.0.1"),
        client_port: Some(40_000),
        server_port: Some(22),
        pid: 4242,
        ..AccessRequest::default()
    };
    let requests = [
        known,
        AccessRequest {
            client_address: Some("::1"),
            server_address: Some("::1"),
            daemons: &several,
            ..known
        },
        AccessRequest { client_address: Some("::ffff:10.1.2.3"), resident: true, ..known },
        AccessRequest {
            known: Known { client_name: Some(&name), server_name: Some(&name), client_user: Some(b"root") },
            ..known
        },
        AccessRequest { daemons: &several, ..AccessRequest::default() },
    ];
    let answers = requests
        .iter()
        .flat_map(|request| [evaluate(tables, request, &Answers), evaluate(tables, request, &Unknown)]);
    answers.collect()
}
