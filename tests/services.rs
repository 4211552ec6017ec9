//! Names-sets, ports, server addresses and pattern files: for random tables the compiled
//! policy says what the evaluator says, in the smallest tables that do.
//!
//! In: tables as text, rich in what `property.rs` leaves out: EXCEPT chains, pattern files, text
//! patterns on IPv6, exempt ports, names-sets that were not there when the policy was compiled.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use tcpw_common::{decide::decide, key::Query, outcome::Outcome};
use tcpw_tests::policy::{address, borders, evaluated, source_as, tables, text};
use tcpw_userspace::{
    compile::{ClientTable, ClientTableKind, Names, PolicySource, PolicyTables, Prefix, compare, compile},
    evaluate::{
        IndexedTables, Unknown, evaluate,
        request::{AccessRequest, Verdict},
    },
    names::NamesSet,
};

const FILE: &str = "/patterns";

/// Client tokens that are a bounded number of networks: they never ask.
const EXACT: &[&str] = &[
    "ALL",
    "LOCAL",
    "KNOWN",
    "UNKNOWN",
    "PARANOID",
    "unk*",
    ".own",
    "un.",
    "@netgroup",
    "host.example.com",
    ".example.com",
    "1.2.3.4",
    "1.2.3.",
    "1.2.",
    "1.",
    "1.2.3.04",
    "1.2.3.0/24",
    "1.2.3.4/24",
    "1.2.0.0/255.255.0.0",
    "1.2.0.3/255.255.0.255",
    "0.0.0.0/0.0.0.0",
    "0.0.0.0/0",
    "010.0.0.0/8",
    "128.0.0.0/1",
    "255.255.255.255",
    "255.255.255.254/31",
    "0.0.0.0",
    "[3ffe:ffff:100:200::]/64",
    "[3ffe:ffff:100:200::1]/64",
    "[::]/0",
    "[::1]",
    "[fe80::]/10",
    "[3ffe:ffff:100:200::/64]",
    "[::ffff:1.2.3.4]",
    "[::ffff:0:0]/96",
    "[::]/",
    "ALL@1.2.3.",
    "root@ALL",
    "UNKNOWN@[::1]",
    "KNOWN@ALL",
    "1.2.3.?",
    "1.2.*",
    "1.?.3.4",
    "1.2.3.25?",
    "1.2.3.2*",
    "3ffe*",
    "3ffe:ffff:*",
    "*:*",
    "*",
    FILE,
];

/// Tokens that may match too many networks to list.
const DOUBTFUL: &[&str] = &[
    ".4",
    ".3.4",
    "*.5.*",
    "*1*",
    "*::1",
    "fe80::*",
    "::*",
    "3ffe::*",
    "?.?.?.?",
    "**",
    "1**",
    "0.0.0.1/0.0.0.255",
    "*:ffff:*",
    "*.2.*4",
    "?:*",
];

/// Tokens of a pattern file.
const FILE_TOKENS: &[&str] = &[
    "1.2.3.4",
    "9.",
    "::1",
    "3ffe:ffff:100:200::5",
    "0::1",
    "[fe80::1]",
    "::1.2.3.4",
    "1.2.3.128/25",
    "9.9.*",
    FILE,
];

const DAEMONS: &[&str] = &[
    "ALL",
    "sshd",
    "SSHD",
    "ftpd",
    "in.telnetd",
    "in.",
    ".telnetd",
    "s*",
    "??hd",
    "KNOWN",
    "22",
    "80",
    "unknown",
    "sshd@1.2.3.4",
    "ALL@10.",
    "sshd@[::1]",
    "22@192.168.0.0/16",
    "ALL@KNOWN",
    "ftpd@UNKNOWN",
    "sshd@",
    "*",
    "**",
];

/// Daemon tokens whose server's end may be too many networks to list.
const DOUBTFUL_DAEMONS: &[&str] = &["ALL", "sshd", "s*", "80", "sshd@*.5.*", "ALL@.4"];

const NAMES: &[&str] = &["sshd", "Sshd", "ftpd", "in.telnetd", "nginx", "unknown", "::ffff:1.2.3.4", "22"];

const OPTIONS: &[&str] =
    &["", "", "", "", " : allow", " : deny", " : severity auth.info", " : nonsense", " :"];

