//! What people write, and what they meant.
//!
//! `mistakes/KIND.txt`: a table (`allow` or `deny`) and a code, the lines as they were written, and behind `=>`
//! the lines as they were meant, or `none` where that cannot be known. Each line has one finding; with its fix it
//! is as it was meant, and has none. `public.txt`: the rules of public files.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf, sync::Arc};

use tcpw_userspace::{
    check::{
        Scope, check,
        facts::{Given, Kind, Status},
    },
    parse::{
        diagnostic::{Diagnostic, Fix, Severity},
        text::{FileText, Texts},
    },
};

/// What follows from the table beside, not from the line.
const OF_BOTH_TABLES: [&str; 5] = ["W141", "W142", "W144", "W158", "W080"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The findings on hosts.allow (`true`) or hosts.deny, beside a table that is right.
fn findings(is_allow: bool, text: &str) -> Vec<Diagnostic> {
    let (allow, deny) = if is_allow { (text, "ALL: ALL\n") } else { ("sshd: 127.0.0.1\n", text) };
    let name = if is_allow { "hosts.allow" } else { "hosts.deny" };
    let mut found = both(Some(allow), Some(deny));
    found.retain(|it| it.origin.path.ends_with(name));
    found
}

pub(crate) fn both(allow: Option<&str>, deny: Option<&str>) -> Vec<Diagnostic> {
    let file = |name: &str, text: Option<&str>| match text {
        Some(text) => (Arc::new(PathBuf::from(name)), FileText::Bytes(text.as_bytes().into())),
        None => (Arc::new(PathBuf::new()), FileText::Bytes(Arc::new([]))),
    };
    let scope = Scope { both: allow.is_some() && deny.is_some(), in_use: false };
    let (allow, deny) = (file("hosts.allow", allow), file("hosts.deny", deny));
    let directory = Status { kind: Kind::Directory, mode: 0o755, owner: 0, group: 0, size: 0 };
    let missing = ["/nowhere/check", "/tmp/lwc/nowhere"].map(|path| (path.into(), Status::MISSING));
    let facts =
        Given([("/etc/banners".into(), directory)].into_iter().chain(missing).collect(), Default::default());
    check(&Texts { allow, deny, files: BTreeMap::new() }, &facts, scope).diagnostics
}

fn is_mistake(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity > Severity::Hint && !OF_BOTH_TABLES.contains(&diagnostic.code)
}

pub(crate) fn fixed(text: &str, diagnostic: &Diagnostic, with: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let before: usize = lines[..diagnostic.origin.line as usize - 1].iter().map(|line| line.len()).sum();
    let start = before + diagnostic.origin.column as usize - 1;
    let end = start + diagnostic.origin.length as usize;
    [&text.as_bytes()[..start], with.as_bytes(), &text.as_bytes()[end..]].concat().try_into().expect("UTF-8")
}

pub(crate) fn shown(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|it| format!("{it}\n\n")).collect()
}

struct Case {
    is_allow: bool,
    code: String,
    written: String,
    /// `None`: it cannot be known.
    meant: Option<String>,
}

fn cases(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).unwrap();
    let mut all = Vec::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let mut lines = block.lines().skip_while(|line| line.is_empty());
        let (table, code) = lines.next().unwrap().split_once(' ').expect("table and code");
        let (mut written, mut meant) = (String::new(), String::new());
        for line in lines {
            match line.strip_prefix("=> ") {
                Some(line) => meant += &format!("{line}\n"),
                None => written += &format!("{line}\n"),
            }
        }
        let meant = Some(meant).filter(|meant| meant != "none\n");
        all.push(Case { is_allow: table == "allow", code: code.to_owned(), written, meant });
    }
    all
}

