//! Refused at once: the reset of a refused client, and everybody it must never hit.
//!
//! Refused is told from dropped: a reset comes within milliseconds, a dropped SYN is not answered.

#[path = "refused/again.rs"]
mod again;
#[path = "refused/closed.rs"]
mod closed;
#[path = "refused/cookies.rs"]
mod cookies;
#[path = "refused/datagrams.rs"]
mod datagrams;
#[path = "refused/held.rs"]
mod held;
#[path = "refused/links.rs"]
mod links;

use std::{
    fs,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tcpw_tests::{
    ALLOW, Barrier, CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, DENY, LO_V4, LO_V6, Place,
    Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd, Tries, can_run,
    client::{Attempt, Ended, connect, knock},
    wait_until,
};

const RESET: [&str; 2] = ["--on-deny", "reset"];

/// Before a SYN is sent again: what is reset by then was so by its first.
const PATIENCE: Duration = Duration::from_millis(700);

/// Longer than a scan that a change asks for, and the one after it, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Refused clients of alphad at 0.0.0.0:7001 and [::]:7002: where from, where to, and the address in the line.
const REFUSED: [(IpAddr, IpAddr, u16, &str); 5] = [
    (CLIENT_V4_OTHER, SERVER_V4, 7001, "1.2.4.4"),
    (CLIENT_V4_OTHER, SERVER_V4, 7002, "::ffff:1.2.4.4"),
    (CLIENT_V6_OTHER, SERVER_V6, 7002, "3ffe:ffff:100:201::1"),
    (LO_V4, LO_V4, 7001, "127.0.0.1"),
    (LO_V6, LO_V6, 7002, "::1"),
];

/// Clients that it serves.
const SERVED: [(IpAddr, IpAddr, u16); 3] =
    [(CLIENT_V4, SERVER_V4, 7001), (CLIENT_V4, SERVER_V4, 7002), (CLIENT_V6, SERVER_V6, 7002)];

/// Each of [`REFUSED`] has its line, in their order.
#[track_caller]
fn assert_lines(lines: &[String], alphad: &Testd) {
    assert_eq!(lines.len(), REFUSED.len(), "{lines:#?}");
    for (line, (_, _, _, client)) in lines.iter().zip(REFUSED) {
        let wanted = format!(" alphad[{}]: refused connect from {client} ({client})", alphad.process.pid());
        assert!(line.ends_with(&wanted), "{line} is not {wanted}");
    }
}

fn ready() -> bool {
    can_run("refused", &[Requirement::Root])
}

fn attempt(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<Attempt> {
    let place = sandbox.netns_of(client);
    connect(place, client, SocketAddr::new(server, port), PATIENCE)
}

/// The attempt of a client that has to get in: it may take its time, but not be reset.
fn patient(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<Attempt> {
    let place = sandbox.netns_of(client);
    connect(place, client, SocketAddr::new(server, port), SOON)
}

#[track_caller]
fn assert_reset(attempt: &Attempt) {
    assert!(matches!(attempt.ended, Ended::Refused), "{attempt:?}");
}

#[track_caller]
fn assert_dropped(attempt: &Attempt) {
    assert!(matches!(attempt.ended, Ended::TimedOut), "{attempt:?}");
}

#[track_caller]
fn assert_connected(attempt: &Attempt) {
    assert!(attempt.is_connected(), "{attempt:?}");
}

fn start(sandbox: &Sandbox, settings: &str) -> Result<Tcpw> {
    let reset = if settings.starts_with("on-deny") { "" } else { "on-deny = \"reset\"\n" };
    start_as_set(sandbox, &format!("trust-source-addresses = true\n{reset}{settings}"))
}

/// The same, with no settings but these.
fn start_as_set(sandbox: &Sandbox, settings: &str) -> Result<Tcpw> {
    let config = sandbox.scratch().join("tcpw.toml");
    let settings = format!(
        "hosts-allow = {:?}\nhosts-deny = {:?}\ncgroup = {:?}\nwatch-udp-binds = true\nlog = \"stdout\"\n{settings}",
        sandbox.hosts_allow(),
        sandbox.hosts_deny(),
        sandbox.cgroup()
    );
    fs::write(&config, settings)?;
    let began = Instant::now();
    let mut process = Tcpw::spawn_with_config(sandbox, &config)?;
    process.wait_for_line("ready: ", Duration::from_secs(90))?;
    Ok(Tcpw { process, start_time: began.elapsed() })
}

/// All lines of refused attempts, once none is under way. Counts one more as refused: that of the barrier.
fn refused_lines(sandbox: &Sandbox, tcpw: &mut Tcpw) -> Result<Vec<String>> {
    let barrier = Barrier::start(sandbox)?;
    // Until it is known its lines are in tcpw's own name.
    barrier.wait_known(sandbox)?;
    barrier.pass(sandbox, tcpw)?;
    let lines = tcpw.process.lines().into_iter().map(|line| line.text);
    Ok(lines.filter(|line| line.contains("refused connect") && !line.contains(" markerd[")).collect())
}

/// Waits until the refused clients of a port are reset.
fn wait_reset(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<()> {
    wait_until(&format!("{client} is reset at port {port}"), SOON, || {
        Ok(matches!(attempt(sandbox, client, server, port)?.ended, Ended::Refused))
    })
}

#[test]
fn refused_client_of_every_family_is_reset_at_once_and_logged_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("reset")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001 [::]:7002")?;
    let mut tcpw = start(&sandbox, "")?;
    for (client, server, port, _) in REFUSED {
        assert_reset(&attempt(&sandbox, client, server, port)?);
    }
    for (client, server, port) in SERVED {
        assert_connected(&patient(&sandbox, client, server, port)?);
    }
    let counters = Tcpw::counters(&sandbox)?;
    let lines = refused_lines(&sandbox, &mut tcpw)?;
    assert_lines(&lines, &alphad);
    assert_eq!((counters["refused"], counters["reset"], counters["allowed"]), (5, 5, 3), "{counters:?}");
    for other in ["retransmits", "reset_limited", "broken", "disagreements"] {
        assert_eq!(counters[other], 0, "{other}: {counters:?}");
    }
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}

#[test]
fn daemon_may_have_its_own_way_and_a_flag_is_for_all() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("per-daemon")?;
    sandbox.write_tables("", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7002 0.0.0.0:7003")?;
    let settings = "[daemon.betad]\non-deny = \"drop\"\n";
    for (before, resets) in [("", [true, false, false]), ("on-deny = \"drop\"\n", [false, false, false])] {
        let _tcpw = start(&sandbox, &format!("{before}{settings}"))?;
        for (port, is_reset) in (7001..).zip(resets) {
            let attempt = attempt(&sandbox, CLIENT_V4, SERVER_V4, port)?;
            if is_reset { assert_reset(&attempt) } else { assert_dropped(&attempt) }
        }
        let text: String =
            Tcpw::command(&sandbox, &["status"])?.into_iter().map(|line| line.text + "\n").collect();
        for (port, is_reset) in (7001..).zip(resets) {
            let row = text.lines().find(|line| line.contains(&format!(":{port} "))).context("a row")?;
            assert!(row.contains(if is_reset { " reset " } else { " drop " }), "{text}");
        }
    }
    let _tcpw = Tcpw::start(&sandbox, &RESET)?;
    assert_reset(&attempt(&sandbox, CLIENT_V4, SERVER_V4, 7002)?);
    Ok(())
}

#[test]
fn held_client_whose_answer_is_no_is_reset() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("answer")?;
    sandbox.write_tables("alphad: *3.4 *3456\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &RESET)?;
    for (client, server) in [(CLIENT_V4_OTHER, SERVER_V4), (CLIENT_V6_OTHER, SERVER_V6), (LO_V4, LO_V4)] {
        let attempt = attempt(&sandbox, client, server, 7001)?;
        assert!(matches!(attempt.ended, Ended::Refused), "{client}: {attempt:?}");
    }
    assert_connected(&patient(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    assert_eq!(Tcpw::counters(&sandbox)?["reset"], 3);
    let lines = refused_lines(&sandbox, &mut tcpw)?;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    Ok(())
}

/// The other one listens on the same port: in another network namespace, on another address, and
/// on another address beside one for every address.
#[test]
fn client_of_a_listener_out_of_scope_is_never_touched() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("scope")?;
    sandbox.write_tables("", DENY)?;
    let _there = Testd::start_at(&sandbox, Place::Client, "outsider", "0.0.0.0:7001")?;
    let _beside = Testd::start_at(&sandbox, Place::Server, "outsider", "127.0.0.1:7001")?;
    let _more = Testd::start_at(&sandbox, Place::Server, "outsider", "--reuse-port 2 127.0.0.1:7002")?;
    let _alphad = Testd::start(&sandbox, "alphad", "1.2.3.1:7001")?;
    let _every = Testd::start(&sandbox, "betad", "--reuse-port 2 0.0.0.0:7002")?;
    let _tcpw = Tcpw::start(&sandbox, &RESET)?;
    for port in [7001, 7002] {
        assert_reset(&attempt(&sandbox, CLIENT_V4, SERVER_V4, port)?);
        for _round in 0..10 {
            assert_connected(&patient(&sandbox, LO_V4, LO_V4, port)?);
        }
    }
    let there = connect(sandbox.server(), SERVER_V4, SocketAddr::new(CLIENT_V4, 7001), PATIENCE)?;
    assert_connected(&there);
    Ok(())
}

/// With the daemon stopped, the kernel alone has to see that the port is somebody else's too.
#[test]
fn listener_that_joins_a_certified_port_voids_the_certificate_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("joins")?;
    sandbox.write_tables("", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--reuse-port 2 0.0.0.0:7001")?;
    let tcpw = Tcpw::start(&sandbox, &RESET)?;
    assert_reset(&attempt(&sandbox, LO_V4, LO_V4, 7001)?);
    let pid = Pid::from_raw(tcpw.process.pid().cast_signed());
    kill(pid, Signal::SIGSTOP)?;
    let outsider = Testd::start_at(&sandbox, Place::Server, "outsider", "--reuse-port 2 127.0.0.1:7001")?;
    for _round in 0..10 {
        assert_connected(&patient(&sandbox, LO_V4, LO_V4, 7001)?);
    }
    // Nobody vouches for the port: the gate alone refuses.
    assert_dropped(&attempt(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    kill(pid, Signal::SIGCONT)?;
    wait_reset(&sandbox, CLIENT_V4, SERVER_V4, 7001)?;
    assert_connected(&patient(&sandbox, LO_V4, LO_V4, 7001)?);
    drop(outsider);
    wait_reset(&sandbox, LO_V4, LO_V4, 7001)?;
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}

#[test]
fn listeners_that_come_and_go_are_never_reset_wrongly() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("churn")?;
    // The same port changes hands between a daemon whose client is refused and one that takes it.
    sandbox.write_tables("", "alphad: ALL\n")?;
    let _tcpw = Tcpw::start(&sandbox, &RESET)?;
    for _round in 0..8 {
        let alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
        wait_reset(&sandbox, CLIENT_V4, SERVER_V4, 7001)?;
        drop(alphad);
        wait_free(&sandbox)?;
        let betad = Testd::start(&sandbox, "betad", "0.0.0.0:7001")?;
        for _client in 0..5 {
            assert_connected(&patient(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
        }
        drop(betad);
        wait_free(&sandbox)?;
    }
    Ok(())
}

/// A killed process closes its sockets a moment later.
fn wait_free(sandbox: &Sandbox) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !sandbox.server().listening()?.is_empty() {
        ensure!(Instant::now() < deadline, "somebody still listens");
    }
    Ok(())
}

#[test]
fn resets_past_a_rate_are_drops_and_all_are_counted_and_logged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    for (name, settings) in [("per-source", "[reset]\nper-source = 3\n"), ("total", "[reset]\ntotal = 3\n")] {
        let sandbox = Sandbox::new(name)?;
        sandbox.write_tables("", DENY)?;
        let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
        let mut tcpw = start(&sandbox, settings)?;
        let reset = thread::scope(|scope| -> Result<u64> {
            let all: Vec<_> =
                (0..20).map(|_| scope.spawn(|| attempt(&sandbox, CLIENT_V4, SERVER_V4, 7001))).collect();
            let mut reset = 0;
            for one in all {
                let one = one.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
                ensure!(!one.is_connected(), "{one:?}");
                reset += u64::from(matches!(one.ended, Ended::Refused));
            }
            Ok(reset)
        })?;
        // At most two seconds of the clock.
        assert!((3..=6).contains(&reset), "{name}: {reset} of 20 reset");
        let counters = Tcpw::counters(&sandbox)?;
        assert_eq!(refused_lines(&sandbox, &mut tcpw)?.len(), 20);
        assert_eq!((counters["refused"], counters["reset"]), (20, reset), "{counters:?}");
        assert_eq!(counters["reset_limited"], 20 - reset, "{counters:?}");
    }
    Ok(())
}

/// A SYN that was dropped once is sent again when the limit would allow its reset.
#[test]
fn retransmit_of_a_dropped_syn_is_not_logged_again() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("again")?;
    sandbox.write_tables("", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = start(&sandbox, "[reset]\nper-source = 1\n")?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    thread::scope(|scope| -> Result<()> {
        let all: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| connect(sandbox.client(), CLIENT_V4, server, Duration::from_millis(2500)))
            })
            .collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("panicked"))?.map(drop))
    })?;
    let counters = Tcpw::counters(&sandbox)?;
    let lines = refused_lines(&sandbox, &mut tcpw)?;
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert_eq!(counters["refused"], 4, "{counters:?}");
    assert!(counters["retransmits"] >= 2, "{counters:?}");
    Ok(())
}

