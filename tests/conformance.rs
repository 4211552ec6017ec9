//! What the real libwrap answered, against ours.
//!
//! `cases/cases.jsonl`: 620 cases; `corpus/cases.jsonl`: corners of the language, and
//! those that once broke us.
//! `cases/differences.jsonl` lists the wanted differences, each with its reason
//! (`{"id": ..., "reason": ...}`); a listed case that agrees fails the test.
//! Compared: verdict, matched line, what decided, warnings, commands, severity, banners.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use tcpw_userspace::{
    cases::{TablesCache, judge, read},
    parse::{
        parse,
        text::{FileText, Texts},
    },
    source::Source,
};

#[derive(Deserialize)]
struct Difference {
    id: String,
    reason: String,
}

#[test]
fn every_case_agrees_with_libwrap() {
    let (cases, corpus) = (text("cases/cases.jsonl"), text("corpus/cases.jsonl"));
    let differences = text("cases/differences.jsonl");
    let differences: Vec<Difference> =
        lines(&differences).map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines(&cases).count(), 620);

    let nowhere = PathBuf::from("/nonexistent");
    let mut cache = TablesCache::new(Source::new(nowhere.clone(), nowhere));
    let (mut plain, mut agree, mut failures) = (0, 0, Vec::new());
    let mut listed: BTreeMap<&str, &str> =
        differences.iter().map(|listed| (listed.id.as_str(), listed.reason.as_str())).collect();
    for line in lines(&cases).chain(lines(&corpus)) {
        let case = read(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
        let (_, answer) = judge(&case, 0, line.as_bytes(), &mut cache).expect(line);
        assert!(case.expect.is_some() && case.matched.is_some() && case.via.is_some(), "{line}");
        let (id, mut differs) = (answer.id.to_string(), Vec::new());
        answer.compare(&case, |difference| differs.push(format!("  {difference}\n")));
        match (differs.is_empty(), listed.remove(id.as_str())) {
            (true, None) => agree += 1,
            (false, Some(reason)) => println!("{id}: listed: {reason}"),
            (true, Some(_)) => failures.push(format!("{id}: listed as a difference, but agrees")),
            (false, None) => failures.push(format!("{line}\n{}", differs.concat())),
        }
        let is_plain = case.client_name.is_none() && case.client_user.is_none() && case.server_name.is_none();
        plain += usize::from(is_plain && differs.is_empty() && id.starts_with("pub-"));
    }
    failures
        .extend(listed.keys().map(|id| format!("{id}: listed as a difference, but there is no such case")));
    println!(
        "conformance: {} cases and {} of the corpus, {agree} agree ({plain} of 220 without names), {} listed differences",
        lines(&cases).count(),
        lines(&corpus).count(),
        differences.len(),
    );
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert_eq!(plain, 220, "cases without names agree");
}

#[test]
fn every_diagnostic_can_be_shown() {
    for line in lines(&text("cases/cases.jsonl")).chain(lines(&text("corpus/cases.jsonl"))) {
        let case: serde_json::Value = serde_json::from_str(line).expect(line);
        let table = |field: &str| {
            let text = case[field].as_str();
            let text = text.map_or(FileText::Missing, |text| FileText::Bytes(text.as_bytes().into()));
            (Arc::new(PathBuf::from(field)), text)
        };
        let texts = Texts { allow: table("allow"), deny: table("deny"), files: BTreeMap::new() };
        for diagnostic in parse(&texts).diagnostics {
            assert!(diagnostic.to_string().contains(diagnostic.code), "{line}");
        }
    }
}

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty())
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
