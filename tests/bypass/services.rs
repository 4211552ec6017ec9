//! UDP services: whose socket, whose peer, and when.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Netns, Place, SERVER_V4, SERVER_V6, Sandbox,
    Tcpw, Testd,
    datagrams::{Came, Client},
    wait_until,
};

use crate::{
    alone::{DOUBTFUL, nobody_watches, stopped},
    streams,
    world::{
        DENY,
        Families::{self, Both, V4, V6},
        Leg, PORT, Theme, Way, World, patience, tried,
    },
};

pub(crate) const THEME: Theme = Theme { name: "UDP services", start, ways: WAYS };
pub(crate) const BY_ICMP: Theme = Theme { name: "UDP, ICMP", start: start_by_icmp, ways: WAYS };
pub(crate) const MOMENTS: Theme = Theme { name: "UDP moments", start: start_pinned, ways: IN_TIME };

const WAYS: &[Way] = &[
    tried("service of before the start", |world| ask_all(world, Both, PORT)),
    tried("service of after the start", |world| serve(world, Both, "[::]:PORT")),
    tried("IPv4 alone", |world| serve(world, V4, "0.0.0.0:PORT")),
    tried("IPv6 alone", |world| serve(world, V6, "--v6only [::]:PORT")),
    tried("one address alone", |world| serve(world, V4, "1.2.3.1:PORT")),
    tried("socket of one device", |world| serve(world, Both, "--device tcpw0 [::]:PORT")),
    tried("one address beside every address, of another daemon", beside),
    tried("mapped destination on a socket of IPv6", mapped),
    tried("SO_REUSEPORT, members of two daemons", members),
    tried("socket passed to a running process", passed),
    tried("port that changes hands", hands),
    tried("name of another by PR_SET_NAME", liar),
    tried("socket with a peer", connected),
    tried("socket that had a peer", |world| serve(world, V4, "--disconnect 1.2.3.4:9 0.0.0.0:PORT")),
    tried("port that the kernel chose", chosen),
    tried("port of those that the kernel gives away", |world| {
        world.daemon("alphad", "--udp [::]:41999")?;
        ask_all(world, Both, 41999)
    }),
    tried("peer that the service wrote to", |world| written(world, "1.2.4.4:9000", 9000)),
    tried("another port of a peer that it wrote to", |world| written(world, "1.2.4.4:9000", 9002)),
    tried("another peer than it wrote to", |world| written(world, "1.2.4.77:9000", 9000)),
    tried("peer that the service answered", answered),
    tried("group that the service wrote to", |world| written(world, "255.255.255.255:9000", 9000)),
    tried("group that the service wrote to, another port", |world| {
        written(world, "255.255.255.255:9000", 9002)
    }),
    tried("port and address of an allowed client, in turn", turns),
];

const IN_TIME: &[Way] = &[
    tried("asking while tcpw starts", start_loop),
    tried("asking while the rules change", reload_loop),
    tried("ring of events full", |world| flood(world, ALLOW, 12_000, "ring_full")),
    tried("more attempts than are remembered", |world| flood(world, ALLOW, 70_000, "refused")),
    tried("ring of held packets full", |world| flood(world, DOUBTFUL, 9_000, "hold_ring_full")),
    tried("daemon stopped, new service", |world| {
        stopped(world, || {
            // The kernel has to see that nobody decides: a client sends no datagram again.
            nobody_watches();
            let port = world.port();
            world.daemon("alphad", &format!("--udp [::]:{port}"))?;
            ask_all(world, Both, port)
        })
    }),
    tried("daemon stopped, undecided client", |world| {
        world.apply(DOUBTFUL, DENY)?;
        let out = |from| ask(world, from, SERVER_V4, PORT, false);
        let mut legs = stopped(world, || Ok(vec![out(CLIENT_V4_OTHER)?, out(CLIENT_V4)?]))?;
        legs.extend(ask_all(world, Both, PORT)?);
        world.apply(ALLOW, DENY)?;
        Ok(legs)
    }),
    tried("daemon killed", |world| {
        world.tcpw(|tcpw| tcpw.process.kill_9())?;
        ask_all(world, Both, PORT)
    }),
    tried("new service while nobody watches", |world| {
        nobody_watches();
        let port = world.port();
        world.daemon("alphad", &format!("--udp [::]:{port}"))?;
        ask_all(world, Both, port)
    }),
    tried("next daemon takes over", adopted),
];

