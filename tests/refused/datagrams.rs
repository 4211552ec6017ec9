//! Refused at once over UDP: "port unreachable" where the gate would drop, and nowhere else.

use std::process::Command;

use tcpw_tests::{
    Listening, Process,
    datagrams::{Came, Client, wait_bound},
};

use super::*;

/// The kernel's own limit on ICMP is about one a second: not what is tried here.
fn unlimited(sandbox: &Sandbox) -> Result<()> {
    sandbox.server().run(|| {
        fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0")?;
        Ok(fs::write("/proc/sys/net/ipv6/icmp/ratelimit", "0")?)
    })
}

fn place(name: &str, allow: &str, deny: &str) -> Result<Sandbox> {
    let sandbox = Sandbox::new(name)?;
    unlimited(&sandbox)?;
    sandbox.write_tables(allow, deny)?;
    Ok(sandbox)
}

fn ask(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<(Came, Duration)> {
    let place = sandbox.netns_of(client);
    Client::new(place, client, 0)?.ask(SocketAddr::new(server, port))
}

#[track_caller]
fn assert_refusal((came, took): (Came, Duration)) {
    assert!(came == Came::Refusal, "{came:?} after {took:?}");
}

#[track_caller]
fn assert_nothing((came, _): (Came, Duration)) {
    assert_eq!(came, Came::Nothing);
}

#[track_caller]
fn assert_answer((came, _): (Came, Duration)) {
    assert!(matches!(came, Came::Answer(_)), "{came:?}");
}

/// Waits until the refused clients of a port are told.
fn wait_refusal(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<()> {
    wait_until(&format!("{client} is told at port {port}"), 2 * SOON, || {
        Ok(ask(sandbox, client, server, port)?.0 == Came::Refusal)
    })
}

#[test]
fn refused_datagram_of_every_family_is_answered_at_once_and_logged_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = place("icmp", ALLOW, DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001 [::]:7002")?;
    let mut tcpw = start(&sandbox, "")?;
    let refused = [
        (CLIENT_V4_OTHER, SERVER_V4, 7001, "1.2.4.4"),
        (CLIENT_V4_OTHER, SERVER_V4, 7002, "::ffff:1.2.4.4"),
        (CLIENT_V6_OTHER, SERVER_V6, 7002, "3ffe:ffff:100:201::1"),
        (LO_V4, LO_V4, 7001, "127.0.0.1"),
        (LO_V6, LO_V6, 7002, "::1"),
    ];
    for _round in 0..3 {
        for (client, server, port, _) in refused {
            assert_refusal(ask(&sandbox, client, server, port)?);
        }
        for (client, server, port) in
            [(CLIENT_V4, SERVER_V4, 7001), (CLIENT_V4, SERVER_V4, 7002), (CLIENT_V6, SERVER_V6, 7002)]
        {
            assert_answer(ask(&sandbox, client, server, port)?);
        }
    }
    let counters = Tcpw::counters(&sandbox)?;
    let lines = refused_lines(&sandbox, &mut tcpw)?;
    assert_eq!(lines.len(), refused.len(), "{lines:#?}");
    for (line, (_, _, _, client)) in lines.iter().zip(refused) {
        let wanted = format!(" alphad[{}]: refused connect from {client} ({client})", alphad.process.pid());
        assert!(line.ends_with(&wanted), "{line} is not {wanted}");
    }
    let counted = ["refused", "repeats", "reset", "allowed"].map(|name| counters[name]);
    assert_eq!(counted, [5, 10, 15, 9], "{counters:?}");
    for other in ["retransmits", "reset_limited", "broken", "disagreements"] {
        assert_eq!(counters[other], 0, "{other}: {counters:?}");
    }
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}

#[test]
fn settings_and_status_say_how_datagrams_are_refused() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = place("icmp-settings", "", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "--udp 0.0.0.0:7002")?;
    let settings = "[daemon.betad]\non-deny = \"drop\"\n";
    for (before, words) in [("", ["icmp", "drop"]), ("on-deny = \"drop\"\n", ["drop", "drop"])] {
        let _tcpw = start(&sandbox, &format!("{before}{settings}"))?;
        let text: String =
            Tcpw::command(&sandbox, &["status"])?.into_iter().map(|line| line.text + "\n").collect();
        for (port, word) in (7001..).zip(words) {
            let asked = ask(&sandbox, CLIENT_V4, SERVER_V4, port)?;
            if word == "icmp" {
                assert_refusal(asked)
            } else {
                assert_nothing(asked)
            }
            let row = text.lines().find(|line| line.contains(&format!(":{port} "))).context("a row")?;
            assert!(row.contains(&format!(" {word} ")), "{text}");
        }
    }
    let _tcpw = start(&sandbox, "mode = \"audit\"\n")?;
    assert_answer(ask(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    Ok(())
}

/// Whichever of the two refuses, the datagrams of a client are one attempt.
#[test]
fn datagrams_past_a_rate_are_dropped_and_belong_to_the_same_attempt() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    for (name, settings) in [("per-source", "[reset]\nper-source = 3\n"), ("total", "[reset]\ntotal = 3\n")] {
        let sandbox = place(&format!("icmp-{name}"), "", DENY)?;
        let alphad = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001")?;
        let mut tcpw = start(&sandbox, settings)?;
        let client = Client::new(sandbox.client(), CLIENT_V4, 0)?;
        for _datagram in 0..20 {
            client.send(SocketAddr::new(SERVER_V4, 7001), b"hello?")?;
        }
        let counters = Tcpw::counters(&sandbox)?;
        assert_eq!(refused_lines(&sandbox, &mut tcpw)?.len(), 1);
        assert!(!alphad.process.lines().iter().any(|line| line.text.contains("heard")));
        assert_eq!((counters["refused"], counters["repeats"]), (1, 19), "{counters:?}");
        // At most two seconds of the clock.
        assert!((3..=6).contains(&counters["reset"]), "{name}: {counters:?}");
        assert_eq!(counters["reset_limited"], 20 - counters["reset"], "{counters:?}");
    }
    Ok(())
}

#[test]
fn replies_to_what_a_service_wrote_first_pass() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = place("icmp-replies", "", DENY)?;
    let _trap = Testd::start(&sandbox, "betad", "--udp [::]:7009")?;
    let _tcpw = start(&sandbox, "")?;
    assert_refusal(ask(&sandbox, CLIENT_V4, SERVER_V4, 7009)?);
    for (peer, server, bind) in [
        (CLIENT_V4_OTHER, SERVER_V4, "0.0.0.0:7001"),
        (CLIENT_V4_OTHER, SERVER_V4, "[::]:7002"),
        (CLIENT_V6_OTHER, SERVER_V6, "[::]:7003"),
    ] {
        let asked = Client::new(sandbox.client(), peer, 9000)?;
        let name = match (peer, bind.starts_with('[')) {
            (IpAddr::V4(v4), true) => SocketAddr::new(v4.to_ipv6_mapped().into(), 9000),
            (peer, _) => SocketAddr::new(peer, 9000),
        };
        let mut daemon = Testd::start(&sandbox, "alphad", &format!("--udp --quiet --ask {name} {bind}"))?;
        assert_eq!(asked.receive_as(true)?.as_deref(), Some("question"), "{name}");
        let server = SocketAddr::new(server, bind.rsplit(':').next().context("a port")?.parse()?);
        // Once others are told, the certificate is there.
        wait_refusal(&sandbox, peer, server.ip(), server.port())?;
        for _round in 0..3 {
            asked.send(server, b"answer")?;
        }
        asked.send(server, b"end")?;
        daemon.process.wait_for_line("heard end", SOON)?;
        let heard =
            daemon.process.lines().iter().filter(|line| line.text.starts_with("heard answer")).count();
        assert_eq!(heard, 3, "{name}: {:?}", daemon.process.lines());
    }
    // Four of each.
    assert_eq!(Tcpw::counters(&sandbox)?["replies"], 12);
    Ok(())
}

#[test]
fn reload_is_felt_at_once_in_both_directions() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = place("icmp-reload", "ALL: ALL\n", "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp [::]:7001")?;
    let mut tcpw = start(&sandbox, "")?;
    let clients = [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6), (LO_V4, LO_V4), (LO_V6, LO_V6)];
    for round in 0..4 {
        let allow = if round % 2 == 0 { "" } else { "ALL: ALL\n" };
        for (client, server) in clients {
            let asked = ask(&sandbox, client, server, 7001)?;
            if round % 2 == 0 { assert_answer(asked) } else { assert_refusal(asked) }
        }
        let mark = tcpw.process.mark();
        sandbox.write_tables(allow, DENY)?;
        tcpw.process.wait_for_line_after(mark, "applied", SOON)?;
    }
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}

