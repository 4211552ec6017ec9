//! Devices of other kinds, and other programs at them: tcx where XDP is taken or would not see VLAN tags.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tcpw_tests::{
    ALLOW as SEED, CLIENTS, DENY, EveryFrame, Sandbox, Tcpw, Testd, TinyProgram,
    client::{Ended, connect},
};

use super::{ALLOWED, DEVICE, PORT, REFUSED, SOON, World, is_syn_ack, ready, tap};

const CABLE: &str = "tcpw0";

/// Whether this kernel has tcx: Linux 6.6.
fn has_tcx() -> Result<bool> {
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|it: char| !it.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        anyhow::bail!("the kernel's version: {release}");
    };
    Ok((major, minor) >= (6, 6))
}

#[test]
fn another_xdp_program_stays_and_tcx_is_used() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("other")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "[::]:7001")?;
    let _other = TinyProgram::at_device(world.sandbox.server(), DEVICE, EveryFrame::Pass)?;
    let shown = tap::shown(world.sandbox.server(), DEVICE)?;
    assert!(shown.contains("xdp"), "{shown}");
    if !has_tcx()? {
        let mut tcpw = Tcpw::start(&world.sandbox, &["--early-drop", DEVICE])?;
        tcpw.process.wait_for_line("nothing is dropped there: the kernel refuses the program", SOON)?;
        return Ok(());
    }
    let mut tcpw = world.start(&[], "tcx")?;
    world.wait_dropping()?;
    let before = world.counters()?;
    for client in REFUSED {
        world.send(&world.syn(client, PORT))?;
    }
    assert_eq!(world.settle(&before)?, (2, 0));
    for client in ALLOWED {
        assert!(is_syn_ack(world.answer(client, PORT)?), "{client}");
    }
    // A tag of a VLAN that this host does not have: as with XDP, nothing is dropped early.
    let before = world.counters()?;
    let tagged = |tag| tap::frame(tap::OWN, &[tag], &world.syn(REFUSED[0], PORT).plain());
    world.tap.send_frame(&tagged([0x81, 0, 0, 10]))?;
    world.tap.send_frame(&tagged([0x81, 0, 0xe0, 0]))?;
    assert_eq!(world.settle(&before)?, (0, 1));
    assert!(tcpw.process.terminate(SOON)?.success());
    assert_eq!(tap::shown(world.sandbox.server(), DEVICE)?, shown, "the other program is as before");
    Ok(())
}

#[test]
fn bridge_drops_by_tcx_without_tagged_frames_and_its_port_not_at_all() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("bridge")?;
    let server = world.sandbox.server();
    server.ip("link add early1 type bridge")?;
    for command in [format!("address {}", "02:00:00:00:00:01"), "up".to_owned()] {
        server.ip(&format!("link set early1 {command}"))?;
    }
    server.ip(&format!("address flush dev {DEVICE}"))?;
    server.ip(&format!("link set {DEVICE} master early1"))?;
    world.give_addresses("early1")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = Tcpw::start(&world.sandbox, &["--early-drop", DEVICE, "--early-drop", "early1"])?;
    if !has_tcx()? {
        tcpw.process.wait_for_line("XDP would not see VLAN tags", SOON)?;
        return Ok(());
    }
    tcpw.process.wait_for_line("early-drop: early1: SYNs of refused clients are dropped by tcx", SOON)?;
    tcpw.process.wait_for_line("early0: nothing is dropped there: it is part of a bridge", SOON)?;
    world.wait_dropping()?;
    let before = world.counters()?;
    // For another VLAN with the same addresses.
    let tagged = world.syn(REFUSED[0], PORT).plain();
    world.tap.send_frame(&tap::frame(tap::OWN, &[[0x81, 0, 0, 10]], &tagged))?;
    for client in REFUSED {
        world.send(&world.syn(client, PORT))?;
    }
    assert_eq!(world.settle(&before)?, (2, 0), "the tagged one is not this host's");
    for client in ALLOWED {
        assert!(is_syn_ack(world.answer(client, PORT)?), "{client}");
    }
    Ok(())
}

/// At a veth a VLAN tag is not among the frame's bytes: XDP does not see it.
#[test]
fn cable_drops_by_tcx_alone() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("cable")?;
    sandbox.write_tables(SEED, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--early-drop", CABLE])?;
    if !has_tcx()? {
        tcpw.process.wait_for_line("XDP would not see VLAN tags", SOON)?;
        return Ok(());
    }
    tcpw.process
        .wait_for_line(&format!("early-drop: {CABLE}: SYNs of refused clients are dropped by tcx"), SOON)?;
    for (client, server, allowed) in CLIENTS {
        let server = SocketAddr::new(server, PORT);
        if allowed {
            assert!(connect(sandbox.client(), client, server, SOON)?.is_connected(), "{client}");
            continue;
        }
        let dropped = || Ok::<_, anyhow::Error>(Tcpw::counters(&sandbox)?["early_dropped"]);
        let before = dropped()?;
        tcpw_tests::wait_until("its SYNs are dropped early", SOON, || {
            let attempt = connect(sandbox.client(), client, server, Duration::from_millis(100))?;
            assert!(matches!(attempt.ended, Ended::TimedOut), "{client}: {attempt:?}");
            Ok(dropped()? > before)
        })?;
    }
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}
