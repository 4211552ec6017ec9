//! Whole policies, from rules built by hand.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
};

use tcpw_common::{
    decide::{AUDIT, EXEMPT_PORT, NAMES_COUNT, decide, decide_for_any_names},
    key::{Query, mapped},
    outcome::Outcome,
};

use super::*;
use crate::{
    evaluate::request::AccessRequest,
    parse::rule::{
        ClientPattern, Daemon, DaemonPattern, HostPattern, List, Origin, PatternFile, Rule, Span, Table,
        TableKind, TextPattern,
    },
};

mod meaning;
mod names;
mod pattern;
mod unreachable;

fn origin() -> Origin {
    Origin { path: Arc::new(PathBuf::from("hosts")), line: 1, column: 1, length: 1 }
}

fn text(pattern: TextPattern) -> HostPattern {
    let numeric = match &pattern {
        TextPattern::Exact(text) | TextPattern::Prefix(text) | TextPattern::Suffix(text) => {
            text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        }
        TextPattern::All | TextPattern::Known | TextPattern::Glob(_) | TextPattern::Bracketed(_) => false,
    };
    HostPattern::Text { pattern, numeric }
}

fn all() -> HostPattern {
    text(TextPattern::All)
}

fn name(name: &str) -> Daemon {
    Daemon::Name(match name {
        "ALL" => TextPattern::All,
        name => TextPattern::Exact(name.as_bytes().into()),
    })
}

fn clients(hosts: Vec<HostPattern>) -> List<ClientPattern> {
    let patterns =
        hosts.into_iter().map(|host| ClientPattern { span: Span::default(), user: None, host }).collect();
    List { patterns, except: None }
}

fn rule(daemons: &[(Daemon, Option<HostPattern>)], hosts: Vec<HostPattern>) -> Rule {
    let patterns = daemons
        .iter()
        .map(|(daemon, server)| DaemonPattern {
            span: Span::default(),
            daemon: daemon.clone(),
            server: server.clone(),
        })
        .collect();
    Rule {
        source: Arc::default(),
        start: 0,
        number: 1,
        daemons: Arc::new(List { patterns, except: None }),
        clients: clients(hosts),
        options: Vec::new(),
    }
}

fn table(kind: TableKind, rules: Vec<Rule>) -> Table {
    Table {
        kind,
        path: Arc::new(PathBuf::from("hosts")),
        rules: rules.into_iter().collect(),
        end: TableEnd::Complete,
        complaints: Vec::new(),
    }
}

fn tables(allow: Vec<Rule>, deny: Vec<Rule>) -> Tables {
    Tables {
        allow: table(TableKind::Allow, allow),
        deny: table(TableKind::Deny, deny),
        files: BTreeMap::new(),
    }
}

fn input(tables: &Tables) -> PolicySource<'_> {
    PolicySource {
        tables,
        listeners: &[],
        exempt_networks: &[],
        exempt_ports: &[],
        lookup: &crate::evaluate::Unknown,
        names: Names::Unknown,
        unnamed_ports: &[],
        client_tables: ClientTableKind::Trie,
    }
}

/// Compiles in both forms; each must be what the evaluator says.
fn compile(input: &PolicySource<'_>) -> Result<Policy, CompileError> {
    let [trie, flat] = [ClientTableKind::Trie, ClientTableKind::Flat].map(|client_tables| {
        let policy = super::compile(&PolicySource { client_tables, ..*input })?;
        let evaluate =
            |request: &AccessRequest<'_>| crate::evaluate::evaluate(input.tables, request, input.lookup);
        compare(|| PolicyTables::new(&policy, 1, 0), &policy, input, |_| {}, evaluate).unwrap();
        Ok(policy)
    });
    flat?;
    trie
}

