//! Random tables and addresses: evaluator == compiled tables == kernel.
//!
//! Addresses are the borders of the compiled regions, those just outside of them, and random ones.
//! A failing seed is kept in corpus/property.seeds and tried first from then on.

use std::{collections::BTreeMap, io::Write as _, net::IpAddr};

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, FileFailurePersistence, TestRunner},
};
use tcpw_common::{decide::decide, key::Query, outcome::Outcome};
use tcpw_tests::{
    Requirement, can_run,
    policy::{address, borders, compile, compile_with, evaluated, evaluated_with, tables},
};
use tcpw_userspace::{
    compile::{Names, PolicyTables},
    evaluate::request::{HostName, Lookup, Verdict},
    kernel::{Kernel, LoadOptions},
    names::NamesSet,
    parse::rule::Text,
};

const DAEMONS: &[&str] = &[
    "sshd",
    "SSHD",
    "in.telnetd",
    "in.",
    ".telnetd",
    "s*d",
    "nginx",
    "ALL",
    "KNOWN",
    "UNKNOWN",
    "*",
    "22",
    "+7001",
    "99999",
    "sshd@1.2.3.1",
    "ALL@10.",
    "nginx@[2001:db8::]/32",
    "sshd@",
    "22@ALL",
    "@sshd",
    "EXCEPT",
    "except",
    "sshd@/nowhere",
    "ALL@UNKNOWN",
    "in.telnetd@KNOWN",
    "s*@10.0.0.0/255.0.0.255",
];

/// Client tokens that no address is needed for.
const WORDS: &[&str] = &[
    "ALL",
    "all",
    "KNOWN",
    "UNKNOWN",
    "LOCAL",
    "PARANOID",
    "EXCEPT",
    "EXCEPT",
    "@trusted",
    "/nowhere",
    "unk*",
    "u*n",
    "unknown",
    ".example.com",
    "www.",
    "*.example.org",
    "ALL@10.",
    "root@ALL",
    "KNOWN@10.",
    "UNKNOWN@ALL",
    "u*@[::]/0",
    "10.*",
    "10.?.1.2",
    "*.2",
    ".1.2",
    "1?.2.3.4",
    "3ffe*",
    "fe80*",
    "*1",
    "a**",
    "10",
    "10.0.0",
    "[::]/0",
    "[::]/",
    "[::1/128]",
    "[::ffff:1.2.3.4]",
    "010.0.0.0/8",
    "0.0.0.0/0",
    "0.0.0.0/0.0.0.0",
    "10.0.0.1/255.0.0.1",
    "10.0.0.0/255.255.255.255",
    "1.2.3.4/24x",
    "10.1.2.3/16",
    "255.255.255.255",
    "#",
];

const OPTIONS: &[&str] = &[
    "",
    "",
    "",
    "",
    "",
    ": allow",
    ": deny",
    ": severity info",
    ": severity auth.alert: deny",
    ": bogus",
    ": spawn true: allow",
    ": twist /bin/echo",
    ":",
    ": keepalive",
    ": umask 99",
    ": allow: deny",
    ": aclexec true",
];

/// Few octets, so that regions touch and overlap.
fn octet() -> impl Strategy<Value = u8> {
    select(&[0, 1, 2, 3, 10, 127, 128, 254, 255][..])
}

fn group() -> impl Strategy<Value = u16> {
    select(&[0, 0, 0, 1, 0x0db8, 0x2001, 0x3ffe, 0xfe80, 0xffff][..])
}

