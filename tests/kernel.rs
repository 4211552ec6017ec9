//! The kernel against the compiled tables and the reference evaluator, through the probe program.
//!
//! The probe shares the gate's look-up and maps but is attached to nothing: no connection is judged here.

use std::{collections::BTreeMap, fs, io::Write as _, net::IpAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::loaded_programs;
use tcpw_common::{decide::decide, key::Query, outcome::Outcome};
use tcpw_tests::{
    Requirement, can_run,
    policy::{address, borders, compile, compile_as, evaluated, source_as, tables, text},
};
use tcpw_userspace::{
    compile::{self, ClientTable, ClientTableKind, Names, Policy, PolicyTables},
    evaluate::{
        IndexedTables, Unknown,
        request::{AccessRequest, Verdict},
    },
    kernel::{FilledTables, Kernel, LoadOptions, Probe},
    names::NamesSet,
    parse::rule::Tables,
};

fn ready() -> bool {
    can_run("kernel", &[Requirement::Root])
}

fn load() -> Result<(Kernel, Probe)> {
    let mut kernel = Kernel::load(&LoadOptions::default())?;
    let probe = kernel.load_probe()?;
    Ok((kernel, probe))
}

/// A text pattern may make many thousand prefixes.
const MAX_ADDRESSES: usize = 5000;

/// Asks all three about every border address; returns how many questions there were.
fn assert_agreement(kernel: &mut (Kernel, Probe), tables: &Tables, names: &[NamesSet]) -> Result<usize> {
    let addresses = borders(&compile(tables, names)?, MAX_ADDRESSES);
    let mut asked = 0;
    for kind in [ClientTableKind::Trie, ClientTableKind::Flat] {
        asked += assert_agreement_of(kind, &addresses, kernel, tables, names)?;
    }
    Ok(asked)
}

fn assert_agreement_of(
    kind: ClientTableKind,
    addresses: &[IpAddr],
    (kernel, probe): &mut (Kernel, Probe),
    tables: &Tables,
    names: &[NamesSet],
) -> Result<usize> {
    let policy = compile_as(kind, Names::Unknown, tables, names)?;
    let applied = kernel.apply(&policy, 0)?;
    let compiled = PolicyTables::new(&policy, applied.generation, 0);
    let mut asked = 0;
    for set in names {
        for (port, server) in [(22, IpAddr::from([1, 2, 3, 1])), (7001, "2001:db8::1".parse()?)] {
            {
                for client in addresses {
                    let query =
                        Query { names: set.id(), client: address(*client), server: address(server), port };
                    let by_tables = decide(&compiled, &query).context("the compiled tables are broken")?;
                    let by_kernel = probe.ask(&query)?.context("the kernel's tables are broken")?;
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

/// What the kernel's verifier follows for one program at most. Source: BPF_COMPLEXITY_LIMIT_INSNS of the
/// kernel's include/linux/bpf.h.
const VERIFIER_LIMIT: u32 = 1_000_000;

/// A compiler or kernel that makes the verifier follow more than before must not be what users find first.
#[test]
fn gate_leaves_the_verifier_half_of_its_limit() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (mut kernel, _probe) = load()?;
    kernel.load_gate()?;
    let mut own = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo").context("list the open files")? {
        // The descriptor of the list itself is closed by now.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        own.extend(id.map(|id| id.trim().parse::<u32>()).transpose()?);
    }
    let mut verified = BTreeMap::new();
    // Programs of others come and go meanwhile.
    for program in loaded_programs().flatten().filter(|program| own.contains(&program.id())) {
        let name = program.name_as_str().context("a program without a name")?.to_owned();
        verified.insert(name, program.verified_instruction_count().context("this kernel does not count")?);
    }
    println!("instructions verified: {verified:?}");
    ensure!(verified.contains_key("gate"), "the gate is not among the programs");
    for (name, count) in verified {
        assert!(count <= VERIFIER_LIMIT / 2, "{name}: {count} instructions of {VERIFIER_LIMIT}");
    }
    Ok(())
}

#[test]
fn kernel_tables_and_evaluator_agree_at_region_borders() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let mut loaded = load()?;
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
        asked += assert_agreement(&mut loaded, &tables, &names).with_context(|| format!("{allow}{deny}"))?;
    }
    writeln!(std::io::stderr(), "kernel: {asked} questions at region borders")?;
    ensure!(asked > 1000, "only {asked} questions");
    Ok(())
}

/// Many networks, most of them close to each other, as in block lists: one bucket has 0 to 65,536 ranges, and the
/// tree of IPv6 several levels.
#[test]
fn kernel_searches_large_flat_tables_as_user_space_does() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (mut kernel, probe) = load()?;
    let mut deny = String::new();
    for number in 0_u32..40_000 {
        // A multiplicative walk: no two are equal.
        let spread = number.wrapping_mul(2_654_435_761);
        let [a, b, c, d] = match number % 4 {
            0 => spread.to_be_bytes(),
            1 => (0x0a01_0000 | spread >> 16).to_be_bytes(),
            2 => (0xc0a8_0000 | (spread >> 12) & 0x000f_fffe).to_be_bytes(),
            _ => (0xffff_0000 | number).to_be_bytes(),
        };
        deny.push_str(&format!("ALL: {a}.{b}.{c}.{d}\n"));
        let (high, low) = (spread >> 16, spread & 0xffff);
        match number % 4 {
            0 => deny.push_str(&format!("ALL: [2001:db8:{high:x}:{low:x}::]/64\n")),
            1 => deny.push_str(&format!("ALL: [2001:db8::{high:x}:{low:x}]\n")),
            2 => deny.push_str(&format!("ALL: [{high:x}:{low:x}::]/32\n")),
            _ => deny.push_str(&format!("ALL: [ffff:ffff:ffff:ffff:ffff:ffff:{high:x}:{low:x}]\n")),
        }
    }
    let tables = tables(Some("sshd: 10.1.\n"), Some(&deny), BTreeMap::new());
    let names = [NamesSet::new(["sshd"]), NamesSet::new(["nginx"])];
    let tries = PolicyTables::new(&compile(&tables, &names)?, 0, 0);
    let policy = compile_as(ClientTableKind::Flat, Names::Unknown, &tables, &names)?;
    ensure!(policy.clients_v4.flat().is_some() && policy.clients_v6.flat().is_some(), "a trie");
    let applied = kernel.apply(&policy, 0)?;
    let compiled = PolicyTables::new(&policy, applied.generation, 0);
    let mut asked = 0;
    for set in &names {
        for client in borders(&compile(&tables, &names)?, 20_000) {
            let server = address(IpAddr::from([1, 2, 3, 1]));
            let query = Query { names: set.id(), client: address(client), server, port: 22 };
            let expected = decide(&tries, &query).context("the tries are broken")?.outcome;
            let by_tables = decide(&compiled, &query).context("the flat tables are broken")?.outcome;
            let by_kernel = probe.ask(&query)?.context("the kernel's tables are broken")?.outcome;
            assert_eq!((by_tables, by_kernel), (expected, expected), "{client} to {set}");
            asked += 1;
        }
    }
    writeln!(std::io::stderr(), "kernel: {asked} questions to large flat tables")?;
    ensure!(asked > 10_000, "only {asked} questions");
    Ok(())
}

/// Makes one entry of a policy wrong.
type Plant = fn(&mut Policy);

/// The tables are read back before the switch: each kind of wrong entry stops it.
#[test]
fn wrong_entry_in_a_loaded_table_stops_the_switch() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (mut kernel, probe) = load()?;
    let deny: String =
        (0..400).map(|number| format!("ALL: 10.1.{}.{}\n", number / 100, number % 100 * 2)).collect();
    let deny = format!("{deny}ALL: [2001:db8::]/32\n");
    let tables = tables(Some("sshd: 10.1.0.8 [2001:db8::7]\n80: 10.1.0.10\n"), Some(&deny), BTreeMap::new());
    let names = [NamesSet::new(["sshd"]), NamesSet::new(["nginx"])];
    let indexed = IndexedTables::new(Arc::new(tables.clone()));
    let mut loader = kernel.take_loader()?;
    let wrong: [(&str, Plant); 8] = [
        ("an outcome", |policy| policy.outcomes[0] = Outcome::Refuse as u8),
        ("a prefix", |policy| {
            if let ClientTable::Trie(prefixes) = &mut policy.clients_v4 {
                prefixes.truncate(prefixes.len() / 2);
            }
        }),
        ("an IPv6 class", |policy| {
            if let ClientTable::Trie(prefixes) = &mut policy.clients_v6 {
                prefixes.truncate(1);
            }
        }),
        ("a bucket", |policy| {
            if let ClientTable::Flat(table) = &mut policy.clients_v4 {
                table.buckets[10 << 8 | 1].content ^= 1 << 48;
            }
        }),
        ("a chunk", |policy| {
            if let ClientTable::Flat(table) = &mut policy.clients_v4 {
                table.chunks[3].starts[4] += 1;
            }
        }),
        ("a node", |policy| {
            if let ClientTable::Flat(table) = &mut policy.clients_v6 {
                table.lows[0].0[1] += 1;
            }
        }),
        ("a names-set", |policy| policy.names.clear()),
        ("a port", |policy| policy.ports.clear()),
    ];
    for kind in [ClientTableKind::Trie, ClientTableKind::Flat] {
        let source = source_as(kind, Names::Unknown, &tables, &names);
        let right = compile::compile(&source)?;
        let evaluate = |request: &AccessRequest<'_>| indexed.evaluate(request, &Unknown);
        let check = |loaded: &FilledTables<'_>| {
            Ok(compile::compare(|| loaded.read_back(), &right, &source, |_| {}, evaluate)?)
        };
        let filled = loader.fill_checked(&right, 0, check)?;
        ensure!(filled.compared > 1000, "only {} places", filled.compared);
        kernel.flip(&filled)?;
        for (what, plant) in wrong {
            let mut policy = right.clone();
            plant(&mut policy);
            let is_as_before = format!("{policy:?}") == format!("{right:?}");
            match loader.fill_checked(&policy, 0, check) {
                // This kind of policy has no such entry.
                Ok(_) => ensure!(is_as_before, "{kind:?}: {what} was not noticed"),
                Err(error) => {
                    ensure!(!is_as_before, "{kind:?}: {error}");
                    let text = format!("{error:#}");
                    ensure!(text.contains("the loaded tables"), "{what}: {text}");
                }
            }
            let query = Query {
                names: names[1].id(),
                client: address(IpAddr::from([10, 1, 0, 8])),
                server: address(IpAddr::from([1, 2, 3, 1])),
                port: 22,
            };
            let answer = probe.ask(&query)?.context("the kernel's tables are broken")?;
            assert_eq!(answer.outcome, Outcome::Refuse, "{what}: another policy is in force");
        }
    }
    Ok(())
}

