//! Reloads of so many networks while clients connect; `tcpw-bench under-load NETWORKS CONNECTIONS-A-SECOND SECONDS`.
//!
//! Out: one JSON object: how long a connection takes with and without reloads meanwhile, how many allowed clients got none,
//! and how many clients got a verdict that was neither that of the rules before nor that of the edit, or the one before
//! after `applied` was said.
//! Invariant: connections are begun by the clock, whether the ones before are over or not: a connection that waits for its
//! turn counts from the moment it was due.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, SERVER_V4, Sandbox, Tcpw,
    client::{Ended, connect},
};

use crate::{hooks::served, peers::Lists};

const PORT: u16 = 7001;
const PATIENCE: Duration = Duration::from_secs(20);

/// Half of them for each client.
const THREADS: u32 = 4;

/// One connection.
struct One {
    began: Instant,
    ended: Instant,
    /// Since it was due.
    took: Duration,
    is_allowed: bool,
}

/// A policy that was put in force.
struct Edit {
    written: Instant,
    applied: Instant,
    /// It refuses the client that has turns.
    refuses: bool,
}

/// Measures.
pub(crate) fn run(networks: &str, rate: &str, seconds: &str) -> Result<String> {
    let number = |text: &str| text.parse::<u32>().with_context(|| format!("{text}: no number"));
    let (networks, rate, seconds) = (number(networks)?, number(rate)?, number(seconds)?);
    let sandbox = Sandbox::new("bench-load")?;
    let _server = served(&sandbox, PORT)?;
    Lists::write(&sandbox, networks)?;
    let allows = fs::read_to_string(sandbox.hosts_deny())?;
    let refuses = format!("{allows}ALL: {CLIENT_V4_OTHER}\n");
    // Past the limit of resets a refused client would wait for nothing.
    let settings = sandbox.write_settings("[reset]\nper-source = 1000000\ntotal = 1000000\n")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--on-deny", "reset", "--config", &settings])?;
    Tcpw::wait_listener(&sandbox, PORT, |row| row["on_deny"] == "reset")?;
    let time = Duration::from_secs(seconds.into());

    let rest = loaded(&sandbox, rate, || {
        thread::sleep(time);
        Ok(())
    })?;
    let mut edits = Vec::new();
    let reloaded = loaded(&sandbox, rate, || {
        let began = Instant::now();
        while began.elapsed() < time {
            let is_refused = edits.len() % 2 == 0;
            let (mark, written) = (tcpw.process.mark(), Instant::now());
            fs::write(sandbox.hosts_deny(), if is_refused { &refuses } else { &allows })?;
            let line = tcpw.process.wait_for_line_after(mark, "applied generation", PATIENCE)?;
            edits.push(Edit { written, applied: line.at, refuses: is_refused });
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    })?;
    let (wrong, certain) = wrong_verdicts(&reloaded.1, &edits);
    ensure!(certain > 0, "no connection had one right verdict");
    let of = |all: &[One]| {
        let mut took: Vec<f64> = all.iter().map(|one| one.took.as_secs_f64() * 1e3).collect();
        took.sort_unstable_by(f64::total_cmp);
        let at = |part: usize| took.get(took.len() * part / 1000).copied().unwrap_or(f64::NAN);
        serde_json::json!({ "connections": all.len(), "p50_ms": at(500), "p99_ms": at(990), "p999_ms": at(999) })
    };
    let lost = rest.0.iter().chain(&reloaded.0).filter(|one| !one.is_allowed).count();
    Ok(serde_json::json!({
        "networks": networks,
        "rate": rate,
        "reloads": edits.len(),
        "without": of(&rest.0),
        "with": of(&reloaded.0),
        "lost": lost,
        "wrong": wrong,
        "certain": certain,
    })
    .to_string())
}

/// Of the client that has turns: how many verdicts are wrong, and of how many only one is right.
fn wrong_verdicts(all: &[One], edits: &[Edit]) -> (usize, usize) {
    let mut wrong = 0;
    let mut certain = 0;
    for (index, edit) in edits.iter().enumerate() {
        let until = edits.get(index + 1).map(|next| next.written);
        let within = |one: &&One| one.began >= edit.applied && until.is_none_or(|until| one.ended < until);
        for one in all.iter().filter(within) {
            certain += 1;
            wrong += usize::from(one.is_allowed == edit.refuses);
        }
    }
    (wrong, certain)
}

/// The connections that both clients make while `work` runs: those of the one that is always allowed, and of the other.
fn loaded(sandbox: &Sandbox, rate: u32, work: impl FnOnce() -> Result<()>) -> Result<(Vec<One>, Vec<One>)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let begin = Instant::now();
        let step = Duration::from_secs(1) / rate;
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let client = if number % 2 == 0 { CLIENT_V4 } else { CLIENT_V4_OTHER };
                let (stop, first) = (&stop, begin + step * number);
                scope.spawn(move || connections(sandbox, client, first, step * THREADS, stop))
            })
            .collect();
        let worked = work();
        stop.store(true, Ordering::Relaxed);
        let (mut always, mut by_turns) = (Vec::new(), Vec::new());
        for (number, thread) in threads.into_iter().enumerate() {
            let all = thread.join().map_err(|_| anyhow!("a client panicked"))??;
            if number % 2 == 0 { always.extend(all) } else { by_turns.extend(all) }
        }
        worked.map(|()| (always, by_turns))
    })
}

/// Connections of a client, by the clock.
fn connections(
    sandbox: &Sandbox,
    client: IpAddr,
    first: Instant,
    step: Duration,
    stop: &AtomicBool,
) -> Result<Vec<One>> {
    let mut all = Vec::new();
    let mut due = first;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let began = Instant::now();
        let is_allowed = is_served(sandbox, client)?;
        let ended = Instant::now();
        all.push(One { began, ended, took: ended - due, is_allowed });
        due += step;
    }
    Ok(all)
}

/// Whether a byte comes back.
fn is_served(sandbox: &Sandbox, client: IpAddr) -> Result<bool> {
    match connect(sandbox.client(), client, SocketAddr::new(SERVER_V4, PORT), PATIENCE)?.ended {
        Ended::Refused | Ended::ConnectedAndReset => Ok(false),
        Ended::TimedOut => bail!("{client} got no answer within {PATIENCE:?}"),
        Ended::Connected(mut stream) => {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&stream, sockopt::Linger, &linger).context("set SO_LINGER")?;
            stream.set_nonblocking(false)?;
            let echo = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0]));
            match echo {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
                Err(error) => Err(error).context("exchange a byte"),
            }
        }
    }
}
