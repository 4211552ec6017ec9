//! Generated cases for libwrap and tcpw: `cargo xtask conformance [--cases N] [--seed S]`, as root.
//!
//! Out: each case on which they disagree, made smaller, as a line for tests/corpus/cases.jsonl; then
//! how the cases are spread over the language. Exit code 1: they disagree.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Instant,
};

use anyhow::Result;
use clap::Parser;
use tcpw_tests::differential::{Findings, Generator, Programs, fresh_seed, run};

#[derive(Parser)]
#[command(name = "tcpw-conformance", about = "Generated cases for the real libwrap and for tcpw")]
struct Arguments {
    /// How many
    #[arg(long, default_value_t = 100_000)]
    cases: usize,
    /// Repeats the cases of an earlier run; a fresh one by default
    #[arg(long)]
    seed: Option<u64>,
    /// Prints the cases, and asks nobody
    #[arg(long)]
    print: bool,
}

fn main() -> ExitCode {
    match conform(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_disagreeing) => ExitCode::from(1),
        Err(error) => {
            drop(writeln!(io::stderr(), "tcpw-conformance: error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn conform(arguments: &Arguments) -> Result<usize> {
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    let mut out = io::stdout().lock();
    if arguments.print {
        for case in Generator::new(seed).take(arguments.cases) {
            writeln!(out, "{}", serde_json::to_string(&case)?)?;
        }
        return Ok(0);
    }
    writeln!(out, "{} cases of seed {seed}", arguments.cases)?;
    let started = Instant::now();
    let mut shown = 0;
    let findings = run(&Programs::find()?, seed, arguments.cases, &mut |findings: &Findings| {
        for example in &findings.examples[shown..] {
            drop(writeln!(io::stdout(), "{example}"));
        }
        shown = findings.examples.len();
        let (cases, took) = (findings.spread.cases, started.elapsed().as_secs());
        drop(writeln!(io::stderr(), "{cases} cases, {} disagree, {took} s", findings.disagreeing));
    })?;
    for (kind, count) in &findings.kinds {
        writeln!(out, "{count:>8} {kind}")?;
    }
    writeln!(out, "{}\n{:24}{:>10}", findings.spread, "disagreements", findings.disagreeing)?;
    Ok(findings.disagreeing)
}