/// Tables that are put into the idle slot ahead: only those that came last can be switched to, and only with their header.
#[test]
fn slot_that_was_filled_again_is_not_switched_to() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (mut kernel, probe) = load()?;
    let mut loader = kernel.take_loader()?;
    let policy = |deny: &str| compile(&tables(None, Some(deny), BTreeMap::new()), &[]);
    let [none, one, two] = [policy("")?, policy("ALL: 10.0.0.1\n")?, policy("ALL: 10.0.0.2\n")?];
    let refused = || -> Result<Vec<u8>> {
        let mut refused = Vec::new();
        for last in [1, 2] {
            let (client, server) =
                (address(IpAddr::from([10, 0, 0, last])), address(IpAddr::from([1, 2, 3, 1])));
            let query = Query { names: NamesSet::default().id(), client, server, port: 22 };
            let answer = probe.ask(&query)?.context("the kernel's tables are broken")?;
            refused.extend((answer.outcome == Outcome::Refuse).then_some(last));
        }
        Ok(refused)
    };
    let first = loader.fill(&none, 0)?;
    kernel.flip(&first)?;
    loader.settle()?;

    let filled = loader.fill(&one, 0)?;
    let staged = loader.stage(&two, 0, |_| Ok(0))?;
    ensure!(kernel.flip(&filled).is_err(), "what was filled was overwritten");
    assert!(refused()?.is_empty());
    let again = loader.stage(&one, 0, |_| Ok(0))?;
    ensure!(loader.finish(&two, 0, staged).is_err(), "what was staged was overwritten");
    let failed = loader.stage(&two, 0, |_| bail!("on purpose"));
    ensure!(failed.is_err() && loader.finish(&one, 0, again).is_err(), "other tables are in the slot");
    assert!(refused()?.is_empty());
    let staged = loader.stage(&two, 0, |_| Ok(0))?;
    let filled = loader.finish(&two, 0, staged)?;
    kernel.flip(&filled)?;
    assert_eq!(refused()?, [2]);
    Ok(())
}

/// The conformance cases whose verdict hangs on addresses alone, decided by the kernel.
#[test]
fn kernel_gives_the_real_librarys_verdict() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (mut kernel, probe) = load()?;
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
        let answer = probe.ask(&query)?.context("the kernel's tables are broken")?;
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
