//! One timed run, for `cargo xtask bench`: `tcpw-bench parse SHAPE`, or `tcpw-bench parse` for the names;
//! `tcpw-bench text HOSTS.DENY`; `tcpw-bench cases in-cases|named TCPW N`; `tcpw-bench held`;
//! `tcpw-bench hooks`; `tcpw-bench hostile [SHAPE]`;
//! `tcpw-bench named`; `tcpw-bench serve PORT`; `tcpw-bench replay RULES literal|file`;
//! `tcpw-bench flood RULES literal|file [reload]`; `tcpw-bench gate`; `tcpw-bench refusals close|reset|drop`;
//! `tcpw-bench decision v4|v6 NETWORKS`; `tcpw-bench peers NETWORKS ROUNDS`;
//! `tcpw-bench forged SECONDS`; `tcpw-bench reload NETWORKS ROUNDS [alone]`; `tcpw-bench dropped NETWORKS ROUNDS`;
//! `tcpw-bench under-load NETWORKS CONNECTIONS-A-SECOND SECONDS`; `tcpw-bench command NAME NETWORKS ROUNDS`;
//! `tcpw-bench services SERVICES NETWORKS`; `tcpw-bench report DIRECTORY`.
//!
//! Out: one JSON object. A process per run, so that its peak memory is the run's own.

mod cases;
mod commands;
mod decision;
mod dropped;
mod flood;
mod forged;
mod held;
mod hooks;
mod hostile;
mod named;
#[path = "../bypass/packet.rs"]
#[expect(dead_code, reason = "shared with tests/bypass.rs, which uses all of it")]
mod packet;
mod peers;
mod plot;
mod refusals;
mod reload;
mod report;
mod services;
mod shapes;
#[path = "../early/tap.rs"]
#[expect(dead_code, reason = "shared with tests/early.rs, which uses all of it")]
mod tap;
mod text;
mod under_load;

use std::{env, fs, hint::black_box, io::Write, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_gettime};
use tcpw_userspace::parse::parse;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(line) => {
            drop(writeln!(std::io::stdout(), "{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "tcpw-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<String> {
    match words {
        ["parse"] => Ok(shapes::SHAPES.map(|(name, _)| name).join("\n")),
        ["parse", shape] => bench_parse(shape),
        ["text", path] => text::run(Path::new(path)),
        ["held"] => held::run(),
        ["hooks"] => hooks::run(),
        ["hostile"] => Ok(hostile::names()),
        ["hostile", shape] => hostile::run(shape),
        ["named"] => named::run(),
        ["replay", rules, shape] => flood::replay(rules, shape),
        ["flood", rules, shape] => flood::run(rules, shape, false),
        ["flood", rules, shape, "reload"] => flood::run(rules, shape, true),
        ["gate"] => flood::gate(),
        ["decision", family, networks] => decision::run(family, networks),
        ["forged", seconds] => forged::run(seconds),
        ["peers", networks, rounds] => peers::run(networks, rounds),
        ["report", directory] => report::run(directory),
        ["command", name, networks, rounds] => commands::run(name, networks, rounds),
        ["services", services, networks] => services::run(services, networks),
        ["reload", networks, rounds] => reload::run(networks, rounds, false),
        ["reload", networks, rounds, "alone"] => reload::run(networks, rounds, true),
        ["refusals", how] => refusals::run(how),
        ["under-load", networks, rate, seconds] => under_load::run(networks, rate, seconds),
        ["dropped", networks, rounds] => dropped::run(networks, rounds),
        ["serve", port] => hooks::serve(port),
        ["cases", tables @ ("in-cases" | "named"), tcpw, count] => {
            let count = count.parse().with_context(|| format!("{count}: no number of cases"))?;
            let seconds = cases::seconds(Path::new(tcpw), count, *tables == "in-cases")?;
            Ok(serde_json::json!({ "cases": count, "seconds": seconds }).to_string())
        }
        _ => bail!(
            "usage: tcpw-bench parse [SHAPE] | text HOSTS.DENY | cases in-cases|named TCPW N | held | hooks | hostile [SHAPE] | named | \
             replay RULES literal|file | flood RULES literal|file [reload] | gate | refusals close|reset|drop | \
             decision v4|v6 NETWORKS | peers NETWORKS ROUNDS | reload NETWORKS ROUNDS [alone] | \
             dropped NETWORKS ROUNDS | command NAME NETWORKS ROUNDS | services SERVICES NETWORKS | under-load NETWORKS CONNECTIONS-A-SECOND SECONDS | forged SECONDS"
        ),
    }
}

fn bench_parse(shape: &str) -> Result<String> {
    let texts = shapes::texts(shape).with_context(|| format!("no shape is called {shape}"))?;
    let bytes = shapes::bytes(&texts);
    let started = processor_time()?;
    let parsed = black_box(parse(black_box(&texts)));
    let seconds = (processor_time()? - started).as_secs_f64();
    let result = serde_json::json!({
        "shape": shape,
        "bytes": bytes,
        "seconds": seconds,
        "peak_bytes": peak_memory()?,
        "rules": parsed.tables.allow.rules.len(),
        "diagnostics": parsed.diagnostics.len(),
    });
    Ok(result.to_string())
}

/// What this process has had of the processor: others on the machine do not count.
fn processor_time() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).context("read the processor's clock")
}

/// The most memory this process ever had, in bytes.
fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM")?;
    Ok(kilobytes << 10)
}
