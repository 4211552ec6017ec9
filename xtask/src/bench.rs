//! `cargo xtask bench`: what tcpw's readers take of one core, and what a client pays for being
//! held, measured on a release build.
//!
//! Out: a line for each text of 10 MB, with time and peak memory; then the cases a second of
//! `tcpw match --cases`; then, for root, the paths of held clients, clients whose names are
//! looked up, what the programs in the kernel take for a call, and what a refused client costs. Time is the processor's: others on the machine do not count.
//! `cargo xtask bench decision` measures the tables of clients in the kernel; see its own head.
//! `cargo xtask bench report` writes docs/benchmarks.md; see its own head.
//! `cargo xtask bench peers` measures connections beside other filters; see its own head.
//! `cargo xtask bench hostile` compiles tables that are made to be slow; see its own head.
//! `cargo xtask bench under-load` reloads while clients connect; see its own head.
//! `cargo xtask bench flood` measures floods of refused attempts alone; see its own head.
//! Exit code 1: slower than it must be.

mod decision;
mod flood;
mod held;
mod hostile;
mod peers;
mod report;
mod under_load;

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    build::{Profile, build_object, build_programs},
    command::{is_root, output, say},
    setup,
};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    only: Option<Only>,
    /// Cases for `tcpw match --cases`
    #[arg(long, default_value_t = 500_000)]
    cases: u64,
}

/// Measurements that are asked for by name.
#[derive(clap::Subcommand)]
enum Only {
    /// Refused attempts as fast as one client can make them, at up to a million rules
    Flood(flood::Arguments),
    /// What a decision takes in the kernel, with tries and with flat tables
    Decision,
    /// SYNs with forged addresses for five minutes: what they cost, and what clients that are there wait
    Forged {
        /// Seconds
        #[arg(long, default_value_t = 300)]
        seconds: u32,
    },
    /// Tables that are made to be slow, from text to policy
    Hostile,
    /// Connections a second, beside nftables, ipset and no filter
    Peers(peers::Arguments),
    /// Reloads of a long hosts.deny while clients connect
    UnderLoad(under_load::Arguments),
    /// A document with all that is compared with others, and diagrams
    Report(report::Arguments),
}

/// The texts of which well under a second is demanded; of the others it is seconds.
const ORDINARY: [&str; 2] = ["rules", "one line"];
/// Most seconds for one of these.
const ORDINARY_S: f64 = 1.0;
/// Most seconds for a text that is made to be slow: anything quadratic takes minutes.
const HOSTILE_S: f64 = 10.0;
/// Fewest cases a second that share their tables.
const CASES_PER_S: f64 = 100_000.0;

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let toolchain = setup::for_build()?;
    if is_root() {
        setup::for_tests()?;
    }
    build_object(toolchain)?;
    let tcpw = build_programs(Profile::Release, &["tcpw", "tcpw-bench", "testd"])?;
    let bench = tcpw.with_file_name("tcpw-bench");
    match &arguments.only {
        Some(Only::Flood(arguments)) => return flood::flood(&bench, &tcpw, arguments),
        Some(Only::Decision) => return decision::decision(&bench),
        Some(Only::Forged { seconds }) => return held::forged(&bench, &tcpw, *seconds),
        Some(Only::Hostile) => return hostile::hostile(&bench),
        Some(Only::Peers(arguments)) => return peers::peers(&bench, &tcpw, arguments),
        Some(Only::UnderLoad(arguments)) => return under_load::under_load(&bench, &tcpw, arguments),
        Some(Only::Report(arguments)) => return report::report(&bench, &tcpw, arguments),
        None => {}
    }
    let mut slow = parse(&bench)?;
    slow.extend(cases(&bench, &tcpw, arguments.cases)?);
    if is_root() {
        slow.extend(held::held(&bench, &tcpw)?);
        slow.extend(held::named(&bench, &tcpw)?);
        held::hooks(&bench, &tcpw)?;
        held::refusals(&bench, &tcpw)?;
    } else {
        say("held clients: not measured, network namespaces need root");
    }
    if slow.is_empty() { Ok(()) } else { bail!("too slow: {}", slow.join(", ")) }
}

/// Every text; the names of those that took too long.
fn parse(bench: &Path) -> Result<Vec<String>> {
    let mut slow = Vec::new();
    for shape in output(Command::new(bench).arg("parse"))?.lines() {
        let run = json(Command::new(bench).args(["parse", shape]))?;
        let number = |key: &str| run[key].as_f64().with_context(|| format!("no {key} of {shape}"));
        let (seconds, bytes, peak) = (number("seconds")?, number("bytes")?, number("peak_bytes")?);
        say(format_args!(
            "parse {shape:30} {:5.1} MB {seconds:7.3} s {:6.0} MB peak",
            bytes / 1e6,
            peak / 1e6
        ));
        if seconds > if ORDINARY.contains(&shape) { ORDINARY_S } else { HOSTILE_S } {
            slow.push(format!("{shape} ({seconds:.1} s)"));
        }
    }
    Ok(slow)
}

/// Cases with their own tables, all the same, and cases for the tables of the command line.
fn cases(bench: &Path, tcpw: &Path, cases: u64) -> Result<Vec<String>> {
    let mut slow = Vec::new();
    for tables in ["in-cases", "named"] {
        let run = json(Command::new(bench).arg("cases").arg(tables).arg(tcpw).arg(cases.to_string()))?;
        let seconds = run["seconds"].as_f64().context("no seconds")?;
        let number = u32::try_from(cases).map(f64::from).context("that many cases")?;
        let rate = number / seconds;
        say(format_args!(
            "match --cases, tables {tables:8} {cases} cases {seconds:.2} s: {rate:.0} a second"
        ));
        if rate < CASES_PER_S {
            slow.push(format!("cases with tables {tables} ({rate:.0} a second)"));
        }
    }
    Ok(slow)
}

fn json(command: &mut Command) -> Result<Value> {
    serde_json::from_str(&output(command)?).context("read a measurement")
}
