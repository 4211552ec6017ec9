//! `on-deny = "close"`: a refused client is connected and closed, as libwrap's daemons do it; a line that
//! watchers of refused connections count is written only for a client that has completed a handshake.

use std::io::ErrorKind;

use tcpw_tests::client::lose_answers;

use super::*;

/// Connected, and closed before anything is said.
#[track_caller]
fn assert_closed(attempt: Attempt) {
    let Ended::Connected(mut stream) = attempt.ended else { panic!("{attempt:?}") };
    stream.set_read_timeout(Some(SOON)).expect("a time limit");
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
}

/// Starts tcpw, and waits until it closes these clients.
fn start_closing(sandbox: &Sandbox, clients: &[(IpAddr, IpAddr, u16)]) -> Result<(Tcpw, Barrier)> {
    // It is the default.
    let mut tcpw = start_as_set(sandbox, "")?;
    for (client, ip, port) in clients {
        wait_until(&format!("{client} is closed at port {port}"), SOON, || {
            Ok(attempt(sandbox, *client, *ip, *port)?.is_connected())
        })?;
    }
    let barrier = Barrier::start(sandbox)?;
    barrier.wait_known(sandbox)?;
    barrier.pass(sandbox, &mut tcpw)?;
    Ok((tcpw, barrier))
}

/// The lines of refused connections after the mark, once no attempt is under way.
fn lines_after(mark: usize, barrier: &Barrier, sandbox: &Sandbox, tcpw: &mut Tcpw) -> Result<Vec<String>> {
    barrier.pass(sandbox, tcpw)?;
    let lines = tcpw.process.lines().into_iter().skip(mark).map(|line| line.text);
    Ok(lines.filter(|line| line.contains("refused connect") && !line.contains(" markerd[")).collect())
}

fn server(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

#[test]
fn refused_client_of_every_family_is_connected_closed_and_logged_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("close")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001 [::]:7002")?;
    let (mut tcpw, barrier) =
        start_closing(&sandbox, &[(CLIENT_V4_OTHER, SERVER_V4, 7001), (CLIENT_V6_OTHER, SERVER_V6, 7002)])?;
    let (mark, before) = (tcpw.process.mark(), Tcpw::counters(&sandbox)?);
    for (client, ip, port, _) in REFUSED {
        assert_closed(patient(&sandbox, client, ip, port)?);
    }
    for (client, ip, port) in SERVED {
        let mut attempt = patient(&sandbox, client, ip, port)?;
        assert!(attempt.greeting(SOON).contains("alphad"), "{attempt:?}");
    }
    let counters = Tcpw::counters(&sandbox)?;
    let lines = lines_after(mark, &barrier, &sandbox, &mut tcpw)?;
    assert_lines(&lines, &alphad);
    let more = |name: &str| counters[name] - before[name];
    assert_eq!((more("refused"), more("redirected"), more("allowed")), (5, 5, 3), "{counters:?}");
    for other in
        ["reset", "retransmits", "reset_limited", "redirected_unannounced", "broken", "disagreements"]
    {
        assert_eq!(more(other), 0, "{other}: {counters:?}");
    }
    let row = Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    assert_eq!(row["on_deny"], "close", "{row}");
    Ok(())
}

/// What the addresses do not decide: a held client is closed likewise, and so is the next one of that address.
/// A command would have to run again for the connection: its client is reset.
#[test]
fn held_client_is_closed_and_one_that_a_command_refuses_is_reset() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("close-held")?;
    sandbox.write_tables("alphad: *3.4\nbetad: 1.2.4.: aclexec /bin/false\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7002")?;
    let (mut tcpw, barrier) = start_closing(&sandbox, &[(CLIENT_V4_OTHER, SERVER_V4, 7001)])?;
    let mark = tcpw.process.mark();
    for _round in 0..2 {
        assert_closed(patient(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7001)?);
        assert_connected(&patient(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
        assert_reset(&patient(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7002)?);
    }
    tcpw.process.wait_for_line("]: refused unproven attempt from 1.2.4.4 (1.2.4.4)", SOON)?;
    let lines = lines_after(mark, &barrier, &sandbox, &mut tcpw)?;
    assert!(lines.iter().all(|line| line.contains(" alphad[")) && lines.len() == 2, "{lines:#?}");
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}

/// A forged source never sees the answer to its SYN. Its attempt is refused all the same, and gets its line once
/// the handshake is given up.
#[test]
fn source_without_a_handshake_gets_no_line_of_a_refused_connection() -> Result<()> {
    const FORGED: u64 = 300;
    if !ready() || !can_run("closed", &[Requirement::Program("/usr/sbin/nft")]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("close-forged")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let (mut tcpw, barrier) = start_closing(&sandbox, &[(CLIENT_V4_OTHER, SERVER_V4, 7001)])?;
    let mark = tcpw.process.mark();
    let before = Tcpw::counters(&sandbox)?["refused"];
    let began = std::time::Instant::now();
    lose_answers(sandbox.client(), true)?;
    sandbox.client().run(|| (0..FORGED).try_for_each(|_| knock(CLIENT_V4_OTHER, server(SERVER_V4, 7001))))?;
    let line = format!(" alphad[{}]: refused unproven attempt from 1.2.4.4 (1.2.4.4)", alphad.process.pid());
    // Ten lines of one network at once, ten more in each minute, and the rest is counted. Some come from the same port: no new attempt.
    let mut found = (0, 0, 0);
    wait_until("each has its line or is counted", SOON, || {
        let counters = Tcpw::counters(&sandbox)?;
        let lines = tcpw.process.lines().into_iter().skip(mark).filter(|it| it.text.ends_with(&line)).count();
        found = (u64::try_from(lines)?, counters["unproven_counted"], counters["refused"] - before);
        Ok(found.2 > FORGED * 9 / 10 && found.0 + found.1 == found.2)
    })
    .with_context(|| format!("{found:?}:\n{}", tcpw.process.tail()))?;
    let most = 10 + began.elapsed().as_secs() / 6 + 1;
    assert!((10..=most).contains(&found.0), "{found:?}, at most {most}");
    lose_answers(sandbox.client(), false)?;
    assert_closed(patient(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7001)?);
    let lines = lines_after(mark, &barrier, &sandbox, &mut tcpw)?;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}

/// While tcpw is stopped the kernel completes handshakes of refused clients, and none reaches alphad. When tcpw goes on,
/// each that waited is closed and logged.
#[test]
fn no_refused_client_gets_in_while_the_daemon_is_stopped() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("close-stopped")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let (mut tcpw, barrier) = start_closing(&sandbox, &[(CLIENT_V4_OTHER, SERVER_V4, 7001)])?;
    let mark = tcpw.process.mark();
    tcpw.process.signal(Signal::SIGSTOP)?;
    let tried: Result<Vec<Attempt>> =
        (0..3).map(|_| patient(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7001)).collect();
    let allowed = patient(&sandbox, CLIENT_V4, SERVER_V4, 7001);
    tcpw.process.signal(Signal::SIGCONT)?;
    assert_connected(&allowed?);
    tried?.into_iter().for_each(assert_closed);
    let lines = lines_after(mark, &barrier, &sandbox, &mut tcpw)?;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    Ok(())
}
