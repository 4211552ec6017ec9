//! The moments around a start, a reload, a handshake.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd, client::connect,
};

use crate::{
    client,
    packet::{ACK, SYN, Segment},
    wire::{ALLOWED_V4, ALLOWED_V6, REFUSED_V4, REFUSED_V6, sysctl},
    world::{ALLOW, DENY, Leg, PORT, Theme, Way, World, patience, tried},
};

pub(crate) const THEME: Theme = Theme { name: "moments", start, ways: WAYS };

const WAYS: &[Way] = &[
    tried("SYN cookie kept from before the rule", kept_cookie),
    tried("SYN cookie across a reload", cookie_across_reload),
    tried("handshake across a reload", handshake_across_reload),
    tried("SYN into the TIME_WAIT of before the rule", time_wait),
    tried("connecting while tcpw starts", start_loop),
    tried("connecting while the rules change", reload_loop),
];

/// Everybody may connect.
const OPEN: &str = "alphad: 1.2. [3ffe:ffff:100::]/48\n";

fn start(theme: &'static str) -> Result<World> {
    World::start(theme)
}

/// A handshake whose last ACK is sent after other tables are in force.
fn split(world: &World, before: &str, after: &str, cookies: &str, expected: [bool; 4]) -> Result<Vec<Leg>> {
    sysctl(world.sandbox.server(), "ipv4/tcp_syncookies", cookies)?;
    world.apply(before, DENY)?;
    let mut halves = Vec::new();
    for (from, to) in
        [(REFUSED_V4, SERVER_V4), (ALLOWED_V4, SERVER_V4), (REFUSED_V6, SERVER_V6), (ALLOWED_V6, SERVER_V6)]
    {
        let syn = world.wire.syn(from, to, PORT);
        world.wire.send(&[syn.plain()])?;
        let answer = world.wire.wait(&syn, patience(true), |flags, _| flags & SYN != 0)?;
        let answer = answer.ok_or_else(|| anyhow!("{from} was not answered under the tables of before"))?;
        halves.push((syn, answer));
    }
    if before != after {
        world.apply(after, DENY)?;
    } else {
        // Another rule, of nobody here.
        world.apply(&format!("{after}betad: 9.\n"), DENY)?;
    }
    let mut legs = Vec::new();
    for ((syn, answer), expected) in halves.into_iter().zip(expected) {
        let ack = Segment {
            seq: answer.ack,
            ack: answer.seq.wrapping_add(1),
            flags: ACK,
            options: Vec::new(),
            ..syn.clone()
        };
        world.wire.send(&[ack.plain()])?;
        let greeted = world.wire.wait(&syn, patience(expected), |_, data| data.starts_with(b"hello"))?;
        legs.push(Leg::new(syn.from, expected, greeted.is_some()));
    }
    sysctl(world.sandbox.server(), "ipv4/tcp_syncookies", "1")?;
    world.apply(ALLOW, DENY)?;
    Ok(legs)
}

/// The server forgot the handshake: its last ACK is all there is to judge.
fn kept_cookie(world: &World) -> Result<Vec<Leg>> {
    split(world, OPEN, "alphad: 1.2.3. [3ffe:ffff:100:200::]/64 9.\n", "2", [false, true, false, true])
}

fn cookie_across_reload(world: &World) -> Result<Vec<Leg>> {
    split(world, OPEN, OPEN, "2", [true; 4])
}

/// Its SYN was judged: it ends as it began.
fn handshake_across_reload(world: &World) -> Result<Vec<Leg>> {
    split(world, OPEN, "alphad: 1.2.3. [3ffe:ffff:100:200::]/64 9.\n", "0", [true; 4])
}

/// The server still knows the ends of a connection that it closed.
fn time_wait(world: &World) -> Result<Vec<Leg>> {
    world.apply(OPEN, DENY)?;
    let mut legs = Vec::new();
    let pairs = [(CLIENT_V4_OTHER, false), (CLIENT_V4, true)];
    let again = |from, expected| {
        let from = SocketAddr::new(from, 31_000);
        let to = SocketAddr::new(SERVER_V4, PORT);
        world.sandbox.client().run(|| client::prepared(from, to, patience(expected), |_| Ok(())))
    };
    for (from, _) in pairs {
        legs.push(Leg::new(format!("{from} before"), true, again(from, true)?));
    }
    thread::sleep(Duration::from_millis(100));
    world.apply(ALLOW, DENY)?;
    for (from, expected) in pairs {
        legs.push(Leg::new(from, expected, again(from, expected)?));
    }
    Ok(legs)
}