/// alphad serves 1.2.3. alone, anybody else serves all.
const ALLOW: &str = "alphad: 1.2.3. [3ffe:ffff:100:200::]/64\nALL EXCEPT alphad: ALL\n";

fn start(theme: &'static str) -> Result<World> {
    start_with(theme, &["--on-deny", "drop"])
}

fn start_by_icmp(theme: &'static str) -> Result<World> {
    start_with(theme, &["--on-deny", "reset"])
}

fn start_pinned(theme: &'static str) -> Result<World> {
    start_with(theme, &PINNED)
}

const PINNED: [&str; 3] = ["--pin", "--on-deny", "reset"];

fn start_with(theme: &'static str, more: &[&str]) -> Result<World> {
    let more = more.iter().map(|word| (*word).to_owned()).collect();
    World::prepared(theme, ALLOW, DENY, |sandbox| {
        let before = Testd::start(sandbox, "alphad", &format!("--udp [::]:{PORT}"))?;
        Ok((vec![before], more))
    })
}

/// One datagram of a client, from any port.
fn ask(world: &World, from: IpAddr, to: IpAddr, port: u16, expected: bool) -> Result<Leg> {
    ask_from(world.sandbox.client(), SocketAddr::new(from, 0), SocketAddr::new(to, port), expected)
}

fn ask_from(place: &Netns, from: SocketAddr, to: SocketAddr, expected: bool) -> Result<Leg> {
    Ok(Leg::new(from, expected, is_answered(place, from, to, patience(expected))?))
}

fn is_answered(place: &Netns, from: SocketAddr, to: SocketAddr, patience: Duration) -> Result<bool> {
    let client = Client::new(place, from.ip(), from.port())?;
    client.socket().set_read_timeout(Some(patience))?;
    Ok(matches!(client.ask(to)?.0, Came::Answer(_)))
}

/// The clients that the tables refuse and those they allow.
fn ask_all(world: &World, families: Families, port: u16) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for (from, to, expected) in [
        (CLIENT_V4_OTHER, SERVER_V4, false),
        (CLIENT_V4, SERVER_V4, true),
        (CLIENT_V6_OTHER, SERVER_V6, false),
        (CLIENT_V6, SERVER_V6, true),
    ] {
        let left_out = if from.is_ipv4() { V6 } else { V4 };
        if families != left_out {
            legs.push(ask(world, from, to, port, expected)?);
        }
    }
    Ok(legs)
}

/// alphad so started; once at first, and once when user space has looked at it twice.
fn serve(world: &World, families: Families, arguments: &str) -> Result<Vec<Leg>> {
    let port = world.port();
    world.daemon("alphad", &format!("--udp {}", arguments.replace("PORT", &port.to_string())))?;
    twice(|| ask_all(world, families, port))
}

/// A certificate takes a second look.
const CERTIFIED: Duration = Duration::from_millis(1500);

fn twice(tried: impl Fn() -> Result<Vec<Leg>>) -> Result<Vec<Leg>> {
    let mut legs = tried()?;
    thread::sleep(CERTIFIED);
    legs.extend(tried()?);
    Ok(legs)
}

/// Who has the very address hears, and the other does not.
fn beside(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let lo: IpAddr = "127.0.0.1".parse()?;
    world.daemon("alphad", &format!("--udp --share 0.0.0.0:{port}"))?;
    world.daemon("betad", &format!("--udp --share 127.0.0.1:{port}"))?;
    let server = world.sandbox.server();
    twice(|| {
        let mut legs = ask_all(world, V4, port)?;
        legs.push(ask_from(server, SocketAddr::new(lo, 0), SocketAddr::new(lo, port), true)?);
        Ok(legs)
    })
}

/// The client's socket is of IPv6, the packet of IPv4.
fn mapped(world: &World) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for (from, expected) in [(CLIENT_V4_OTHER, false), (CLIENT_V4, true)] {
        let (IpAddr::V4(client), IpAddr::V4(server)) = (from, SERVER_V4) else { continue };
        let (from, to) = (client.to_ipv6_mapped().into(), server.to_ipv6_mapped().into());
        legs.push(ask(world, from, to, PORT, expected)?);
    }
    Ok(legs)
}

