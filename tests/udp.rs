//! UDP: which datagrams are judged, which are replies, and what is said of the refused ones.
//!
//! Refused means that the server did not hear it: nothing came back.

#[path = "udp/before.rs"]
mod before;
#[path = "udp/daemons.rs"]
mod daemons;
#[path = "udp/groups.rs"]
mod groups;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use tcpw_tests::{
    ALLOW, Barrier, CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6_OTHER, CLIENTS, Commands, DENY, Place, Process,
    Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd, can_run,
    datagrams::{Client, PATIENCE},
    wait_until,
};

/// What must come is waited for this long: a busy or an emulated machine is slow.
const SOON: Duration = Duration::from_secs(20);

fn ready() -> bool {
    can_run("udp", &[Requirement::Root])
}

/// Whether one datagram from a port of the client's own is answered, as is expected or not.
fn is_answered(
    sandbox: &Sandbox,
    client: IpAddr,
    server: IpAddr,
    port: u16,
    is_expected: bool,
) -> Result<bool> {
    let place = sandbox.netns_of(client);
    Client::new(place, client, 0)?.is_answered(SocketAddr::new(server, port), is_expected)
}

/// Every client at a port, with the rules above.
fn assert_judged(sandbox: &Sandbox, port: u16, families: &str) -> Result<()> {
    for (client, server, allowed) in CLIENTS {
        if families.contains(if client.is_ipv4() { '4' } else { '6' }) {
            assert_eq!(
                is_answered(sandbox, client, server, port, allowed)?,
                allowed,
                "{client} at port {port}"
            );
        }
    }
    Ok(())
}

fn refused_lines(tcpw: &Tcpw) -> Vec<String> {
    let lines = tcpw.process.lines().into_iter().map(|line| line.text);
    lines.filter(|line| line.contains("refused connect from") && !line.contains(" markerd[")).collect()
}

fn heard(daemon: &Testd) -> usize {
    daemon.process.lines().iter().filter(|line| line.text.contains("heard ")).count()
}

/// Waits until a daemon has heard this.
fn wait_heard(daemon: &mut Testd, text: &str) -> Result<()> {
    daemon.process.wait_for_line(&format!("heard {text}"), Duration::from_secs(10)).map(drop)
}

/// What a daemon has heard, in order.
fn all_heard(daemon: &Testd) -> Vec<String> {
    let lines = daemon.process.lines().into_iter().map(|line| line.text);
    lines.filter(|line| line.starts_with("heard ")).collect()
}

/// The port of a socket for which the kernel chose it.
fn chosen_port(daemon: &mut Testd) -> Result<u16> {
    let line = daemon.process.wait_for_line("bound ", SOON)?.text;
    line.rsplit(' ').next().context("a port")?.parse().context("a port")
}

#[test]
fn services_of_before_and_after_and_of_every_family_are_judged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udp")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let before = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001 [::]:7002")?;
    let barrier = Barrier::start(&sandbox)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let after = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7003 [::]:7004")?;
    for (port, families) in [(7001, "4"), (7002, "46"), (7003, "4"), (7004, "46")] {
        // Three times: the sockets' answers make nobody a peer, and repeats are not logged.
        for _round in 0..3 {
            assert_judged(&sandbox, port, families)?;
        }
    }
    assert_eq!((heard(&before), heard(&after)), (9, 9));
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!((counters["refused"], counters["repeats"], counters["retransmits"]), (6, 12, 0));
    barrier.pass(&sandbox, &mut tcpw)?;
    let lines = refused_lines(&tcpw);
    let line = |at: usize, end: &str| assert!(lines[at].ends_with(end), "{lines:#?}");
    assert_eq!(lines.len(), 6, "{lines:#?}");
    line(0, ": refused connect from 1.2.4.4 (1.2.4.4)");
    line(1, ": refused connect from ::ffff:1.2.4.4 (::ffff:1.2.4.4)");
    line(2, ": refused connect from 3ffe:ffff:100:201::1 (3ffe:ffff:100:201::1)");
    assert!(lines.iter().all(|line| line.contains("alphad[")), "{lines:#?}");
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!((counters["broken"], counters["disagreements"], counters["unparsable"]), (0, 0, 0));
    Ok(())
}

