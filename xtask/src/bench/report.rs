//! `cargo xtask bench report`: writes a document with diagrams. It compares tcpw with nftables, ipset and no filter:
//! decisions, reloads, connections, refused SYNs; and commands, services, hostile tables, the time of each program.
//!
//! Out: docs/benchmarks.md, docs/benchmarks/*.svg, and docs/benchmarks/measured.json with every figure. The short form takes about three minutes, the full one half an hour.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::json as measure;
use crate::{
    command::{is_root, output, say},
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A million networks too, and more rounds
    #[arg(long)]
    full: bool,
    /// Where the report goes
    #[arg(long, value_name = "DIRECTORY", default_value = "docs")]
    out: String,
}

pub(super) fn report(bench: &Path, tcpw: &Path, arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!("network namespaces need root");
    }
    setup::for_peers()?;
    let full = arguments.full;
    let run = |words: &[&str]| -> Result<Value> {
        say(format_args!("report: {}", words.join(" ")));
        measure(Command::new(bench).args(words).env("TCPW_BIN", tcpw))
    };
    let sizes: &[&str] =
        if full { &["100", "1000", "10000", "100000", "1000000"] } else { &["1000", "10000", "100000"] };
    let mut decisions = Vec::new();
    for family in ["v4", "v6"] {
        for size in sizes {
            let mut one = run(&["decision", family, size])?;
            one["family"] = json!(family);
            one["networks"] = json!(size.parse::<u32>().context("a size")?);
            decisions.push(one);
        }
    }
    let sizes: &[&str] =
        if full { &["10", "1000", "10000", "100000", "1000000"] } else { &["1000", "10000", "100000"] };
    let rounds = if full { "5" } else { "3" };
    let reloads = sizes.iter().map(|size| run(&["reload", size, rounds])).collect::<Result<Vec<_>>>()?;
    let (sizes, rounds): (&[&str], _) =
        if full { (&["10", "100000", "1000000"], "60") } else { (&["100000"], "20") };
    let peers = sizes.iter().map(|size| run(&["peers", size, rounds])).collect::<Result<Vec<_>>>()?;
    let (sizes, rounds): (&[&str], _) = if full { (&["100000", "1000000"], "9") } else { (&["100000"], "5") };
    let dropped = sizes.iter().map(|size| run(&["dropped", size, rounds])).collect::<Result<Vec<_>>>()?;
    let (sizes, seconds): (&[&str], _) =
        if full { (&["100000", "1000000"], "15") } else { (&["100000"], "5") };
    let loads =
        sizes.iter().map(|size| run(&["under-load", size, "5000", seconds])).collect::<Result<Vec<_>>>()?;
    let sizes: &[&str] =
        if full { &["10", "1000", "10000", "100000", "1000000"] } else { &["1000", "10000", "100000"] };
    let mut commands = Vec::new();
    for name in ["check", "match", "list", "fmt", "diff"] {
        for size in sizes {
            commands.push(run(&["command", name, size, if full { "5" } else { "3" }])?);
        }
    }
    let networks = if full { "1000000" } else { "100000" };
    let services = ["1", "10", "100"].map(|services| run(&["services", services, networks]));
    let services = services.into_iter().collect::<Result<Vec<_>>>()?;
    let shapes = output(Command::new(bench).arg("hostile"))?;
    let hostile = shapes.lines().map(|shape| run(&["hostile", shape])).collect::<Result<Vec<_>>>()?;
    let programs = run(&["hooks"])?;
    let told = |program: &str, words: &[&str]| -> Result<String> {
        Ok(output(Command::new(program).args(words))?.trim().to_owned())
    };
    let measured = json!({
        "date": told("date", &["-u", "+%F"])?,
        "system": format!("Linux {}, {}", told("uname", &["-r"])?, processor()),
        "commit": told("git", &["rev-parse", "--short", "HEAD"])?,
        "command": if full { "cargo xtask bench report --full" } else { "cargo xtask bench report" },
        "decisions": decisions,
        "reloads": reloads,
        "peers": peers,
        "dropped": dropped,
        "under_load": loads,
        "commands": commands,
        "services": services,
        "hostile": hostile,
        "programs": programs,
    });
    let mut child = Command::new(bench)
        .args(["report", &arguments.out])
        .stdin(Stdio::piped())
        .spawn()
        .context("start the report")?;
    let mut input = child.stdin.take().context("no standard input")?;
    input.write_all(measured.to_string().as_bytes()).context("hand over the measurements")?;
    drop(input);
    if child.wait().context("wait for the report")?.success() { Ok(()) } else { bail!("the report failed") }
}

/// Number and model of the processors.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim()))
        .collect();
    format!("{} processors: {}", models.len(), models.first().unwrap_or(&"unknown"))
}