/// Each member is judged by its own name: betad's serves all, alphad's does not.
fn members(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    world.daemon("betad", &format!("--udp --share 0.0.0.0:{port}"))?;
    world.daemon("alphad", &format!("--udp --share 0.0.0.0:{port}"))?;
    let to = SocketAddr::new(SERVER_V4, port);
    let mut answers = Vec::new();
    for round in 0..24 {
        if round == 12 {
            thread::sleep(CERTIFIED);
        }
        let client = Client::new(world.sandbox.client(), CLIENT_V4_OTHER, 0)?;
        client.socket().set_read_timeout(Some(patience(false)))?;
        if let Came::Answer(answer) = client.ask(to)?.0 {
            answers.push(answer);
        }
    }
    let mut legs = vec![
        Leg::new("1.2.4.4 at alphad", false, answers.iter().any(|answer| answer.contains("alphad"))),
        Leg::new("1.2.4.4 at betad", true, !answers.is_empty()),
    ];
    for _round in 0..8 {
        legs.push(ask(world, CLIENT_V4, SERVER_V4, port, true)?);
    }
    Ok(legs)
}

/// Whoever bound it, the daemon that has it now counts.
fn passed(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let path = world.sandbox.scratch().join(format!("pass-{port}"));
    let arguments = |how: &str| format!("--udp {how} {}", path.display());
    let mut command = Command::new(Testd::program(&world.sandbox, "starterd")?);
    command.args(arguments("--give").split_whitespace()).arg(format!("[::]:{port}"));
    let _starter = world.sandbox.spawn(Place::Guarded, command)?;
    world.daemon("alphad", &arguments("--take"))?;
    // A scan of all processes finds it.
    let (from, to) = (SocketAddr::new(CLIENT_V4_OTHER, 0), SocketAddr::new(SERVER_V4, port));
    wait_until("the daemon that has the socket now is found", Duration::from_secs(15), || {
        Ok(!is_answered(world.sandbox.client(), from, to, patience(false))?)
    })?;
    twice(|| ask_all(world, Both, port))
}

/// alphad's, then betad's, then alphad's again.
fn hands(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let mut legs = Vec::new();
    for (name, is_open) in [("alphad", false), ("betad", true), ("alphad", false), ("outsider", true)] {
        let place = if name == "outsider" { Place::Server } else { Place::Guarded };
        let daemon = Testd::start_at(&world.sandbox, place, name, &format!("--udp 0.0.0.0:{port}"))?;
        legs.extend(twice(|| {
            Ok(vec![
                ask(world, CLIENT_V4_OTHER, SERVER_V4, port, is_open)?,
                ask(world, CLIENT_V4, SERVER_V4, port, true)?,
            ])
        })?);
        drop(daemon);
        wait_until("the port is free", Duration::from_secs(10), || {
            Ok(Client::new(world.sandbox.server(), SERVER_V4, port).is_ok())
        })?;
    }
    Ok(legs)
}

/// Who is not root's is not betad, which serves all, because he says so.
fn liar(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let program = world.sandbox.scratch().join("alphad");
    let mut command = Command::new(program);
    command.args(["--uid", "65534", "--comm", "betad", "--udp"]).arg(format!("[::]:{port}"));
    world.daemon_by(command)?;
    twice(|| ask_all(world, Both, port))
}

/// Its peer alone gets through, by the kernel's own rule, and is not judged.
fn connected(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    world.daemon("alphad", &format!("--udp --connect 1.2.4.4:9010 0.0.0.0:{port}"))?;
    let to = SocketAddr::new(SERVER_V4, port);
    let client = world.sandbox.client();
    twice(|| {
        let mut legs = vec![
            ask(world, CLIENT_V4_OTHER, SERVER_V4, port, false)?,
            ask(world, CLIENT_V4, SERVER_V4, port, false)?,
        ];
        legs.push(ask_from(client, SocketAddr::new(CLIENT_V4_OTHER, 9010), to, true)?);
        Ok(legs)
    })
}

/// No service: whoever asked for no port is open to all.
fn chosen(world: &World) -> Result<Vec<Leg>> {
    let mut daemon = Testd::start(&world.sandbox, "alphad", "--udp [::]:0")?;
    let line = daemon.process.wait_for_line("bound ", Duration::from_secs(5))?.text;
    let port = line.rsplit(' ').next().context("a port")?.parse()?;
    twice(|| Ok(vec![ask(world, CLIENT_V4_OTHER, SERVER_V4, port, true)?]))
}