#[test]
fn loopback_and_rules_by_port_are_judged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udploop")?;
    sandbox.write_tables("alphad: 127.\n7002: [::1]\n", DENY)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp [::]:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "--udp [::]:7002")?;
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    for (address, port, allowed) in [(v4, 7001, true), (v6, 7001, false), (v4, 7002, false), (v6, 7002, true)]
    {
        assert_eq!(
            is_answered(&sandbox, address, address, port, allowed)?,
            allowed,
            "{address} at port {port}"
        );
    }
    Ok(())
}

#[test]
fn sockets_without_a_port_of_their_own_and_connected_ones_are_not_judged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpfree")?;
    sandbox.write_tables("", DENY)?;
    let server = |port| SocketAddr::new(SERVER_V4, port);
    let mut before = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:0")?;
    let _fixed = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let mut after = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:0")?;
    for daemon in [&mut before, &mut after] {
        let port = chosen_port(daemon)?;
        assert!(is_answered(&sandbox, CLIENT_V4, SERVER_V4, port, true)?, "the kernel chose port {port}");
    }
    assert!(!is_answered(&sandbox, CLIENT_V4, SERVER_V4, 7001, false)?);
    let _connected = Testd::start(&sandbox, "alphad", "--udp --connect 1.2.4.4:9000 0.0.0.0:7002")?;
    let peer = Client::new(sandbox.client(), CLIENT_V4_OTHER, 9000)?;
    assert!(peer.is_answered(server(7002), true)?, "a connected socket hears its peer");
    Ok(())
}

#[test]
fn replies_to_what_a_service_wrote_first_pass_and_nothing_else_does() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpreply")?;
    sandbox.write_tables("", DENY)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for (peer, server, bind) in [
        (CLIENT_V4_OTHER, SERVER_V4, "0.0.0.0:7001"),
        (CLIENT_V4_OTHER, SERVER_V4, "[::]:7002"),
        (CLIENT_V6_OTHER, SERVER_V6, "[::]:7003"),
    ] {
        let asked = Client::new(sandbox.client(), peer, 9000)?;
        let other_port = Client::new(sandbox.client(), peer, 9001)?;
        let name = match (peer, bind.starts_with('[')) {
            (IpAddr::V4(v4), true) => SocketAddr::new(v4.to_ipv6_mapped().into(), 9000),
            (peer, _) => SocketAddr::new(peer, 9000),
        };
        let mut daemon = Testd::start(&sandbox, "alphad", &format!("--udp --quiet --ask {name} {bind}"))?;
        assert_eq!(asked.receive_as(true)?.as_deref(), Some("question"), "{name}");
        let server = SocketAddr::new(server, bind.rsplit(':').next().context("a port")?.parse()?);
        // One cable and one socket: what was sent first is heard first, or never.
        other_port.send(server, b"intruder")?;
        asked.send(server, b"answer")?;
        wait_heard(&mut daemon, "answer").with_context(|| name.to_string())?;
        let heard = all_heard(&daemon);
        assert!(!heard.iter().any(|line| line.starts_with("heard intruder")), "{name}: {heard:?}");
    }
    assert_eq!(Tcpw::counters(&sandbox)?["replies"], 3);
    Ok(())
}

/// The daemon goes on writing to the client: it answers, or, after a pause, even starts.
#[test]
fn client_that_was_answered_is_refused_after_a_reload_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpflip")?;
    sandbox.write_tables("ALL: ALL\n", "")?;
    let mut old = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    // Writes to its client of its own accord, too.
    let mut new = Testd::start(&sandbox, "alphad", "--udp --late --ask 1.2.3.4:9001 0.0.0.0:7002")?;
    let clients = [(7001, &mut old, 9000), (7002, &mut new, 9001)];
    for (port, daemon, client_port) in clients {
        let client = Client::new(sandbox.client(), CLIENT_V4, client_port)?;
        let server = SocketAddr::new(SERVER_V4, port);
        client.send(server, b"hello?")?;
        assert!(client.receive_as(true)?.is_some(), "allowed at port {port}");
        let mark = tcpw.process.mark();
        sandbox.write_tables("", DENY)?;
        tcpw.wait_applied(mark)?;
        for _round in 0..3 {
            client.send(server, b"again")?;
        }
        let mark = tcpw.process.mark();
        sandbox.write_tables("ALL: ALL\n", "")?;
        tcpw.wait_applied(mark)?;
        // Heard behind them on the same socket: they would have been heard before.
        client.send(server, b"allowed anew")?;
        wait_heard(daemon, "allowed anew").with_context(|| format!("allowed again at port {port}"))?;
        let heard = all_heard(daemon);
        assert!(
            !heard.iter().any(|line| line.starts_with("heard again")),
            "refused at port {port}: {heard:?}"
        );
    }
    assert_eq!(Tcpw::counters(&sandbox)?["replies"], 0);
    Ok(())
}

