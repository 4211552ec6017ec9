//! Plain lines: the reader that takes them and the parser of all lines come to the same rules and findings.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::select};
use tcpw_userspace::parse::{
    parse, parse_slowly,
    rule::Rule,
    text::{FileText, Texts},
};

use super::runner;

/// Pieces of lines: most together are plain ones, some nearly.
const DAEMONS: &[&str] = &[
    "ALL", "ALL", "sshd", "in.ftpd", "sshdd", "22", "ALL ", " ALL", "all", "a b", "", "EXCEPT", "#x", "x@y",
    "KNOWN",
];
const BETWEEN: &[&str] = &[": ", ":", ":\t", " : ", " ", "::", ":  "];
const CLIENTS: &[&str] = &[
    "192.0.2.7",
    "198.51.100.200",
    "203.0.113.0/24",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "172.16.0.0/12",
    "192.0.2.7/32",
    "192.0.2.0",
    "10.1.2.3/8",
    "0.0.0.0",
    "0.0.0.0/0",
    "255.255.255.255",
    "255.255.255.0/24",
    "256.1.1.1",
    "010.1.1.1",
    "1.2.3",
    "1.2.3.",
    "1.2.3.4.5",
    "1.2.3.0/",
    "1.2.3.0/024",
    "1.2.3.0/255.255.255.0",
    "[2001:db8::1]",
    "a.example.com",
    "LOCAL",
    "192.0.2.7 192.0.2.8",
    "192.0.2.7,",
    "",
];
const ENDS: &[&str] =
    &["\n", "\n", "\n", "\r\n", " \n", "\\\n", ": deny\n", " # x\n", "\n\n", "", "\0\n", "\n 192.0.2.9\n"];
const LINES: &[&str] = &[
    "# DenyHosts: Mon Jan  2 20:24:17 2006 | ALL: 192.0.2.7\n",
    "###sshguard###\n",
    "ALL :  : DENY\n",
    "except 192.0.2.1\n",
    "192.0.2.1, 192.0.2.2\n",
    "# x\\\n",
    "\\\n",
    "\n",
    "sshd: 192.0.2.1 \\\n 192.0.2.2\n",
    "sshd: 192.0.2.1 \\ \n",
    "E\\\nXCEPT 192.0.2.1\n",
    "\0\n",
];

fn line() -> impl Strategy<Value = String> {
    let made = (select(DAEMONS), select(BETWEEN), select(CLIENTS), select(ENDS))
        .prop_map(|(daemon, between, client, end)| format!("{daemon}{between}{client}{end}"));
    let plain = (any::<u32>(), 0..40_u8).prop_map(|(address, bits)| {
        let address = std::net::Ipv4Addr::from(address);
        if bits > 33 { format!("ALL: {address}\n") } else { format!("ALL: {address}/{bits}\n") }
    });
    prop_oneof![4 => made, 3 => plain, 1 => select(LINES).prop_map(str::to_owned)]
}

fn texts(allow: &[String], deny: &[String]) -> Texts {
    let table = |name: &str, lines: &[String]| {
        (Arc::new(PathBuf::from(name)), FileText::Bytes(lines.concat().into_bytes().into()))
    };
    Texts { allow: table("hosts.allow", allow), deny: table("hosts.deny", deny), files: BTreeMap::new() }
}

fn are_read_alike((allow, deny): (Vec<String>, Vec<String>)) -> Result<(), TestCaseError> {
    let texts = texts(&allow, &deny);
    let (parsed, slowly) = (parse(&texts), parse_slowly(&texts));
    prop_assert_eq!(&parsed.tables, &slowly.tables);
    prop_assert_eq!(&parsed.diagnostics, &slowly.diagnostics);
    for (table, slow) in
        [(&parsed.tables.allow, &slowly.tables.allow), (&parsed.tables.deny, &slowly.tables.deny)]
    {
        for (rule, slow) in table.rules.iter().zip(&slow.rules) {
            let client = |rule: &Rule| rule.clients.patterns.first().map(|token| rule.place(token.span));
            prop_assert_eq!(client(&rule), client(&slow));
            prop_assert_eq!(rule.line(), slow.origin().line);
        }
    }
    Ok(())
}

#[test]
fn plain_lines_are_read_as_all_others() {
    let tables = (vec(line(), 0..6), vec(line(), 0..16));
    runner(4000).run(&tables, are_read_alike).unwrap();
}

/// What a random table hardly has.
#[test]
fn plain_lines_beside_others_are_read_as_all_others() {
    let plain = "ALL: 192.0.2.7\nALL: 192.0.2.8\n";
    for other in
        ["E\\\nXCEPT 192.0.2.1\n", "E\\\nxample: 192.0.2.1\n", "\0\nsshd: ALL\n", "\\\n\0\nsshd: ALL\n"]
    {
        for lines in [format!("{plain}{other}"), format!("{other}{plain}"), format!("{plain}{other}{plain}")]
        {
            are_read_alike((vec![lines.clone()], vec![lines])).unwrap();
        }
    }
}
