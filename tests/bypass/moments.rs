//! The moments around a start, a reload, a handshake.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, anyhow};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, SERVER_V4, SERVER_V6, Sandbox, Testd, client::connect, wait_until,
};

use crate::{
    client,
    packet::{ACK, SYN, Segment},
    streams,
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

/// The port of a client that comes again.
const CLIENT_PORT: u16 = 31_000;

/// The server still knows the ends of a connection that it closed.
fn time_wait(world: &World) -> Result<Vec<Leg>> {
    world.apply(OPEN, DENY)?;
    let mut legs = Vec::new();
    let pairs = [(CLIENT_V4_OTHER, false), (CLIENT_V4, true)];
    let again = |from, expected| {
        let from = SocketAddr::new(from, CLIENT_PORT);
        let to = SocketAddr::new(SERVER_V4, PORT);
        world.sandbox.client().run(|| client::prepared(from, to, patience(expected), |_| Ok(())))
    };
    for (from, _) in pairs {
        legs.push(Leg::new(format!("{from} before"), true, again(from, true)?));
    }
    wait_until("the server has closed both", patience(true), || {
        const TIME_WAIT: &str = "06";
        let table = world.sandbox.server().run(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp6")?))?;
        // The ways before this one leave connections of other ports.
        let remote = format!(":{CLIENT_PORT:04X}");
        let is_closed = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            !words[2].ends_with(&remote) || words[3] == TIME_WAIT
        };
        Ok(table.lines().skip(1).all(is_closed))
    })?;
    world.apply(ALLOW, DENY)?;
    for (from, expected) in pairs {
        legs.push(Leg::new(from, expected, again(from, expected)?));
    }
    Ok(legs)
}

/// How a client of TCP tries once.
pub(crate) fn connects(sandbox: &Sandbox, from: IpAddr, to: IpAddr, patience: Duration) -> Result<bool> {
    Ok(connect(sandbox.client(), from, SocketAddr::new(to, PORT), patience)?.is_connected())
}

fn start_loop(_world: &World) -> Result<Vec<Leg>> {
    let sandbox = Sandbox::new("bypass-start-loop")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("[::]:{PORT}"))?;
    streams::while_starting(&sandbox, &[], Duration::from_millis(50), &connects)
}

fn reload_loop(world: &World) -> Result<Vec<Leg>> {
    streams::while_rules_change(world, Duration::from_millis(20), &connects)
}
