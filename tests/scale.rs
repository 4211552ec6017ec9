//! A crowded host: what a start costs there, and that nobody is forgotten.
//!
//! Out: on stderr, one line of figures per test. The bounds are far above what is measured: they are
//! for what grows faster than the host.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, Place, Requirement, SERVER_V4, Sandbox, Tcpw, Testd, can_run, client::connect, tcpw_binary,
};

const PATIENCE: Duration = Duration::from_millis(400);
const START: Duration = Duration::from_secs(90);

fn ready() -> bool {
    can_run("scale", &[Requirement::Root, Requirement::Program("/usr/bin/prlimit")])
}

/// Starts tcpw as a service manager would, with 1024 open files at first, beside `crowd`, and
/// returns its figures once every one of `count` listeners is known by name.
fn assert_all_are_known(sandbox: &Sandbox, count: usize) -> Result<Testable> {
    let mut run = Command::new("/usr/bin/prlimit");
    run.arg("--nofile=1024:").arg(tcpw_binary()?).args(["run", "--log", "stdout", "--hosts-allow"]);
    run.arg(sandbox.hosts_allow()).arg("--hosts-deny").arg(sandbox.hosts_deny());
    run.arg("--cgroup").arg(sandbox.cgroup());
    let began = Instant::now();
    let mut process = sandbox.spawn(Place::Server, run)?;
    process.wait_for_line("ready: ", START)?;
    let start = began.elapsed();
    let began = Instant::now();
    let lines = Tcpw::command(sandbox, &["status", "--json"])?;
    let asked = began.elapsed();
    let text: String = lines.into_iter().map(|line| line.text).collect();
    let status: serde_json::Value = serde_json::from_str(&text).context("read the status")?;
    let listeners = status["listeners"].as_array().context("no listeners")?;
    let named = listeners.iter().filter(|one| one["names"][0] == "crowdd" && one["tag"] == "written").count();
    ensure!(named == count, "{named} of {count} are known by name:\n{}", process.tail());
    let memory = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let peak_kb = peak.trim().trim_end_matches(" kB").parse()?;
    drop(writeln!(
        std::io::stderr(),
        "{count} listeners: start {start:.1?}, status {asked:.1?}, peak memory {} MB",
        peak_kb / 1024
    ));
    Ok(Testable { start, asked, peak_kb })
}

struct Testable {
    start: Duration,
    asked: Duration,
    peak_kb: u64,
}

impl Testable {
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
    assert_all_are_known(&sandbox, 10_000)?.assert_bounded()?;
    Ok(())
}

#[test]
fn listeners_in_a_thousand_namespaces_are_known() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("nets")?;
    sandbox.write_tables("", "crowdd: ALL\n")?;
    let _crowd = Testd::start(&sandbox, "crowdd", "--namespaces 1000 0.0.0.0:7001")?;
    assert_all_are_known(&sandbox, 1000)?.assert_bounded()
}