#[test]
fn fragments_options_and_extension_headers_hide_nothing() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpheaders")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp [::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    const NOPS: (i32, i32, &[u8]) = (libc::IPPROTO_IP, libc::IP_OPTIONS, &[1, 1, 1, 1]);
    const PADDED: &[u8] = &[0, 0, 1, 4, 0, 0, 0, 0];
    const DESTINATION: (i32, i32, &[u8]) = (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, PADDED);
    const HOP_BY_HOP: (i32, i32, &[u8]) = (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS, PADDED);
    let long = vec![b'x'; 9000];
    for (address, server, allowed) in CLIENTS {
        let options: &[(i32, i32, &[u8])] =
            if address.is_ipv4() { &[NOPS] } else { &[DESTINATION, HOP_BY_HOP] };
        let server = SocketAddr::new(server, 7001);
        for option in std::iter::once(None).chain(options.iter().map(Some)) {
            for payload in [&b"short"[..], &long] {
                let client = Client::new(sandbox.client(), address, 0)?;
                if let Some((level, name, value)) = option {
                    set_option(&client, *level, *name, value)?;
                }
                client.send(server, payload)?;
                let is_answered = client.receive_as(allowed)?.is_some();
                assert_eq!(is_answered, allowed, "{address}, {} bytes, {option:?}", payload.len());
            }
        }
    }
    assert_eq!(Tcpw::counters(&sandbox)?["unparsable"], 0);
    Ok(())
}

