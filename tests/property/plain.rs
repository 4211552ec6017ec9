//! Plain lines: the reader that takes them and the parser of all lines come to the same rules and findings.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::select};
use tcpw_tests::policy::{borders, compile};
use tcpw_userspace::{
    check::{Scope, check_parsed, facts::Given},
    compile::{Detail, ServiceFilter, diff, survey},
    evaluate::{IndexedTables, Unknown, evaluate, request::AccessRequest},
    parse::{
        parse, parse_slowly,
        rule::{Rule, Tables},
        text::{FileText, Texts},
    },
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
    "ALL",
    "ALL",
    "192.0.2.7 192.0.2.8",
    "192.0.2.7,",
    "",
];
const ENDS: &[&str] = &[
    "\n",
    "\n",
    "\n",
    ": deny\n",
    " : DENY\n",
    ":allow\n",
    ": allow : deny\n",
    ": denied\n",
    ":deny\\\n",
    "\r\n",
    " \n",
    "\\\n",
    " # x\n",
    "\n\n",
    "",
    "\0\n",
    "\n 192.0.2.9\n",
];
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
    // Few networks, so that rules of several line forms meet.
    let client = (0..4_u32, 0..40_u8).prop_map(|(number, bits)| {
        let address = 0xc000_0201 + (number << 8) + number;
        match bits {
            16..=32 => {
                let network = address & (u32::MAX << (32 - bits));
                format!("{}/{bits}", std::net::Ipv4Addr::from_bits(network))
            }
            _ => std::net::Ipv4Addr::from_bits(address).to_string(),
        }
    });
    let ends = select(&["\n", ": deny\n", " : allow\n"][..]);
    let plain = (select(&["ALL", "sshd"][..]), client, ends)
        .prop_map(|(daemon, client, end)| format!("{daemon}: {client}{end}"));
    let any = (any::<u32>(), 0..40_u8).prop_map(|(address, bits)| {
        let address = std::net::Ipv4Addr::from(address);
        if bits > 33 { format!("ALL: {address}\n") } else { format!("ALL: {address}/{bits}\n") }
    });
    prop_oneof![4 => made, 3 => plain, 1 => any, 1 => select(LINES).prop_map(str::to_owned)]
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
    let facts = Given::default();
    let scope = Scope { both: true, in_use: false };
    let [of_parsed, of_slowly] = [&parsed, &slowly].map(|it| check_parsed(&texts, it.clone(), &facts, scope));
    prop_assert_eq!(of_parsed.diagnostics, of_slowly.diagnostics);
    are_compiled_alike(&parsed.tables, &slowly.tables)?;
    for (table, slow) in
        [(&parsed.tables.allow, &slowly.tables.allow), (&parsed.tables.deny, &slowly.tables.deny)]
    {
        for (rule, slow) in table.rules.iter().zip(&slow.rules) {
            let client = |rule: &Rule| rule.clients.patterns.first().map(|token| rule.place(token.span));
            prop_assert_eq!(client(&rule), client(&slow));
            let option = |rule: &Rule| rule.options.first().map(|field| rule.place(field.span));
            prop_assert_eq!(option(&rule), option(&slow));
            prop_assert_eq!(rule.line(), slow.origin().line);
        }
    }
    Ok(())
}

/// To the same policy, and every client is judged by the same rule.
fn are_compiled_alike(parsed: &Tables, slowly: &Tables) -> Result<(), TestCaseError> {
    let [of_parsed, of_slowly] = [parsed, slowly].map(|tables| compile(tables, &[]));
    let [shown, of_slowly] = [&of_parsed, &of_slowly].map(|policy| {
        policy.as_ref().map_err(ToString::to_string).map(|it| {
            format!(
                "{:?} {:?} {:?} {:?} {:?}",
                it.clients_v4, it.clients_v6, it.names, it.policies, it.outcomes
            )
        })
    });
    prop_assert_eq!(shown, of_slowly);
    for detail in [Detail::Runs, Detail::Rules] {
        let all = ServiceFilter::default();
        let [of_parsed, of_slowly] = [parsed, slowly]
            .map(|tables| survey(tables, &Unknown, &all, detail).map_err(|error| error.to_string()));
        prop_assert_eq!(of_parsed, of_slowly);
        prop_assert!(diff(parsed, slowly, &Unknown, detail).unwrap_or_default().is_empty());
    }
    let Ok(policy) = of_parsed else { return Ok(()) };
    let indexed = IndexedTables::new(Arc::new(parsed.clone()));
    for daemon in ["sshd", "x"] {
        let daemons = [daemon.as_bytes().into()];
        for client in borders(&policy, 20) {
            let client = client.to_string();
            let request = AccessRequest {
                daemons: &daemons,
                client_address: Some(&client),
                server_address: Some("192.0.2.1"),
                server_port: Some(22),
                ..AccessRequest::default()
            };
            let of_slowly = evaluate(slowly, &request, &Unknown);
            prop_assert_eq!(&evaluate(parsed, &request, &Unknown), &of_slowly);
            prop_assert_eq!(&indexed.evaluate(&request, &Unknown), &of_slowly);
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