fn address(text: &str) -> [u8; 16] {
    match text.parse().unwrap() {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn outcome(policy: &Policy, daemon: &[&str], client: &str, server: &str, port: u16) -> Outcome {
    let names = NamesSet::new(daemon);
    let mut tables = PolicyTables::new(policy, 1, 0);
    tables.set_names(names.id(), policy.class_of(&names).unwrap());
    let query = Query { names: names.id(), client: address(client), server: address(server), port };
    decide(&tables, &query).unwrap().outcome
}

/// The seed: two networks and the host itself may use sshd and daytime, nobody else may use anything.
fn seed() -> Tables {
    let v4 = text(TextPattern::Prefix(b"1.2.3."[..].into()));
    let v6 = HostPattern::NetV6 { net: "3ffe:ffff:100:200::".parse().unwrap(), prefix_bits: 64 };
    let daemons = [(name("sshd"), None), (name("daytime-stream"), None)];
    tables(vec![rule(&daemons, vec![v4, v6])], vec![rule(&[(name("ALL"), None)], vec![all()])])
}

#[test]
fn the_seed_policy_decides_as_written() {
    let seed = seed();
    let policy = compile(&input(&seed)).unwrap();
    let seen = |daemon: &[&str], client| outcome(&policy, daemon, client, "10.0.0.1", 22);
    assert_eq!(seen(&["sshd"], "1.2.3.0"), Outcome::Allow);
    assert_eq!(seen(&["sshd"], "1.2.3.255"), Outcome::Allow);
    assert_eq!(seen(&["sshd"], "1.2.4.0"), Outcome::Refuse);
    assert_eq!(seen(&["sshd"], "1.2.2.255"), Outcome::Refuse);
    assert_eq!(seen(&["SSHD", "x"], "3ffe:ffff:100:200:212:34ff:fe12:3456"), Outcome::Allow);
    assert_eq!(seen(&["sshd"], "3ffe:ffff:100:201::"), Outcome::Refuse);
    assert_eq!(seen(&["daytime-stream"], "1.2.3.4"), Outcome::Allow);
    assert_eq!(seen(&["nginx"], "1.2.3.4"), Outcome::Refuse);
    assert_eq!(seen(&[], "1.2.3.4"), Outcome::Refuse);
}

#[test]
fn daemons_that_a_pattern_tells_apart_count_before_one_is_known() {
    let glob = || Daemon::Name(TextPattern::Glob(b"be??d"[..].into()));
    for (daemon, counts) in [(glob(), true), (name("sshd"), true), (name("ALL"), false)] {
        let tables = tables(vec![rule(&[(daemon.clone(), None)], vec![all()])], Vec::new());
        let header = compile(&input(&tables)).unwrap().header(1, 0);
        assert_eq!(header.flags & NAMES_COUNT != 0, counts, "{daemon:?}");
    }
}

#[test]
fn a_decision_without_names_is_that_of_any_names_or_none() {
    let network = || vec![text(TextPattern::Prefix(b"1.2.3."[..].into()))];
    let of_all = tables(Vec::new(), vec![rule(&[(name("ALL"), None)], network())]);
    let of_sshd = tables(Vec::new(), vec![rule(&[(name("sshd"), None)], network())]);
    for (tables, is_known) in [(of_all, true), (of_sshd, false)] {
        let policy = compile(&input(&tables)).unwrap();
        let sshd = NamesSet::new(["sshd"]);
        let mut compiled = PolicyTables::new(&policy, 1, 0);
        compiled.set_names(sshd.id(), policy.class_of(&sshd).unwrap());
        for client in ["1.2.3.4", "1.2.4.4", "2001:db8::1"] {
            let query = Query { names: 0, client: address(client), server: address("10.0.0.1"), port: 22 };
            let found = decide_for_any_names(&compiled, &query);
            assert_eq!(found.is_some(), is_known, "{client}");
            if let Some(found) = found {
                assert_eq!(Some(found), decide(&compiled, &Query { names: sshd.id(), ..query }), "{client}");
            }
        }
    }
}

#[test]
fn the_seed_policy_is_as_small_as_it_can_be() {
    let seed = seed();
    let policy = compile(&input(&seed)).unwrap();
    assert_eq!(policy.clients_v4.prefixes().len(), 2);
    assert_eq!(policy.clients_v6.prefixes().len(), 2);
    assert_eq!(policy.servers_v4.len(), 1);
    let header = policy.header(7, AUDIT);
    assert_eq!((header.generation, header.flags), (7, AUDIT | NAMES_COUNT));
    assert_eq!(
        (header.names_classes, header.port_classes, header.server_classes, header.client_classes),
        (2, 1, 1, 2)
    );
    assert_eq!(policy.outcomes.len(), 4);
}

#[test]
fn comms_are_cut_and_name_every_daemon_that_shares_them() {
    let rules = vec![rule(
        &[(name("daytime-stream-one"), None), (name("daytime-stream-two"), None), (name("sshd"), None)],
        vec![all()],
    )];
    let tables = tables(rules, vec![]);
    let policy = compile(&input(&tables)).unwrap();
    let both = NamesSet::new(["daytime-stream-one", "daytime-stream-two"]);
    let mut cut = [0; 16];
    cut[..15].copy_from_slice(b"daytime-stream-");
    let mut sshd = [0; 16];
    sshd[..4].copy_from_slice(b"sshd");
    assert_eq!(policy.comms, [(cut, both.id()), (sshd, NamesSet::new(["sshd"]).id())]);
    assert!(policy.names_sets.iter().any(|(set, _)| *set == both));
}

#[test]
fn names_that_match_the_same_patterns_need_no_new_policy() {
    let seed = seed();
    let policy = compile(&input(&seed)).unwrap();
    assert_eq!(policy.class_of(&NamesSet::new(["nginx"])), Some(0));
    assert_eq!(policy.class_of(&NamesSet::new(["nginx", "sshd"])), policy.class_of(&NamesSet::new(["sshd"])));
    assert_eq!(policy.class_of(&NamesSet::new(["sshd", "daytime-stream"])), None);
    let listeners = [NamesSet::new(["sshd", "daytime-stream"])];
    let policy = compile(&PolicySource { listeners: &listeners, ..input(&seed) }).unwrap();
    assert_eq!(policy.class_of(&listeners[0]), Some(1));
}

#[test]
fn exempt_ports_and_networks_are_never_judged() {
    let tables = tables(vec![], vec![rule(&[(name("ALL"), None)], vec![all()])]);
    let networks = [
        "10.0.0.0/8".parse().unwrap(),
        "::ffff:11.0.0.0/104".parse().unwrap(),
        "2001:db8::/32".parse().unwrap(),
    ];
    let policy =
        compile(&PolicySource { exempt_networks: &networks, exempt_ports: &[22], ..input(&tables) }).unwrap();
    assert_eq!(policy.ports, [(22, EXEMPT_PORT)]);
    let mut lost = policy.clone();
    lost.ports.clear();
    let source = PolicySource { exempt_networks: &networks, exempt_ports: &[22], ..input(&tables) };
    let evaluate = |request: &AccessRequest<'_>| crate::evaluate::evaluate(&tables, request, source.lookup);
    let compared = compare(|| PolicyTables::new(&lost, 1, 0), &lost, &source, |_| {}, evaluate);
    assert!(matches!(compared, Err(Difference::Other { expected: Outcome::Exempt, .. })), "{compared:?}");
    let seen = |client, port| outcome(&policy, &["x"], client, "10.0.0.1", port);
    assert_eq!(seen("1.2.3.4", 22), Outcome::Exempt);
    assert_eq!(seen("1.2.3.4", 23), Outcome::Refuse);
    assert_eq!(seen("10.255.255.255", 23), Outcome::Exempt);
    assert_eq!(seen("11.0.0.0", 23), Outcome::Exempt);
    assert_eq!(seen("12.0.0.0", 23), Outcome::Refuse);
    assert_eq!(seen("2001:db8::", 23), Outcome::Exempt);
    assert_eq!(seen("2001:db9::", 23), Outcome::Refuse);
}

#[test]
fn exempt_network_of_all_ipv6_addresses_has_no_ipv4_one() {
    let tables = tables(vec![], vec![rule(&[(name("ALL"), None)], vec![all()])]);
    for network in ["::/0", "::/80", "::ffff:0:0/95"] {
        let networks = [network.parse().unwrap()];
        let policy = compile(&PolicySource { exempt_networks: &networks, ..input(&tables) }).unwrap();
        assert_eq!(outcome(&policy, &["x"], "1.2.3.4", "10.0.0.1", 23), Outcome::Refuse, "{network}");
    }
}

#[test]
fn large_tables_are_flat_and_small_ones_tries() {
    let of = |v4: u32, v6: u16| {
        let v4 = (0..v4).map(|number| Ipv4Addr::from(number * 2).to_string().into_bytes());
        let v4 = v4.map(|address| text(TextPattern::Exact(address.into())));
        let v6 = (0..v6).map(|number| HostPattern::NetV6 {
            net: [number * 2, 0, 0, 0, 0, 0, 0, 0].into(),
            prefix_bits: 16,
        });
        let tables = tables(vec![], vec![rule(&[(name("ALL"), None)], v4.chain(v6).collect())]);
        let auto = PolicySource { client_tables: ClientTableKind::Auto, ..input(&tables) };
        let policy = super::compile(&auto).unwrap();
        (policy.clients_v4.flat().is_some(), policy.clients_v6.flat().is_some())
    };
    // Each is a range, and so is the gap behind it.
    assert_eq!(of(127, 0), (false, false));
    assert_eq!(of(128, 0), (true, false));
    assert_eq!(of(0, 32_767), (false, false));
    assert_eq!(of(0, 32_768), (false, true));
}

#[test]
fn ports_and_server_addresses_select_rules() {
    let net = HostPattern::NetV4 { net: "10.0.0.0".parse().unwrap(), mask: "255.0.0.0".parse().unwrap() };
    let rules = vec![rule(&[(Daemon::Port(80), None), (name("sshd"), Some(net))], vec![all()])];
    let tables = tables(rules, vec![rule(&[(name("ALL"), None)], vec![all()])]);
    let policy = compile(&input(&tables)).unwrap();
    assert_eq!(outcome(&policy, &["x"], "1.1.1.1", "9.9.9.9", 80), Outcome::Allow);
    assert_eq!(outcome(&policy, &["x"], "1.1.1.1", "9.9.9.9", 81), Outcome::Refuse);
    assert_eq!(outcome(&policy, &["sshd"], "1.1.1.1", "10.9.9.9", 81), Outcome::Allow);
    assert_eq!(outcome(&policy, &["sshd"], "1.1.1.1", "11.0.0.0", 81), Outcome::Refuse);
    assert_eq!(outcome(&policy, &["sshd"], "::1", "::1", 81), Outcome::Refuse);
    let header = policy.header(1, 0);
    assert_eq!((header.names_classes, header.port_classes, header.server_classes), (2, 2, 2));
}

#[test]
fn broken_deny_table_refuses_the_rest() {
    let mut tables = tables(vec![rule(&[(name("sshd"), None)], vec![all()])], vec![]);
    tables.deny.end = TableEnd::Broken;
    let policy = compile(&input(&tables)).unwrap();
    assert_eq!(outcome(&policy, &["sshd"], "1.1.1.1", "1.1.1.1", 1), Outcome::Allow);
    assert_eq!(outcome(&policy, &["x"], "1.1.1.1", "1.1.1.1", 1), Outcome::Refuse);
}

#[test]
fn pattern_files_that_name_each_other_end() {
    let file = |path: &str| HostPattern::File(PathBuf::from(path));
    let exact = |address: &str| text(TextPattern::Exact(address.as_bytes().into()));
    let mut tables = tables(
        vec![rule(&[(name("ALL"), None)], vec![file("/a")])],
        vec![rule(&[(name("ALL"), None)], vec![all()])],
    );
    for (path, other, host) in [("/a", "/b", "1.1.1.1"), ("/b", "/a", "2.2.2.2")] {
        let patterns = vec![(origin(), file(other)), (origin(), exact(host))];
        tables
            .files
            .insert(path.into(), PatternFile { path: Arc::new(path.into()), patterns, unreadable: None });
    }
    let policy = compile(&input(&tables)).unwrap();
    assert_eq!(outcome(&policy, &["x"], "1.1.1.1", "1.1.1.1", 1), Outcome::Allow);
    assert_eq!(outcome(&policy, &["x"], "2.2.2.2", "1.1.1.1", 1), Outcome::Allow);
    assert_eq!(outcome(&policy, &["x"], "3.3.3.3", "1.1.1.1", 1), Outcome::Refuse);
}