fn set_option(client: &Client, level: i32, name: i32, value: &[u8]) -> Result<()> {
    let length = libc::socklen_t::try_from(value.len())?;
    // SAFETY: the value is alive over the call and of the length given.
    let done =
        unsafe { libc::setsockopt(client.socket().as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    anyhow::ensure!(done == 0, "option {name}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// One datagram each, and an answer: it was sent again.
#[test]
fn datagram_that_was_held_is_delivered_once_it_is_decided() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpheld")?;
    // Too many networks for a table; and a name that only a glob matches.
    sandbox.write_tables("alphad be??d: *3.4 *3456 *0.1\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp [::]:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    assert_judged(&sandbox, 7001, "46")?;
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    assert!(is_answered(&sandbox, v4, v4, 7001, true)?);
    assert!(!is_answered(&sandbox, v6, v6, 7001, false)?);
    let betad = Testd::start(&sandbox, "betad", "--udp [::]:7002")?;
    let is_first_answered = is_answered(&sandbox, CLIENT_V4, SERVER_V4, 7002, true)?;
    assert!(is_first_answered, "{}\n{:?}", tcpw.process.tail(), Tcpw::counters(&sandbox)?);
    assert_judged(&sandbox, 7002, "46")?;
    assert_eq!(heard(&betad), 3, "each once");
    for client in ["::ffff:1.2.4.4", "3ffe:ffff:100:201::1", "::1"] {
        // One may have a name.
        tcpw.process.wait_for_line(&format!(" ({client})"), Duration::from_secs(10))?;
    }
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!(counters["disagreements"], 0, "{counters:?}");
    Ok(())
}

/// It is on its way to user space when the scan that its socket asked for has not begun.
#[test]
fn datagram_to_a_socket_that_nobody_has_identified_is_delivered() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpunknown")?;
    // Nobody whom a rule tells apart is known before.
    sandbox.write_tables("be??d: *3.4 *3456\n", DENY)?;
    let tcpw = Tcpw::start(&sandbox, &[])?;
    for port in [7001, 7002, 7003] {
        tcpw.process.signal(Signal::SIGSTOP)?;
        let daemon = Testd::start(&sandbox, "betad", &format!("--udp [::]:{port}"))?;
        let clients = [CLIENT_V4, CLIENT_V4_OTHER].map(|client| Client::new(sandbox.client(), client, 0));
        for client in &clients {
            let client = client.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            client.send(SocketAddr::new(SERVER_V4, port), b"hello?")?;
        }
        tcpw.process.signal(Signal::SIGCONT)?;
        let [allowed, refused] = clients;
        assert!(allowed?.receive_as(true)?.is_some(), "port {port}: {}", tcpw.process.tail());
        assert!(refused?.receive()?.is_none(), "port {port}");
        assert_eq!(heard(&daemon), 1, "port {port}");
    }
    Ok(())
}

#[test]
fn audit_mode_says_once_what_would_be_refused_and_refuses_nothing() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpaudit")?;
    sandbox.write_tables("alphad: *3.4\n", DENY)?;
    let settings = sandbox.write_settings("mode = \"audit\"\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "--udp 0.0.0.0:7002")?;
    let barrier = Barrier::start(&sandbox)?;
    let mut tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    for port in [7001, 7002] {
        for _round in 0..3 {
            assert!(is_answered(&sandbox, CLIENT_V4_OTHER, SERVER_V4, port, true)?);
        }
    }
    // The name of alphad's client is looked up first.
    for daemon in ["alphad[", "betad["] {
        tcpw.process.wait_for_line(daemon, SOON)?;
    }
    barrier.pass(&sandbox, &mut tcpw)?;
    let lines: Vec<String> = tcpw.process.lines().into_iter().map(|line| line.text).collect();
    let said = lines.iter().filter(|line| line.contains("would refuse connect from 1.2.4.4")).count();
    assert_eq!(said, 2, "{lines:#?}");
    Ok(())
}

/// A process in the guarded cgroup with a UDP-Lite socket.
fn udp_lite(sandbox: &Sandbox, port: u16) -> Result<Process> {
    let mut python = Command::new("/usr/bin/python3");
    python.arg("-c").arg(format!(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)\ns.bind(('0.0.0.0', {port}))\n\
         print('bound', flush=True)\nimport signal\nsignal.pause()\n"
    ));
    let mut process = sandbox.spawn(Place::Guarded, python)?;
    process.wait_for_line("bound", Duration::from_secs(10))?;
    Ok(process)
}

#[test]
fn status_shows_every_socket_and_what_is_not_guarded() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpstatus")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _before = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001")?;
    let _tcp = Testd::start(&sandbox, "alphad", "0.0.0.0:7002")?;
    let outside = Testd::start_at(&sandbox, Place::Client, "gammad", "--udp 0.0.0.0:7003")?;
    let mut free = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:0")?;
    let free_port = chosen_port(&mut free)?;
    let lite = udp_lite(&sandbox, 7005)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let _after = Testd::start(&sandbox, "betad", "--udp [::]:7004")?;
    for port in [7001, 7002, 7004] {
        Tcpw::wait_listener(&sandbox, port, |_row| true)?;
    }
    let status = Tcpw::status(&sandbox)?;
    let text = status.to_string();
    let rows = status["listeners"].as_array().context("rows")?;
    let row = |local: &str| rows.iter().find(|row| row["local"] == local && row["tag"] != "outside");
    for (local, protocol, name) in
        [("0.0.0.0:7001", "udp", "alphad"), ("0.0.0.0:7002", "tcp", "alphad"), ("[::]:7004", "udp", "betad")]
    {
        let row = row(local).with_context(|| format!("{local}: {text}"))?;
        assert_eq!((&row["protocol"], &row["ident"]), (&protocol.into(), &name.into()), "{row}");
        assert_eq!((&row["tag"], &row["found_by"]), (&"written".into(), &"executable".into()), "{row}");
        assert!(row["names"].as_array().context("names")?.contains(&name.into()), "{row}");
    }
    assert_eq!(row("0.0.0.0:7001").context("alphad")?["policy"].as_str().map(|it| it.len() > 5), Some(true));
    let beyond = rows.iter().find(|row| row["pid"] == outside.process.pid()).context("gammad")?;
    assert_eq!((&beyond["tag"], &beyond["protocol"]), (&"outside".into(), &"udp".into()), "{beyond}");
    assert!(!rows.iter().any(|row| row["pid"] == free.process.pid()), "port {free_port} is not judged");
    let lite = rows.iter().find(|row| row["pid"] == lite.pid()).context("UDP-Lite")?;
    assert_eq!((&lite["tag"], &lite["protocol"]), (&"outside".into(), &"udplite".into()), "{lite}");
    assert_eq!(lite["policy"], "not judged: UDP-Lite", "{lite}");
    let table: Vec<String> =
        Tcpw::command(&sandbox, &["status"])?.into_iter().map(|line| line.text).collect();
    assert!(table.iter().any(|line| line.starts_with("udp 0.0.0.0:7003") && line.contains("OUTSIDE")));
    assert!(!table.iter().any(|line| line.contains('\x1b')), "no colour in a pipe");
    Ok(())
}