const SERVERS: &[&str] = &["1.2.3.4", "10.0.0.1", "10.5.0.1", "192.168.3.4", "::1", "fe80::1", "172.16.0.0"];

/// Clients worth asking for whatever the tables say.
const CLIENTS: &[&str] = &[
    "0.0.0.0",
    "255.255.255.255",
    "255.255.255.254",
    "1.2.3.4",
    "1.2.3.0",
    "1.2.3.255",
    "1.2.4.0",
    "1.5.9.4",
    "9.9.1.5",
    "::",
    "::1",
    "::1.2.3.4",
    "fe80::1",
    "fe80::",
    "3ffe:ffff:100:200::5",
    "3ffe:ffff:100:201::",
    "3ffe::1:0:0:1",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fec0::",
    "::fffe:1.2.3.4",
    "1:0:1::1",
];

#[derive(Clone, Debug)]
struct Case {
    allow: String,
    deny: String,
    file: String,
    listeners: Vec<Vec<&'static str>>,
    /// Of each, names that are not proven.
    unproven: Vec<Vec<&'static str>>,
    random: Vec<u128>,
    exempt_port: Option<u16>,
}

fn list(tokens: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    let part = || prop::collection::vec(select(tokens), 0..most).prop_map(|tokens| tokens.join(" "));
    prop::collection::vec(part(), 1..4).prop_map(|parts| parts.join(" EXCEPT "))
}

fn table(
    daemons: &'static [&'static str],
    clients: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let rule = (list(daemons, 3), list(clients, 4), select(OPTIONS))
        .prop_map(|(daemons, clients, options)| format!("{daemons} : {clients}{options}\n"));
    let rules = prop::collection::vec(rule, 0..5).prop_map(|rules| rules.concat());
    (rules, prop::bool::weighted(0.1)).prop_map(|(rules, broken)| if broken { rules + "x" } else { rules })
}

fn case(daemons: &'static [&'static str], clients: &'static [&'static str]) -> impl Strategy<Value = Case> {
    (
        table(daemons, clients),
        table(daemons, clients),
        prop::collection::vec(select(FILE_TOKENS), 0..4),
        prop::collection::vec(prop::collection::vec(select(NAMES), 1..4), 0..3),
        prop::collection::vec(prop::collection::vec(select(NAMES), 0..3), 3),
        prop::collection::vec(any::<u128>(), 8),
        prop::option::weighted(0.2, select(&[22u16, 81][..])),
    )
        .prop_map(|(allow, deny, file, listeners, unproven, random, exempt_port)| Case {
            allow,
            deny,
            file: file.join("\n"),
            listeners,
            unproven,
            random,
            exempt_port,
        })
}

