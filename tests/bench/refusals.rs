//! What a refused client takes of the processor; `tcpw-bench refusals close|reset|drop`.
//!
//! Out: one JSON object. `client_ns`: the time of the client's thread for an attempt, its own system calls and
//! what the kernel does for both ends on its behalf. `daemon_ns`: the time of tcpw's process for it, line
//! included. A dropped client sends one SYN here; a real one sends it again several times.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    time::{ClockId, clock_gettime},
    unistd::{SysconfVar, sysconf},
};
use tcpw_tests::{
    CLIENT_V4, SERVER_V4, Sandbox, Tcpw, Testd,
    client::{Ended, connect, knock},
    wait_until,
};

const ATTEMPTS: u32 = 5000;
const SOON: Duration = Duration::from_secs(30);

/// Refuses clients in one way.
pub(crate) fn run(how: &str) -> Result<String> {
    let sandbox = Sandbox::new("bench-refusals")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let server = (SERVER_V4, 7001).into();
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let log = sandbox.scratch().join("log/secure");
    let config = sandbox.scratch().join("tcpw.toml");
    let settings = format!(
        "hosts-allow = {:?}\nhosts-deny = {:?}\ncgroup = {:?}\nlog = \"file:{}\"\non-deny = {how:?}\ntrust-source-addresses = true\n\
         [reset]\nper-source = 1000000\ntotal = 1000000\n",
        sandbox.hosts_allow(),
        sandbox.hosts_deny(),
        sandbox.cgroup(),
        log.display(),
    );
    fs::write(&config, settings).context("write the settings")?;
    let mut tcpw = Tcpw::spawn_with_config(&sandbox, &config)?;
    tcpw.wait_for_line("ready: ", SOON)?;
    let is_refused = || -> Result<bool> {
        if how == "drop" {
            return sandbox.client().run(|| knock(CLIENT_V4, server)).map(|()| true);
        }
        let attempt = connect(sandbox.client(), CLIENT_V4, server, Duration::from_secs(2))?;
        Ok(match attempt.ended {
            Ended::Connected(_) | Ended::ConnectedAndReset if how == "close" => true,
            Ended::Refused if how == "reset" => true,
            Ended::Connected(_) | Ended::ConnectedAndReset | Ended::Refused | Ended::TimedOut => false,
        })
    };
    match how {
        "close" | "reset" | "drop" => wait_until("clients are refused in this way", SOON, is_refused)?,
        _ => bail!("{how}: close, reset or drop"),
    }
    let (daemon, client) = (process_time(tcpw.pid())?, thread_time()?);
    let refused = Tcpw::counters(&sandbox)?["refused"];
    for _attempt in 0..ATTEMPTS {
        ensure!(is_refused()?, "a client was refused in another way");
    }
    let client = thread_time()? - client;
    Tcpw::wait_counters(&sandbox, "all are refused", SOON, |now| {
        // A port that is used again within 131 s makes no new attempt where no sequence number is seen.
        now["refused"] + now["retransmits"] >= refused + u64::from(ATTEMPTS) * 9 / 10
    })?;
    let daemon = process_time(tcpw.pid())? - daemon;
    let each = |time: Duration| time.as_nanos() / u128::from(ATTEMPTS);
    Ok(serde_json::json!({
        "how": how,
        "attempts": ATTEMPTS,
        "client_ns": each(client),
        "daemon_ns": each(daemon),
    })
    .to_string())
}

/// User and system time of a process, in all its threads. Source: proc_pid_stat(5), fields 14 and 15.
fn process_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| -> Result<u64> {
        fields
            .get(field - 3)
            .and_then(|text| text.parse().ok())
            .with_context(|| format!("{path}: field {field}"))
    };
    let of_second = sysconf(SysconfVar::CLK_TCK)?.context("the length of a tick")?;
    Ok(Duration::from_secs_f64((ticks(14)? + ticks(15)?) as f64 / of_second as f64))
}

fn thread_time() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).context("read the thread's clock")
}