/// From "ready" on nobody refused gets in; nobody allowed is ever lost.
fn start_loop(_world: &World) -> Result<Vec<Leg>> {
    let sandbox = Sandbox::new("bypass-start-loop")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("[::]:{PORT}"))?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let refused = scope.spawn(|| attempts(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 50, &stop));
        let allowed = scope.spawn(|| attempts(&sandbox, CLIENT_V6, SERVER_V6, 3000, &stop));
        thread::sleep(Duration::from_millis(100));
        let tcpw = Tcpw::start(&sandbox, &[]);
        let ready = Instant::now();
        thread::sleep(Duration::from_millis(400));
        stop.store(true, Ordering::Relaxed);
        let (refused, allowed) = (joined(refused.join())?, joined(allowed.join())?);
        drop(tcpw?);
        let (before, after): (Vec<_>, Vec<_>) = refused.into_iter().partition(|one| one.began < ready);
        Ok(vec![
            Leg::new("before the start", true, before.first().is_some_and(|one| one.connected)),
            Leg::new("refused", false, after.is_empty() || after.iter().any(|one| one.connected)),
            Leg::new("allowed", true, allowed.len() > 10 && allowed.iter().all(|one| one.connected)),
        ])
    })
}

/// Rules that open and close the door for one client: another one is never let in, a third never lost.
fn reload_loop(world: &World) -> Result<Vec<Leg>> {
    let stop = AtomicBool::new(false);
    let sandbox = &world.sandbox;
    thread::scope(|scope| {
        let refused = scope.spawn(|| attempts(sandbox, tcpw_tests::CLIENT_V6_OTHER, SERVER_V6, 20, &stop));
        let allowed = scope.spawn(|| attempts(sandbox, CLIENT_V6, SERVER_V6, 3000, &stop));
        let changing = scope.spawn(|| attempts(sandbox, CLIENT_V4_OTHER, SERVER_V4, 20, &stop));
        let mut spans = Vec::new();
        let mut changed = Ok(());
        for round in 0..8 {
            let is_open = round % 2 == 0;
            let allow = if is_open { "alphad: 1.2. [3ffe:ffff:100:200::]/64\n" } else { ALLOW };
            changed = changed.and_then(|()| world.apply(allow, DENY));
            let began = Instant::now();
            thread::sleep(Duration::from_millis(150));
            spans.push((began, Instant::now(), is_open));
        }
        stop.store(true, Ordering::Relaxed);
        let (refused, allowed, changing) =
            (joined(refused.join())?, joined(allowed.join())?, joined(changing.join())?);
        changed?;
        let wrong = changing.iter().any(|one| {
            spans
                .iter()
                .any(|(from, to, is_open)| one.began > *from && one.ended < *to && one.connected != *is_open)
        });
        Ok(vec![
            Leg::new("refused", false, refused.len() < 10 || refused.iter().any(|one| one.connected)),
            Leg::new("allowed", true, allowed.len() > 10 && allowed.iter().all(|one| one.connected)),
            Leg::new("by turns, at odds with the rules", false, wrong),
        ])
    })
}

/// One of many attempts.
pub(crate) struct One {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) connected: bool,
}

/// Connects again and again, a few thousand times at most.
pub(crate) fn attempts(
    sandbox: &Sandbox,
    from: std::net::IpAddr,
    to: std::net::IpAddr,
    patience_ms: u64,
    stop: &AtomicBool,
) -> Result<Vec<One>> {
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) && all.len() < 5000 {
        let began = Instant::now();
        let attempt =
            connect(sandbox.client(), from, SocketAddr::new(to, PORT), Duration::from_millis(patience_ms))?;
        all.push(One { began, ended: Instant::now(), connected: attempt.is_connected() });
        thread::sleep(Duration::from_millis(3));
    }
    Ok(all)
}

pub(crate) fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.map_err(|_| anyhow!("a client panicked"))?
}
