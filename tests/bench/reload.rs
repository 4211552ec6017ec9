//! A hosts.deny of so many networks in a running daemon, and the same networks in nftables and ipset;
//! `tcpw-bench reload NETWORKS ROUNDS`; with `alone` behind it only tcpw is measured.
//!
//! Out: one JSON object: of each round the milliseconds until the file is enforced, until each of two lines appended to it
//! is, until no program uses the tables before that line any more, and until `nft -f` and `ipset restore` have loaded the same; the
//! daemon's peak of memory.
//! Invariant: every round begins with a policy of one rule, and with no set; the figures of tcpw are from the write of the
//! file. Enforcement begins with the switch to the new tables: programs that begin from then on use these. It is the
//! arrival of the message `applied`, less the time between the switch and that message, which it tells.

use std::{
    fs,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tcpw_tests::{Sandbox, Tcpw};

use crate::peers::Lists;

const PATIENCE: Duration = Duration::from_secs(120);

/// Measures; `alone`: without nftables and ipset.
pub(crate) fn run(networks: &str, rounds: &str, alone: bool) -> Result<String> {
    let networks: u32 = networks.parse().with_context(|| format!("{networks}: no number"))?;
    let rounds: u32 = rounds.parse().with_context(|| format!("{rounds}: no number"))?;
    let sandbox = Sandbox::new("bench-reload")?;
    let lists = Lists::write(&sandbox, networks)?;
    let whole = fs::read_to_string(sandbox.hosts_deny())?;
    sandbox.write_tables("", ONE)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let mut times = [const { Vec::new() }; 5];
    for _round in 0..rounds {
        let file = applied(&sandbox, &mut tcpw, Edit::Write(&whole))?;
        times[0].push(file.in_force);
        for line in [ONE, "ALL: 198.51.100.9\n"] {
            let line = applied(&sandbox, &mut tcpw, Edit::Append(line))?;
            times[1].push(line.in_force);
            times[2].push(line.settled);
        }
        applied(&sandbox, &mut tcpw, Edit::Write(ONE))?;
        if !alone {
            let [nft, ipset] = lists.load(&sandbox)?;
            lists.unload(&sandbox)?;
            times[3].push(nft.as_secs_f64() * 1e3);
            times[4].push(ipset.as_secs_f64() * 1e3);
        }
    }
    let peak = peak_of(tcpw.process.pid())?;
    let [file, line, settled, nft, ipset] = times;
    let ms = serde_json::json!({
        "tcpw": file, "tcpw, one line": line, "tcpw, settled": settled, "nftables": nft, "ipset": ipset
    });
    Ok(serde_json::json!({ "networks": networks, "ms": ms, "peak_bytes": peak }).to_string())
}

const ONE: &str = "ALL: 198.51.100.7\n";

/// What is done to hosts.deny.
#[derive(Clone, Copy)]
enum Edit<'a> {
    Write(&'a str),
    Append(&'a str),
}

/// Milliseconds from the beginning of an edit.
struct Applied {
    /// Until it is enforced.
    in_force: f64,
    /// Until no program uses the tables before any more.
    settled: f64,
}

/// Edits hosts.deny, and waits until that is applied.
fn applied(sandbox: &Sandbox, tcpw: &mut Tcpw, edit: Edit<'_>) -> Result<Applied> {
    let mark = tcpw.process.mark();
    let began = Instant::now();
    match edit {
        Edit::Write(deny) => fs::write(sandbox.hosts_deny(), deny).context("write hosts.deny")?,
        Edit::Append(line) => {
            let mut file = fs::OpenOptions::new().append(true).open(sandbox.hosts_deny())?;
            file.write_all(line.as_bytes()).context("append to hosts.deny")?;
        }
    }
    let line = tcpw.process.wait_for_line_after(mark, "applied generation", PATIENCE)?;
    let settled = (line.at - began).as_secs_f64() * 1e3;
    let told = |before: &str| -> Result<f64> {
        let rest =
            line.text.split_once(before).with_context(|| format!("no \"{before}\" in {}", line.text))?.1;
        let number = rest.split(' ').next().unwrap_or_default();
        number.parse().with_context(|| format!("{number}: no number in {}", line.text))
    };
    // Both are told from the same beginning.
    let since = told(" in ")? - told("in force after ")?;
    Ok(Applied { in_force: settled - since, settled })
}

/// The most memory a process ever had, in bytes.
fn peak_of(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read a process's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM")?;
    Ok(kilobytes << 10)
}
