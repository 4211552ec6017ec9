//! Who may call himself alphad, and packets that netfilter changes on their way.

use std::{net::SocketAddr, process::Command, time::Duration};

use anyhow::Result;
use tcpw_tests::{CLIENT_V4, CLIENT_V4_OTHER, SERVER_V4, client::connect};

use crate::world::{DENY, Families::V4, Leg, Theme, Way, World, tried};

pub(crate) const THEME: Theme = Theme { name: "liars", start: liars, ways: LIARS };
pub(crate) const NETFILTER: Theme = Theme { name: "netfilter", start: World::start, ways: CHANGED };

/// Whoever is alphad serves all.
fn liars(theme: &'static str) -> Result<World> {
    World::with(theme, "alphad: ALL\n", DENY, &[])
}

const LIARS: &[Way] = &[
    tried("PR_SET_NAME by anybody", |world| testd(world, "--uid 65534 --comm alphad", false)),
    tried("PR_SET_NAME by root", |world| testd(world, "--comm alphad", true)),
    tried("argv[0] by anybody", |world| shell(world, "exec setpriv --reuid=65534 --clear-groups", false)),
    tried("argv[0] by root", |world| shell(world, "exec", true)),
    tried("root of a user namespace of his own", |world| {
        shell(world, "exec setpriv --reuid=65534 --clear-groups unshare --map-root-user", false)
    }),
    tried("cgroup named after a unit, below a service", |world| {
        let cgroup = world.sandbox.cgroup().join("web.service/alphad.service");
        std::fs::create_dir_all(&cgroup)?;
        testd(world, &format!("--cgroup {}", cgroup.display()), false)
    }),
];

fn testd(world: &World, arguments: &str, expected: bool) -> Result<Vec<Leg>> {
    let port = world.port();
    world.daemon("liard", &format!("{arguments} 0.0.0.0:{port}"))?;
    Ok(vec![world.connect(CLIENT_V4, SERVER_V4, port, expected)?])
}

/// By a shell, which gives a program another first argument.
fn shell(world: &World, how: &str, expected: bool) -> Result<Vec<Leg>> {
    let port = world.port();
    let liard = tcpw_tests::Testd::program(&world.sandbox, "liard")?;
    let mut command = Command::new("bash");
    let text = format!("exec -a alphad {} 0.0.0.0:{port}", liard.display());
    command.args(["-c", &format!("{how} bash -c '{text}'")]);
    world.daemon_by(command)?;
    Ok(vec![world.connect(CLIENT_V4, SERVER_V4, port, expected)?])
}

const CHANGED: &[Way] = &[
    tried("redirected to the port", |world| through(world, "prerouting", "redirect to :7001", 8001)),
    tried("destination changed to the port", |world| {
        through(world, "prerouting", "dnat to 1.2.3.1:7001", 8002)
    }),
    tried("redirected, undecided", undecided),
    tried("transparent proxy", transparent),
];

fn through(world: &World, chain: &str, to: &str, port: u16) -> Result<Vec<Leg>> {
    let server = world.sandbox.server();
    server.nft(&format!(
        "table ip t{port} {{ chain c {{ type nat hook {chain} priority -100; tcp dport {port} {to}; }}; }}"
    ))?;
    let legs = world.connect_all(V4, port);
    server.nft(&format!("delete table ip t{port}"))?;
    legs
}

/// What is sent again does not pass the rule: the client's own retransmit does.
fn undecided(world: &World) -> Result<Vec<Leg>> {
    world.apply("alphad: *3.4\n", DENY)?;
    let legs = through(world, "prerouting", "redirect to :7001", 8003);
    world.apply(crate::world::ALLOW, DENY)?;
    legs
}

/// The packet keeps its address and port, the socket has others.
fn transparent(world: &World) -> Result<Vec<Leg>> {
    let server = world.sandbox.server();
    world.daemon("alphad", "--transparent 0.0.0.0:7005")?;
    server.nft("table ip proxy { chain c { type filter hook prerouting priority mangle; tcp dport 8004 tproxy to :7005 meta mark set 1 accept; }; }",
    )?;
    server.ip("rule add fwmark 1 lookup 100")?;
    server.ip("route add local 0.0.0.0/0 dev lo table 100")?;
    let mut legs = Vec::new();
    for (from, expected) in [(CLIENT_V4_OTHER, false), (CLIENT_V4, true)] {
        let patience = Duration::from_millis(if expected { 3000 } else { 250 });
        let attempt = connect(world.sandbox.client(), from, SocketAddr::new(SERVER_V4, 8004), patience)?;
        legs.push(Leg::new(from, expected, attempt.is_connected()));
    }
    server.nft("delete table ip proxy")?;
    Ok(legs)
}