/// A handshake whose SYN was allowed, and whose last ACK comes when other tables refuse the client.
fn last_ack_after_a_change(
    name: &str,
    syncookies: &str,
) -> Result<(Sandbox, Testd, Tcpw, cookies::Client, cookies::Half)> {
    let sandbox = Sandbox::new(name)?;
    sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
    sandbox.server().run(|| Ok(fs::write("/proc/sys/net/ipv4/tcp_syncookies", syncookies)?))?;
    let alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &RESET)?;
    let mut client = cookies::Client::new(&sandbox)?;
    let half = client.begin(40001, 7001)?;
    let mark = tcpw.process.mark();
    sandbox.write_tables("", DENY)?;
    tcpw.wait_applied(mark)?;
    assert_reset(&attempt(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    Ok((sandbox, alphad, tcpw, client, half))
}

#[test]
fn handshake_that_the_kernel_keeps_ends_well_whatever_comes_between() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (sandbox, _alphad, mut tcpw, mut client, half) = last_ack_after_a_change("kept", "1")?;
    assert!(client.finish(&half)?.starts_with(b"hello from"), "the handshake was refused in the middle");
    assert_eq!(refused_lines(&sandbox, &mut tcpw)?.len(), 1);
    Ok(())
}

/// The kernel does not know the handshake: that its SYN passed under other tables is no verdict.
#[test]
fn syn_cookie_from_before_a_change_is_judged_by_the_new_tables() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (sandbox, _alphad, mut tcpw, client, half) = last_ack_after_a_change("cookies", "2")?;
    client.complete(&half)?;
    let counters = Tcpw::wait_counters(&sandbox, "the ACK was judged", PATIENCE, |counters| {
        counters["reset"] + counters["acks_without_handshake"] == 2
    })?;
    assert_eq!((counters["allowed"], counters["refused"]), (1, 2), "{counters:?}");
    let table = sandbox.server().run(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?))?;
    assert_eq!(table.lines().count(), 2, "only the listener is there: {table}");
    assert_eq!(refused_lines(&sandbox, &mut tcpw)?.len(), 2);
    Ok(())
}

