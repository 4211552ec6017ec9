//! Every code is explained by an example that yields it, and every fix that replaces text
//! takes its code away.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use tcpw_userspace::{
    check::{
        Checked, Scope, check,
        facts::{Given, Kind, Status},
        registry::{Sample, State, entries},
    },
    compile::{ChangeKind, Detail, diff},
    parse::{
        code::Code,
        diagnostic::{Diagnostic, Fix, Severity},
        parse, pattern_files,
        text::{FileText, Texts},
    },
    resolve::Accounts,
};

const ALLOW: &str = "/etc/hosts.allow";
const DENY: &str = "/etc/hosts.deny";

/// The files of an example.
#[derive(Clone, Default)]
struct Files {
    texts: BTreeMap<PathBuf, FileText>,
    facts: Given,
}

impl Files {
    fn of(samples: &[Sample]) -> Self {
        let mut files = Self::default();
        for sample in samples {
            files.add(sample);
        }
        files
    }

    fn add(&mut self, Sample { path, state }: &Sample) {
        let text = |text: &str| FileText::Bytes(text.as_bytes().into());
        let plain = Status { kind: Kind::File, mode: 0o644, owner: 0, group: 0, size: 0 };
        let (content, status) = match state {
            State::Text(it) => (text(it), plain),
            State::Writable(it) => (text(it), Status { mode: 0o666, ..plain }),
            State::Long(head, unit, times) => {
                let all = format!("{head}{}\n", unit.repeat(*times));
                (text(&all), Status { size: u64::try_from(all.len()).unwrap_or(u64::MAX), ..plain })
            }
            State::Missing => (FileText::Missing, Status::MISSING),
            State::Unreadable => (FileText::Unreadable("Permission denied".into()), plain),
            State::Directory => (text(""), Status { kind: Kind::Directory, mode: 0o755, ..plain }),
            State::Dangling => (FileText::Missing, Status { kind: Kind::Dangling, ..Status::MISSING }),
            State::Fifo => (text(""), Status { kind: Kind::Other, ..plain }),
            State::Chain(length) => {
                for number in 1..*length {
                    let path = PathBuf::from(format!("{path}{number}"));
                    self.texts.insert(path, text(&format!("/etc/tcpw/{}\n", number + 1)));
                }
                self.texts.insert(format!("{path}{length}").into(), text("198.51.100.7\n"));
                return;
            }
        };
        self.texts.insert(path.into(), content);
        self.facts.0.push((path.into(), status));
    }

    fn check(&self) -> Checked {
        let read = |path: &Path, absent: FileText| self.texts.get(path).cloned().unwrap_or(absent);
        let empty = || FileText::Bytes(Arc::new([]));
        let table = |path: &str| (Arc::new(PathBuf::from(path)), read(Path::new(path), empty()));
        let mut texts = Texts { allow: table(ALLOW), deny: table(DENY), files: BTreeMap::new() };
        loop {
            let named = pattern_files(&parse(&texts).tables);
            let new: Vec<_> = named.into_iter().filter(|path| !texts.files.contains_key(path)).collect();
            if new.is_empty() {
                break;
            }
            let missing = || FileText::Missing;
            texts.files.extend(new.into_iter().map(|path| (path.clone(), read(&path, missing()))));
        }
        let mut facts = self.facts.clone();
        facts.0.push((
            "/etc".into(),
            Status { kind: Kind::Directory, mode: 0o755, owner: 0, group: 0, size: 0 },
        ));
        check(&texts, &facts, Scope { both: true, in_use: true })
    }
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|it| format!("{it}\n\n")).collect()
}

fn count(diagnostics: &[Diagnostic], code: &str) -> usize {
    diagnostics.iter().filter(|it| it.code == code).map(|it| 1 + it.more).sum()
}

/// Other codes that an example cannot be without: what stands behind a broken continuation.
const ALSO: [(Code, Code); 2] = [(Code::W011, Code::E005), (Code::W017, Code::E005)];

/// A rule that changes nothing: many examples let somebody in at a daemon that they do not guard.
fn is_idle(diagnostic: &Diagnostic) -> bool {
    diagnostic.code == Code::W158.as_str()
}

