//! What the commands take that read a hosts.deny of so many networks; `tcpw-bench command NAME NETWORKS ROUNDS`.
//!
//! Out: one JSON object: the milliseconds of each run, and the most memory that a run had. A process for each command, so
//! that the memory is the command's own.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use tcpw_tests::{Sandbox, tcpw_binary};

use crate::peers::Lists;

/// Measures one.
pub(crate) fn run(name: &str, networks: &str, rounds: &str) -> Result<String> {
    let networks: u32 = networks.parse().with_context(|| format!("{networks}: no number"))?;
    let rounds: u32 = rounds.parse().with_context(|| format!("{rounds}: no number"))?;
    let sandbox = Sandbox::new("bench-commands")?;
    Lists::write(&sandbox, networks)?;
    let deny = sandbox.hosts_deny().display().to_string();
    let tables = ["--hosts-allow", "/dev/null", "--hosts-deny", &deny];
    let arguments: Vec<&str> = match name {
        "check" => [&["check"][..], &tables].concat(),
        "match" => [&["match", "sshd", "198.51.100.7"][..], &tables].concat(),
        "list" => [&["list", "sshd"][..], &tables].concat(),
        "fmt" => vec!["fmt", "--check", &deny],
        "diff" => vec!["diff", &deny, &deny],
        _ => anyhow::bail!("{name}: check, match, list, fmt or diff"),
    };
    let mut ms = Vec::new();
    for _round in 0..rounds {
        let began = Instant::now();
        let done = Command::new(tcpw_binary()?)
            .args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("start tcpw {name}"))?;
        ms.push(began.elapsed().as_secs_f64() * 1e3);
        // `check` and `fmt` say by 1 that they have found something.
        ensure!(matches!(done.code(), Some(0 | 1)), "tcpw {name}: {done}");
    }
    let kilobytes = getrusage(UsageWho::RUSAGE_CHILDREN).context("ask for the memory")?.max_rss();
    Ok(serde_json::json!({ "command": name, "networks": networks, "ms": ms, "peak_bytes": kilobytes << 10 })
        .to_string())
}
