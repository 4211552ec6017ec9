//! The index gives what walking every rule gives: verdict, rule, effects, warnings, and the same look-ups
//! in the same order.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::*;
use crate::{
    evaluate::{
        Unknown, evaluate,
        request::{Banner, CommandResult, HostName, Known, Purpose},
    },
    parse::{
        parse,
        rule::Text,
        text::{FileText, Texts},
    },
};

const TOKENS: [&str; 44] = [
    "10.1.2.3",
    "10.1.2.",
    "10.",
    ".3",
    ".2.3",
    "10.0.0.0/8",
    "10.0.0.0/255.0.0.255",
    "0.0.0.0/0.0.0.0",
    "10.1.2.3/16",
    "010.0.0.0/8",
    "[::1]",
    "[2001:db8::]/32",
    "[2001:DB8::5]",
    "[::]/0",
    "[fe80::1%lo]",
    "::ffff:10.1.2.3",
    "1.2.3.04",
    "255.255.255.255",
    "host",
    "HOST.example.com",
    ".example.com",
    ".EXAMPLE.com",
    "www.",
    "host.",
    "UNKNOWN",
    "PARANOID",
    "KNOWN",
    "LOCAL",
    "ALL",
    "*.example.com",
    "10.*",
    "joe@10.1.2.3",
    "@group",
    "/file",
    "10.9. EXCEPT 10.1.",
    "10. EXCEPT .3",
    "unknown",
    "[x]",
    "2001:db8",
    "10.1.2.3/255.255.255.255",
    "[::ffff:10.1.2.3]",
    "a@",
    "10.1",
    ".",
];

const ADDRESSES: [&str; 13] = [
    "10.1.2.3",
    "8.1.2.3",
    "::ffff:10.1.2.3",
    "::FFFF:10.1.2.3",
    "2001:db8::5",
    "2001:db9::5",
    "::1",
    "unknown",
    "10.1.2.evil",
    "1.2.3.04",
    "255.255.255.255",
    "fe80::1%2",
    "",
];

const NAMES: [&str; 12] = [
    "host",
    "host.example.com",
    "Host.Example.Com",
    "www.example.org",
    "10.1.2.3.evil.test",
    "::1",
    "2001:db8::5",
    "::ffff:10.1.2.3",
    "example.com",
    ".example.com",
    "a..b.",
    "..",
];

/// Knows names, users and groups, and keeps what it was asked.
struct Recorder<'a> {
    client_name: &'a HostName,
    asked: RefCell<Vec<String>>,
}

impl Recorder<'_> {
    fn record(&self, question: String) {
        self.asked.borrow_mut().push(question);
    }
}

impl Lookup for Recorder<'_> {
    fn client_name(&self) -> HostName {
        self.record("client name".into());
        self.client_name.clone()
    }

    fn server_name(&self) -> HostName {
        self.record("server name".into());
        HostName::Known((*b"www.example.com").into())
    }

    fn client_user(&self, timeout_s: u32) -> Option<Text> {
        self.record(format!("user within {timeout_s} s"));
        Some((*b"joe").into())
    }

    fn in_netgroup(&self, group: &[u8], host: Option<&[u8]>, _user: Option<&[u8]>) -> bool {
        self.record(format!("netgroup {group:?} {host:?}"));
        group == b"trusted" && host == Some(b"host.example.com")
    }

    fn user_exists(&self, name: &[u8]) -> bool {
        self.record(format!("user {name:?}"));
        name == b"nobody"
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        self.record(format!("group {name:?}"));
        false
    }

    fn run(&self, purpose: Purpose, command: &[u8]) -> CommandResult {
        self.record(format!("{purpose:?} {command:?}"));
        CommandResult::Exited(u8::from(command.starts_with(b"false")))
    }

    fn banner(&self, directory: &Path, daemon: &[u8]) -> Banner {
        self.record(format!("banner {directory:?} {daemon:?}"));
        Banner::Text(b"%a".to_vec())
    }
}

type PatternFiles<'a> = &'a [(&'a str, Option<&'a str>)];

fn tables(allow: &str, deny: &str, files: PatternFiles<'_>) -> IndexedTables {
    let bytes = |text: &str| FileText::Bytes(text.as_bytes().into());
    let files = files.iter().map(|(path, text)| {
        (PathBuf::from(path), text.map_or_else(|| FileText::Unreadable("Permission denied".into()), bytes))
    });
    let texts = Texts {
        allow: (Arc::new("allow".into()), bytes(allow)),
        deny: (Arc::new("deny".into()), bytes(deny)),
        files: files.collect(),
    };
    IndexedTables::new(Arc::new(parse(&texts).tables))
}

