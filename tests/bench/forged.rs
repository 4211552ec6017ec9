//! A flood of SYNs with forged addresses against a rule of names, with a name server that never answers;
//! `tcpw-bench forged SECONDS`.
//!
//! Out: a JSON array, an object for each [`WINDOW`]: SYNs sent, processor time of tcpw for each in microseconds, its memory
//! and that of the process that looks names up, bytes of the log, and what clients that are there waited for a connection.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{SysconfVar, sysconf};
use serde_json::{Value, json};
use tcpw_tests::{
    CLIENT_V4, SERVER_V4, Sandbox, Tcpw, Testd,
    client::{connect, knock_from},
};
use tcpw_userspace::host::NAME_LOOKUPS;

const WINDOW: Duration = Duration::from_secs(30);

/// SYNs in a hundredth of a second.
const RATE: u32 = 10;

/// Between two clients that are there: 1.2.5.1 to 1.2.5.250, one after the other.
const CLIENT_EVERY: Duration = Duration::from_millis(250);
const CLIENTS: u8 = 250;
const PATIENCE: Duration = Duration::from_secs(20);
const SERVER: SocketAddr = SocketAddr::new(SERVER_V4, 7001);

/// Floods for so long.
pub(crate) fn run(seconds: &str) -> Result<String> {
    let seconds: u64 = seconds.parse().with_context(|| format!("{seconds}: no number"))?;
    let sandbox = Sandbox::new("bench-forged")?;
    for network in ["1.2.128.0/17", "1.2.5.0/24"] {
        sandbox.client().ip(&format!("route add local {network} dev lo"))?;
        sandbox.server().ip(&format!("route add {network} via {CLIENT_V4}"))?;
    }
    // There is no host at the forged addresses.
    sandbox.client().nft(
        "table ip forged {\nchain in { type filter hook prerouting priority raw\nip daddr 1.2.128.0/17 drop\n}\n}\n",
    )?;
    let names = (1..=CLIENTS).map(|number| format!("1.2.5.{number} c{number}.example.test\n"));
    fs::write(sandbox.etc().join("hosts"), names.collect::<String>())?;
    fs::write(sandbox.etc().join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:8 attempts:2\n")?;
    fs::write(sandbox.etc().join("nsswitch.conf"), "hosts: files dns\n")?;
    let _silent = sandbox.server().run(|| Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))?))?;
    sandbox.write_tables("alphad: .example.test\n", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let tcpw = Tcpw::start(&sandbox, &["--log", "file:/var/log/secure", "--on-deny", "close"])?;
    let processes = [tcpw.process.pid(), tcpw.helper_of(NAME_LOOKUPS)?];
    let log = sandbox.scratch().join("log/secure");
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&sandbox, &sent, &is_over));
        let measured = windows(&sandbox, Duration::from_secs(seconds), (processes, &log), &sent);
        is_over.store(true, Ordering::Relaxed);
        flood.join().ok().context("the flood panicked")??;
        Ok(Value::from(measured?).to_string())
    })
}

fn flood(sandbox: &Sandbox, sent: &AtomicU64, is_over: &AtomicBool) -> Result<()> {
    let first = Ipv4Addr::new(1, 2, 128, 0).to_bits();
    sandbox.client().run(|| {
        while !is_over.load(Ordering::Relaxed) {
            for _ in 0..RATE {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                let source = Ipv4Addr::from_bits(first + u32::try_from(number % 0x8000)?);
                knock_from(SocketAddr::new(source.into(), 0), SERVER)?;
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    })
}

fn windows(
    sandbox: &Sandbox,
    time: Duration,
    (processes, log): ([u32; 2], &std::path::Path),
    sent: &AtomicU64,
) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    let end = Instant::now() + time;
    let mut client = 0_u8;
    while Instant::now() < end {
        let (sent_before, took_before) = (sent.load(Ordering::Relaxed), processor_ms(processes[0])?);
        let began = Instant::now();
        let mut waits_ms = Vec::new();
        while began.elapsed() < WINDOW {
            client = client % CLIENTS + 1;
            let from = IpAddr::from([1, 2, 5, client]);
            let attempt = connect(sandbox.client(), from, SERVER, PATIENCE)?;
            ensure!(attempt.is_connected(), "{from}: {attempt:?}");
            waits_ms.push(attempt.took.as_secs_f64() * 1e3);
            thread::sleep(CLIENT_EVERY);
        }
        waits_ms.sort_unstable_by(f64::total_cmp);
        let sent = sent.load(Ordering::Relaxed) - sent_before;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let us_a_syn = (processor_ms(processes[0])? - took_before) as f64 * 1e3 / sent as f64;
        all.push(json!({
            "syns": sent,
            "us_a_syn": us_a_syn,
            "memory_kb": memory_kb(processes[0])?,
            "lookups_memory_kb": memory_kb(processes[1])?,
            "log_bytes": fs::metadata(log).map_or(0, |log| log.len()),
            "clients": waits_ms.len(),
            "median_ms": waits_ms.get(waits_ms.len() / 2),
            "most_ms": waits_ms.last(),
        }));
    }
    Ok(all)
}

/// User and system time of a process. Source: proc_pid_stat(5).
fn processor_ms(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind = text.rsplit(')').next().context("no name")?;
    let mut fields = behind.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = fields.next().context("no time")?? + fields.next().context("no time")??;
    let a_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    Ok(ticks * 1000 / u64::try_from(a_second)?)
}

/// Resident memory. Source: proc_pid_status(5).
fn memory_kb(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