#[test]
fn client_that_was_allowed_until_the_change_is_reset_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("until")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
    let mut tcpw = Tcpw::start(&sandbox, &RESET)?;
    assert_reset(&attempt(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7001)?);
    assert_connected(&attempt(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    let mark = tcpw.process.mark();
    sandbox.write_tables("", DENY)?;
    tcpw.wait_applied(mark)?;
    assert_reset(&attempt(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    Ok(())
}

#[test]
fn client_that_is_always_allowed_is_never_refused_under_reloads() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("reloads")?;
    let policies = ["alphad: 1.2.3.4\n", "alphad: 1.2.3.4 1.2.4.4\n"];
    sandbox.write_tables(policies[0], DENY)?;
    sandbox.server().run(|| Ok(fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2")?))?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &RESET)?;
    let stop = AtomicBool::new(false);
    let (connected, reset) = thread::scope(|scope| -> Result<(usize, usize)> {
        let clients: Vec<_> = [CLIENT_V4, CLIENT_V4_OTHER]
            .into_iter()
            .cycle()
            .take(8)
            .map(|client| {
                scope.spawn({
                    let (sandbox, stop) = (&sandbox, &stop);
                    move || -> Result<(usize, usize)> {
                        let (mut connected, mut reset) = (0, 0);
                        while !stop.load(Ordering::Relaxed) {
                            let server = SocketAddr::new(SERVER_V4, 7001);
                            // A SYN that a full queue lost is sent again.
                            let mut attempt = connect(sandbox.client(), client, server, 4 * PATIENCE)?;
                            ensure!(attempt.is_connected() || client != CLIENT_V4, "refused: {attempt:?}");
                            attempt.greeting(PATIENCE);
                            connected += usize::from(client == CLIENT_V4);
                            reset += usize::from(matches!(attempt.ended, Ended::Refused));
                            thread::sleep(Duration::from_millis(10));
                        }
                        Ok((connected, reset))
                    }
                })
            })
            .collect();
        let edited = (1..=20).try_for_each(|round| {
            let mark = tcpw.process.mark();
            fs::write(sandbox.hosts_allow(), policies[round % 2])?;
            tcpw.wait_applied(mark).map(drop)
        });
        stop.store(true, Ordering::Relaxed);
        let mut sum = (0, 0);
        for client in clients {
            let (connected, reset) = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            sum = (sum.0 + connected, sum.1 + reset);
        }
        edited.map(|()| sum)
    })?;
    ensure!(connected > 100 && reset > 10, "only {connected} connected, {reset} reset");
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}
