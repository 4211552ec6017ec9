//! Random tables and addresses: evaluator == compiled tables, as tries and flat, == kernel; what look-ups may change; rules
//! that are never reached; what the tables mean.
//!
//! Addresses are the borders of the compiled regions, those just outside of them, and random ones.
//! A failing seed is kept in corpus/property.seeds and tried first from then on.

#[path = "property/generate.rs"]
mod generate;
#[path = "property/names.rs"]
mod names;
#[path = "property/plain.rs"]
mod plain;
#[path = "property/reach.rs"]
mod reach;

use std::{collections::BTreeMap, io::Write as _, net::IpAddr};

use generate::{Case, case, names_sets};
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, TestRunner},
};
use tcpw_common::{
    decide::decide,
    key::Query,
    outcome::{KEEPALIVE, Outcome, REPORT},
};
use tcpw_tests::{
    Requirement, can_run,
    policy::{acts, address, borders, compile, compile_as, evaluated, tables},
};
use tcpw_userspace::{
    compile::{ClientTableKind, Names, PolicyTables},
    evaluate::request::Verdict,
    kernel::{Kernel, LoadOptions, Probe},
};

/// Whether a table has a token whose region may be no bounded number of prefixes, or a command decides.
fn may_ask(text: &str) -> bool {
    text.contains(['*', '?'])
        || text.contains("aclexec")
        || text.split([' ', ',', '\n', '@']).any(|token| {
            token.starts_with('.')
                || token.contains('/') && token.split('/').nth(1).is_some_and(|mask| mask.contains('.'))
        })
}

/// Questions asked, and how many of them the tables leave open.
#[derive(Default)]
struct Counts {
    asked: u64,
    open: u64,
}

fn agree(
    case: &Case,
    limit: usize,
    kernel: Option<&mut (Kernel, Probe)>,
    counts: &mut Counts,
) -> Result<(), TestCaseError> {
    let Case { allow, deny, .. } = case;
    let failed = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
    let tables = tables(Some(allow), Some(deny), BTreeMap::new());
    let sets = names_sets();
    let policy = compile(&tables, &sets).map_err(|error| failed(&error))?;
    let clients: Vec<IpAddr> = borders(&policy, limit).into_iter().chain(case.addresses()).collect();
    let flat =
        compile_as(ClientTableKind::Flat, Names::Unknown, &tables, &sets).map_err(|error| failed(&error))?;
    let flat_tables = PolicyTables::new(&flat, 1, 0);
    let compiled = PolicyTables::new(&policy, 1, 0);
    let mut kernel = kernel;
    if let Some((kernel, _)) = &mut kernel {
        // Each half of the cases in one form.
        let applied = if allow.len() % 2 == 0 { &policy } else { &flat };
        kernel.apply(applied, 0).map_err(|error| failed(&error))?;
    }
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
                let by_flat = decide(&flat_tables, &query);
                let seen = by_flat.map(|it| (it.outcome, it.marks, it.policy));
                prop_assert_eq!(
                    seen,
                    Some((decision.outcome, decision.marks, decision.policy)),
                    "flat: {}",
                    whose
                );
                let verdict = evaluated(&tables, set, &query);
                match decision.outcome {
                    Outcome::Allow => {
                        prop_assert_eq!(verdict, Verdict::Allow, "{}", whose);
                        let (spawns, keeps) = acts(&tables, set, &query);
                        prop_assert!(!spawns || decision.marks & REPORT != 0, "not reported: {}", whose);
                        prop_assert_eq!(keeps, decision.marks & KEEPALIVE != 0, "keepalive: {}", whose);
                    }
                    Outcome::Refuse => prop_assert_eq!(verdict, Verdict::Refuse, "{}", whose),
                    Outcome::Ask => {
                        counts.open += 1;
                        prop_assert!(may_ask(allow) || may_ask(deny), "asked for nothing: {}", whose);
                    }
                    Outcome::Exempt => return Err(TestCaseError::fail(format!("exempt: {whose}"))),
                }
                if let Some((_, probe)) = &kernel {
                    let answer = probe.ask(&query).map_err(|error| failed(&error))?;
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

fn run(cases: u32, limit: usize, mut kernel: Option<(Kernel, Probe)>, what: &str) {
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

#[test]
fn kernel_decides_as_the_compiled_tables_and_the_evaluator() {
    if !can_run("property", &[Requirement::Root]) {
        return;
    }
    let mut kernel = Kernel::load(&LoadOptions::default()).expect("load the programs");
    let probe = kernel.load_probe().expect("load the probe");
    run(60, 60, Some((kernel, probe)), "evaluator == compiled tables == kernel");
}
