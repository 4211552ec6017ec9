//! When early drop begins and ends: listeners, edits, devices, addresses, the daemon.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::sys::signal::Signal;
use tcpw_tests::{DENY, Tcpw, Testd, wait_until};

use super::{ALLOW, ALLOWED, DEVICE, PORT, REFUSED, SERVERS, SOON, World, ip, is_syn_ack, ready, tap};
use crate::tap::Tap;

/// What is said of a device at which nothing is dropped.
fn off(why: &str) -> String {
    format!("early-drop: {DEVICE}: nothing is dropped there: {why}")
}

#[test]
fn listener_that_joins_the_port_ends_it_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("joins")?;
    world.sandbox.write_tables(&format!("{ALLOW}betad: ALL\n"), DENY)?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "--share 0.0.0.0:7001")?;
    let _tcpw = world.start(&[], "XDP, native")?;
    world.wait_dropping()?;
    let before = world.count("early_dropped")?;
    let betad = Testd::start(&world.sandbox, "betad", "--share 0.0.0.0:7001")?;
    for _ in 0..20 {
        world.send(&world.syn(REFUSED[0], PORT))?;
    }
    // Some reach one daemon, some the other: each gives its own verdict, once both are known.
    Tcpw::wait_listener(&world.sandbox, PORT, |row| row["ident"] == "betad")?;
    wait_until("the daemon that allows the client answers it", SOON, || {
        let syn = world.syn(REFUSED[0], PORT);
        world.send(&syn)?;
        Ok(is_syn_ack(world.tap.answer(&syn, Duration::from_millis(100))?))
    })?;
    assert_eq!(world.count("early_dropped")?, before);
    drop(betad);
    world.wait_dropping()
}

#[test]
fn edit_takes_effect_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("edit")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = world.start(&[], "XDP, native")?;
    world.wait_dropping()?;
    tcpw.apply(&world.sandbox, "alphad: 10.9.2. [fd09::2:0]/112\n", DENY)?;
    let before = world.count("early_dropped")?;
    for client in REFUSED {
        assert!(is_syn_ack(world.answer(client, PORT)?), "{client} is allowed");
    }
    assert_eq!(world.count("early_dropped")?, before);
    for (client, number) in ALLOWED.into_iter().zip(1..) {
        world.send(&world.syn(client, PORT))?;
        Tcpw::wait_counter(&world.sandbox, "early_dropped", before + number, SOON)?;
    }
    Ok(())
}

#[test]
fn device_that_forwards_or_whose_packets_are_translated_is_left_out() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("forwards")?;
    let server = world.sandbox.server();
    world.sandbox.write_tables(&format!("{ALLOW}betad: ALL\n"), DENY)?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "0.0.0.0:7001")?;
    let _betad = Testd::start(&world.sandbox, "betad", "0.0.0.0:7002")?;
    let forward =
        |file: &str, value: &str| server.run(|| Ok(fs::write(format!("/proc/sys/net/{file}"), value)?));
    let v4 = format!("ipv4/conf/{DEVICE}/forwarding");
    forward(&v4, "1")?;
    let mut tcpw = Tcpw::start(&world.sandbox, &["--early-drop", DEVICE])?;
    tcpw.process.wait_for_line(&off("it forwards packets for others"), SOON)?;
    let translate = |is_on: bool| {
        server.nft(if is_on {
            "table ip t { chain c { type nat hook prerouting priority -100; tcp dport 7001 redirect to :7002; }; }"
        } else {
            "delete table ip t"
        })
    };
    for file in [v4.as_str(), "ipv6/conf/all/forwarding", ""] {
        let mark = tcpw.process.mark();
        if file == v4 {
            forward(file, "0")?;
        } else if file.is_empty() {
            translate(true)?;
            tcpw.process.wait_for_line_after(mark, &off("NAT may give packets another destination"), SOON)?;
            assert!(is_syn_ack(world.answer(REFUSED[0], PORT)?), "it is betad that the client reaches");
            translate(false)?;
        } else {
            forward(file, "1")?;
            tcpw.process.wait_for_line_after(mark, &off("it forwards packets for others"), SOON)?;
            assert!(!tap::shown(server, DEVICE)?.contains("xdp"), "{file}: the program is still there");
            let before = world.counters()?;
            world.send(&world.syn(REFUSED[0], PORT))?;
            Tcpw::wait_counter(&world.sandbox, "refused", before["refused"] + 1, SOON)?;
            assert_eq!(world.count("early_dropped")?, before["early_dropped"]);
            forward(file, "0")?;
        }
        world.wait_attached(&mut tcpw, mark, "XDP, native")?;
        world.wait_dropping()?;
    }
    Ok(())
}