/// Once for a client and a minute, as the log has refused ones; replies and repeats run nothing.
#[test]
fn allowed_datagrams_run_their_command_once_for_a_client() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpspawn")?;
    let commands = Commands::prepare(&sandbox, 64220)?;
    let out = commands.out.display();
    sandbox.write_tables(
        &format!(
            "alphad: 1.2.3. [3ffe:ffff:100:200::]/64: spawn echo %d %a >> {out}/in\n\
             betad: *3.4: spawn echo %d %a >> {out}/in\n\
             gammad: 1.2.3.\n"
        ),
        &format!("markerd: ALL\nALL: ALL: spawn echo %d %a >> {out}/refused\n"),
    )?;
    let barrier = Barrier::start(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp [::]:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "--udp 0.0.0.0:7002")?;
    let _gammad = Testd::start(&sandbox, "gammad", "--udp 0.0.0.0:7003")?;
    let settings = commands.settings(&sandbox, "per-minute-and-source = 100\n")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed", "--config", &settings.to_string_lossy()])?;
    for _round in 0..3 {
        assert_judged(&sandbox, 7001, "46")?;
        // The first one is held for its verdict.
        is_answered(&sandbox, CLIENT_V4, SERVER_V4, 7002, true)?;
        assert!(is_answered(&sandbox, CLIENT_V4, SERVER_V4, 7003, true)?);
    }
    let soon = Duration::from_secs(10);
    let sorted = |name: &str, count: usize| -> Result<Vec<String>> {
        let mut lines = commands.lines(name, count, soon)?;
        lines.sort();
        Ok(lines)
    };
    // Behind the marker's line each command that is due has been started: that many run, and no more.
    barrier.pass(&sandbox, &mut tcpw)?;
    Tcpw::wait_counter(&sandbox, "commands_run", 5, soon)?;
    let v6 = "alphad 3ffe:ffff:100:200:212:34ff:fe12:3456";
    assert_eq!(sorted("in", 3)?, ["alphad 1.2.3.4", v6, "betad 1.2.3.4"]);
    assert_eq!(sorted("refused", 2)?, ["alphad 1.2.4.4", "alphad 3ffe:ffff:100:201::1"]);
    // An edit: who was allowed a moment ago is refused, and the other way round; each is told of.
    let mark = tcpw.process.mark();
    let turned = format!("alphad: 1.2.4.: spawn echo %d %a >> {out}/in\n");
    sandbox.write_tables(&turned, &format!("ALL: ALL: spawn echo %d %a >> {out}/refused\n"))?;
    tcpw.wait_applied(mark)?;
    assert!(!is_answered(&sandbox, CLIENT_V4, SERVER_V4, 7001, false)?);
    assert!(is_answered(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7001, true)?);
    assert!(sorted("in", 4)?.contains(&"alphad 1.2.4.4".to_owned()));
    assert!(sorted("refused", 3)?.contains(&"alphad 1.2.3.4".to_owned()));
    let accepted = tcpw.process.lines().iter().filter(|line| line.text.contains(": connect from")).count();
    assert_eq!(accepted, 0, "accepted datagrams have no line");
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}
