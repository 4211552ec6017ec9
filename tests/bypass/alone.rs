//! Without a daemon, or with one that does not answer; and floods.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::Result;
use nix::sys::signal::Signal;
use tcpw_common::limits::ALIVE_NS;
use tcpw_tests::{CLIENT_V4, CLIENT_V4_OTHER, SERVER_V4, Tcpw};

use crate::{
    moments::connects,
    streams,
    world::{
        ALLOW, DENY,
        Families::{Both, V4},
        Leg, PORT, Theme, Way, World, tried,
    },
};

pub(crate) const THEME: Theme = Theme { name: "no daemon", start, ways: WAYS };

/// In this order: each goes on where the one before ended.
const WAYS: &[Way] = &[
    tried("daemon killed", killed),
    tried("new listener while nobody watches", |world| {
        nobody_watches();
        let port = world.port();
        world.daemon("alphad", &format!("[::]:{port}"))?;
        world.connect_all(Both, port)
    }),
    tried("liar while nobody watches", |world| {
        let port = world.port();
        world.daemon("liard", &format!("--uid 65534 --comm alphad 0.0.0.0:{port}"))?;
        Ok(vec![
            world.connect(CLIENT_V4_OTHER, SERVER_V4, port, false)?,
            world.connect(CLIENT_V4, SERVER_V4, port, false)?,
        ])
    }),
    tried("next daemon takes over", adopted),
    tried("daemon stopped, new listener", |world| {
        stopped(world, || {
            let port = world.port();
            world.daemon("alphad", &format!("[::]:{port}"))?;
            world.connect_all(Both, port)
        })
    }),
    tried("daemon stopped, undecided client", undecided),
    tried("ring of events full", |world| flood(world, ALLOW, 12_000, "ring_full")),
    tried("more attempts than are remembered", |world| flood(world, ALLOW, 70_000, "refused")),
    tried("ring of held packets full", |world| flood(world, DOUBTFUL, 9_000, "hold_ring_full")),
];

/// The address alone does not decide.
pub(crate) const DOUBTFUL: &str = "alphad: *3.4 *3.99 [3ffe:ffff:100:200::]/64\n";

fn start(theme: &'static str) -> Result<World> {
    let world = World::with(theme, ALLOW, DENY, &["--pin"])?;
    world.daemon("alphad", &format!("[::]:{PORT}"))?;
    // It is named while the daemon lives.
    world.connect_all(Both, PORT)?;
    Ok(world)
}

fn killed(world: &World) -> Result<Vec<Leg>> {
    world.tcpw(|tcpw| tcpw.process.kill_9())?;
    world.connect_all(Both, PORT)
}

/// Programs are replaced under a stream of clients.
fn adopted(world: &World) -> Result<Vec<Leg>> {
    let mut legs = streams::while_adopted(world, &["--pin"], Duration::from_millis(20), &connects)?;
    legs.extend(world.connect_all(Both, PORT)?);
    Ok(legs)
}

/// The time tested: the kernel takes a daemon for gone that has given no sign of life for so long.
pub(crate) fn nobody_watches() {
    thread::sleep(Duration::from_nanos(ALIVE_NS) + Duration::from_millis(50));
}

/// While the daemon is stopped, and goes on afterwards.
pub(crate) fn stopped<T>(world: &World, act: impl FnOnce() -> Result<T>) -> Result<T> {
    world.tcpw(|tcpw| tcpw.process.signal(Signal::SIGSTOP))?;
    let done = act();
    world.tcpw(|tcpw| tcpw.process.signal(Signal::SIGCONT))?;
    done
}

fn undecided(world: &World) -> Result<Vec<Leg>> {
    world.apply(DOUBTFUL, DENY)?;
    let refused = |who| world.connect(who, SERVER_V4, PORT, false);
    // Nobody answers: nobody gets in.
    let mut legs = stopped(world, || Ok(vec![refused(CLIENT_V4_OTHER)?, refused(CLIENT_V4)?]))?;
    legs.extend(world.connect_all(Both, PORT)?);
    world.apply(ALLOW, DENY)?;
    Ok(legs)
}

/// So many SYNs of refused clients while the daemon is stopped; the counter tells that it was enough.
fn flood(world: &World, allow: &str, count: u32, counter: &str) -> Result<Vec<Leg>> {
    if allow != ALLOW {
        world.apply(allow, DENY)?;
    }
    let before = Tcpw::counters(&world.sandbox)?[counter];
    let mut legs = stopped(world, || {
        for number in 0..count {
            let [_, _, high, low] = number.to_be_bytes();
            let from = IpAddr::from([1, 2, 128 + high % 64, low]);
            let syn = world.wire.syn(from, SERVER_V4, PORT);
            world.wire.send(&[syn.plain()])?;
        }
        world.connect(CLIENT_V4_OTHER, SERVER_V4, PORT, false).map(|leg| vec![leg])
    })?;
    legs.extend(world.connect_all(V4, PORT)?);
    let after = Tcpw::counters(&world.sandbox)?[counter];
    legs.push(Leg::new(format!("{counter} {before} to {after}"), true, after > before));
    if allow != ALLOW {
        world.apply(ALLOW, DENY)?;
    }
    Ok(legs)
}
