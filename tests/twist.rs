//! `twist` and `banners`: what a refused client gets, by a process without rights, and never from the
//! daemon it wanted to.

#[path = "twist/banner.rs"]
mod banner;
#[path = "twist/clients.rs"]
mod clients;
#[path = "twist/hostile.rs"]
mod hostile;
#[path = "twist/life.rs"]
mod life;
#[path = "twist/pairs.rs"]
mod pairs;
#[path = "twist/place.rs"]
mod place;

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::Result;
use place::{CLIENTS, LO_V4, Place, SOON, lines_with, read_all, ready};
use tcpw_tests::{
    Barrier, CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, Place as At, Requirement, SERVER_V4, Tcpw, Testd,
    can_run,
    client::{Ended, connect},
    wait_until,
};

#[test]
fn refused_client_of_every_family_gets_banner_and_twist_and_the_daemon_sees_nobody() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("twist")?;
    let banners = place.banners.display();
    fs::write(place.banners.join("alphad"), "Hello %a,\nyou are not welcome at %A (%d).\n")?;
    place.sandbox.write_tables(
        "alphad: 1.2.4.\n",
        &format!("alphad: ALL: banners {banners}: setenv WHO it is: nice 5: umask 077: keepalive: linger 3: twist echo \"$WHO %a %A %c %d %h %H %s %r %R `nice` `umask` `id -un`\"\n"),
    )?;
    let mut alphad = Testd::start(&place.sandbox, "alphad", "--tell 0.0.0.0:7001 [::]:7002")?;
    let mut tcpw = place.tcpw("", &["--on-deny", "reset"])?;
    let mut twisted = 0;
    for client in CLIENTS {
        for port in [7001, 7002] {
            if client.is_ipv6() && port == 7001 {
                continue;
            }
            let server = match client {
                IpAddr::V4(_) | IpAddr::V6(_) if client.is_loopback() => client.to_string(),
                IpAddr::V4(_) => "1.2.3.1".to_owned(),
                IpAddr::V6(_) => "3ffe:ffff:100:200::1".to_owned(),
            };
            let text = place.ask(client, port)?;
            let (banner, echo) = text.split_once("(alphad).\r\n").unwrap_or(("", &text));
            assert_eq!(banner, format!("Hello {client},\r\nyou are not welcome at {server} "), "{text}");
            let fields: Vec<&str> = echo.trim_end().split(' ').collect();
            let own = client.to_string();
            let service = format!("alphad@{server}");
            let wanted = [
                "it",
                "is",
                &own,
                &server,
                &own,
                "alphad",
                &own,
                &server,
                &service,
                fields[9],
                &port.to_string(),
                "5",
                "0077",
                "tcpw",
            ];
            assert_eq!(fields, wanted, "{text}");
            assert!(fields[9].parse::<u16>().is_ok_and(|port| port > 1024), "{text}");
            twisted += 1;
        }
    }
    // Who is allowed meets the daemon.
    let mut allowed = place.open(CLIENT_V4_OTHER, SocketAddr::new(SERVER_V4, 7001))?;
    allowed.write_all(b"let in")?;
    assert_eq!(read_all(&mut allowed)?, "hello from alphad\n");
    alphad.process.wait_for_line("read: let in", SOON)?;
    assert_eq!(alphad.process.lines().iter().filter(|line| line.text.starts_with("read:")).count(), 1);
    let mark = format!("alphad[{}]: twist 1.2.3.4 to echo \"$WHO 1.2.3.4 1.2.3.1", alphad.process.pid());
    tcpw.process.wait_for_line(&mark, SOON)?;
    assert_eq!(lines_with(&tcpw, 0, "]: twist ").len(), twisted);
    assert_eq!(lines_with(&tcpw, 0, "refused connect").len(), 0, "one line for each attempt");
    let counters = Tcpw::counters(&place.sandbox)?;
    let wanted = u64::try_from(twisted)?;
    for counter in ["refused", "redirected", "redirected_served", "commands_run"] {
        assert_eq!(counters[counter], wanted, "{counter}: {counters:?}");
    }
    for counter in ["disagreements", "broken", "reset", "commands_lost", "commands_suppressed"] {
        assert_eq!(counters[counter], 0, "{counter}: {counters:?}");
    }
    Ok(())
}

