//! `cargo xtask bench flood`: refused attempts at 10, 10,000, 100,000 and 1,000,000 rules in hosts.deny,
//! literal and in a pattern file.
//!
//! In: with `--against`, a tcpw of the version before. Out: a table each of
//! (a) a replay of records, judged, rendered and written: lines a second, and the cost of a line;
//! (b) floods from a real client: what is written, what is lost, how long `tcpw status` and held
//! clients take meanwhile and during a reload of a million lines;
//! (c) what a refusal takes at the gate, the two versions in turn.
//! Exit code 1: slower than it must be.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::json;
use crate::command::{is_root, say};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Real clients at every size and shape, and more floods of the gate: some ten minutes
    #[arg(long)]
    full: bool,

    /// The tcpw of the version before, to be measured beside this one
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
}

const SIZES: [&str; 4] = ["10", "10000", "100000", "1000000"];
const SHAPES: [&str; 2] = ["literal", "file"];
/// Floods from a real client, unless all are asked for; a reload follows the last.
const QUICK: [[&str; 2]; 3] = [["10", "literal"], ["100000", "literal"], ["100000", "file"]];

/// Replays of each size, one size after the other; the medians count.
const ROUNDS: usize = 5;

/// Fewest lines a second.
const LINES_PER_S: f64 = 100_000.0;
/// Most of a line's cost beside that at the fewest rules.
const GROWTH: f64 = 1.5;
/// Most milliseconds until `tcpw status` answers, and until 99 of 100 held clients are released: what a client waits that
/// is not held is the machine's, and subtracted.
const STATUS_MS: f64 = 100.0;
const HELD_MS: f64 = 5.0;
/// Most of what a refusal took at the gate in the version before.
const OF_BEFORE: f64 = 1.0 / 3.0;

pub(crate) fn flood(bench: &Path, tcpw: &Path, arguments: &Arguments) -> Result<()> {
    let mut slow = replays(bench)?;
    if is_root() {
        slow.extend(floods(bench, "this", tcpw, arguments.full)?);
        if let (Some(before), true) = (&arguments.against, arguments.full) {
            // Nothing is demanded of it.
            if let Err(error) = floods(bench, "before", before, false) {
                say(format_args!("flood, before: not measured any further: {error:#}"));
            }
        }
        slow.extend(gates(bench, tcpw, arguments)?);
    } else {
        say("floods from a client: not measured, network namespaces need root");
    }
    if slow.is_empty() { Ok(()) } else { bail!("too slow: {}", slow.join(", ")) }
}

/// (a): what is too slow.
fn replays(bench: &Path) -> Result<Vec<String>> {
    let mut slow = Vec::new();
    for shape in SHAPES {
        let rounds = (0..ROUNDS).map(|_| round(bench, shape)).collect::<Result<Vec<_>>>()?;
        for (at, rules) in SIZES.into_iter().enumerate() {
            let of_all = |value: fn(&Replay) -> f64| median(rounds.iter().map(|round| value(&round[at])));
            let rate = of_all(|replay| replay.lines_per_s);
            // The machine's speed changes from minute to minute: each round has its own quotient.
            let growth = median(rounds.iter().map(|round| round[at].line_us / round[0].line_us));
            let last = &rounds[ROUNDS - 1][at].all;
            let number = |key: &str| number(last, &[key]);
            say(format_args!(
                "replay {rules:>7} {shape:7} {rate:7.0} lines/s, {:5.2} us each ({growth:4.2} of 10 rules), \
                 parsed in {:5.2} s, indexed in {:5.2} s, {:5.0} MB peak, {} of {} checked",
                of_all(|replay| replay.line_us),
                number("parse_s")?,
                number("index_s")?,
                number("peak_bytes")? / 1e6,
                last["checked"],
                last["records"],
            ));
            if rate < LINES_PER_S || growth > GROWTH {
                slow.push(format!("replay of {rules} rules, {shape}"));
            }
        }
    }
    Ok(slow)
}

/// One replay.
struct Replay {
    lines_per_s: f64,
    /// Time of the processors for a line.
    line_us: f64,
    /// What the program said.
    all: Value,
}

