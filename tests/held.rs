//! Attempts that wait for user space: held, decided, sent again.
//!
//! The clients send their SYN once: who is connected was sent again.

#[path = "held/bounds.rs"]
mod bounds;
#[path = "held/links.rs"]
mod links;
#[path = "held/options.rs"]
mod options;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::sys::signal::Signal;
use tcpw_tests::{
    Barrier, CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, DENY, LO_V4, LO_V6, Requirement,
    SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd, can_run,
    client::{Ended, connect},
    wait_syn_sent,
};

/// Before the first retransmit: who is let in by mistake would be in by then.
const AT_ONCE: Duration = Duration::from_millis(800);

/// Who has to get in, and sends his SYN once, may take his time on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn ready() -> bool {
    can_run("held", &[Requirement::Root, Requirement::Program("/usr/sbin/nft")])
}

/// A sandbox whose clients send their SYN once.
fn sandbox(name: &str, allow: &str, deny: &str) -> Result<Sandbox> {
    let sandbox = Sandbox::new(name)?;
    sandbox.write_tables(allow, deny)?;
    sandbox.send_each_syn_once()?;
    Ok(sandbox)
}

/// How long to wait for a client of whom this is expected.
fn patience(client: IpAddr, expected: bool) -> Duration {
    // One of this host's own sends as often as it likes.
    if expected && !client.is_loopback() { SOON } else { AT_ONCE }
}

/// Whether a client is let in, as is expected or not.
fn is_allowed(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16, expected: bool) -> Result<bool> {
    let place = sandbox.netns_of(client);
    let mut attempt = connect(place, client, SocketAddr::new(server, port), patience(client, expected))?;
    // A listener that was missed would answer with a reset.
    assert!(!matches!(attempt.ended, Ended::Refused), "{client} to port {port}: {attempt:?}");
    let is_connected = attempt.is_connected();
    assert_eq!(is_connected, attempt.greeting(SOON).starts_with("hello"), "{client} to port {port}");
    Ok(is_connected)
}

/// (client, server, whether the rules of each test allow it).
const CLIENTS: [(IpAddr, IpAddr, bool); 6] = [
    (CLIENT_V4, SERVER_V4, true),
    (CLIENT_V4_OTHER, SERVER_V4, false),
    (CLIENT_V6, SERVER_V6, true),
    (CLIENT_V6_OTHER, SERVER_V6, false),
    (LO_V4, LO_V4, true),
    (LO_V6, LO_V6, false),
];

fn assert_judged(sandbox: &Sandbox, port: u16) -> Result<()> {
    for (client, server, allowed) in CLIENTS {
        assert_eq!(is_allowed(sandbox, client, server, port, allowed)?, allowed, "{client} to port {port}");
    }
    Ok(())
}

#[test]
fn client_that_was_held_is_connected_without_trying_again() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    // Too many networks for a table: user space has to look at the text.
    let sandbox = sandbox("held", "alphad: *3.4 *3456 *0.1\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let barrier = Barrier::start(&sandbox)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    assert_judged(&sandbox, 7001)?;
    // Each refused client is one line, though its SYN came twice. One may have a name.
    for client in ["::ffff:1.2.4.4", "3ffe:ffff:100:201::1", "::1"] {
        tcpw.process.wait_for_line(&format!(" ({client})"), SOON)?;
    }
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!((counters["asked"], counters["refused"]), (6, 3), "{counters:?}");
    barrier.pass(&sandbox, &mut tcpw)?;
    let lines = tcpw.process.lines().iter().filter(|line| line.text.contains("refused connect")).count();
    assert_eq!(lines, 3 + 1, "and the marker's");
    Ok(())
}

#[test]
fn listener_of_multipath_tcp_has_its_daemons_rules() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("mptcp", "alphad: 1.2.3. 127. [3ffe:ffff:100:200::]/64\n", "alphad: ALL\n")?;
    let _before = Testd::start(&sandbox, "alphad", "--mptcp [::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    assert_judged(&sandbox, 7001)?;
    let _after = Testd::start(&sandbox, "alphad", "--mptcp [::]:7002")?;
    assert_judged(&sandbox, 7002)?;
    let _other = Testd::start(&sandbox, "betad", "--mptcp [::]:7003")?;
    assert!(is_allowed(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7003, true)?);
    assert!(is_allowed(&sandbox, CLIENT_V6_OTHER, SERVER_V6, 7003, true)?);
    Ok(())
}