/// The command reads them from its standard input, which is the connection.
#[test]
fn keepalive_and_linger_are_set_on_the_connection() -> Result<()> {
    if !ready() || !can_run("twist", &[Requirement::Program("/usr/bin/python3")]) {
        return Ok(());
    }
    let place = Place::new("options")?;
    let script = place.out.join("options.py");
    fs::write(
        &script,
        "import socket, sys\n\
         connection = socket.socket(fileno=0)\n\
         option = lambda *which: connection.getsockopt(socket.SOL_SOCKET, *which)\n\
         both = option(socket.SO_LINGER, 8)\n\
         linger = [int.from_bytes(half, sys.byteorder) for half in (both[:4], both[4:])]\n\
         print(option(socket.SO_KEEPALIVE), *linger, flush=True)\n",
    )?;
    let command = format!("twist /usr/bin/python3 {}", script.display());
    place
        .sandbox
        .write_tables("", &format!("alphad: ALL: keepalive: linger 3: {command}\nALL: ALL: {command}\n"))?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let _betad = Testd::start(&place.sandbox, "betad", "[::]:7002")?;
    let _tcpw = place.tcpw("", &["--on-deny", "reset"])?;
    for client in [CLIENT_V4, CLIENT_V6] {
        assert_eq!(place.ask(client, 7001)?, "1 1 3\n");
        assert_eq!(place.ask(client, 7002)?, "0 0 0\n");
    }
    Ok(())
}

#[test]
fn twist_works_where_refused_clients_are_dropped_and_in_a_namespace_of_its_own() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("elsewhere")?;
    place.sandbox.write_tables("", "alphad: ALL: twist echo %a at %A\nbetad: ALL\n")?;
    let _betad = Testd::start(&place.sandbox, "betad", "0.0.0.0:7002")?;
    let mut tcpw = place.tcpw("", &["--on-deny", "drop"])?;
    let there = Testd::start_at(&place.sandbox, At::GuardedClient, "alphad", "[::]:7001")?;
    let server = SocketAddr::new(CLIENT_V4, 7001);
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let attempt = connect(place.sandbox.server(), SERVER_V4, server, Duration::from_millis(400))?;
        match attempt.ended {
            Ended::Connected(mut stream) => {
                assert_eq!(read_all(&mut stream)?, "1.2.3.1 at 1.2.3.4\n");
                break;
            }
            Ended::ConnectedAndReset | Ended::Refused => panic!("reset"),
            Ended::TimedOut => assert!(std::time::Instant::now() < deadline, "nothing"),
        }
    }
    // The others are dropped as before.
    let beta = SocketAddr::new(SERVER_V4, 7002);
    let attempt = connect(place.sandbox.client(), CLIENT_V4, beta, Duration::from_millis(400))?;
    assert!(matches!(attempt.ended, Ended::TimedOut), "{attempt:?}");
    assert_eq!(place.sandbox.client().listening()?.len(), 3, "the daemon's, and ours for each family");
    drop(there);
    // Nothing of ours keeps a namespace.
    wait_until("nothing listens there", 2 * SOON, || Ok(place.sandbox.client().listening()?.is_empty()))?;
    assert!(tcpw.process.is_running());
    Ok(())
}

#[test]
fn names_and_users_are_looked_up_for_what_the_client_gets() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("twist-names")?;
    fs::write(place.sandbox.etc().join("hosts"), "127.0.0.1 localhost\n1.2.3.4 good.example.test\n")?;
    place.sandbox.write_tables(
        "",
        "alphad: .example.test: twist echo by name %n %a\n\
         alphad: ALL: rfc931 1: twist echo by address %n %c %u\n",
    )?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    assert_eq!(place.ask(CLIENT_V4, 7001)?, "by name good.example.test 1.2.3.4\n");
    tcpw.process.wait_for_line("twist good.example.test to echo by name good.example.test 1.2.3.4", SOON)?;
    // Nobody answers at its port 113.
    assert_eq!(place.ask(CLIENT_V4_OTHER, 7001)?, "by address unknown 1.2.4.4 unknown\n");
    // The answer is believed; each connection has its own command.
    assert_eq!(place.ask(CLIENT_V4, 7001)?, "by name good.example.test 1.2.3.4\n");
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["disagreements"], counters["commands_run"]), (0, 3), "{counters:?}");
    Ok(())
}

