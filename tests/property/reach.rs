//! Rules that are never reached: none of them ever is, and no other of plain addresses is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select, subsequence},
};
use tcpw_tests::policy::{borders, compile, tables as tables_of};
use tcpw_userspace::{
    compile::unreachable,
    evaluate::{
        Observer, evaluate_with, numeric_host,
        request::{AccessRequest, Lookup, RuleIndex},
    },
    parse::rule::{ClientPattern, DaemonPattern, HostPattern, List, Rules, Table, Tables, Text},
};

use super::{
    generate::{Case, address_token, case},
    names::made_up,
    runner,
};

const NAMES: &[&str] = &["sshd", "in.telnetd", "smbd", "nginx", "unknown", "22"];

/// One name for every combination of the plain daemon patterns.
const PLAIN_NAMES: &[&str] =
    &["sshd", "in.telnetd", "nginx", "in.x", "x.telnetd", "smb", "s.telnetd", "www", "smbd"];
const PORTS: &[Option<u16>] = &[None, Some(22), Some(7001), Some(80)];
const SERVERS: &[Option<&str>] = &[None, Some("1.2.3.1"), Some("10.9.0.1"), Some("2001:db8::1")];

/// Who asks.
#[derive(Clone, Copy)]
struct Asked<'a> {
    names: &'a [Text],
    port: Option<u16>,
    server: Option<&'a str>,
    client: Option<&'a str>,
}

/// Every rule that matched.
#[derive(Default)]
struct Matched(Vec<RuleIndex>);

impl Observer for Matched {
    fn matched(&mut self, rule: RuleIndex, _: &DaemonPattern, _: &ClientPattern) {
        self.0.push(rule);
    }
}

fn matched(tables: &Tables, asked: Asked<'_>, lookup: &dyn Lookup) -> Vec<RuleIndex> {
    let request = AccessRequest {
        daemons: asked.names,
        client_address: asked.client,
        server_address: asked.server,
        server_port: asked.port,
        ..AccessRequest::default()
    };
    let mut matched = Matched::default();
    evaluate_with(tables, &request, lookup, &mut matched);
    matched.0
}

/// Where one rule alone begins or ends to match, over all rules.
fn clients(tables: &Tables) -> BTreeSet<IpAddr> {
    let everybody = tables_of(None, Some("ALL: ALL\n"), BTreeMap::new());
    let everybody = everybody.deny.rules.get(0).expect("the table has a rule");
    let mut all = BTreeSet::new();
    for table in [&tables.allow, &tables.deny] {
        for rule in &table.rules {
            let mut alone = tables.clone();
            alone.allow = Table { rules: Rules::default(), ..tables.allow.clone() };
            let mut rule = rule.into_owned();
            all.extend(ends_of_masks(&rule.clients));
            rule.options.clear();
            rule.daemons.clone_from(&everybody.daemons);
            alone.deny = Table { rules: [rule].into_iter().collect(), ..tables.deny.clone() };
            alone.deny.end = tables.allow.end;
            if let Ok(policy) = compile(&alone, &[]) {
                all.extend(borders(&policy, 60));
            }
        }
    }
    all
}

/// First and last address of each IPv4 mask: one with holes may have too many borders to be spelled out.
fn ends_of_masks(list: &List<ClientPattern>) -> Vec<IpAddr> {
    let lists = std::iter::successors(Some(list), |list| list.except.as_deref());
    let ends = |pattern: &ClientPattern| {
        let HostPattern::NetV4 { net, mask } = &pattern.host else { return Vec::new() };
        vec![IpAddr::V4(*net), IpAddr::V4((net.to_bits() | !mask.to_bits()).into())]
    };
    lists.flat_map(|list| &list.patterns).flat_map(ends).collect()
}