/// The service writes to somebody first; is 1.2.4.4 at that port heard then?
fn written(world: &World, to: &str, from: u16) -> Result<Vec<Leg>> {
    world.sandbox.server().ip("route replace default dev tcpw0")?;
    let port = world.port();
    let mut daemon = Testd::start(&world.sandbox, "alphad", &format!("--udp --ask {to} 0.0.0.0:{port}"))?;
    daemon.process.wait_for_line("asked", Duration::from_secs(20))?;
    let is_to_him = to.starts_with("1.2.4.4:") || to.starts_with("255.");
    let expected = is_to_him && to.ends_with(&format!(":{from}"));
    let (client, server) = (SocketAddr::new(CLIENT_V4_OTHER, from), SocketAddr::new(SERVER_V4, port));
    let legs = twice(|| {
        let mut legs = Vec::new();
        for _round in 0..3 {
            legs.push(ask_from(world.sandbox.client(), client, server, expected)?);
        }
        Ok(legs)
    });
    drop(daemon);
    legs
}

/// Whom it answered while it was allowed is refused after an edit.
fn answered(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    world.daemon("alphad", &format!("--udp [::]:{port}"))?;
    let from = SocketAddr::new(CLIENT_V4_OTHER, 9020);
    let again = |expected| {
        twice(|| {
            let to = SocketAddr::new(SERVER_V4, port);
            Ok(vec![ask_from(world.sandbox.client(), from, to, expected)?])
        })
    };
    world.apply("alphad: 1.2.\n", DENY)?;
    let mut legs = again(true)?;
    world.apply(ALLOW, DENY)?;
    legs.extend(again(false)?);
    Ok(legs)
}

/// Between datagrams of a client that is allowed, from the same port.
fn turns(world: &World) -> Result<Vec<Leg>> {
    let to = SocketAddr::new(SERVER_V4, PORT);
    let mut legs = Vec::new();
    for _round in 0..3 {
        for (from, expected) in [(CLIENT_V4, true), (CLIENT_V4_OTHER, false)] {
            legs.push(ask_from(world.sandbox.client(), SocketAddr::new(from, 9030), to, expected)?);
        }
    }
    Ok(legs)
}

/// Asks once, always from the same port.
fn answered_at(port: u16) -> impl Fn(&Sandbox, IpAddr, IpAddr, Duration) -> Result<bool> + Sync {
    move |sandbox, from, to, patience| {
        let (from, to) = (SocketAddr::new(from, port), SocketAddr::new(to, PORT));
        is_answered(sandbox.client(), from, to, patience)
    }
}

/// How long one waits who is refused.
const IMPATIENT: Duration = Duration::from_millis(50);

fn start_loop(_world: &World) -> Result<Vec<Leg>> {
    let sandbox = Sandbox::new("bypass-udp-start-loop")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("--udp [::]:{PORT}"))?;
    streams::while_starting(&sandbox, &["--on-deny", "reset"], IMPATIENT, &answered_at(9040))
}

fn reload_loop(world: &World) -> Result<Vec<Leg>> {
    streams::while_rules_change(world, IMPATIENT, &answered_at(9050))
}

/// So many refused clients while the daemon is stopped; the counter tells that it was enough.
fn flood(world: &World, allow: &str, count: u32, counter: &str) -> Result<Vec<Leg>> {
    if allow != ALLOW {
        world.apply(allow, DENY)?;
    }
    let before = Tcpw::counters(&world.sandbox)?[counter];
    let mut legs = stopped(world, || {
        for number in 0..count {
            let [_, _, high, low] = number.to_be_bytes();
            let from = IpAddr::from([1, 2, 128 + high % 64, low]);
            world.wire.send(&[world.wire.datagram(from, SERVER_V4, PORT).plain()])?;
        }
        ask(world, CLIENT_V4_OTHER, SERVER_V4, PORT, false).map(|leg| vec![leg])
    })?;
    legs.extend(ask_all(world, V4, PORT)?);
    let after = Tcpw::counters(&world.sandbox)?[counter];
    legs.push(Leg::new(format!("{counter} {before} to {after}"), true, after > before));
    if allow != ALLOW {
        world.apply(ALLOW, DENY)?;
    }
    Ok(legs)
}

/// Programs are replaced under a stream of datagrams.
fn adopted(world: &World) -> Result<Vec<Leg>> {
    let mut legs = streams::while_adopted(world, &PINNED, IMPATIENT, &answered_at(9060))?;
    legs.extend(ask_all(world, Both, PORT)?);
    Ok(legs)
}
