//! Generated tables and requests: tcpw answers what the real libwrap.so.0 answers.
//!
//! Compared: verdict, matched line, what decided, messages, commands, banners, priorities and
//! the rest of an [`Answer`]. The seeds are a fixed few and a fresh one, which is printed:
//! `cargo xtask conformance --seed S` asks the same again, and more. A case on which the two
//! disagree is printed as a line for corpus/cases.jsonl.
//! What libwrap itself answers to the cases and the corpus is asked again, too.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use serde::Deserialize;
use tcpw_tests::{
    Requirement, can_run,
    differential::{
        Access, Answer, Case, Generator, Programs, Spread, Tcpdmatch, Text, compare, fresh_seed, run,
    },
};

const LIBWRAP: &[Requirement] = &[Requirement::Root, Requirement::Library("libwrap.so.0")];

/// Seeds of every run, beside a fresh one.
const SEEDS: [u64; 3] = [1, 2, 3];
/// Cases of each seed.
const CASES: usize = 5_500;
/// Cases for tcpdmatch.
const TCPDMATCH_CASES: usize = 1_500;

#[test]
fn tcpw_answers_as_libwrap() {
    if !can_run("tcpw_answers_as_libwrap", LIBWRAP) {
        return;
    }
    let programs = Programs::find().unwrap();
    let mut failures = String::new();
    let mut spread = Spread::default();
    for seed in SEEDS.into_iter().chain([fresh_seed()]) {
        let findings = run(&programs, seed, CASES, &mut |_| {}).unwrap();
        // Past the capture of a test that passes.
        writeln!(io::stderr(), "seed {seed}: {} cases", findings.spread.cases).unwrap();
        spread.merge(&findings.spread);
        if findings.disagreeing > 0 {
            failures += &format!("seed {seed}: {} cases differ\n", findings.disagreeing);
            failures.extend(findings.examples.iter().map(|example| format!("{example}\n")));
        }
    }
    println!("{spread}");
    assert!(failures.is_empty(), "{failures}");
    assert!(spread.cases >= 20_000);
    check(&spread);
}

/// A generator that always gets the same answers would test little.
fn check(spread: &Spread) {
    for (field, kind, least) in [
        ("verdict", "allow", 30.0),
        ("verdict", "deny", 30.0),
        ("matched", "allow", 25.0),
        ("matched", "deny", 20.0),
        ("matched", "none", 15.0),
        ("via", "default", 10.0),
        ("via", "rule", 35.0),
        ("via", "option", 3.0),
        ("via", "error", 4.0),
        ("via", "table-error", 0.8),
        ("via", "twist", 0.2),
        ("messages", "warning", 8.0),
        ("effect", "command", 2.0),
        ("effect", "banner", 0.2),
        ("effect", "severity", 0.4),
    ] {
        let share = spread.percent(field, kind);
        assert!(share >= least, "{field} {kind}: only {share:.2} % of the cases\n{spread}");
    }
}

#[test]
fn libwrap_answers_what_the_corpora_say() {
    if !can_run("libwrap_answers_what_the_corpora_say", LIBWRAP) {
        return;
    }
    let lines = [read("cases/cases.jsonl"), read("corpus/cases.jsonl")].concat();
    let cases: Vec<Case> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answers = Programs::find().unwrap().libwrap(&cases).unwrap();
    let mut failures = Vec::new();
    for ((line, case), answer) in lines.iter().zip(&cases).zip(&answers) {
        let said: Answer = serde_json::from_str(line).unwrap();
        if said != *answer {
            failures.push(format!("{}\n  file    {said:?}\n  libwrap {answer:?}", case.id));
        }
    }
    assert!(failures.is_empty(), "{} differ\n{}", failures.len(), failures.join("\n"));
}

/// A line of expansions.jsonl.
#[derive(Deserialize)]
struct Expansion {
    template: String,
    command: String,
    banner: Option<String>,
}

#[test]
fn libwrap_expands_as_the_expansions_say() {
    if !can_run("libwrap_expands_as_the_expansions_say", LIBWRAP) {
        return;
    }
    let (mut cases, mut wanted) = (Vec::new(), Vec::new());
    for line in read("cases/expansions.jsonl") {
        let expansion: Expansion = serde_json::from_str(&line).unwrap();
        let case: Case = serde_json::from_str(&line).unwrap();
        let daemon = String::from_utf8_lossy(case.daemon.as_bytes()).into_owned();
        let spawn = format!("ALL: ALL: spawn /tmp/lwc/rec {}\n", expansion.template);
        cases.push(Case { deny: Some(spawn.as_str().into()), ..case.clone() });
        wanted.push((vec![expansion.command], None));
        if let Some(banner) = expansion.banner {
            let files = [(format!("/tmp/lwc/b/{daemon}"), Text::from(expansion.template.as_str()))];
            let deny = Some("ALL: ALL: banners /tmp/lwc/b\n".into());
            cases.push(Case { deny, files: files.into(), ..case });
            wanted.push((vec![], Some(banner)));
        }
    }
    assert_eq!(cases.len(), 252 + 242);
    let answers = Programs::find().unwrap().libwrap(&cases).unwrap();
    for ((case, (spawned, banner)), answer) in cases.iter().zip(wanted).zip(answers) {
        assert_eq!((answer.spawned, answer.banner), (spawned, banner), "{case:?}");
    }
}

#[test]
fn tcpdmatch_shows_what_tcpw_answers() {
    const TCPDMATCH: &[Requirement] = &[Requirement::Root, Requirement::Program(Tcpdmatch::PROGRAM)];
    if !can_run("tcpdmatch_shows_what_tcpw_answers", &[LIBWRAP, TCPDMATCH].concat()) {
        return;
    }
    let seed = fresh_seed();
    println!("seed {seed}");
    let mut cases: Vec<_> =
        Generator::new(seed).filter_map(Tcpdmatch::reduce).take(TCPDMATCH_CASES).collect();
    // Few made cases are delegated.
    cases.push(Case {
        deny: Some("ALL: ALL: twist /bin/echo\n".into()),
        daemon: "sshd".into(),
        client_addr: Some("192.0.2.7".into()),
        ..Case::default()
    });
    let programs = Programs::find().unwrap();
    let (tcpdmatch, answers) = (Tcpdmatch::new().unwrap(), programs.tcpw(&cases).unwrap());
    let mut counts = [0; 3];
    for (case, answer) in cases.iter().zip(&answers) {
        let access = tcpdmatch.ask(case).unwrap();
        counts[access as usize] += 1;
        assert_eq!(access, Access::of(answer), "seed {seed}: {}", serde_json::to_string(case).unwrap());
    }
    let [granted, denied, delegated] = counts;
    println!("tcpdmatch: {granted} granted, {denied} denied, {delegated} delegated");
    assert!(granted > 200 && denied > 200 && delegated > 0, "{counts:?}");
    // The reduced cases are as good as others.
    let (disagreements, _) = compare(&programs, &cases).unwrap();
    assert!(disagreements.is_empty(), "seed {seed}: {}", disagreements[0]);
}

fn read(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