/// A request, judged both ways.
fn agrees(tables: &IndexedTables, request: &AccessRequest<'_>, client_name: &HostName) {
    let [walked, indexed] = [(); 2].map(|()| Recorder { client_name, asked: RefCell::default() });
    let wanted = evaluate(tables.tables(), request, &walked);
    assert_eq!(tables.evaluate(request, &indexed), wanted, "{request:?} {client_name:?}");
    assert_eq!(indexed.asked, walked.asked, "{request:?} {client_name:?}");
}

/// Every address and name, the name known before or not.
fn agrees_for_all(tables: &IndexedTables) {
    let daemons = [Text::from(*b"sshd"), Text::from(*b"::ffff:1.2.3.4")];
    let names = NAMES.iter().map(|name| HostName::Known(name.as_bytes().into()));
    for name in names.chain([HostName::Unknown, HostName::Paranoid]) {
        for address in ADDRESSES {
            for is_known in [false, true] {
                let client_name = is_known.then_some(&name);
                let known = Known { client_name, ..Known::default() };
                let request = AccessRequest {
                    daemons: &daemons,
                    client_address: Some(address),
                    server_address: Some("10.0.0.1"),
                    server_port: Some(22),
                    known,
                    ..AccessRequest::default()
                };
                agrees(tables, &request, &name);
            }
        }
    }
}

/// Rules that match nothing, more than are walked.
fn filler(line: &str) -> String {
    line.repeat(WALKED + 1)
}

const PLAIN_FILES: PatternFiles<'_> = &[("/file", Some("10.1.2.3"))];

#[test]
fn finds_what_walking_every_rule_finds() {
    // Rotated, so that every token comes first once.
    for turn in 0..TOKENS.len() {
        let mut rules: Vec<String> = TOKENS.iter().map(|token| format!("sshd: {token}\n")).collect();
        rules.rotate_left(turn);
        agrees_for_all(&tables(&rules.concat(), "ALL: ALL: spawn x\n", PLAIN_FILES));
    }
}

#[test]
fn every_token_alone() {
    for token in TOKENS {
        let rules = format!("{}sshd: {token}\nx: {token}\nno separator\n", filler("vsftpd: 10.\n"));
        let tables = tables(&rules, "ALL: ALL: spawn x\n", PLAIN_FILES);
        assert!(tables.index().allow.is_some());
        agrees_for_all(&tables);
    }
}

#[test]
fn every_token_alone_in_a_long_file() {
    for token in TOKENS {
        let file = format!("{}{token}\n", filler("11.\n"));
        let tables = tables("sshd: /long\n", "", &[("/long", Some(&file)), PLAIN_FILES[0]]);
        assert!(tables.index().file(Path::new("/long")).is_some());
        agrees_for_all(&tables);
    }
}

#[test]
fn name_is_asked_for_only_by_a_rule_of_this_daemon() {
    let rules = format!("{}{}", filler("vsftpd: .example.com\n"), filler("ALL: 11. .x.test\n"));
    agrees_for_all(&tables(&rules, "", &[]));
}

#[test]
fn files_within_files_are_read_once_and_in_their_place() {
    let inner = format!("{}/outer /unreadable @trusted\n", filler("11.\n"));
    let outer = format!("{}/unreadable\n/inner\n/unreadable /inner\n10.1.2.3\n", filler("12.\n"));
    let files: PatternFiles<'_> =
        &[("/inner", Some(&inner)), ("/outer", Some(&outer)), ("/unreadable", None)];
    agrees_for_all(&tables(
        "sshd: /outer\nALL: /inner EXCEPT /outer: spawn x\n",
        "ALL: /unreadable\n",
        files,
    ));
}