/// One replay of each size.
fn round(bench: &Path, shape: &str) -> Result<Vec<Replay>> {
    let one = |rules: &str| {
        let all = json(Command::new(bench).args(["replay", rules, shape]))?;
        let records = number(&all, &["records"])?;
        let lines_per_s = records / number(&all, &["seconds"])?;
        let line_us = number(&all, &["processor_s"])? / records * 1e6;
        Ok(Replay { lines_per_s, line_us, all })
    };
    SIZES.into_iter().map(one).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// (b): what is too slow.
fn floods(bench: &Path, version: &str, tcpw: &Path, full: bool) -> Result<Vec<String>> {
    let mut slow = Vec::new();
    let all: Vec<[&str; 2]> = SIZES.iter().flat_map(|rules| SHAPES.map(|shape| [*rules, shape])).collect();
    let runs = if full { all.as_slice() } else { &QUICK };
    for [rules, shape] in runs {
        let mut command = Command::new(bench);
        command.args(["flood", rules, shape]).env("TCPW_BIN", tcpw);
        if runs.last() == Some(&[*rules, *shape]) {
            command.arg("reload");
        }
        let run = json(&mut command)?;
        let number = |key: &str| number(&run, &[key]);
        let (offered, lines, lost) = (number("offered")?, number("lines")?, number("lost")?);
        say(format_args!(
            "flood, {version:6} {rules:>7} {shape:7} {offered:7.0} attempts in 3 s, lines {:7.0} after 4 s and {lines:7.0} \
             after {:4.1} s, lost and counted {lost:6.0}, not counted {:.0}",
            number("lines_after_4_s")?,
            number("lines_after_s")?,
            offered - lines - lost,
        ));
        let name = format!("{rules} rules, {shape}");
        if lines + lost < offered {
            slow.push(format!("flood of {name}: attempts are neither written nor counted"));
        }
        for phase in ["flood", "reload"] {
            if !run[phase].is_null() {
                slow.extend(others(&run[phase], &format!("{phase:6} {version:6} {rules:>7} {shape:7}"))?);
            }
        }
    }
    Ok(slow)
}

/// What others had to wait for.
fn others(run: &Value, name: &str) -> Result<Vec<String>> {
    let number = |path: &[&str]| number(run, path);
    let (status, held) = (number(&["status_ms", "most"])?, number(&["held_ms", "p99"])?);
    let direct = number(&["direct_ms", "p99"])?;
    say(format_args!(
        "  meanwhile {name} status {:5.1} ms, most {status:6.1} ms ({} of {} failed); held {:5.2} ms, p99 {held:6.2} ms, \
         most {:6.2} ms ({} clients); not held {:5.2} ms, p99 {direct:6.2} ms{}",
        number(&["status_ms", "median"])?,
        run["status_failed"],
        run["status_ms"]["count"],
        number(&["held_ms", "median"])?,
        number(&["held_ms", "most"])?,
        run["held_ms"]["count"],
        number(&["direct_ms", "median"])?,
        run["took_s"].as_f64().map_or(String::new(), |took| format!("; it took {took:.1} s")),
    ));
    let failed = run["status_failed"].as_u64().unwrap_or_default();
    let mut slow = Vec::new();
    if status > STATUS_MS || failed > 0 {
        slow.push(format!("status, {name}"));
    }
    if held - direct > HELD_MS {
        slow.push(format!("held clients, {name}"));
    }
    Ok(slow)
}

/// (c): both versions in turn; what is too slow.
fn gates(bench: &Path, tcpw: &Path, arguments: &Arguments) -> Result<Vec<String>> {
    let rounds = if arguments.full { 5 } else { 2 };
    let mut versions = vec![("this", tcpw)];
    versions.extend(arguments.against.as_deref().map(|before| ("before", before)));
    let mut least = [f64::INFINITY; 2];
    for _round in 0..rounds {
        for ((version, program), least) in versions.iter().zip(&mut least) {
            let run = json(Command::new(bench).arg("gate").env("TCPW_BIN", program))?;
            let (ns, client_ns) = (number(&run, &["ns"])?, number(&run, &["client_ns"])?);
            say(format_args!(
                "gate, {version:6} {} attempts, {ns:6.0} ns in the programs for each, {client_ns:6.0} ns of its client",
                run["attempts"]
            ));
            *least = least.min(ns);
        }
    }
    let [this, before] = least;
    if !before.is_finite() {
        return Ok(Vec::new());
    }
    say(format_args!("gate: {this:.0} ns against {before:.0} ns: {:.2} of it", this / before));
    Ok(if this > before * OF_BEFORE { vec!["a refusal at the gate".into()] } else { Vec::new() })
}

fn number(run: &Value, path: &[&str]) -> Result<f64> {
    let value = path.iter().fold(run, |value, key| &value[*key]);
    value.as_f64().with_context(|| format!("no {} in {run}", path.join(".")))
}
