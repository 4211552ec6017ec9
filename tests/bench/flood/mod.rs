//! Refused attempts as fast as one client can make them; `tcpw-bench flood RULES SHAPE [reload]`.
//!
//! In: the number of rules in hosts.deny, and whether they are `literal` rules or the patterns of a `file`.
//! Out: one JSON object: what was offered, what was written and when, what was lost, how long `tcpw status`
//! and held clients took meanwhile and, with `reload`, during a reload of a million lines. Real sockets,
//! in a sandbox, with the program that `TCPW_BIN` names.

mod gate;
mod meanwhile;
mod replay;
mod rules;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tcpw_tests::{CLIENT_V4_OTHER, Netns, SERVER_V4, Sandbox, Tcpw, Testd, client::knock};

pub(crate) use gate::run as gate;
pub(crate) use replay::run as replay;

use meanwhile::Meanwhile;
use rules::Shape;

/// How long the client makes attempts.
const FLOOD: Duration = Duration::from_secs(3);
/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(15);
/// How long a reload may take.
const RELOAD: Duration = Duration::from_secs(120);
/// Rules of the reload: one more than of the largest start, else nothing would change.
const RELOADED: usize = 1_000_001;
/// The client whose attempts are refused, and the listener it tries.
const FLOODER: IpAddr = CLIENT_V4_OTHER;
const FLOODED: SocketAddr = SocketAddr::new(SERVER_V4, 7001);
/// A listener whose clients are held: too many networks for a table, so the text decides.
const HOLDING: SocketAddr = SocketAddr::new(SERVER_V4, 7002);
/// A listener whose clients' address decides: what the machine itself makes a client wait.
const DIRECT: SocketAddr = SocketAddr::new(SERVER_V4, 7003);
const ALLOW: &str = "betad: *.4\ngammad: 1.2.\n";

/// Measures one size and shape.
pub(crate) fn run(rules: &str, shape: &str, reload: bool) -> Result<String> {
    let count = rules.parse().with_context(|| format!("{rules}: no number of rules"))?;
    let shape = Shape::named(shape)?;
    let sandbox = Sandbox::new("bench-flood")?;
    fs::write(sandbox.hosts_allow(), ALLOW).context("write hosts.allow")?;
    shape.write(&sandbox, count, FLOODER)?;
    let _alphad = Testd::start(&sandbox, "alphad", &FLOODED.to_string())?;
    let _betad = Testd::start(&sandbox, "betad", &HOLDING.to_string())?;
    let _gammad = Testd::start(&sandbox, "gammad", &DIRECT.to_string())?;
    meanwhile::prepare(sandbox.client())?;
    let log = sandbox.scratch().join("log/secure");
    let mut tcpw = Tcpw::start(&sandbox, &["--log", &format!("file:{}", log.display())])?;

    let mut clients = meanwhile::clients();
    let during = Meanwhile::default();
    let started = Instant::now();
    let offered = thread::scope(|scope| {
        let watched = scope.spawn(|| during.watch(&sandbox, &mut clients, FLOOD));
        let offered = flood(sandbox.client(), FLOOD);
        watched.join().map_err(|_panic| anyhow::anyhow!("the watch of the flood panicked"))??;
        offered
    })?;
    let after_4_s = lines_at(&log, started + Duration::from_secs(4))?;
    let (lines, lost, took) = drain(&sandbox, &log, started, offered)?;
    let mut result = json!({
        "rules": count,
        "shape": shape.name(),
        "start_s": tcpw.start_time.as_secs_f64(),
        "offered": offered,
        "lines_after_4_s": after_4_s,
        "lines": lines,
        "lines_after_s": took.as_secs_f64(),
        "lost": lost,
        "flood": during.result()?,
    });
    if reload {
        result["reload"] = reloaded(&sandbox, &mut tcpw, &mut clients, shape)?;
    }
    Ok(result.to_string())
}

/// Attempts from a client that is refused, each one SYN; how many.
fn flood(client: &Netns, time: Duration) -> Result<u64> {
    client.run(|| {
        let end = Instant::now() + time;
        let mut attempts = 0;
        while Instant::now() < end {
            knock(FLOODER, FLOODED)?;
            attempts += 1;
        }
        Ok(attempts)
    })
}

/// Lines of refused attempts so far.
fn lines(log: &Path) -> Result<u64> {
    let text = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    let end = format!("refused connect from {FLOODER} ({FLOODER})");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| line.ends_with(end.as_bytes()));
    Ok(lines.count() as u64)
}

fn lines_at(log: &Path, when: Instant) -> Result<u64> {
    thread::sleep(when.saturating_duration_since(Instant::now()));
    lines(log)
}

/// Waits until every attempt has its line or is counted as lost; lines, losses, and when that was.
fn drain(sandbox: &Sandbox, log: &Path, started: Instant, offered: u64) -> Result<(u64, u64, Duration)> {
    loop {
        let took = started.elapsed();
        let (lines, lost) = (lines(log)?, lost(sandbox));
        if lines + lost.as_ref().map_or(0, |lost| *lost) >= offered || took > FLOOD + LAST_LINES {
            return Ok((lines, lost?, took));
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Refused attempts without a line that are in a count.
fn lost(sandbox: &Sandbox) -> Result<u64> {
    let lines = Tcpw::command(sandbox, &["status", "--json"])?;
    let text: String = lines.into_iter().map(|line| line.text).collect();
    let status: Value = serde_json::from_str(&text).context("read the status")?;
    let counts = [&status["counters"]["ring_full"], &status["log"]["failed"]];
    Ok(counts.into_iter().filter_map(Value::as_u64).sum())
}

/// A table of a million lines takes the place of the one in force.
fn reloaded(sandbox: &Sandbox, tcpw: &mut Tcpw, clients: &mut Vec<IpAddr>, shape: Shape) -> Result<Value> {
    let during = Meanwhile::default();
    let mark = tcpw.process.mark();
    shape.write(sandbox, RELOADED, FLOODER)?;
    let started = Instant::now();
    let applied = thread::scope(|scope| {
        let watched = scope.spawn(|| during.watch(sandbox, clients, RELOAD));
        let applied = tcpw.process.wait_for_line_after(mark, "applied", RELOAD);
        during.end();
        watched.join().map_err(|_panic| anyhow::anyhow!("the watch of the reload panicked"))??;
        applied
    });
    let mut result = during.result()?;
    result["took_s"] = json!(started.elapsed().as_secs_f64());
    applied.context("wait for the reload")?;
    Ok(result)
}