#[test]
fn wrong_examples_yield_their_code() {
    let mut failures = Vec::new();
    for entry in entries() {
        let found = Files::of(entry.wrong).check().diagnostics;
        let others: Vec<_> = found
            .iter()
            .filter(|it| it.severity > Severity::Hint && it.code != entry.code.as_str())
            .filter(|it| !is_idle(it))
            .filter(|it| !ALSO.iter().any(|(code, also)| *code == entry.code && it.code == also.as_str()))
            .collect();
        if count(&found, entry.code.as_str()) == 0 || !others.is_empty() {
            failures.push(format!("{}: the wrong example gives\n{}", entry.code, shown(&found)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn right_examples_are_clean() {
    let mut failures = Vec::new();
    for entry in entries() {
        let found = Files::of(entry.right).check().diagnostics;
        let has_code = count(&found, entry.code.as_str()) > 0;
        let is_wrong = |it: &&Diagnostic| it.severity > Severity::Hint && !is_idle(it);
        if has_code || found.iter().any(|it| is_wrong(&it)) {
            failures.push(format!("{}: the right example gives\n{}", entry.code, shown(&found)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_severity_is_that_of_its_letter() {
    for code in Code::ALL {
        let letter = code.as_str().chars().next().unwrap();
        let want = match code.severity() {
            Severity::Error => 'E',
            Severity::Warning => 'W',
            Severity::Hint => 'H',
        };
        assert_eq!(letter, want, "{code}");
    }
}

#[test]
fn no_two_entries_say_the_same() {
    let mut titles: Vec<&str> = Code::ALL.iter().map(|code| code.title()).collect();
    titles.sort_unstable();
    assert!(titles.windows(2).all(|pair| pair[0] != pair[1]), "{titles:?}");
}

/// The text with a fix in its place.
fn fixed(text: &[u8], diagnostic: &Diagnostic, with: &str) -> Vec<u8> {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let before: usize = lines[..diagnostic.origin.line as usize - 1].iter().map(|line| line.len()).sum();
    let start = before + diagnostic.origin.column as usize - 1;
    let end = start + diagnostic.origin.length as usize;
    [&text[..start], with.as_bytes(), &text[end..]].concat()
}

/// Codes of rules that do what they say in an odd way: with the fix no verdict is another one.
const SAME_MEANING: [&str; 4] = ["H025", "W042", "H045", "W105"];

/// Whether a fix is to change no verdict. An EXCEPT at the end of a list excepts nothing; of two that stand together one
/// is to except what follows, and does so with the fix.
fn is_same(diagnostic: &Diagnostic) -> bool {
    let Diagnostic { code, cited, origin, .. } = diagnostic;
    let behind = cited.get((origin.column - 1 + origin.length) as usize..).unwrap_or_default();
    let list = behind.split(|byte| *byte == b':').next().unwrap_or_default();
    SAME_MEANING.contains(code) || *code == "W022" && list.trim_ascii().is_empty()
}

/// What can be said only of a rule that is read as it was meant: whether other rules leave it something to decide,
/// and what both tables lead to.
const FOLLOWS: [&str; 5] = ["W140", "W141", "W142", "W144", "W158"];

/// Fixes that bring to light what nothing read before, and what is found there: text behind a NUL byte or a broken
/// continuation, and a network whose clients are all excepted.
const UNCOVERS: [(&str, &str); 4] = [("W010", "W018"), ("W010", "W078"), ("W017", "W023"), ("W109", "W029")];

/// Applies each fix of each diagnostic and checks that the code is gone from there.
fn try_fixes(name: &str, files: &Files, failures: &mut Vec<String>) -> usize {
    let Checked { diagnostics: found, tables } = files.check();
    let mut tried = 0;
    for diagnostic in &found {
        let text = diagnostic.to_string();
        if text.lines().count() > 5 || text.contains("--explain") {
            failures.push(format!("{name}: more than five lines, or no fix of its own:\n{text}"));
        }
        let Some(Fix::Replace(with)) = &diagnostic.fix else { continue };
        let Some(FileText::Bytes(text)) = files.texts.get(diagnostic.origin.path.as_path()) else { continue };
        let mut after = files.clone();
        let text = fixed(text, diagnostic, with);
        after.texts.insert(diagnostic.origin.path.to_path_buf(), FileText::Bytes(text.into()));
        let Checked { diagnostics: left, tables: mended } = after.check();
        if is_same(diagnostic) {
            let mut changes = diff(&tables, &mended, &Accounts, Detail::Rules).expect("the policies fit");
            changes.retain(|change| change.kind == ChangeKind::Verdict);
            if !changes.is_empty() {
                failures.push(format!("{name}: another meaning after the fix of\n{diagnostic}\n{changes:?}"));
            }
        }
        if count(&left, diagnostic.code) >= count(&found, diagnostic.code) {
            let same: Vec<_> = left.iter().filter(|it| it.code == diagnostic.code).cloned().collect();
            failures.push(format!("{name}: after the fix of\n{diagnostic}\nthere is\n{}", shown(&same)));
            continue;
        }
        let errors = |all: &[Diagnostic]| all.iter().filter(|it| it.severity == Severity::Error).count();
        if errors(&left) > errors(&found) {
            let wrong: Vec<_> = left.iter().filter(|it| it.severity == Severity::Error).cloned().collect();
            failures.push(format!("{name}: a new error after the fix of\n{diagnostic}\n{}", shown(&wrong)));
        }
        let is_new = |it: &&Diagnostic| {
            it.severity > Severity::Hint
                && !FOLLOWS.contains(&it.code)
                && !UNCOVERS.contains(&(diagnostic.code, it.code))
                && count(&left, it.code) > count(&found, it.code)
        };
        let new: Vec<Diagnostic> = left.iter().filter(is_new).cloned().collect();
        if !new.is_empty() {
            failures.push(format!("{name}: new after the fix of\n{diagnostic}\n{}", shown(&new)));
        }
        tried += 1;
    }
    tried
}

#[test]
fn fixes_of_the_examples_take_the_code_away() {
    let mut failures = Vec::new();
    let tried: usize =
        entries().map(|entry| try_fixes(entry.code.as_str(), &Files::of(entry.wrong), &mut failures)).sum();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(tried > 50, "{tried} fixes");
}

/// The tables of the case files, of `mistakes/` and of the public files, each with its number.
#[expect(clippy::unwrap_used, reason = "a helper of the test below")]
fn corpus() -> Vec<(String, Files)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    let bytes = |text: &str| FileText::Bytes(text.as_bytes().into());
    for name in ["cases/cases.jsonl", "corpus/cases.jsonl"] {
        for (number, line) in fs::read_to_string(root.join(name)).unwrap().lines().enumerate() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let mut files = Files::default();
            for (field, path) in [("allow", ALLOW), ("deny", DENY)] {
                let text = case[field].as_str();
                files.texts.extend(text.map(|text| (PathBuf::from(path), bytes(text))));
            }
            for (path, text) in case["files"].as_object().into_iter().flatten() {
                files.texts.extend(text.as_str().map(|text| (PathBuf::from(path), bytes(text))));
            }
            all.push((format!("{name}:{}", number + 1), files));
        }
    }
    let mut texts: Vec<(String, String, bool)> = Vec::new();
    for file in fs::read_dir(root.join("mistakes")).unwrap().map(|it| it.unwrap().path()) {
        for (number, block) in fs::read_to_string(&file).unwrap().split("\n\n").enumerate() {
            let lines = block.lines().skip_while(|line| line.is_empty()).skip(1);
            let text: String =
                lines.filter(|line| !line.starts_with("=> ")).map(|line| format!("{line}\n")).collect();
            let is_allow = block.trim_start().starts_with("allow");
            texts.push((format!("{}:{number}", file.display()), text, is_allow));
        }
    }
    let public = fs::read_to_string(root.join("public.txt")).unwrap();
    for block in public.split("== ").skip(1) {
        let (head, text) = block.split_once('\n').unwrap();
        texts.push((head.to_owned(), format!("{}\n", text.trim_end()), !head.contains("| deny")));
    }
    for (name, text, is_allow) in texts {
        let mut files = Files::default();
        files.texts.insert(PathBuf::from(if is_allow { ALLOW } else { DENY }), bytes(&text));
        all.push((name, files));
    }
    all
}

#[test]
fn fixes_of_the_corpus_take_the_code_away() {
    let mut failures = Vec::new();
    let mut tried = 0;
    let corpus = corpus();
    for (name, files) in &corpus {
        tried += try_fixes(name, files, &mut failures);
    }
    println!("{} tables, {tried} fixes", corpus.len());
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n"), failures.len());
    assert!(tried > 400, "{tried} fixes");
}

#[test]
fn fixes_of_the_golden_tables_take_the_code_away() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut failures = Vec::new();
    let mut tried = 0;
    for directory in fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        let mut files = Files::default();
        for file in fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let path = match name {
                "hosts.allow" => ALLOW.into(),
                "hosts.deny" => DENY.into(),
                name => format!("/{name}"),
            };
            files.texts.insert(path.into(), FileText::Bytes(fs::read(&file).unwrap().into()));
        }
        tried += try_fixes(&directory.display().to_string(), &files, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(tried > 30, "{tried} fixes");
}