fn client_token() -> impl Strategy<Value = String> {
    let v4 = || (octet(), octet(), octet(), octet());
    let v6 = || {
        vec(group(), 8)
            .prop_map(|groups| groups.iter().map(|it| format!("{it:x}")).collect::<Vec<_>>().join(":"))
    };
    prop_oneof![
        3 => select(WORDS).prop_map(str::to_owned),
        2 => v4().prop_map(|(a, b, c, d)| format!("{a}.{b}.{c}.{d}")),
        2 => (octet(), octet()).prop_map(|(a, b)| format!("{a}.{b}.")),
        1 => octet().prop_map(|a| format!("{a}.")),
        2 => (octet(), octet(), 0..34_u8).prop_map(|(a, b, len)| format!("{a}.{b}.0.0/{len}")),
        1 => (v4(), v4()).prop_map(|((a, b, c, d), (e, f, g, h))| format!("{a}.{b}.{c}.{d}/{e}.{f}.{g}.{h}")),
        1 => v6().prop_map(|address| format!("[{address}]")),
        3 => (v6(), 0..130_u8).prop_map(|(address, len)| format!("[{address}]/{len}")),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let daemons = vec(select(DAEMONS), 1..4);
    let clients = vec(client_token(), 1..6);
    (daemons, clients, select(OPTIONS)).prop_map(|(daemons, clients, options)| {
        format!("{}: {}{options}\n", daemons.join(" "), clients.join(", "))
    })
}

fn table() -> impl Strategy<Value = String> {
    (vec(rule(), 0..6), 0..8_u8).prop_map(|(rules, cut)| {
        let mut text = rules.concat();
        // A table without its last newline is one of libwrap's traps.
        if cut == 0 {
            text.pop();
        }
        text
    })
}

/// Tables, and addresses beside those of the regions' borders.
fn case() -> impl Strategy<Value = (String, String, Vec<u32>, Vec<u128>)> {
    (table(), table(), vec(any::<u32>(), 4), vec(any::<u128>(), 4))
}

fn names_sets() -> Vec<NamesSet> {
    [&[][..], &["sshd"], &["in.telnetd"], &["nginx", "www"], &["22"], &["unknown"], &["xinetd", "sshd"]]
        .map(NamesSet::new)
        .to_vec()
}

/// Whether a table has a token whose region may be no bounded number of prefixes.
fn may_ask(text: &str) -> bool {
    text.contains(['*', '?'])
        || text.split([' ', ',', '\n', '@']).any(|token| {
            token.starts_with('.')
                || token.contains('/') && token.split('/').nth(1).is_some_and(|mask| mask.contains('.'))
        })
}

/// Look-ups that answer something: made up, and the same for every client.
struct MadeUp {
    client: HostName,
    server: HostName,
    user: Option<&'static str>,
    netgroups: bool,
}

impl Lookup for MadeUp {
    fn client_name(&self) -> HostName {
        self.client.clone()
    }
    fn server_name(&self) -> HostName {
        self.server.clone()
    }
    fn client_user(&self) -> Option<Text> {
        self.user.map(|user| user.as_bytes().into())
    }
    fn in_netgroup(&self, _: &[u8], _: Option<&[u8]>, _: Option<&[u8]>) -> bool {
        self.netgroups
    }
    fn user_exists(&self, _: &[u8]) -> bool {
        true
    }
    fn group_exists(&self, _: &[u8]) -> bool {
        true
    }
}

/// Every name with and without users, netgroups and a name of the server.
fn made_up() -> Vec<MadeUp> {
    let known = |name: &str| HostName::Known(name.as_bytes().into());
    let mut all = Vec::new();
    for client in [
        HostName::Unknown,
        HostName::Paranoid,
        known("www.example.com"),
        known("example.com"),
        known("localhost"),
        known("10.0.1.2.evil.example.org"),
        known("a.b.c.3456"),
    ] {
        for (user, netgroups, server) in [
            (None, false, HostName::Unknown),
            (Some("root"), true, known("in.example.com")),
            (Some("u.n"), false, known("s1")),
        ] {
            all.push(MadeUp { client: client.clone(), server, user, netgroups });
        }
    }
    all
}

/// Questions asked, and how many of them the tables leave open.
#[derive(Default)]
struct Counts {
    asked: u64,
    open: u64,
}

fn agree(
    (allow, deny, v4, v6): &(String, String, Vec<u32>, Vec<u128>),
    limit: usize,
    kernel: Option<&mut Kernel>,
    counts: &mut Counts,
) -> Result<(), TestCaseError> {
    let failed = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
    let tables = tables(Some(allow), Some(deny), BTreeMap::new());
    let sets = names_sets();
    let policy = compile(&tables, &sets).map_err(|error| failed(&error))?;
    let compiled = PolicyTables::new(&policy, 1, 0);
    let mut kernel = kernel;
    if let Some(kernel) = &mut kernel {
        kernel.apply(&policy, 0).map_err(|error| failed(&error))?;
    }
    let random =
        v4.iter().map(|it| IpAddr::V4((*it).into())).chain(v6.iter().map(|it| IpAddr::V6((*it).into())));
    let clients: Vec<IpAddr> = borders(&policy, limit).into_iter().chain(random).collect();
    let servers = [(22, "1.2.3.1"), (7001, "10.0.0.1"), (80, "2001:db8::1")];
    for set in &sets {
        for (port, server) in servers {
            let server: IpAddr = server.parse().map_err(|error| failed(&error))?;
            for client in &clients {
                let query =
                    Query { names: set.id(), client: address(*client), server: address(server), port };
                let whose = format!("{client} to {set}@{server}:{port} under\n{allow}--\n{deny}");
                let Some(decision) = decide(&compiled, &query) else {
                    return Err(TestCaseError::fail(format!("broken tables: {whose}")));
                };
                counts.asked += 1;
                let verdict = evaluated(&tables, set, &query);
                match decision.outcome {
                    Outcome::Allow => prop_assert_eq!(verdict, Verdict::Allow, "{}", whose),
                    Outcome::Refuse => prop_assert_eq!(verdict, Verdict::Refuse, "{}", whose),
                    Outcome::Ask => {
                        counts.open += 1;
                        prop_assert!(may_ask(allow) || may_ask(deny), "asked for nothing: {}", whose);
                    }
                    Outcome::Exempt => return Err(TestCaseError::fail(format!("exempt: {whose}"))),
                }
                if let Some(kernel) = &kernel {
                    let answer = kernel.probe(&query).map_err(|error| failed(&error))?;
                    prop_assert_eq!(answer.map(|it| it.outcome), Some(decision.outcome), "kernel: {}", whose);
                }
            }
        }
    }
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/property.seeds");
    TestRunner::new(Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        ..Config::default()
    })
}