fn texts(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Option<String>> {
    std::iter::once(None).chain(addresses.into_iter().map(|it| Some(numeric_host(it)))).collect()
}

/// Names, port, server, client, look-ups: by chance.
type Chance = (Vec<&'static str>, Index, Index, Index, Index, u8);

fn chance() -> impl Strategy<Value = Chance> {
    let index = any::<Index>;
    (subsequence(NAMES, 0..4), index(), index(), index(), index(), 0..2_u8)
}

fn is_never_reached(case: &Case, chances: &[Chance], reported: &mut usize) -> Result<(), TestCaseError> {
    let tables = tables_of(Some(&case.allow), Some(&case.deny), BTreeMap::new());
    let found = unreachable(&tables);
    *reported += found.iter().filter(|found| !found.by.is_empty()).count();
    let clients = texts(clients(&tables).into_iter().chain(case.addresses()));
    let answers = made_up();
    for (names, port, server, client, answer, status) in chances {
        let names: Vec<Text> = names.iter().map(|name| name.as_bytes().into()).collect();
        let mut answer = answer.get(&answers).clone();
        answer.status = *status;
        let asked = Asked {
            names: &names,
            port: *port.get(PORTS),
            server: *server.get(SERVERS),
            client: client.get(&clients).as_deref(),
        };
        for rule in matched(&tables, asked, &answer) {
            prop_assert!(
                found.iter().all(|found| found.rule != rule),
                "{:?} is reached by {:?} port {:?} at {:?} from {:?} {:?} under\n{}--\n{}",
                rule,
                asked.names,
                asked.port,
                asked.server,
                asked.client,
                answer,
                case.allow,
                case.deny
            );
        }
    }
    Ok(())
}

#[test]
fn a_rule_that_is_reported_unreachable_is_never_reached() {
    let reported = std::cell::Cell::new(0);
    let plain = (plain_table(), plain_table()).prop_map(|(allow, deny)| Case::new(allow, deny));
    let result = runner(200).run(&(prop_oneof![case(), plain], vec(chance(), 200)), |(case, chances)| {
        let mut count = reported.get();
        let result = is_never_reached(&case, &chances, &mut count);
        reported.set(count);
        result
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(reported.get() > 10, "only {} rules were reported", reported.get());
}

const PLAIN_DAEMONS: &[&str] = &[
    "sshd",
    "ALL",
    "ALL",
    "s*d",
    "in.",
    ".telnetd",
    "*",
    "22",
    "7001",
    "EXCEPT",
    "sshd@1.2.3.1",
    "nginx@10.",
    "s*",
];

/// Tables of rules that hang on addresses alone.
fn plain_table() -> impl Strategy<Value = String> {
    let client = prop_oneof![
        4 => address_token(),
        2 => select(&["ALL", "EXCEPT", "10.", "10.0.0.0/9", "10.128.0.0/9", "[::]/0"][..]).prop_map(str::to_owned),
    ];
    let option = select(&["", "", ": deny", ": severity info", ": bogus"][..]);
    let rule = (vec(select(PLAIN_DAEMONS), 1..4), vec(client, 1..4), option).prop_map(
        |(daemons, clients, option)| format!("{}: {}{option}\n", daemons.join(" "), clients.join(" ")),
    );
    vec(rule, 0..6).prop_map(|rules| rules.concat())
}

/// Every set of up to four names.
fn sets() -> Vec<Vec<Text>> {
    let names: Vec<Text> = PLAIN_NAMES.iter().map(|name| name.as_bytes().into()).collect();
    (0..1_usize << names.len())
        .filter(|bits| bits.count_ones() < 5)
        .map(|bits| {
            names.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, it)| it.clone()).collect()
        })
        .collect()
}

fn every_other_rule_is_reached(allow: &str, deny: &str) -> Result<(), TestCaseError> {
    let tables = tables_of(Some(allow), Some(deny), BTreeMap::new());
    let mut open: BTreeSet<RuleIndex> = [&tables.allow, &tables.deny]
        .into_iter()
        .flat_map(|table| (0..table.rules.len()).map(|index| RuleIndex { table: table.kind, index }))
        .collect();
    for found in unreachable(&tables) {
        open.remove(&found.rule);
    }
    let clients = texts(clients(&tables));
    let answers = made_up();
    'search: for names in &sets() {
        for &port in PORTS {
            for &server in SERVERS {
                for client in &clients {
                    if open.is_empty() {
                        break 'search;
                    }
                    let asked = Asked { names, port, server, client: client.as_deref() };
                    for rule in matched(&tables, asked, &answers[0]) {
                        open.remove(&rule);
                    }
                }
            }
        }
    }
    prop_assert!(open.is_empty(), "nobody reaches {:?} under\n{}--\n{}", open, allow, deny);
    Ok(())
}

#[test]
fn a_rule_of_plain_addresses_that_is_not_reported_is_reached() {
    let result = runner(80)
        .run(&(plain_table(), plain_table()), |(allow, deny)| every_other_rule_is_reached(&allow, &deny));
    if let Err(error) = result {
        panic!("{error}");
    }
}