#[test]
fn device_that_comes_goes_and_comes_again_is_followed() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let mut world = World::new("comes")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = world.start(&[], "XDP, native")?;
    for _ in 0..2 {
        world.wait_dropping()?;
        let mark = tcpw.process.mark();
        world.sandbox.server().ip(&format!("link delete {DEVICE}"))?;
        tcpw.process.wait_for_line_after(mark, &off("there is no such device"), SOON)?;
        assert!(
            Tcpw::status(&world.sandbox)?["early_drop"][DEVICE]
                .as_str()
                .is_some_and(|it| it.starts_with("off: "))
        );
        world.tap = Tap::new(world.sandbox.server(), DEVICE)?;
        world.give_addresses(DEVICE)?;
        world.wait_attached(&mut tcpw, mark, "XDP, native")?;
        assert_eq!(Tcpw::status(&world.sandbox)?["early_drop"][DEVICE], "XDP, native");
    }
    world.wait_dropping()
}

#[test]
fn address_is_followed() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("address")?;
    let server = world.sandbox.server();
    let _alphad = Testd::start(&world.sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = world.start(&[], "XDP, native")?;
    world.wait_dropping()?;
    let dropped = || -> Result<u64> {
        let before = world.counters()?;
        world.send(&crate::packet::Segment { to: ip("10.9.0.5"), ..world.syn(REFUSED[0], PORT) })?;
        Ok(world.settle(&before)?.0)
    };
    assert_eq!(dropped()?, 0, "before it is local");
    server.ip(&format!("address add 10.9.0.5/32 dev {DEVICE}"))?;
    wait_until("SYNs to the new address are dropped early", SOON, || Ok(dropped()? == 1))?;
    server.ip(&format!("address del 10.9.0.5/32 dev {DEVICE}"))?;
    wait_until("SYNs to the address that is gone pass", SOON, || Ok(dropped()? == 0))
}

#[test]
fn it_ends_with_the_daemon_and_the_pinned_policy_stays() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("pinned")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "0.0.0.0:7001")?;
    let is_attached = || Ok::<_, anyhow::Error>(tap::shown(world.sandbox.server(), DEVICE)?.contains("xdp"));
    let mut tcpw = world.start(&["--pin"], "XDP, native")?;
    world.wait_dropping()?;
    assert!(is_attached()?);
    tcpw.process.kill_9()?;
    wait_until("the program is gone", SOON, || Ok(!is_attached()?))?;
    let before = Tcpw::counters_of_pins(&world.sandbox)?;
    world.send(&world.syn(REFUSED[0], PORT))?;
    let now = Tcpw::counters_of_pins(&world.sandbox)?;
    assert_eq!(now["refused"] - before["refused"], 1);
    assert_eq!(now["early_dropped"], before["early_dropped"]);
    let mut tcpw = world.start(&["--pin"], "XDP, native")?;
    world.wait_dropping()?;
    assert!(tcpw.process.terminate(SOON)?.success());
    assert!(!is_attached()?, "after an orderly end");
    // Without the setting its places go, too.
    let mut plain = Tcpw::start(&world.sandbox, &["--pin"])?;
    assert!(is_syn_ack(world.answer(ALLOWED[0], PORT)?));
    assert!(!is_attached()?);
    assert!(plain.process.terminate(SOON)?.success());
    Tcpw::command(&world.sandbox, &["detach"])?;
    assert!(is_syn_ack(world.answer(REFUSED[0], PORT)?), "to {}", SERVERS[0]);
    Ok(())
}

/// It no longer says which addresses are local.
#[test]
fn stopped_daemon_s_device_drops_nothing() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("stopped")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "0.0.0.0:7001")?;
    let tcpw = world.start(&[], "XDP, native")?;
    world.wait_dropping()?;
    let before = world.counters()?;
    tcpw.process.signal(Signal::SIGSTOP)?;
    let until = Instant::now() + 3 * Duration::from_nanos(tcpw_common::limits::ALIVE_NS);
    while Instant::now() < until {
        world.send(&world.syn(REFUSED[0], PORT))?;
        thread::sleep(Duration::from_millis(50));
    }
    tcpw.process.signal(Signal::SIGCONT)?;
    Tcpw::wait_counters(&world.sandbox, "the gate refused some", SOON, |now| {
        now["refused"] > before["refused"]
    })?;
    world.wait_dropping()
}