/// The kernel cannot know a name that only a glob matches: the first client waits for the scan.
#[test]
fn first_client_of_a_new_listener_is_judged_by_its_real_name() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox =
        sandbox("first", "a-daemon-with-a-long-name be??d: 1.2.3. 127. [3ffe:ffff:100:200::]/64\n", DENY)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for (round, name) in (0..5u16).flat_map(|round| [(round, "betad"), (round, "a-daemon-with-a-long-name")])
    {
        let port = 7001 + 2 * round + u16::from(name == "betad");
        let _daemon = Testd::start(&sandbox, name, &format!("[::]:{port}"))?;
        assert!(is_allowed(&sandbox, CLIENT_V4, SERVER_V4, port, true)?, "{name} at {port}");
        assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER, SERVER_V4, port, false)?, "{name} at {port}");
    }
    Ok(())
}

/// No listener that is known has such a name, so all known ones are treated alike: the next may be the first.
#[test]
fn first_daemon_that_a_glob_refuses_is_closed_before_it_is_known() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("glob", "", "be??d: ALL\n")?;
    let tcpw = Tcpw::start(&sandbox, &[])?;
    tcpw.process.signal(Signal::SIGSTOP)?;
    let _betad = Testd::start(&sandbox, "betad", "[::]:7001")?;
    let _gammad = Testd::start(&sandbox, "gammad", "[::]:7002")?;
    let ended = std::thread::scope(|scope| -> Result<_> {
        let attempts = [(7001, false), (7002, true)].map(|(port, expected)| {
            let time = patience(CLIENT_V4, expected);
            let sandbox = &sandbox;
            scope.spawn(move || connect(sandbox.client(), CLIENT_V4, SocketAddr::new(SERVER_V4, port), time))
        });
        wait_syn_sent(sandbox.client(), 2)?;
        tcpw.process.signal(Signal::SIGCONT)?;
        attempts
            .into_iter()
            .map(|one| Ok(one.join().expect("no panic")?.is_connected()))
            .collect::<Result<Vec<bool>>>()
    })?;
    assert_eq!(ended, [false, true]);
    Ok(())
}

/// What is sent again comes in on the device: on the loopback such a listener would not hear it.
#[test]
fn listener_of_one_device_hears_what_was_held() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("device", "alphad: *3.4 *3456\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--device tcpw0 [::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for (client, server, allowed) in CLIENTS.into_iter().take(4) {
        assert_eq!(is_allowed(&sandbox, client, server, 7001, allowed)?, allowed, "{client}");
    }
    Ok(())
}

/// A socket on its way from one process to another, and a listener of the kernel, have no process
/// that shows them: settings name them by their port.
#[test]
fn listener_that_nobody_shows_is_named_by_its_port() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("hidden", "nfsd: 1.2.3.\nALL EXCEPT nfsd: ALL\n", DENY)?;
    let settings = sandbox.write_settings("[names.port]\n7001 = [\"nfsd\"]\n")?;
    let _before = Testd::start(&sandbox, "alphad", "--hide 0.0.0.0:7001 0.0.0.0:7002")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    let connects = |client, port, expected| -> Result<bool> {
        let server = SocketAddr::new(SERVER_V4, port);
        Ok(connect(sandbox.client(), client, server, patience(client, expected))?.is_connected())
    };
    assert!(connects(CLIENT_V4, 7001, true)?);
    assert!(!connects(CLIENT_V4_OTHER, 7001, false)?);
    assert!(connects(CLIENT_V4_OTHER, 7002, true)?);
    Ok(())
}

#[test]
fn program_that_takes_over_a_listener_gives_it_its_name() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("exec", "betad: 1.2.3.\nalphad: 1.2.4.\n", DENY)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    // Makes the program, and is the daemon of another port.
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7001")?;
    let betad = sandbox.scratch().join("betad");
    let _became = Testd::start(&sandbox, "alphad", &format!("--exec {} 0.0.0.0:7002", betad.display()))?;
    // The scan that the exec asks for may take a moment.
    let deadline = Instant::now() + 3 * SOON;
    while !is_allowed(&sandbox, CLIENT_V4, SERVER_V4, 7002, true)? {
        assert!(Instant::now() < deadline, "it keeps the name it had");
    }
    assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7002, false)?);
    Ok(())
}
