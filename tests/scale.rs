//! A crowded host: what a start costs there, and that nobody is forgotten.
//!
//! Out: on stderr, one line of figures per test. The bounds are far above what is measured: they are
//! for what grows faster than the host.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, Netns, Place, Process, Requirement, SERVER_V4, STATE_DIR, Sandbox, Tcpw, Testd, can_run,
    client::{Ended, connect},
    tcpw_binary,
};

const PATIENCE: Duration = Duration::from_millis(900);
const SOON: Duration = Duration::from_secs(20);
const START: Duration = Duration::from_secs(90);
/// Of many namespaces, so many are tried.
const SAMPLE: usize = 20;

fn ready() -> bool {
    can_run("scale", &[Requirement::Root, Requirement::Program("/usr/bin/prlimit")])
}

/// A scan looks at every namespace of the host: one crowd at a time.
static CROWD: Mutex<()> = Mutex::new(());

/// Starts tcpw as a service manager would, with 1024 open files at first, beside `crowd`, and
/// returns its figures once every one of `count` listeners is known by name.
fn assert_all_are_known(sandbox: &Sandbox, count: usize, settings: &str) -> Result<Testable> {
    let file = sandbox.write_settings(&format!("on-deny = \"reset\"\n{settings}"))?;
    let mut run = Command::new("/usr/bin/prlimit");
    run.arg("--nofile=1024:").arg(tcpw_binary()?).args(["run", "--log", "stdout", "--state-dir", STATE_DIR]);
    run.arg("--hosts-allow").arg(sandbox.hosts_allow()).arg("--hosts-deny").arg(sandbox.hosts_deny());
    run.arg("--cgroup").arg(sandbox.cgroup()).arg("--config").arg(&file);
    let began = Instant::now();
    let mut process = sandbox.spawn(Place::Server, run)?;
    process.wait_for_line("ready: ", START)?;
    let start = began.elapsed();
    let began = Instant::now();
    let lines = Tcpw::command(sandbox, &["status", "--json"])?;
    let asked = began.elapsed();
    let text: String = lines.into_iter().map(|line| line.text).collect();
    let status: serde_json::Value = serde_json::from_str(&text).context("read the status")?;
    let is_named = |one: &&serde_json::Value| one["names"][0] == "crowdd" && one["tag"] == "written";
    let all = status["listeners"].as_array().context("no listeners")?;
    let listeners: Vec<serde_json::Value> = all.iter().filter(is_named).cloned().collect();
    let named = listeners.len();
    let unknown = all.iter().find(|one| !is_named(one));
    ensure!(named == count, "{named} of {count} are known by name, not {unknown:?}:\n{}", process.tail());
    let memory = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let peak_kb = peak.trim().trim_end_matches(" kB").parse()?;
    drop(writeln!(
        std::io::stderr(),
        "{count} listeners: start {start:.1?}, status {asked:.1?}, peak memory {} MB",
        peak_kb / 1024
    ));
    Ok(Testable { start, asked, peak_kb, listeners, counters: status["counters"].clone(), process })
}

struct Testable {
    start: Duration,
    asked: Duration,
    peak_kb: u64,
    /// Rows of the status.
    listeners: Vec<serde_json::Value>,
    counters: serde_json::Value,
    /// The running tcpw.
    process: Process,
}

impl Testable {
    /// So many listeners refuse in that way, says the status; a sample of them does.
    fn assert_refused_so(&self, how: &str, count: usize) -> Result<()> {
        let those: Vec<_> = self.listeners.iter().filter(|one| one["on_deny"] == how).collect();
        ensure!(those.len() == count, "{} listeners of {count}: {how}", those.len());
        let lo = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let began = Instant::now();
        for one in those.iter().step_by(count.div_ceil(SAMPLE)) {
            let pid = one["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).context("a pid")?;
            let netns = Netns::of_process(pid)?;
            netns.ip("link set lo up")?;
            let attempt = connect(&netns, lo, SocketAddr::new(lo, 7001), PATIENCE)?;
            let is_so = match how {
                "reset" => matches!(attempt.ended, Ended::Refused),
                _ => matches!(attempt.ended, Ended::TimedOut),
            };
            ensure!(is_so, "{how}, said the status of {one}: {attempt:?}");
        }
        drop(writeln!(
            std::io::stderr(),
            "{count} namespaces: {how}, a sample tried in {:.1?}",
            began.elapsed()
        ));
        Ok(())
    }

    fn assert_bounded(&self) -> Result<()> {
        ensure!(self.start < Duration::from_secs(60), "the start took {:?}", self.start);
        ensure!(self.asked < Duration::from_secs(20), "the status took {:?}", self.asked);
        ensure!(self.peak_kb < 512 * 1024, "{} kB of memory", self.peak_kb);
        Ok(())
    }
}

#[test]
fn ten_thousand_listeners_are_known() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let _alone = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let sandbox = Sandbox::new("crowd")?;
    sandbox.write_tables("", "crowdd: ALL\n")?;
    let mut crowd = Vec::new();
    for first in [20000, 22500, 25000, 27500] {
        crowd.push(Testd::start(&sandbox, "crowdd", &format!("--many 2500 0.0.0.0:{first}"))?);
    }
    let is_connected = |port| -> Result<bool> {
        Ok(connect(sandbox.client(), CLIENT_V4, SocketAddr::new(SERVER_V4, port), PATIENCE)?.is_connected())
    };
    assert!(is_connected(29999)?);
    assert_all_are_known(&sandbox, 10_000, "")?.assert_bounded()?;
    Ok(())
}

#[test]
fn listeners_in_a_thousand_namespaces_are_known() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let _alone = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let sandbox = Sandbox::new("nets")?;
    sandbox.write_tables("", "crowdd: ALL\n")?;
    let _crowd = Testd::start(&sandbox, "crowdd", "--namespaces 1000 0.0.0.0:7001")?;
    let found = assert_all_are_known(&sandbox, 1000, "")?;
    found.assert_bounded()?;
    // Below the bound of 1,024 every one has its link.
    assert_eq!(found.counters["reset_namespaces"], 1000, "{}", found.counters);
    found.assert_refused_so("reset", 1000)
}

/// Beyond the bound clients are dropped, and it is said.
#[test]
fn clients_in_namespaces_beyond_the_bound_are_dropped_and_it_is_said() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let _alone = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let sandbox = Sandbox::new("beyond")?;
    sandbox.write_tables("", "crowdd: ALL\n")?;
    let _crowd = Testd::start(&sandbox, "crowdd", "--namespaces 1000 0.0.0.0:7001")?;
    let mut found = assert_all_are_known(&sandbox, 1000, "[reset]\nnamespaces = 990\n")?;
    found.assert_refused_so("reset", 990)?;
    found.assert_refused_so("drop", 10)?;
    let counted = ["reset_namespaces", "reset_namespaces_without"].map(|name| &found.counters[name]);
    assert_eq!(counted, [990, 10], "{}", found.counters);
    found
        .process
        .wait_for_line("10 network namespaces with refused clients are beyond the bound of 990", SOON)?;
    Ok(())
}
