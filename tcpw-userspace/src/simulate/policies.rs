//! Small tables at random: of every kind of pattern and option that makes the daemon do something.
//!
//! In: chance. Out: lines, kept apart so that a failing history can lose some.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::random::Random;
use crate::{
    config::{DEFAULT_HOSTS_ALLOW, DEFAULT_HOSTS_DENY},
    parse::text::{FileText, Texts},
};

/// A pattern file that rules name.
const PATTERNS: &str = "/patterns";

/// A directory of banners.
pub(super) const BANNERS: &str = "/banners";

/// Lines of the files of one moment; `None`: there is no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileLines {
    pub(super) allow: Option<Vec<String>>,
    pub(super) deny: Option<Vec<String>>,
    pub(super) patterns: Vec<String>,
}

impl FileLines {
    /// Some files.
    pub(super) fn random(chance: &mut Random) -> Self {
        let rules = |chance: &mut Random, most: usize, is_deny: bool| -> Vec<String> {
            (0..chance.below(most)).map(|_| rule(chance, is_deny)).collect()
        };
        let allow = rules(chance, 6, false);
        let mut deny = rules(chance, 5, true);
        if chance.percent(50) {
            deny.push("ALL: ALL".into());
        }
        let patterns = (0..chance.below(4)).map(|_| client(chance, false).to_owned()).collect();
        let is_there = |chance: &mut Random| !chance.percent(4);
        Self { allow: is_there(chance).then_some(allow), deny: is_there(chance).then_some(deny), patterns }
    }

    /// As the parser wants them.
    pub(super) fn texts(&self) -> Texts {
        let text = |lines: Option<&Vec<String>>| match lines {
            Some(lines) => FileText::Bytes(
                lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>().into_bytes().into(),
            ),
            None => FileText::Missing,
        };
        Texts {
            allow: (Arc::new(DEFAULT_HOSTS_ALLOW.into()), text(self.allow.as_ref())),
            deny: (Arc::new(DEFAULT_HOSTS_DENY.into()), text(self.deny.as_ref())),
            files: BTreeMap::from([(PathBuf::from(PATTERNS), text(Some(&self.patterns)))]),
        }
    }

    /// Every way to have one line less.
    pub(super) fn shorter(&self) -> impl Iterator<Item = Self> {
        let lists: [fn(&mut Self) -> &mut Vec<String>; 3] = [
            |files| files.allow.get_or_insert_default(),
            |files| files.deny.get_or_insert_default(),
            |files| &mut files.patterns,
        ];
        let lengths = [
            self.allow.as_ref().map_or(0, Vec::len),
            self.deny.as_ref().map_or(0, Vec::len),
            self.patterns.len(),
        ];
        let all = lists.into_iter().zip(lengths);
        all.flat_map(move |(list, length)| {
            (0..length).map(move |line| {
                let mut shorter = self.clone();
                list(&mut shorter).remove(line);
                shorter
            })
        })
    }
}

/// Options that others may follow.
const OPTIONS: [&str; 6] = [
    "spawn /bin/note %a %d",
    "aclexec /bin/check %a",
    "banners /banners",
    "keepalive",
    "severity auth.info",
    "rfc931 2",
];

/// Options that end a rule.
const LAST: [&str; 2] = [": allow", ": deny"];

fn rule(chance: &mut Random, is_deny: bool) -> String {
    if chance.percent(2) {
        // An error: the policy before stays.
        return "sshd ALL".into();
    }
    let daemons = [
        "ALL",
        "ALL",
        "sshd",
        "vsftpd",
        "in.tftpd",
        "telnetd",
        "custom",
        "22",
        "sshd@10.9.0.1",
        "ALL EXCEPT sshd",
        "sshd, vsftpd",
        "login",
    ];
    let daemons = chance.pick(&daemons);
    let mut clients = client(chance, true).to_owned();
    if chance.percent(20) {
        clients = format!("{clients}, {}", client(chance, true));
    }
    if chance.percent(15) {
        clients = format!("{clients} EXCEPT {}", client(chance, true));
    }
    let mut rule = format!("{daemons}: {clients}");
    while chance.percent(30) {
        rule.push_str(": ");
        rule.push_str(chance.pick(&OPTIONS));
    }
    if chance.percent(15) {
        rule.push_str(if is_deny && chance.percent(60) {
            ": twist /bin/sorry %a"
        } else {
            chance.pick(&LAST)
        });
    }
    rule
}

fn client(chance: &mut Random, with_users: bool) -> &'static str {
    const PLAIN: [&str; 17] = [
        "ALL",
        "ALL",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.",
        "10.0.0.0/255.255.255.252",
        "192.168.7.9",
        "[2001:db8::]/64",
        "[2001:db8::1]",
        ".good.example",
        ".example",
        "mail.good.example",
        "KNOWN",
        "UNKNOWN",
        "PARANOID",
        "LOCAL",
        "@trusted",
    ];
    const USERS: [&str; 4] = ["alice@ALL", "alice@10.", "KNOWN@ALL", "bob@.example"];
    match chance.below(100) {
        0..10 if with_users => PATTERNS,
        10..22 if with_users => chance.pick(&USERS),
        _ => chance.pick(&PLAIN),
    }
}