#[test]
fn syn_cookies_and_retransmits_run_the_command_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("twist-cookies")?;
    let out = place.out.join("ran");
    place
        .sandbox
        .write_tables("", &format!("alphad: ALL: twist echo %r >> {}; echo done\n", out.display()))?;
    place.sandbox.server().run(|| Ok(fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2")?))?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    for round in 1..=5 {
        assert_eq!(place.ask(CLIENT_V4, 7001)?, "done\n");
        assert_eq!(fs::read_to_string(&out)?.lines().count(), round);
    }
    // The server's answers are lost for a while: the client sends its SYN twice more.
    let mark = tcpw.process.mark();
    place.lose_answers(true)?;
    let text = thread::scope(|scope| {
        let client = scope.spawn(|| place.ask(CLIENT_V4, 7001));
        // The time tested: the client's first two retransmits.
        thread::sleep(Duration::from_millis(2200));
        place.lose_answers(false)?;
        client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
    })?;
    assert_eq!(text, "done\n");
    assert_eq!(fs::read_to_string(&out)?.lines().count(), 6);
    tcpw.process.wait_for_line_after(mark, "]: twist ", SOON)?;
    assert_eq!(lines_with(&tcpw, 0, "]: twist ").len(), 6);
    // The time tested: ten seconds after its SYN an attempt without a connection is written as refused.
    thread::sleep(Duration::from_secs(11));
    assert_eq!(lines_with(&tcpw, 0, "refused connect").len(), 0, "an ACK is no second attempt");
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["commands_run"], counters["refused"]), (6, 6), "{counters:?}");
    Ok(())
}

#[test]
fn handshake_that_is_never_completed_is_one_refused_attempt() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("half")?;
    place.sandbox.write_tables("", "alphad: ALL: twist echo never\nmarkerd: ALL\n")?;
    let barrier = Barrier::start(&place.sandbox)?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    // What the server answers never gets back: SYNs go on coming.
    place.lose_answers(true)?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    let attempt = connect(place.sandbox.client(), CLIENT_V4, server, Duration::from_millis(3500))?;
    assert!(matches!(attempt.ended, Ended::TimedOut), "{attempt:?}");
    tcpw.process.wait_for_line("refused connect from ::ffff:1.2.3.4", Duration::from_secs(20))?;
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["refused"], counters["commands_run"]), (1, 0), "{counters:?}");
    barrier.pass(&place.sandbox, &mut tcpw)?;
    assert_eq!(lines_with(&tcpw, 0, "refused connect").len(), 1 + 1, "and the marker's");
    Ok(())
}

#[test]
fn twist_over_udp_only_refuses() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("twist-udp")?;
    place.sandbox.write_tables("", "ALL: ALL: twist echo no\n")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "--udp 0.0.0.0:7001")?;
    let mut tcpw = place.tcpw("", &["--on-deny", "reset"])?;
    place.sandbox.client().run(|| {
        let socket = std::net::UdpSocket::bind((CLIENT_V4, 0))?;
        socket.connect((SERVER_V4, 7001))?;
        socket.send(b"hello?")?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let answer = socket.recv(&mut [0; 64]);
        anyhow::ensure!(answer.is_err(), "{answer:?}");
        Ok(())
    })?;
    tcpw.process.wait_for_line("refused connect from 1.2.3.4", SOON)?;
    assert_eq!(Tcpw::counters(&place.sandbox)?["commands_run"], 0);
    Ok(())
}

#[test]
fn audit_mode_leads_nobody_away() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("twist-audit")?;
    place.sandbox.write_tables("", "ALL: ALL: twist echo no\n")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let settings = place.sandbox.scratch().join("audit.toml");
    fs::write(&settings, "mode = \"audit\"\n")?;
    let mut tcpw = Tcpw::start(&place.sandbox, &["--config", &settings.to_string_lossy()])?;
    assert_eq!(place.ask(CLIENT_V6, 7001)?, "hello from alphad\n");
    assert_eq!(place.ask(LO_V4, 7001)?, "hello from alphad\n");
    tcpw.process.wait_for_line("would refuse connect from", SOON)?;
    Ok(())
}