/// Asks both; returns how many answers there were, and how many of them `Ask`.
fn agree(case: &Case) -> Result<(usize, usize), TestCaseError> {
    let files = BTreeMap::from([(PathBuf::from(FILE), text(Some(&case.file)))]);
    let tables = tables(Some(&case.allow), Some(&case.deny), files);
    let listeners = case.listeners.iter().zip(&case.unproven);
    let mut listeners: Vec<NamesSet> =
        listeners.map(|(names, unproven)| NamesSet::new(names).with_unproven(unproven)).collect();
    listeners.extend(case.unproven.iter().map(|names| NamesSet::default().with_unproven(names)));
    let exempt_ports: Vec<u16> = case.exempt_port.into_iter().collect();
    let input = PolicySource {
        tables: &tables,
        listeners: &listeners,
        exempt_networks: &[],
        exempt_ports: &exempt_ports,
        lookup: &Unknown,
        names: Names::Unknown,
        unnamed_ports: &[],
        client_tables: ClientTableKind::Trie,
    };
    let policy = compile(&input).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let flat = compile(&PolicySource { client_tables: ClientTableKind::Flat, ..input })
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    for policy in [&policy, &flat] {
        let compared = compare(
            || PolicyTables::new(policy, 1, 0),
            policy,
            &input,
            |_| {},
            |request| evaluate(&tables, request, &Unknown),
        );
        prop_assert!(compared.is_ok(), "{:?}", compared);
    }
    let mut flat = PolicyTables::new(&flat, 1, 0);
    let mut compiled = PolicyTables::new(&policy, 1, 0);
    let mut services: BTreeSet<NamesSet> = policy.names_sets.iter().map(|(set, _)| set.clone()).collect();
    for name in NAMES {
        let set = NamesSet::new([name]);
        if let Some(class) = policy.class_of(&set) {
            compiled.set_names(set.id(), class);
            flat.set_names(set.id(), class);
            services.insert(set);
        }
    }
    let mut clients: BTreeSet<IpAddr> = CLIENTS.iter().filter_map(|text| text.parse().ok()).collect();
    clients.extend(borders(&policy, 300));
    for random in &case.random {
        let [high, .., low] = random.to_be_bytes();
        clients.insert(Ipv6Addr::from_bits(*random).into());
        clients.insert(Ipv4Addr::new(high, low, high ^ low, low).into());
    }
    // A v4-mapped client is an IPv4 one to both.
    clients.retain(|client| !matches!(client, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()));
    let (mut answers, mut asked) = (0, 0);
    for names in &services {
        for port in [22, 80, 81] {
            for server in SERVERS {
                let server: IpAddr = server.parse().expect("an address");
                for client in clients.iter().filter(|client| client.is_ipv4() == server.is_ipv4()) {
                    let query =
                        Query { names: names.id(), client: address(*client), server: address(server), port };
                    let decision = decide(&compiled, &query)
                        .ok_or_else(|| TestCaseError::fail(format!("no decision for {query:?}")))?;
                    answers += 1;
                    let seen = decide(&flat, &query).map(|it| (it.outcome, it.marks, it.policy));
                    let expected = Some((decision.outcome, decision.marks, decision.policy));
                    prop_assert_eq!(seen, expected, "flat tables: {:?}", query);
                    if case.exempt_port == Some(port) {
                        prop_assert_eq!(decision.outcome, Outcome::Exempt);
                        continue;
                    }
                    if decision.outcome == Outcome::Ask {
                        asked += 1;
                        continue;
                    }
                    let told = match evaluated(&tables, names, &query) {
                        Verdict::Allow => Outcome::Allow,
                        Verdict::Refuse => Outcome::Refuse,
                    };
                    prop_assert_eq!(
                        decision.outcome,
                        told,
                        "{} from {} to {} port {}",
                        names,
                        client,
                        server,
                        port
                    );
                }
            }
        }
    }
    smallest(policy.clients_v4.prefixes())?;
    smallest(policy.clients_v6.prefixes())?;
    smallest(&policy.servers_v4)?;
    smallest(&policy.servers_v6)?;
    Ok((answers, asked))
}

/// No entry can be left out: none repeats the one above it, none is wholly covered.
fn smallest<const N: usize>(trie: &[(Prefix<[u8; N]>, u32)]) -> Result<(), TestCaseError> {
    // Sorted by address, then length: what is open above an entry is a stack.
    let mut open: Vec<(Prefix<[u8; N]>, u32, u128)> = Vec::new();
    let size = |bits: u8| {
        u32::try_from(8 * N).ok().and_then(|all| 1u128.checked_shl(all - u32::from(bits))).unwrap_or(0)
    };
    let close = |open: &mut Vec<(Prefix<[u8; N]>, u32, u128)>| {
        let Some((prefix, _, covered)) = open.pop() else { return Ok(()) };
        prop_assert!(covered == 0 || covered != size(prefix.bits), "{:?} is wholly covered", prefix);
        if let Some(above) = open.last_mut() {
            above.2 = above.2.wrapping_add(size(prefix.bits));
        }
        Ok(())
    };
    prop_assert_eq!(trie[0].0.bits, 0, "a /0 is there, and first");
    for (prefix, class) in trie {
        while open.last().is_some_and(|(above, _, _)| !contains(above, prefix)) {
            close(&mut open)?;
        }
        if let Some((above, same, _)) = open.last() {
            prop_assert!(same != class, "{:?} repeats {:?}", prefix, above);
        }
        open.push((*prefix, *class, 0));
    }
    while !open.is_empty() {
        close(&mut open)?;
    }
    Ok(())
}

fn contains<const N: usize>(above: &Prefix<[u8; N]>, below: &Prefix<[u8; N]>) -> bool {
    let bit = |address: &[u8; N], bit: u8| address[usize::from(bit / 8)] >> (7 - bit % 8) & 1;
    above.bits <= below.bits && (0..above.bits).all(|at| bit(&above.address, at) == bit(&below.address, at))
}

