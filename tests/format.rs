//! `tcpw fmt` changes no verdict: parse, print, parse.
//!
//! Over every table of cases/, corpus/ and rules/, and over random text: the rules before and after
//! are the same, a second time changes nothing, and the reference evaluator decides the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use serde_json::Value;
use tcpw_common::key::Query;
use tcpw_tests::{
    Requirement, can_run,
    policy::{address, evaluated},
    tcpw_binary,
};
use tcpw_userspace::{
    format::{format, same_rules},
    names::NamesSet,
    parse::{
        rule::Tables,
        tables as rules,
        text::{FileText, Texts},
    },
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text as hosts.allow beside a hosts.deny that refuses everybody, and as hosts.deny alone.
fn both_ways(text: &[u8]) -> [Tables; 2] {
    let file = |name: &str, text: Option<&[u8]>| {
        let text = text.map_or(FileText::Missing, |text| FileText::Bytes(text.into()));
        (PathBuf::from(name).into(), text)
    };
    let tables = |allow, deny| {
        let (allow, deny) = (file("hosts.allow", allow), file("hosts.deny", deny));
        rules(&Texts { allow, deny, files: BTreeMap::new() })
    };
    [tables(Some(text), Some(b"ALL: ALL\n")), tables(None, Some(text))]
}

/// What is wrong with the canonical form of a text, if anything is.
fn objection(text: &[u8], clients: &[IpAddr]) -> Option<String> {
    let formatted = format(text);
    let shown = || format!("{}\n--- became\n{}", text.escape_ascii(), formatted.text.escape_ascii());
    if format(&formatted.text).text != formatted.text {
        return Some(format!("a second time changes it: {}", shown()));
    }
    for (before, after) in both_ways(text).into_iter().zip(both_ways(&formatted.text)) {
        if !(same_rules(&before.allow, &after.allow) && same_rules(&before.deny, &after.deny)) {
            return Some(format!("other rules: {}", shown()));
        }
        for names in [&[][..], &["sshd"], &["in.telnetd"], &["unknown", "x"]].map(NamesSet::new) {
            for client in clients {
                let server = IpAddr::from([10, 1, 2, 3]);
                let query =
                    Query { names: names.id(), client: address(*client), server: address(server), port: 22 };
                if evaluated(&before, &names, &query) != evaluated(&after, &names, &query) {
                    return Some(format!("another verdict on {client} to {names}: {}", shown()));
                }
            }
        }
    }
    None
}

fn clients() -> Vec<IpAddr> {
    ["1.2.3.4", "10.0.0.1", "192.168.1.1", "::1", "2001:db8::1", "3ffe:ffff:100:200::1"]
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

/// Every table of the case files, and every file below rules/.
fn known_tables() -> BTreeSet<Vec<u8>> {
    let mut tables = BTreeSet::new();
    for name in ["cases/cases.jsonl", "corpus/cases.jsonl"] {
        let text = fs::read_to_string(root().join(name)).expect(name);
        for line in text.lines().filter(|line| !line.is_empty()) {
            let case: Value = serde_json::from_str(line).expect(line);
            for table in ["allow", "deny"] {
                tables.extend(case[table].as_str().map(|text| text.as_bytes().to_vec()));
            }
        }
    }
    for directory in fs::read_dir(root().join("rules")).expect("rules") {
        for file in fs::read_dir(directory.expect("rules").path()).expect("a directory of rules") {
            tables.extend(fs::read(file.expect("rules").path()).ok());
        }
    }
    tables
}

#[test]
fn known_tables_decide_as_before() {
    let tables = known_tables();
    assert!(tables.len() > 700, "only {} tables", tables.len());
    let (mut changed, mut kept) = (0, 0);
    for table in &tables {
        assert_eq!(objection(table, &clients()), None);
        let formatted = format(table);
        changed += usize::from(formatted.text != *table);
        kept += usize::from(!formatted.kept.is_empty());
    }
    // If nothing changed, or nothing had to stay, this would prove nothing.
    assert!(changed > 100 && kept > 50, "{changed} changed, {kept} with lines that stay");
}

/// What tables are made of, the odd ends of the language most of all.
const FRAGMENTS: &[&str] = &[
    "\n",
    "\n",
    "\n",
    "\n",
    ":",
    ":",
    ":",
    ": ",
    " : ",
    " ",
    " ",
    ",",
    "\t",
    "\r",
    "\r\n",
    "\\",
    "\\\n",
    "\\ \n",
    "\\\r\n",
    "\\:",
    "#",
    "# note",
    "\0",
    "[",
    "]",
    "[::1]",
    "[2001:db8::]/32",
    "::1",
    "ALL",
    "all",
    "EXCEPT",
    "except",
    "LOCAL",
    "local",
    "Known",
    "unknown",
    "PARANOID",
    "@",
    "@group",
    "root@",
    "sshd",
    "in.",
    ".x",
    "*",
    "22",
    "1.2.3.4",
    "10.",
    "10.0.0.0/8",
    "192.168.0.0/255.255.0.0",
    "/nowhere",
    "allow",
    "DENY",
    "spawn ",
    "Spawn=",
    "echo  a",
    "twist x",
    "setenv A  b",
    "severity Auth.info",
    "umask 022",
    "nice",
    "user root",
    "bogus",
    "\x0b",
    "\x0c",
    "\u{fe}",
    "\u{feff}",
];

fn text() -> impl Strategy<Value = Vec<u8>> {
    let words = || vec(select(FRAGMENTS), 0..12).prop_map(|words| words.concat());
    let list = || vec(select(&FRAGMENTS[28..54]), 1..6).prop_map(|words| words.join(" "));
    let long = || (list(), 1..600_usize).prop_map(|(words, times)| format!("{words} ").repeat(times));
    let rule = prop_oneof![
        3 => (list(), list()).prop_map(|(daemons, clients)| format!("{daemons}:{clients}\n")),
        2 => (list(), list(), words()).prop_map(|(daemons, clients, options)| format!("{daemons} : {clients}: {options}\n")),
        1 => (list(), long()).prop_map(|(daemons, clients)| format!("{daemons}: {clients}\n")),
        3 => words(),
    ];
    vec(rule, 0..8).prop_map(|rules| rules.concat().into_bytes())
}

#[test]
fn random_tables_decide_as_before() {
    let config = ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
    let clients = [IpAddr::from([10, 0, 0, 1]), "2001:db8::1".parse().expect("an address")];
    let result = TestRunner::new(config).run(&text(), |text| {
        objection(&text, &clients).map_or(Ok(()), |objection| Err(TestCaseError::fail(objection)))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// A directory of this test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tcpw-format-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("make a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn tcpw(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(tcpw_binary().expect("the tcpw binary"))
        .arg("fmt")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start tcpw");
    // A program that does not read its input closes it.
    drop(child.stdin.take().expect("stdin").write_all(input));
    child.wait_with_output().expect("wait for tcpw")
}

fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn standard_input_is_printed_and_what_stays_is_said() {
    let (code, out, err) = ended(&tcpw(&["-"], b"sshd:ALL\nno separator\n"));
    assert_eq!((code, out.as_str()), (Some(2), "sshd: ALL\nno separator\n"));
    let want = "(standard input):2:1: left as it is: it has no \":\" between daemons and clients\n";
    assert_eq!(err, want);
}

#[test]
fn check_names_the_files_that_would_change() {
    let directory = Directory::new("check");
    let (good, bad) = (directory.0.join("good"), directory.0.join("bad"));
    fs::write(&good, "sshd: ALL\n").expect("write");
    fs::write(&bad, "sshd:ALL\n").expect("write");
    let (good, bad) = (good.to_str().expect("a path"), bad.to_str().expect("a path"));
    assert_eq!(ended(&tcpw(&["--check", good], b"")), (Some(0), String::new(), String::new()));
    assert_eq!(ended(&tcpw(&["--check", good, bad], b"")), (Some(1), format!("{bad}\n"), String::new()));
    let (code, _, err) = ended(&tcpw(&["--check", bad, "/nowhere"], b""));
    assert_eq!(code, Some(2));
    assert_eq!(err.lines().count(), 1, "{err}");
    assert_eq!(ended(&tcpw(&["--check", "--write", good], b"")).0, Some(2));
}

#[test]
fn write_replaces_the_file_behind_a_symlink_and_keeps_its_mode() {
    let directory = Directory::new("write");
    let (file, link) = (directory.0.join("file"), directory.0.join("link"));
    fs::write(&file, "sshd:ALL\n# end\n").expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("chmod");
    symlink("file", &link).expect("symlink");
    let inode = fs::metadata(&file).expect("stat").ino();

    assert_eq!(ended(&tcpw(&["--write", link.to_str().expect("a path")], b"")).0, Some(0));
    assert!(fs::symlink_metadata(&link).expect("stat").is_symlink());
    assert_eq!(fs::read_to_string(&file).expect("read"), "sshd: ALL\n# end\n");
    let after = fs::metadata(&file).expect("stat");
    assert_eq!(after.mode() & 0o7777, 0o640);
    assert_ne!(after.ino(), inode, "a new file took its place at once");
    assert_eq!(fs::read_dir(&directory.0).expect("list").count(), 2, "nothing else is left");

    // What is canonical already is not touched.
    assert_eq!(ended(&tcpw(&["--write", file.to_str().expect("a path")], b"")).0, Some(0));
    assert_eq!(fs::metadata(&file).expect("stat").ino(), after.ino());

    // A second name for the file would keep the old text.
    fs::write(&file, "sshd:ALL\n").expect("write");
    fs::hard_link(&file, directory.0.join("other")).expect("link");
    assert_eq!(ended(&tcpw(&["--write", file.to_str().expect("a path")], b"")).0, Some(2));
    assert_eq!(fs::read_to_string(&file).expect("read"), "sshd:ALL\n");
}

#[test]
fn write_keeps_the_owner() {
    if !can_run("format", &[Requirement::Root]) {
        return;
    }
    let directory = Directory::new("owner");
    let file = directory.0.join("file");
    fs::write(&file, "sshd:ALL\n").expect("write");
    chown(&file, Some(4242), Some(4343)).expect("chown");
    assert_eq!(ended(&tcpw(&["--write", file.to_str().expect("a path")], b"")).0, Some(0));
    let after = fs::metadata(&file).expect("stat");
    assert_eq!((after.uid(), after.gid()), (4242, 4343));
    assert_eq!(fs::read_to_string(&file).expect("read"), "sshd: ALL\n");
}