fn run(cases: u32, limit: usize, mut kernel: Option<Kernel>, what: &str) {
    let counts = std::cell::RefCell::new(Counts::default());
    let kernel = std::cell::RefCell::new(&mut kernel);
    let result = runner(cases)
        .run(&case(), |case| agree(&case, limit, kernel.borrow_mut().as_mut(), &mut counts.borrow_mut()));
    if let Err(error) = result {
        panic!("{error}");
    }
    let Counts { asked, open } = counts.into_inner();
    drop(writeln!(
        std::io::stderr(),
        "property: {what}: {cases} tables, {asked} questions, {open} left to user space"
    ));
    assert!(open * 4 < asked, "too much is left to user space");
}

#[test]
fn compiled_tables_decide_as_the_evaluator() {
    run(250, 120, None, "evaluator == compiled tables");
}

/// Where the tables decide although names are looked up, no look-up changes the verdict.
fn no_look_up_matters(
    (allow, deny, v4, v6): &(String, String, Vec<u32>, Vec<u128>),
    counts: &mut Counts,
) -> Result<(), TestCaseError> {
    let failed = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
    let tables = tables(Some(allow), Some(deny), BTreeMap::new());
    let sets = names_sets();
    let policy = compile_with(Names::LookedUp, &tables, &sets).map_err(|error| failed(&error))?;
    let compiled = PolicyTables::new(&policy, 1, 0);
    let random =
        v4.iter().map(|it| IpAddr::V4((*it).into())).chain(v6.iter().map(|it| IpAddr::V6((*it).into())));
    let clients: Vec<IpAddr> = borders(&policy, 40).into_iter().chain(random).collect();
    let answers = made_up();
    for set in &sets {
        for (port, server) in [(22, "1.2.3.1"), (80, "2001:db8::1")] {
            let server: IpAddr = server.parse().map_err(|error| failed(&error))?;
            for client in &clients {
                let query =
                    Query { names: set.id(), client: address(*client), server: address(server), port };
                let whose = format!("{client} to {set}@{server}:{port} under\n{allow}--\n{deny}");
                let Some(decision) = decide(&compiled, &query) else {
                    return Err(TestCaseError::fail(format!("broken tables: {whose}")));
                };
                counts.asked += 1;
                let want = match decision.outcome {
                    Outcome::Allow => Verdict::Allow,
                    Outcome::Refuse => Verdict::Refuse,
                    Outcome::Ask => {
                        counts.open += 1;
                        continue;
                    }
                    Outcome::Exempt => return Err(TestCaseError::fail(format!("exempt: {whose}"))),
                };
                for answer in &answers {
                    let verdict = evaluated_with(&tables, set, &query, answer);
                    prop_assert_eq!(verdict, want, "{:?} {:?}: {}", answer.client, answer.user, whose);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn no_name_or_user_changes_a_verdict_that_the_tables_give() {
    let counts = std::cell::RefCell::new(Counts::default());
    if let Err(error) = runner(120).run(&case(), |case| no_look_up_matters(&case, &mut counts.borrow_mut())) {
        panic!("{error}");
    }
    let Counts { asked, open } = counts.into_inner();
    assert!(open > 0 && open < asked, "{open} of {asked} questions are left to look-ups");
}

#[test]
fn kernel_decides_as_the_compiled_tables_and_the_evaluator() {
    if !can_run("property", &[Requirement::Root]) {
        return;
    }
    let mut kernel =
        Kernel::load(&LoadOptions { pins: None, log_allowed: false }).expect("load the programs");
    kernel.load_probe().expect("load the probe");
    run(60, 60, Some(kernel), "evaluator == compiled tables == kernel");
}