fn run(cases: u32, daemons: &'static [&'static str], clients: &'static [&'static str]) -> (usize, usize) {
    let (answers, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&case(daemons, clients), |case| {
        let counted = agree(&case)?;
        answers.fetch_add(counted.0, Ordering::Relaxed);
        asked.fetch_add(counted.1, Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    (answers.into_inner(), asked.into_inner())
}

fn report(answers: usize, asked: usize) {
    drop(writeln!(std::io::stderr(), "services: {answers} answers, {asked} left to user space"));
}

#[test]
fn common_tokens_never_ask_and_always_agree() {
    let (answers, asked) = run(150, DAEMONS, EXACT);
    report(answers, asked);
    assert_eq!(asked, 0);
}

#[test]
fn doubtful_tokens_agree_where_they_decide() {
    let (answers, asked) = run(60, DOUBTFUL_DAEMONS, DOUBTFUL);
    report(answers, asked);
    assert!(asked > 0, "no doubt at all: the tokens above are not what they should be");
    assert!(asked < answers);
}

/// Tables at limits of libwrap's: 255.255.255.255 is no address, of a name 127 bytes count, and a text that becomes too
/// long ends the daemon.
#[test]
fn limits_are_libwraps_however_a_rule_is_written() -> Result<(), TestCaseError> {
    let long: &str = ("a".repeat(130) + "d").leak();
    let tables = [
        "ALL: 224.0.0.0/3\nALL: 240.0.0.0/4\n".to_owned(),
        "ALL: 10.0.0.1\nALL: 128.0.0.0/1\nALL: 255.255.255.255\n".to_owned(),
        "sshd: 240.0.0.0/4\nALL: 1.2.3.4\nALL: 240.0.0.0/4\n".to_owned(),
        "ALL: 1.2.3.4\nALL: 254.0.0.0/7\nALL: 224.0.0.0/224.0.0.0\nALL: [::]/80\n".to_owned(),
        format!("{}: ALL\n{long}: 1.2.3.0/24\n", "x".repeat(128)),
        "*d: 1.2.3.0/24\n.aad: ALL\n*aaad*: 1.2.3.4\n".to_owned(),
        format!("ALL: 1.2.3.0/24: spawn x {}\n", "%a".repeat(700)),
    ];
    for deny in tables {
        let case = Case {
            allow: String::new(),
            deny,
            file: String::new(),
            listeners: vec![vec![long], vec!["sshd"]],
            unproven: vec![vec![], vec![long], vec![]],
            random: vec![],
            exempt_port: Some(81),
        };
        let (answers, _) = agree(&case)?;
        prop_assert!(answers > 100, "{} answers", answers);
    }
    Ok(())
}

/// Of more questions than are asked, the services take turns at both sides of each border.
#[test]
fn border_that_is_off_by_one_is_noticed_in_a_long_table_for_one_daemon() -> Result<(), TestCaseError> {
    let deny: String =
        (0..12_000).map(|number| format!("sshd: 10.1.{}.{}\n", number / 100, number % 100 * 2)).collect();
    let tables = tables(None, Some(&deny), BTreeMap::new());
    let listeners = [NamesSet::new(["sshd"])];
    let input = source_as(ClientTableKind::Flat, Names::Unknown, &tables, &listeners);
    let right = compile(&input).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let indexed = IndexedTables::new(Arc::new(tables.clone()));
    let evaluate = |request: &AccessRequest<'_>| indexed.evaluate(request, &Unknown);
    let is_right = compare(|| PolicyTables::new(&right, 1, 0), &right, &input, |_| {}, evaluate).is_ok();
    prop_assert!(is_right);
    let (mut noticed, mut planted) = (0, 0);
    for chunk in (0..3000).step_by(150) {
        for (start, by) in [(2, 1_u16), (3, 1), (4, u16::MAX), (5, u16::MAX)] {
            let mut wrong = right.clone();
            let ClientTable::Flat(table) = &mut wrong.clients_v4 else {
                return Err(TestCaseError::fail("a trie"));
            };
            table.chunks[chunk].starts[start] = table.chunks[chunk].starts[start].wrapping_add(by);
            planted += 1;
            noticed += usize::from(
                compare(|| PolicyTables::new(&wrong, 1, 0), &right, &input, |_| {}, evaluate).is_err(),
            );
        }
    }
    // About half of the questions are at a listener with that name.
    prop_assert!(noticed * 6 > planted, "{} of {}", noticed, planted);
    Ok(())
}