/// A generator of numbers that is the same in every run (xorshift).
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn choose<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn list(&mut self, of: &[&str]) -> String {
        let mut list = self.choose(of).to_owned();
        for _ in 0..[0, 0, 0, 1, 1, 2, 3][self.below(7)] {
            let between = self.choose(&[" ", ", ", " EXCEPT "]);
            list = format!("{list}{between}{}", self.choose(of));
        }
        list
    }

    fn rule(&mut self) -> String {
        let clients: Vec<&str> = TOKENS.iter().chain(&CLIENTS).copied().collect();
        let line = format!("{}: {}{}\n", self.list(&DAEMONS), self.list(&clients), self.choose(&OPTIONS));
        if self.below(40) == 0 { "no separator\n".into() } else { line }
    }

    /// Rules most of which match nothing.
    fn table(&mut self) -> String {
        let (long, length) = (self.below(3) > 0, self.below(60));
        let mut table = String::new();
        for _ in 0..length {
            table += &match self.below(if long { 12 } else { 2 }) {
                0 => self.rule(),
                _ => format!(
                    "{}: {}\n",
                    self.choose(&DAEMONS),
                    self.choose(&["11.1.", "[::9]", ".x.test", "12.0.0.1"])
                ),
            };
        }
        if self.below(10) == 0 { table + "ALL: cut off" } else { table }
    }

    fn file(&mut self) -> String {
        let length = self.below(80);
        let tokens: Vec<&str> = TOKENS.iter().chain(&CLIENTS).copied().collect();
        let mut file = String::new();
        for _ in 0..length {
            file += match self.below(20) {
                0 => self.choose(&tokens),
                _ => self.choose(&["11.1.", "[::9]", "12.0.0.0/8", "12.0.0.1"]),
            };
            file += "\n";
        }
        file
    }
}

const DAEMONS: [&str; 14] = [
    "sshd",
    "SSHD",
    "ALL",
    "22",
    "vsftpd",
    "s*",
    "1.2.3.4",
    "sshd@10.0.0.1",
    "sshd@.example.com",
    "vsftpd@.example.com",
    "ALL@/unreadable",
    "sshd@",
    "[::1]",
    "in.",
];

const CLIENTS: [&str; 16] = [
    "/a",
    "/b",
    "/c",
    "/unreadable",
    "/missing",
    "@trusted",
    "joe@ALL",
    "joe@.example.com",
    "KNOWN@10.",
    "ALL@/a",
    "11.1.2.",
    "*",
    "1?.*",
    "*com",
    "12.0.0.1",
    "joe@@trusted",
];

const OPTIONS: [&str; 12] = [
    "",
    "",
    "",
    "",
    ": spawn echo %c %h",
    ": aclexec false %a",
    ": aclexec true",
    ": severity auth.info: deny",
    ": user nobody",
    ": user ghost",
    ": banners /b",
    ": allow",
];

#[test]
fn random_tables_are_judged_alike() {
    for seed in 1..=400 {
        let mut random = Xorshift(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let (a, b, c) = (random.file(), random.file(), random.file());
        let files: PatternFiles<'_> = &[
            ("/a", Some(&a)),
            ("/b", Some(&b)),
            ("/c", Some(&c)),
            ("/file", Some("10.1.2.3")),
            ("/unreadable", None),
        ];
        let tables = tables(&random.table(), &random.table(), files);
        for _ in 0..60 {
            let name = HostName::Known(random.choose(&NAMES).as_bytes().into());
            let name = match random.below(4) {
                0 => HostName::Unknown,
                1 => HostName::Paranoid,
                _ => name,
            };
            let daemons: Vec<Text> = (0..random.below(3))
                .map(|_| random.choose(&["sshd", "vsftpd", "::ffff:1.2.3.4"]).as_bytes().into())
                .collect();
            let known = Known {
                client_name: Some(&name).filter(|_| random.below(2) == 0),
                client_user: Some(&b"ann"[..]).filter(|_| random.below(2) == 0),
                ..Known::default()
            };
            let request = AccessRequest {
                daemons: &daemons,
                client_address: Some(random.choose(&ADDRESSES)),
                server_address: Some("10.0.0.1"),
                server_port: Some([22, 80][random.below(2)]),
                known,
                ..AccessRequest::default()
            };
            agrees(&tables, &request, &name);
        }
    }
}

/// Not a test of speed, but of growth: a walk of so many rules for each request would take minutes.
#[test]
fn cost_does_not_grow_with_the_rules() {
    let address = |number: u32| std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
    let literal: String = (0..200_000).map(|number| format!("ALL: {}\n", address(number))).collect();
    let file: String = (0..200_000).map(|number| address(number) + "\n").collect();
    for tables in [tables("", &literal, &[]), tables("", "ALL: /file\n", &[("/file", Some(&file))])] {
        let daemons = [Text::from(*b"sshd")];
        for number in 0..400_000 {
            let client = address(number);
            let request = AccessRequest {
                daemons: &daemons,
                client_address: Some(&client),
                ..AccessRequest::default()
            };
            let judgement = tables.evaluate(&request, &Unknown);
            assert_eq!(judgement.rule.is_some(), number < 200_000, "{client}");
        }
    }
}
