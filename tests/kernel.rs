//! The kernel against the compiled tables and the reference evaluator, through the probe program.
//!
//! The probe shares the gate's look-up and maps but is attached to nothing: no connection is judged here.

use std::{collections::BTreeMap, io::Write as _, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use tcpw_common::{decide::decide, key::Query, outcome::Outcome};
use tcpw_tests::{
    Requirement, can_run,
    policy::{address, borders, compile, evaluated, tables, text},
};
use tcpw_userspace::{
    compile::PolicyTables,
    evaluate::request::Verdict,
    kernel::{Kernel, LoadOptions},
    names::NamesSet,
    parse::rule::Tables,
};

fn ready() -> bool {
    can_run("kernel", &[Requirement::Root])
}

fn load() -> Result<Kernel> {
    let mut kernel = Kernel::load(&LoadOptions { pins: None, log_allowed: false, resets: false })?;
    kernel.load_probe()?;
    Ok(kernel)
}

/// A text pattern may make many thousand prefixes.
const MAX_ADDRESSES: usize = 5000;

/// Asks all three about every border address; returns how many questions there were.
fn assert_agreement(kernel: &mut Kernel, tables: &Tables, names: &[NamesSet]) -> Result<usize> {
    let policy = compile(tables, names)?;
    let applied = kernel.apply(&policy, 0)?;
    let compiled = PolicyTables::new(&policy, applied.generation, 0);
    let mut asked = 0;
    for set in names {
        for (port, server) in [(22, IpAddr::from([1, 2, 3, 1])), (7001, "2001:db8::1".parse()?)] {
            {
                for client in borders(&policy, MAX_ADDRESSES) {
                    let query =
                        Query { names: set.id(), client: address(client), server: address(server), port };
                    let by_tables = decide(&compiled, &query).context("the compiled tables are broken")?;
                    let by_kernel = kernel.probe(&query)?.context("the kernel's tables are broken")?;
                    let whose = format!("{client} to {set}@{server}:{port}");
                    assert_eq!(by_kernel.outcome, by_tables.outcome, "kernel and tables: {whose}");
                    assert_eq!(by_kernel.policy, by_tables.policy, "kernel and tables: {whose}");
                    match by_kernel.outcome {
                        Outcome::Allow => {
                            assert_eq!(evaluated(tables, set, &query), Verdict::Allow, "{whose}")
                        }
                        Outcome::Refuse => {
                            assert_eq!(evaluated(tables, set, &query), Verdict::Refuse, "{whose}")
                        }
                        Outcome::Ask => {}
                        Outcome::Exempt => panic!("{whose}: nothing is exempt"),
                    }
                    asked += 1;
                }
            }
        }
    }
    Ok(asked)
}

#[test]
fn kernel_tables_and_evaluator_agree_at_region_borders() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let mut kernel = load()?;
    let names: Vec<NamesSet> =
        [&["sshd"][..], &["in.telnetd", "telnet"], &["nginx"], &[]].map(NamesSet::new).to_vec();
    let everything = [
        (
            "sshd: 1.2.3. [3ffe:ffff:100:200::]/64\ndaytime-stream: 1.2.3. [3ffe:ffff:100:200::]/64\n",
            "ALL: ALL\n",
        ),
        ("ALL: 10.0.0.0/255.0.0.0 EXCEPT 10.1.0.0/16 EXCEPT 10.1.2.3\n", "ALL EXCEPT sshd: ALL\n"),
        ("sshd@1.2.3.1: 10.\n22: [2001:db8::]/32\ntelnet: [::1]\n", "sshd, telnet: ALL\n7001: 127.\n"),
        (
            "sshd: 10.* 192.168.?.1 1?.2.3.4 0.0.0.0/0.0.0.0: deny\nALL: [::]/0 EXCEPT [fe80::]/10\n",
            "ALL: ALL: allow\n",
        ),
        ("", "ALL: 255.255.255.254 0.0.0.1 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff] [::]/1\n"),
        ("ALL: 8.8.8.8\n", "ALL: 1.2.3.4"),
        ("nginx: 3ffe* .7.7\n", "nginx: ALL\nKNOWN: UNKNOWN\n"),
        ("", ""),
    ];
    let mut asked = 0;
    for (allow, deny) in everything {
        let tables = tables(Some(allow), Some(deny), BTreeMap::new());
        asked += assert_agreement(&mut kernel, &tables, &names).with_context(|| format!("{allow}{deny}"))?;
    }
    writeln!(std::io::stderr(), "kernel: {asked} questions at region borders")?;
    ensure!(asked > 1000, "only {asked} questions");
    Ok(())
}

