//! What the real libwrap answered, against ours.
//!
//! `cases/cases.jsonl`: 620 cases; `corpus/cases.jsonl`: corners of the language, and
//! those that once broke us.
//! `cases/differences.jsonl` lists the wanted differences, each with its reason
//! (`{"id": ..., "reason": ...}`); a listed case that agrees fails the test.
//! Compared: verdict, matched line, what decided, severity, warnings.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use tcpw_userspace::{
    evaluate::{
        evaluate,
        request::{
            Banner, CommandResult, HostName, Judgement, Known, Lookup, Purpose, Reason, Request, Verdict,
        },
    },
    parse::{
        parse, pattern_files,
        rule::{TableKind, Tables, Text},
        text::{FileText, Texts},
    },
};

#[derive(Deserialize)]
struct Case {
    id: String,
    allow: Option<String>,
    deny: Option<String>,
    daemon: String,
    client_addr: Option<String>,
    client_name: Option<String>,
    client_user: Option<String>,
    server_addr: Option<String>,
    server_name: Option<String>,
    client_port: Option<u16>,
    server_port: Option<u16>,
    #[serde(default)]
    resident: bool,
    #[serde(default)]
    files: BTreeMap<PathBuf, String>,
    expect: String,
    via: String,
    matched: String,
    warnings: Vec<String>,
    severity: Option<String>,
}

#[derive(Deserialize)]
struct Difference {
    id: String,
    reason: String,
}

/// What is compared.
#[derive(Debug, PartialEq)]
struct Answer {
    expect: String,
    via: String,
    matched: String,
    severity: Option<String>,
    warnings: Vec<String>,
}

#[test]
fn every_case_agrees_with_libwrap() {
    let cases: Vec<Case> = read("cases/cases.jsonl");
    let corpus: Vec<Case> = read("corpus/cases.jsonl");
    let differences: Vec<Difference> = read("cases/differences.jsonl");
    assert_eq!(cases.len(), 620);

    let (mut plain, mut agree, mut failures) = (0, 0, Vec::new());
    let mut listed: BTreeMap<&str, &str> =
        differences.iter().map(|listed| (listed.id.as_str(), listed.reason.as_str())).collect();
    for case in cases.iter().chain(&corpus) {
        let (ours, libwrap) = (answer(case), expected(case));
        let agrees = ours == libwrap;
        match (agrees, listed.remove(case.id.as_str())) {
            (true, None) => agree += 1,
            (false, Some(reason)) => println!("{}: listed: {reason}", case.id),
            (true, Some(_)) => failures.push(format!("{}: listed as a difference, but agrees", case.id)),
            (false, None) => failures.push(format!(
                "{}: allow {:?} deny {:?}\n  libwrap {libwrap:?}\n  ours    {ours:?}",
                case.id, case.allow, case.deny
            )),
        }
        let is_plain = case.client_name.is_none() && case.client_user.is_none() && case.server_name.is_none();
        plain += usize::from(is_plain && agrees && case.id.starts_with("pub-"));
    }
    failures
        .extend(listed.keys().map(|id| format!("{id}: listed as a difference, but there is no such case")));
    println!(
        "conformance: {} cases and {} of the corpus, {agree} agree ({plain} of 220 without names), {} listed differences",
        cases.len(),
        corpus.len(),
        differences.len(),
    );
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert_eq!(plain, 220, "cases without names agree");
}

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn expected(case: &Case) -> Answer {
    Answer {
        expect: case.expect.clone(),
        via: case.via.clone(),
        matched: case.matched.clone(),
        severity: case.severity.clone(),
        warnings: case.warnings.iter().map(|text| text.replace("process PID ", "process 0 ")).collect(),
    }
}

fn answer(case: &Case) -> Answer {
    let tables = tables(case);
    let daemons = [Text::from(case.daemon.as_bytes())];
    let client_name = host_name(case.client_name.as_ref());
    let server_name = host_name(case.server_name.as_ref());
    let request = Request {
        daemons: &daemons,
        client_address: case.client_addr.as_deref(),
        server_address: case.server_addr.as_deref(),
        client_port: case.client_port,
        server_port: case.server_port,
        pid: 4242,
        resident: case.resident,
        known: Known {
            client_name: Some(&client_name),
            server_name: Some(&server_name),
            client_user: Some(case.client_user.as_deref().unwrap_or("unknown").as_bytes()),
        },
    };
    let judgement = evaluate(&tables, &request, &Given(case));
    Answer {
        expect: match judgement.verdict {
            Verdict::Allow => "allow".into(),
            Verdict::Refuse => "deny".into(),
        },
        via: match judgement.reason {
            Reason::Rule => "rule".into(),
            Reason::Option => "option".into(),
            Reason::OptionError => "error".into(),
            Reason::Twist => "twist".into(),
            Reason::Exit => "exit".into(),
            Reason::TableBroken => "table-error".into(),
            Reason::NoRule => "default".into(),
        },
        matched: matched(&tables, &judgement),
        // The oracle cannot tell once twist has replaced the process.
        severity: judgement.severity.filter(|_| judgement.reason != Reason::Twist).map(priority),
        warnings: judgement.warnings,
    }
}

fn matched(tables: &Tables, judgement: &Judgement) -> String {
    match judgement.rule {
        None => "none".into(),
        Some(found) if found.table == TableKind::Allow => {
            format!("allow:{}", tables.allow.rules[found.index].number)
        }
        Some(found) => format!("deny:{}", tables.deny.rules[found.index].number),
    }
}

