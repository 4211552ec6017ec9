//! Reloads, crashes, ends, and whoever comes to the wrong door.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V6, Listening, SERVER_V4, SERVER_V6, Tcpw, Testd,
    client::{Ended, connect},
    wait_for, wait_until,
};

use super::place::{LO_V4, Place, SOON, lines_with, read_all, ready};

const TWIST: &str = "alphad: ALL: twist echo twisted %a\n";
const RESET: [&str; 2] = ["--on-deny", "reset"];

/// Sockets of the server's that listen, but for the daemon's.
fn own_listeners(place: &Place) -> Result<Vec<Listening>> {
    Ok(place.sandbox.server().listening()?.into_iter().filter(|socket| socket.port != 7001).collect())
}

fn wait_own_listeners(place: &Place, count: usize) -> Result<()> {
    wait_until(&format!("tcpw has {count} sockets"), SOON, || Ok(own_listeners(place)?.len() == count))
        .with_context(|| format!("{:?}", own_listeners(place)))
}

fn attempt(place: &Place, client: IpAddr) -> Result<Ended> {
    let server = SocketAddr::new(if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 }, 7001);
    Ok(connect(place.sandbox.client(), client, server, Duration::from_millis(700))?.ended)
}

#[test]
fn reload_turns_twist_into_refusal_and_back() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("twist-reload")?;
    place.sandbox.write_tables("", TWIST)?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &RESET)?;
    for _round in 0..2 {
        for client in [CLIENT_V4, CLIENT_V6] {
            place.wait_served(client, 7001, &format!("twisted {client}\n"))?;
        }
        wait_own_listeners(&place, 2)?;
        let mark = tcpw.process.mark();
        place.sandbox.write_tables("", "alphad: ALL\n")?;
        tcpw.wait_applied(mark)?;
        assert!(matches!(attempt(&place, CLIENT_V4)?, Ended::Refused));
        assert!(matches!(attempt(&place, CLIENT_V6)?, Ended::Refused));
        wait_own_listeners(&place, 0)?;
        let mark = tcpw.process.mark();
        place.sandbox.write_tables("", TWIST)?;
        tcpw.wait_applied(mark)?;
    }
    assert_eq!(Tcpw::counters(&place.sandbox)?["disagreements"], 0);
    Ok(())
}

#[test]
fn daemon_that_dies_leaves_refusals_and_the_next_one_twists_again() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("twist-pins")?;
    place.sandbox.write_tables("", TWIST)?;
    let alphad = Testd::start(&place.sandbox, "alphad", "--tell [::]:7001")?;
    let pin = [&RESET[..], &["--pin"]].concat();
    let mut tcpw = place.tcpw("", &pin)?;
    assert_eq!(place.ask(CLIENT_V4, 7001)?, "twisted 1.2.3.4\n");
    tcpw.process.kill_9()?;
    for client in [CLIENT_V4, CLIENT_V6] {
        let ended = attempt(&place, client)?;
        assert!(matches!(ended, Ended::Refused), "{client}: {ended:?}");
    }
    let mut tcpw = place.tcpw("", &pin)?;
    assert_eq!(place.ask(CLIENT_V4, 7001)?, "twisted 1.2.3.4\n");
    assert_eq!(place.ask(CLIENT_V6, 7001)?, format!("twisted {CLIENT_V6}\n"));
    // Both of those that nobody saw.
    tcpw.process.wait_for_line("refused connect from ::ffff:1.2.3.4", SOON)?;
    assert_eq!(lines_with(&tcpw, 0, "refused connect from").len(), 2);
    assert_eq!(own_listeners(&place)?.len(), 2);
    Tcpw::command(&place.sandbox, &["detach"])?;
    wait_own_listeners(&place, 0)?;
    assert!(!place.sandbox.mounts().run(|| Ok(fs::exists("/sys/fs/bpf/tcpw")?))?, "pins are left");
    assert!(!alphad.process.lines().iter().any(|line| line.text.starts_with("read")));
    let mut stream = place.open(CLIENT_V4, SocketAddr::new(SERVER_V4, 7001))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    assert_eq!(read_all(&mut stream)?, "hello from alphad\n");
    Ok(())
}

#[test]
fn nobody_reaches_our_own_sockets_by_himself_and_they_are_no_service() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("door")?;
    let ran = place.out.join("ran");
    place
        .sandbox
        .write_tables("", &format!("ALL: ALL: twist echo %R >> {}; echo twisted\n", ran.display()))?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &RESET)?;
    assert_eq!(place.ask(LO_V4, 7001)?, "twisted\n");
    let own = own_listeners(&place)?;
    assert_eq!(own.len(), 2, "{own:?}");
    for Listening { v6, port } in own {
        let (lo, server): (IpAddr, IpAddr) =
            if v6 { ("::1".parse()?, SERVER_V6) } else { (LO_V4, SERVER_V4) };
        for address in [lo, server] {
            let attempt = connect(place.sandbox.server(), address, SocketAddr::new(address, port), SOON)?;
            assert!(matches!(attempt.ended, Ended::Refused), "{address} {port}: {attempt:?}");
        }
        // Somebody gives the host the address that no host has.
        let address: IpAddr = if v6 { "100::8".parse()? } else { "192.0.0.8".parse()? };
        place.sandbox.server().address("lo", address, if v6 { 128 } else { 32 })?;
        // The route to it takes a moment.
        let attempt = wait_for(&format!("a route to {address}"), SOON, || {
            Ok(connect(place.sandbox.server(), address, SocketAddr::new(address, port), SOON).ok())
        })?;
        if let Ended::Connected(mut stream) = attempt.ended {
            assert_eq!(read_all(&mut stream)?, "", "it is ended at once");
        }
    }
    // Its command is the next one, so none was started in between.
    assert_eq!(place.ask(LO_V4, 7001)?, "twisted\n");
    assert_eq!(fs::read_to_string(&ran)?, "7001\n7001\n", "no effect ran");
    assert_eq!(Tcpw::counters(&place.sandbox)?["commands_run"], 2);
    let status = Tcpw::command(&place.sandbox, &["status"])?;
    let own = format!(" {} ", tcpw.process.pid());
    let rows = status.iter().filter(|line| line.text.starts_with("tcp ") && line.text.contains(&own));
    assert_eq!(rows.count(), 0, "{status:?}");
    assert!(tcpw.process.is_running());
    Ok(())
}