/// The conformance cases whose verdict hangs on addresses alone, decided by the kernel.
#[test]
fn kernel_gives_the_real_librarys_verdict() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let mut kernel = load()?;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/cases.jsonl");
    let (mut decided, mut asked, mut not_ours) = (0, 0, 0);
    for line in std::fs::read_to_string(path)?.lines() {
        let case: serde_json::Value = serde_json::from_str(line)?;
        let field = |name: &str| case[name].as_str();
        if ["client_name", "client_user", "server_name"].iter().any(|name| field(name).is_some()) {
            continue;
        }
        // A connection has both addresses and a port; a case without is for the evaluator alone,
        // and so is an outcome that a command's result or a crash of libwrap decides.
        let client = field("client_addr").map(str::parse::<IpAddr>);
        let via = field("via").context("via")?;
        let (Some(Ok(client)), false) = (client, matches!(via, "crash" | "exit") || case["daemon"] == "")
        else {
            not_ours += 1;
            continue;
        };
        let port = case["server_port"].as_u64();
        let server = field("server_addr").map(str::parse::<IpAddr>);
        let id = field("id").context("id")?;
        let hangs_on_server = [field("allow"), field("deny")].iter().flatten().any(|text| text.contains('@'));
        if port.is_none() && mentions_a_port(&case) || hangs_on_server && !matches!(server, Some(Ok(_))) {
            not_ours += 1;
            continue;
        }
        let files = case["files"].as_object().into_iter().flatten();
        let files = files.map(|(path, content)| (PathBuf::from(path), text(content.as_str()))).collect();
        let tables = tables(field("allow"), field("deny"), files);
        let names = NamesSet::new([field("daemon").context("daemon")?]);
        let policy = compile(&tables, std::slice::from_ref(&names))?;
        kernel.apply(&policy, 0)?;
        let query = Query {
            names: names.id(),
            client: address(client),
            server: address(server.and_then(Result::ok).unwrap_or(IpAddr::from([192, 0, 2, 1]))),
            port: u16::try_from(port.unwrap_or(1))?,
        };
        let answer = kernel.probe(&query)?.context("the kernel's tables are broken")?;
        let expected = field("expect").context("expect")?;
        match answer.outcome {
            Outcome::Ask => asked += 1,
            outcome @ (Outcome::Allow | Outcome::Refuse | Outcome::Exempt) => {
                let verdict = if outcome == Outcome::Allow { "allow" } else { "deny" };
                assert_eq!(verdict, expected, "{id}: {case}");
                decided += 1;
            }
        }
    }
    writeln!(
        std::io::stderr(),
        "kernel: {decided} cases decided, {asked} put to user space, {not_ours} not of a connection"
    )?;
    ensure!(decided >= 150, "only {decided} cases reached the kernel");
    Ok(())
}

/// Whether a daemon list names a port: such a rule needs to know it.
fn mentions_a_port(case: &serde_json::Value) -> bool {
    [&case["allow"], &case["deny"]]
        .iter()
        .filter_map(|table| table.as_str())
        .flat_map(str::lines)
        .filter_map(|line| line.split(':').next())
        .flat_map(|daemons| daemons.split([' ', ',', '\t']))
        .any(|token| token.trim_start_matches('+').parse::<u64>().is_ok())
}