fn priority(priority: i32) -> String {
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let facility = match priority >> 3 {
        1 => "user".into(),
        2 => "mail".into(),
        3 => "daemon".into(),
        4 => "auth".into(),
        6 => "lpr".into(),
        7 => "news".into(),
        8 => "uucp".into(),
        9 => "cron".into(),
        local => format!("local{}", local - 16),
    };
    let level = LEVELS[(priority & 7).unsigned_abs() as usize];
    // The oracle leaves out facility 0.
    if priority >> 3 == 0 { level.into() } else { format!("{facility}.{level}") }
}

/// Parses until no new file is named, as the source room does.
fn tables(case: &Case) -> Tables {
    let table = |name: &str, text: &Option<String>| {
        let text = text.as_ref().map_or(FileText::Missing, |text| FileText::Bytes(text.as_bytes().into()));
        (Arc::new(PathBuf::from(name)), text)
    };
    let mut texts = Texts {
        allow: table("hosts.allow", &case.allow),
        deny: table("hosts.deny", &case.deny),
        files: BTreeMap::new(),
    };
    loop {
        let parsed = parse(&texts);
        // Showing every diagnostic must not panic either.
        let _ = parsed.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>();
        let named = pattern_files(&parsed.tables);
        let new: Vec<_> = named.into_iter().filter(|path| !texts.files.contains_key(path)).collect();
        if new.is_empty() {
            return parsed.tables;
        }
        texts.files.extend(new.into_iter().map(|path| {
            let text = file_text(case, &path);
            (path, text)
        }));
    }
}

fn file_text(case: &Case, path: &Path) -> FileText {
    if let Some(text) = case.files.get(path) {
        return FileText::Bytes(text.as_bytes().into());
    }
    if path.ancestors().any(|above| case.files.contains_key(above)) {
        return FileText::Unreadable("Not a directory".into());
    }
    if path.starts_with("/tmp/lwc") {
        return FileText::Missing;
    }
    match fs::read(path) {
        Ok(bytes) => FileText::Bytes(bytes.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileText::Missing,
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => FileText::Bytes(Arc::new([])),
        Err(error) => {
            let text = error.to_string();
            FileText::Unreadable(text.split(" (os error").next().unwrap_or_default().to_owned())
        }
    }
}

/// Names and users as the case gives them.
struct Given<'a>(&'a Case);

fn host_name(name: Option<&String>) -> HostName {
    match name.map(String::as_str) {
        None => HostName::Unknown,
        Some("paranoid") => HostName::Paranoid,
        Some(name) => HostName::Known(name.as_bytes().into()),
    }
}

impl Lookup for Given<'_> {
    fn in_netgroup(&self, _: &[u8], _: Option<&[u8]>, _: Option<&[u8]>) -> bool {
        false
    }

    fn user_exists(&self, name: &[u8]) -> bool {
        matches!(name, b"root" | b"nobody" | b"daemon" | b"bin")
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        matches!(name, b"root" | b"nogroup" | b"daemon" | b"bin")
    }

    fn run(&self, _: Purpose, command: &[u8]) -> CommandResult {
        // The oracle really runs these; it takes any other for a success.
        match command {
            b"false" | b"/bin/false" => CommandResult::Exited(1),
            b"kill -9 $$" => CommandResult::Killed { pid: 0, signal: 9 },
            _ => {
                let status = command.strip_prefix(b"exit ").and_then(|it| std::str::from_utf8(it).ok());
                let status = status.and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
                CommandResult::Exited(status.to_le_bytes()[0])
            }
        }
    }

    fn banner(&self, directory: &Path, daemon: &[u8]) -> Banner {
        let name = String::from_utf8_lossy(daemon);
        match self.0.files.get(&directory.join(&*name)) {
            Some(text) => Banner::Text(text.clone().into_bytes()),
            None if self.0.files.keys().any(|path| path.starts_with(directory)) => Banner::Missing,
            None => Banner::NoDirectory("No such file or directory".into()),
        }
    }
}

#[test]
fn large_tables_are_parsed_in_linear_time() {
    let shapes: [(&str, Vec<u8>); 8] = [
        ("rules", b"sshd: 10.1.2.3 192.168.0.0/16\n".repeat(70_000)),
        ("continuations", b"\\\n".repeat(1_000_000)),
        ("continued tokens", b"ALL: a\\\n".repeat(300_000)),
        ("NUL bytes", b"\0".repeat(2_000_000)),
        ("NUL lines", b"\0\n".repeat(1_000_000)),
        ("one line", b"x".repeat(2_000_000)),
        ("commas", [b"ALL: ".to_vec(), b",".repeat(2000), b"\n".to_vec()].concat().repeat(1000)),
        ("colons and EXCEPT", b"ALL EXCEPT a EXCEPT b::::::: [ ] :\n".repeat(60_000)),
    ];
    for (name, text) in shapes {
        let started = std::time::Instant::now();
        let texts = Texts {
            allow: (Arc::new(PathBuf::from("hosts.allow")), FileText::Bytes(text.into())),
            deny: (Arc::new(PathBuf::from("hosts.deny")), FileText::Missing),
            files: BTreeMap::from([(PathBuf::from("/f"), FileText::Bytes(b"# a ".repeat(500_000).into()))]),
        };
        let parsed = parse(&texts);
        let took = started.elapsed();
        assert!(took.as_secs() < 10, "{name}: {took:?}");
        println!("{name}: {} rules, {took:?}", parsed.tables.allow.rules.len());
    }
}