#[test]
fn held_datagram_whose_answer_is_no_is_answered_by_icmp() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = place("icmp-held", "alphad: *3.4 *3456\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp [::]:7001")?;
    let mut tcpw = start(&sandbox, "")?;
    for (client, server) in [(CLIENT_V4_OTHER, SERVER_V4), (CLIENT_V6_OTHER, SERVER_V6), (LO_V4, LO_V4)] {
        let (came, _) = ask(&sandbox, client, server, 7001)?;
        assert_eq!(came, Came::Refusal, "{client}");
    }
    assert_answer(ask(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    let lines = refused_lines(&sandbox, &mut tcpw)?;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    Ok(())
}

/// The same port changes hands between a daemon whose client is refused and one that serves it.
#[test]
fn port_that_another_daemon_opens_again_is_its_own_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = place("icmp-churn", "", "alphad: ALL\n")?;
    let _tcpw = start(&sandbox, "")?;
    for round in 0..6 {
        let alphad = Testd::start(&sandbox, "alphad", "--udp [::]:7001")?;
        wait_refusal(&sandbox, CLIENT_V4, SERVER_V4, 7001)?;
        drop(alphad);
        wait_free(&sandbox)?;
        // The gate hears of one, and of the other nobody tells.
        let place = if round % 2 == 0 { Place::Guarded } else { Place::Server };
        let betad = Testd::start_at(&sandbox, place, "betad", "--udp [::]:7001")?;
        for _client in 0..5 {
            assert_answer(ask(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
            assert_answer(ask(&sandbox, LO_V6, LO_V6, 7001)?);
        }
        drop(betad);
        wait_free(&sandbox)?;
    }
    Ok(())
}

/// A killed process closes its sockets a moment later.
fn wait_free(sandbox: &Sandbox) -> Result<()> {
    wait_until("the port is free", SOON, || {
        let table = sandbox.server().run(|| Ok(fs::read_to_string("/proc/thread-self/net/udp6")?))?;
        Ok(!table.contains(":1B59 "))
    })
}

/// With the daemon stopped, the kernel alone has to see that the port is somebody else's too.
#[test]
fn socket_that_joins_a_certified_port_voids_the_certificate_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = place("icmp-joins", "", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--share --udp 0.0.0.0:7001")?;
    let tcpw = start(&sandbox, "")?;
    assert_refusal(ask(&sandbox, LO_V4, LO_V4, 7001)?);
    tcpw.process.signal(Signal::SIGSTOP)?;
    let outsider = Testd::start_at(&sandbox, Place::Server, "outsider", "--share --udp 127.0.0.1:7001")?;
    for _round in 0..10 {
        assert_answer(ask(&sandbox, LO_V4, LO_V4, 7001)?);
    }
    // Nobody vouches for the port: the gate alone refuses.
    assert_nothing(ask(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    tcpw.process.signal(Signal::SIGCONT)?;
    // A client of a listener that no process shows is refused once the daemon has scanned all processes.
    let _hidden = Testd::start(&sandbox, "betad", "--hide 0.0.0.0:7003")?;
    let refused = Tcpw::counters(&sandbox)?["refused"];
    sandbox.client().run(|| knock(CLIENT_V4, SocketAddr::new(SERVER_V4, 7003)))?;
    Tcpw::wait_counters(&sandbox, "all processes are scanned", SOON, |now| now["refused"] > refused)?;
    assert_nothing(ask(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    assert_answer(ask(&sandbox, LO_V4, LO_V4, 7001)?);
    drop(outsider);
    wait_refusal(&sandbox, LO_V4, LO_V4, 7001)?;
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}

/// Not sure: dropped without an answer, and nobody who is served is touched.
#[test]
fn sockets_that_cannot_be_told_apart_get_no_icmp() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = place("icmp-alike", "", DENY)?;
    let server = |port| SocketAddr::new(SERVER_V4, port);
    let share = "--share --udp 0.0.0.0:7001";
    let _members = [Testd::start(&sandbox, "alphad", share)?, Testd::start(&sandbox, "alphad", share)?];
    let _connected = Testd::start(&sandbox, "alphad", "--share --udp --connect 1.2.4.4:9000 0.0.0.0:7002")?;
    let _beside = Testd::start(&sandbox, "alphad", "--share --udp 0.0.0.0:7002")?;
    // From some sockets the kernel takes datagrams before the gate sees them.
    let _tunnel = Testd::start(&sandbox, "alphad", "--udp --tunnel 0.0.0.0:7004")?;
    let mut chosen = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:0")?;
    let _given_away = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:40000")?;
    let _there = Testd::start_at(&sandbox, Place::Client, "outsider", "--udp 0.0.0.0:7003")?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7003")?;
    let _tcpw = start(&sandbox, "")?;
    for port in [7001, 7002, 7004, 40000] {
        assert_nothing(ask(&sandbox, CLIENT_V4, SERVER_V4, port)?);
    }
    assert_refusal(ask(&sandbox, CLIENT_V4, SERVER_V4, 7003)?);
    let peer = Client::new(sandbox.client(), CLIENT_V4_OTHER, 9000)?;
    assert!(peer.is_answered(server(7002), true)?, "a connected socket hears its peer");
    let line = chosen.process.wait_for_line("bound ", SOON)?.text;
    let port = line.rsplit(' ').next().context("a port")?.parse()?;
    assert_answer(ask(&sandbox, CLIENT_V4, SERVER_V4, port)?);
    let there = Client::new(sandbox.server(), SERVER_V4, 0)?;
    assert!(there.is_answered(SocketAddr::new(CLIENT_V4, 7003), true)?, "another network");
    Ok(())
}

#[test]
fn pinned_refusals_outlive_the_daemon_and_are_adopted_without_a_gap() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = place("icmp-pinned", "alphad: 1.2.3.\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--share --udp 0.0.0.0:7001")?;
    let mut tcpw = start(&sandbox, "pin = true\n")?;
    let refused = || ask(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7001);
    let allowed = || ask(&sandbox, CLIENT_V4, SERVER_V4, 7001);
    assert_refusal(refused()?);
    tcpw.process.kill_9()?;
    assert_refusal(refused()?);
    assert_answer(allowed()?);
    let (stop, tries) = (AtomicBool::new(false), Tries::default());
    let adopted = thread::scope(|scope| -> Result<Tcpw> {
        let watcher = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let (came, _) = refused()?;
                ensure!(came == Came::Refusal, "while it adopted: {came:?}");
                tries.tried();
                thread::sleep(Duration::from_millis(25));
            }
            Ok(())
        });
        let adopted = start(&sandbox, "pin = true\n").and_then(|adopted| {
            tries.wait_more(6)?;
            Ok(adopted)
        });
        stop.store(true, Ordering::Relaxed);
        watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
        adopted
    })?;
    let mut tcpw = adopted;
    assert_refusal(refused()?);
    // Nobody watches but the kernel.
    tcpw.process.kill_9()?;
    let outsider = Testd::start_at(&sandbox, Place::Server, "outsider", "--share --udp 1.2.3.1:7001")?;
    assert_answer(refused()?);
    drop(outsider);
    Tcpw::command(&sandbox, &["detach"])?;
    assert_answer(refused()?);
    assert!(!sandbox.mounts().run(|| Ok(fs::exists("/sys/fs/bpf/tcpw")?))?, "pins are left");
    Ok(())
}

/// dnsmasq binds each address of the host, with SO_REUSEADDR.
fn dnsmasq(sandbox: &Sandbox) -> Result<Process> {
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
    command.args(["--pid-file", "--user=root", "--log-facility=-", "--address=/name.test/192.0.2.7"]);
    let mut process = sandbox.spawn(Place::Guarded, command)?;
    sandbox.wait_listening(&mut process, &[false, true].map(|v6| Listening { v6, port: 53 }))?;
    Ok(process)
}

/// What dig says to one question without a second try.
fn dig(sandbox: &Sandbox, from: IpAddr, server: IpAddr) -> Result<String> {
    let mut dig = Command::new("/usr/bin/dig");
    dig.args(["-b", &from.to_string(), &format!("@{server}"), "+tries=1", "+timeout=2", "name.test", "A"]);
    let mut dig = sandbox.spawn(Place::Client, dig)?;
    dig.wait(SOON)?;
    Ok(dig.lines().into_iter().map(|line| line.text + "\n").collect())
}

#[test]
fn dig_is_told_by_dnsmasq_and_tftp_by_tftpd_that_they_are_refused() -> Result<()> {
    let needed = ["/usr/sbin/dnsmasq", "/usr/bin/dig", "/usr/sbin/in.tftpd"].map(Requirement::Program);
    if !ready() || !can_run("refused datagrams", &needed) {
        return Ok(());
    }
    let allow = "dnsmasq: 1.2.3. [3ffe:ffff:100:200::]/64\nin.tftpd: 1.2.3.\n";
    let sandbox = place("icmp-daemons", allow, DENY)?;
    let _dnsmasq = dnsmasq(&sandbox)?;
    let directory = sandbox.scratch().join("files");
    fs::create_dir(&directory)?;
    fs::write(directory.join("file"), "content")?;
    let mut command = Command::new("/usr/sbin/in.tftpd");
    command.args(["-L", "--user", "root", "--address", "0.0.0.0:69", "--secure"]).arg(&directory);
    let _tftpd = sandbox.spawn(Place::Guarded, command)?;
    wait_bound(sandbox.server(), 69, false)?;
    let mut tcpw = start(&sandbox, "")?;
    for (from, server, is_allowed) in [
        (CLIENT_V4, SERVER_V4, true),
        (CLIENT_V4_OTHER, SERVER_V4, false),
        (CLIENT_V6, SERVER_V6, true),
        (CLIENT_V6_OTHER, SERVER_V6, false),
    ] {
        let said = dig(&sandbox, from, server)?;
        assert_eq!(said.contains("192.0.2.7"), is_allowed, "{from}: {said}");
        assert_eq!(said.contains("connection refused"), !is_allowed, "{from}: {said}");
    }
    let request = b"\0\x01file\0octet\0";
    for (from, is_allowed) in [(CLIENT_V4, true), (CLIENT_V4_OTHER, false)] {
        if is_allowed {
            let client = Client::new(sandbox.client(), from, 0)?;
            client.send(SocketAddr::new(SERVER_V4, 69), request)?;
            assert!(client.receive_as(true)?.is_some_and(|block| block.ends_with("content")));
        } else {
            assert_refusal(ask(&sandbox, from, SERVER_V4, 69)?);
        }
    }
    let lines = refused_lines(&sandbox, &mut tcpw)?;
    assert!(lines.iter().any(|line| line.contains(" in.tftpd[")), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains(" dnsmasq[")).count(), 2, "{lines:#?}");
    Ok(())
}
