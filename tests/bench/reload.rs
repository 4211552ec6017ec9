//! A hosts.deny of so many networks in a running daemon, and the same networks in nftables and ipset;
//! `tcpw-bench reload NETWORKS ROUNDS`.
//!
//! Out: one JSON object: of each round the milliseconds until the file is enforced, until one line appended to it is, and
//! until `nft -f` and `ipset restore` have loaded the same; the daemon's peak of memory.
//! Invariant: every round begins with a policy of one rule, and with no set; the figures of tcpw are from the write of the
//! file to the message `applied`.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tcpw_tests::{Sandbox, Tcpw};

use crate::peers::Lists;

const PATIENCE: Duration = Duration::from_secs(120);

/// Measures.
pub(crate) fn run(networks: &str, rounds: &str) -> Result<String> {
    let networks: u32 = networks.parse().with_context(|| format!("{networks}: no number"))?;
    let rounds: u32 = rounds.parse().with_context(|| format!("{rounds}: no number"))?;
    let sandbox = Sandbox::new("bench-reload")?;
    let lists = Lists::write(&sandbox, networks)?;
    let whole = fs::read_to_string(sandbox.hosts_deny())?;
    let appended = format!("{whole}ALL: 198.51.100.7\n");
    sandbox.write_tables("", "ALL: 198.51.100.7\n")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let mut times = [const { Vec::new() }; 4];
    for _round in 0..rounds {
        let file = applied(&sandbox, &mut tcpw, &whole)?;
        let line = applied(&sandbox, &mut tcpw, &appended)?;
        applied(&sandbox, &mut tcpw, "ALL: 198.51.100.7\n")?;
        let [nft, ipset] = lists.load(&sandbox)?;
        lists.unload(&sandbox)?;
        for (times, time) in times.iter_mut().zip([file, line, nft, ipset]) {
            times.push(time.as_secs_f64() * 1e3);
        }
    }
    let peak = peak_of(tcpw.process.pid())?;
    let [file, line, nft, ipset] = times;
    let ms = serde_json::json!({ "tcpw": file, "tcpw, one line": line, "nftables": nft, "ipset": ipset });
    Ok(serde_json::json!({ "networks": networks, "ms": ms, "peak_bytes": peak }).to_string())
}

/// Writes hosts.deny: how long it takes to be enforced.
fn applied(sandbox: &Sandbox, tcpw: &mut Tcpw, deny: &str) -> Result<Duration> {
    let mark = tcpw.process.mark();
    let began = Instant::now();
    fs::write(sandbox.hosts_deny(), deny).context("write hosts.deny")?;
    let line = tcpw.process.wait_for_line_after(mark, "applied generation", PATIENCE)?;
    Ok(line.at - began)
}

/// The most memory a process ever had, in bytes.
fn peak_of(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read a process's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM")?;
    Ok(kilobytes << 10)
}
