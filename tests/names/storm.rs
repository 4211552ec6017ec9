//! Five thousand clients with as many names, all at once, and a resolver that is slow or dead.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{
            AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect as start,
            getsockopt, socket, sockopt,
        },
    },
};
use tcpw_tests::{
    CLIENT_V4, Requirement, SERVER_V4, Sandbox, Tcpw, Testd, can_run,
    client::{Ended, connect},
    daemons::{Nginx, Unbound, Zones},
};

use super::{AT_ONCE, SOON};

const CLIENTS: u32 = 5000;

/// 1.2.128.0/19, whole.
fn client(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(1, 2, 128, 0).to_bits() + number).into()
}

/// Every other one has a name that is allowed.
fn is_good(number: u32) -> bool {
    number.is_multiple_of(2)
}

#[test]
fn storm_at_a_slow_resolver_ends_with_the_right_verdicts() -> Result<()> {
    storm("slow", Some(Duration::from_millis(200)), Duration::from_secs(60))
}

#[test]
fn storm_at_a_dead_resolver_lets_nobody_in() -> Result<()> {
    storm("dead-storm", None, Duration::from_secs(12))
}

fn storm(name: &str, delay: Option<Duration>, patience: Duration) -> Result<()> {
    if !super::ready() || !can_run("storm", &[Requirement::Program("/usr/sbin/nginx")]) {
        return Ok(());
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(16384), hard)?;
    let sandbox = Sandbox::new(name)?;
    sandbox.client().ip("route add local 1.2.128.0/19 dev lo")?;
    // One neighbour, not five thousand.
    sandbox.server().ip(&format!("route add 1.2.128.0/19 via {CLIENT_V4}"))?;
    sandbox.write_tables("alphad: .good.example.test\nbetad nginx: 1.2.3.\n", "ALL: ALL\n")?;
    let mut zones = Zones::default();
    for number in 0..CLIENTS {
        zones.host(&format!("h{number}.{}", if is_good(number) { "good" } else { "bad" }), client(number));
    }
    let unbound = Unbound::start(&sandbox, &zones)?;
    fs::write(sandbox.etc().join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:8 attempts:2\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7002")?;
    let nginx = Nginx::start(&sandbox, 8001)?;
    let text = format!("[resolve]\nlookups = 256\ntime-limit = {}\n", if delay.is_some() { 30 } else { 4 });
    let tcpw = Tcpw::start(&sandbox, &["--config", &sandbox.write_settings(&text)?])?;
    let pid = tcpw.process.pid();
    let before = memory_kib(pid, "VmRSS:")?;
    unbound.delay(delay);

    let server = |port| SocketAddr::new(SERVER_V4, port);
    let web = connect(sandbox.client(), CLIENT_V4, server(nginx.port), AT_ONCE)?;
    let Ended::Connected(mut web) = web.ended else { anyhow::bail!("nginx: {web:?}") };
    let (mut by_address, mut requests) = (Vec::new(), Vec::new());
    let (connected, waiting) = thread::scope(|scope| -> Result<_> {
        let storm =
            scope.spawn(|| sandbox.client().run(|| all_at_once(server(7001), patience, delay.is_some())));
        while !storm.is_finished() && by_address.len() < 100 {
            let attempt = connect(sandbox.client(), CLIENT_V4, server(7002), AT_ONCE)?;
            ensure!(attempt.is_connected(), "a rule of addresses: {attempt:?}");
            by_address.push(attempt.took);
            let began = Instant::now();
            web.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").context("write to nginx")?;
            web.set_read_timeout(Some(SOON))?;
            let length = web.read(&mut [0; 1024]).context("read from nginx")?;
            ensure!(length > 0, "nginx closed");
            requests.push(began.elapsed());
            thread::sleep(Duration::from_millis(100));
        }
        storm.join().ok().context("the storm panicked")?
    })?;
    let after = memory_kib(pid, "VmHWM:")?;
    let counters = Tcpw::counters(&sandbox)?;
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let last = connected.iter().map(|(_, took)| *took).max().unwrap_or_default();
    writeln!(
        std::io::stderr(),
        "storm: {name}: {CLIENTS} clients, {} connected (last after {last:.1?}), {waiting} still wait; look-ups {}, \
         held {}, not held: {} too many waiting, {} at the source's bound, {} ring full; given up {}; memory {before} -> at most {after} KiB; \
         by address {:.1?} (median of {}), established {:.1?} (median), {:.1?} (longest)",
        connected.len(),
        counters["lookups"],
        counters["asked"],
        counters["names_limited"],
        counters["hold_limited"],
        counters["hold_ring_full"],
        counters["names_given_up"],
        median(&mut by_address.clone()),
        by_address.len(),
        median(&mut requests.clone()),
        requests.iter().max().copied().unwrap_or_default(),
    )?;
    let wrong: Vec<_> = connected.iter().filter(|(number, _)| !is_good(*number)).collect();
    ensure!(wrong.is_empty(), "allowed without a name: {wrong:?}");
    let good = (0..CLIENTS).filter(|number| is_good(*number)).count();
    match delay {
        Some(_) => ensure!(connected.len() == good, "{} of {good} connected", connected.len()),
        None => ensure!(connected.is_empty(), "allowed by a dead resolver: {}", connected.len()),
    }
    ensure!(counters["names_limited"] > 0, "more than the limit never waited: {counters:?}");
    ensure!(counters["disagreements"] == 0, "{counters:?}");
    ensure!(after < before + 64 * 1024, "memory grew from {before} to {after} KiB");
    ensure!(median(&mut by_address) < Duration::from_millis(50), "rules of addresses are slow");
    ensure!(median(&mut requests) < Duration::from_millis(50), "established traffic is slow");
    let said = tcpw.process.lines().iter().any(|line| line.text.contains("were not held for a look-up"));
    ensure!(said, "what the bound dropped is not said:\n{}", tcpw.process.tail());
    Ok(())
}

/// Connects all of them; returns who was connected after how long, and how many still wait.
fn all_at_once(server: SocketAddr, patience: Duration, ends: bool) -> Result<(Vec<(u32, Duration)>, usize)> {
    let began = Instant::now();
    let mut open: Vec<(u32, OwnedFd)> = Vec::new();
    for number in 0..CLIENTS {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, SockProtocol::Tcp)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(client(number), 0)))
            .with_context(|| format!("bind {}", client(number)))?;
        match start(socket.as_raw_fd(), &SockaddrStorage::from(server)) {
            Ok(()) | Err(Errno::EINPROGRESS) => open.push((number, socket)),
            Err(error) => return Err(error).context("connect"),
        }
    }
    let mut connected = Vec::new();
    let good = (0..CLIENTS).filter(|number| is_good(*number)).count();
    // Those that are refused wait on: a while longer than the last of the others.
    let mut quiet_since = None;
    while began.elapsed() < patience {
        let mut ready: Vec<PollFd<'_>> =
            open.iter().map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)).collect();
        poll(&mut ready, PollTimeout::from(100u16)).context("poll")?;
        let is_ready: Vec<bool> =
            ready.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect();
        let mut at = 0;
        open.retain(|(number, socket)| {
            at += 1;
            if is_ready[at - 1] && getsockopt(socket, sockopt::SocketError) == Ok(0) {
                connected.push((*number, began.elapsed()));
            }
            !is_ready[at - 1]
        });
        if ends && connected.len() >= good {
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if since.elapsed() > Duration::from_secs(3) {
                break;
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok((connected, open.len()))
}

fn memory_kib(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read the memory")?;
    let line = status.lines().find(|line| line.starts_with(field)).context("no such field")?;
    line.split_whitespace().nth(1).context("no number")?.parse().context("a number")
}