/// What is wrong with what is said of a case.
fn objection(case: &Case) -> Option<String> {
    let Case { is_allow, code, written, meant } = case;
    let found = findings(*is_allow, written);
    let fail = |why: &str| Some(format!("{why}:\n{written}{}", shown(&found)));
    let Some(finding) = found.iter().find(|it| it.code == code) else {
        return fail(&format!("no {code}"));
    };
    if found.iter().any(|it| it.to_string().lines().count() > 5) {
        return fail("more than five lines");
    }
    let others = found.iter().filter(|it| is_mistake(it) && it.code != code).count();
    if others > 0 {
        return fail("more than one finding");
    }
    let fix = match &finding.fix {
        Some(Fix::Replace(with)) => Some(with),
        Some(Fix::Advice(_)) | None => None,
    };
    match (fix, meant) {
        (None, None) => None,
        (Some(_), None) => fail("a fix that cannot be known"),
        (None, Some(_)) => fail("no fix"),
        (Some(with), Some(meant)) => {
            let mended = fixed(written, finding, with);
            let left: Vec<Diagnostic> = findings(*is_allow, &mended)
                .into_iter()
                .filter(|it| is_mistake(it) || it.code == code)
                .collect();
            if mended != *meant {
                return fail(&format!("the fix gives\n{mended}and was to give\n{meant}for"));
            }
            (!left.is_empty()).then(|| format!("after the fix\n{mended}there is\n{}", shown(&left)))
        }
    }
}

#[test]
fn every_line_has_one_finding_and_its_fix_is_what_was_meant() {
    let mut failures = Vec::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("mistakes")).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 11, "{files:?}");
    for file in files {
        let cases = cases(&file);
        assert!(cases.len() >= 20, "{}: only {} cases", file.display(), cases.len());
        println!("{}: {} cases", file.display(), cases.len());
        failures.extend(cases.iter().filter_map(objection).map(|it| format!("{}: {it}", file.display())));
    }
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n"), failures.len());
}

/// The rules of one public file.
struct Public {
    /// What kind of file it is.
    kind: String,
    /// `allow`, `deny`, or `alone`: hosts.allow that holds the whole policy.
    table: String,
    /// Codes of errors and warnings that are right there.
    expected: Vec<String>,
    text: String,
}

fn public() -> Vec<Public> {
    let text = fs::read_to_string(root().join("public.txt")).unwrap();
    let mut all = Vec::new();
    for block in text.split("== ").skip(1) {
        let (head, rules) = block.split_once('\n').unwrap();
        let mut words = head.split(" | ");
        let kind = words.next().unwrap().to_owned();
        let table = words.next().expect("which table").to_owned();
        let expected = words.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        // The end of a block is not part of the file, and a file may lack its last newline.
        let rules = rules.trim_end_matches('\n');
        let text = match rules.strip_suffix("(no newline)") {
            Some(rules) => rules.to_owned(),
            None => format!("{rules}\n"),
        };
        all.push(Public { kind, table, expected, text });
    }
    all
}

#[test]
fn public_files_get_no_warning_where_libwrap_does_what_they_say() {
    let all = public();
    let mut failures = Vec::new();
    let mut right = 0;
    for Public { kind, table, expected, text } in &all {
        let mut found = match table.as_str() {
            "allow" => both(Some(text), Some("ALL: ALL\n")),
            "alone" => both(Some(text), None),
            "deny" => both(None, Some(text)),
            other => panic!("{other}: which table?"),
        };
        // Nobody gets in by rules that are wrong: that is said once more beside "ALL: ALL". That table is not the file's,
        // nor is what it does to ssh.
        let follows = |it: &Diagnostic| it.code == "W142" && !expected.contains(&"W142".to_owned());
        let is_wrong = !expected.is_empty();
        let is_beside = |it: &Diagnostic| table == "allow" && it.code == "W144";
        found.retain(|it| it.severity > Severity::Hint && !(is_wrong && follows(it)) && !is_beside(it));
        let mut codes: Vec<String> = found.iter().map(|it| it.code.to_owned()).collect();
        codes.sort();
        codes.dedup();
        right += usize::from(expected.is_empty());
        if codes != *expected {
            failures.push(format!("{kind}, {table}: {codes:?}, not {expected:?}\n{text}\n{}", shown(&found)));
        }
    }
    println!("{} public files, {right} of them without a mistake", all.len());
    assert!(all.len() >= 60 && right >= 45, "{} files, {right} right", all.len());
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n"), failures.len());
}
