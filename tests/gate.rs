//! The gate with real listeners, real clients and real packets, in network namespaces.
//!
//! Every row connects for real. Refused means that nothing came back: the SYN was dropped.

#[path = "gate/packets.rs"]
mod packets;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use tcpw_tests::{
    ALLOW, CLIENT_V4, CLIENT_V4_OTHER, CLIENTS, DENY, Place, Requirement, SERVER_V4, Sandbox, Tcpw, Testd,
    can_run,
    client::{Attempt, Ended, connect, fast_open},
};

/// A connection on this cable takes under a millisecond; a SYN is sent again after a second.
const PATIENCE: Duration = Duration::from_millis(900);

/// What must come is waited for this long: a busy or an emulated machine is slow.
const SOON: Duration = Duration::from_secs(20);

fn ready() -> bool {
    can_run("gate", &[Requirement::Root])
}

fn attempt(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<Attempt> {
    connect(sandbox.client(), client, SocketAddr::new(server, port), PATIENCE)
}

fn is_refused(attempt: &Attempt) -> bool {
    matches!(attempt.ended, Ended::TimedOut)
}

/// Every client at a port, with the rules above.
fn assert_judged(sandbox: &Sandbox, port: u16, families: &str) -> Result<()> {
    for (client, server, allowed) in CLIENTS {
        if !families.contains(if client.is_ipv4() { '4' } else { '6' }) {
            continue;
        }
        let time = if allowed { SOON } else { PATIENCE };
        let mut attempt = connect(sandbox.client(), client, SocketAddr::new(server, port), time)?;
        assert_eq!(attempt.is_connected(), allowed, "{client} at port {port}: {attempt:?}");
        assert_eq!(is_refused(&attempt), !allowed, "{client} at port {port}: {attempt:?}");
        if allowed {
            assert!(attempt.greeting(SOON).starts_with("hello from"), "{client} at port {port}");
        }
    }
    Ok(())
}

#[test]
fn listeners_of_before_and_after_and_of_every_family_are_judged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("families")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _before = Testd::start(&sandbox, "alphad", "0.0.0.0:7001 [::]:7002")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let _after = Testd::start(&sandbox, "alphad", "0.0.0.0:7003 [::]:7004")?;
    assert_judged(&sandbox, 7001, "4")?;
    assert_judged(&sandbox, 7002, "46")?;
    assert_judged(&sandbox, 7003, "4")?;
    assert_judged(&sandbox, 7004, "46")
}

/// In either form the tables judge alike, and each start compares them with the rules.
#[test]
fn setting_chooses_the_form_of_the_tables() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    for (form, entries) in [("lpm", "prefixes"), ("flat", "ranges"), ("auto", "prefixes")] {
        let sandbox = Sandbox::new("form")?;
        sandbox.write_tables(ALLOW, DENY)?;
        let _alphad = Testd::start(&sandbox, "alphad", "[::]:7002")?;
        let settings = sandbox.write_settings(&format!("table = \"{form}\"\n"))?;
        let mut tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
        assert_judged(&sandbox, 7002, "46")?;
        let row = Tcpw::wait_listener(&sandbox, 7002, |_| true)?;
        let policy = row["policy"].as_str().unwrap_or_default();
        assert!(policy.contains(entries), "{form}: {policy}");
        let applied = tcpw.process.wait_for_line("applied generation ", SOON)?;
        let compared = applied.text.split_once(" ms, ").and_then(|(_, rest)| rest.split(' ').next());
        let compared: usize = compared.and_then(|count| count.parse().ok()).unwrap_or_default();
        assert!(compared > 10 && applied.text.ends_with(" comparisons with the rules)"), "{}", applied.text);
    }
    Ok(())
}

#[test]
fn loopback_is_judged_too() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("loopback")?;
    sandbox.write_tables("alphad: 127.\nbetad: [::1]\n", DENY)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "[::]:7002")?;
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    for (address, port, allowed) in [(v4, 7001, true), (v6, 7001, false), (v4, 7002, false), (v6, 7002, true)]
    {
        let attempt = connect(sandbox.server(), address, SocketAddr::new(address, port), PATIENCE)?;
        assert_eq!(attempt.is_connected(), allowed, "{address} at port {port}: {attempt:?}");
    }
    Ok(())
}

#[test]
fn daemons_of_every_name_and_ports_have_their_own_rules() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("names")?;
    let allow = "alphad: 1.2.3.\n7002: 1.2.4.\nALL EXCEPT alphad, betad: ALL\nbetad@1.2.3.1: 1.2.4.4\n";
    sandbox.write_tables(allow, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001 0.0.0.0:7002")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let _gammad = Testd::start(&sandbox, "gammad", "0.0.0.0:7003")?;
    let _betad = Testd::start(&sandbox, "betad", "[::]:7004")?;
    for (client, port, allowed) in [
        (CLIENT_V4, 7001, true),
        (CLIENT_V4_OTHER, 7001, false),
        (CLIENT_V4, 7002, true),
        (CLIENT_V4_OTHER, 7002, true),
        (CLIENT_V4_OTHER, 7003, true),
        (CLIENT_V4, 7004, false),
        (CLIENT_V4_OTHER, 7004, true),
    ] {
        let attempt = attempt(&sandbox, client, SERVER_V4, port)?;
        assert_eq!(attempt.is_connected(), allowed, "{client} at port {port}: {attempt:?}");
    }
    Ok(())
}

/// The kernel knows the first 15 bytes of a name, and none that only a glob matches: a scan has to find these.
#[test]
fn names_the_kernel_cannot_know_are_found_after_the_start() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("found")?;
    sandbox.write_tables("", "a-daemon-with-a-long-name: 1.2.3.\nbe??d: 1.2.4.\n")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let _long = Testd::start(&sandbox, "a-daemon-with-a-long-name", "0.0.0.0:7001")?;
    let _cut = Testd::start(&sandbox, "a-daemon-with-a-longer-name", "0.0.0.0:7002")?;
    let _glob = Testd::start(&sandbox, "betad", "0.0.0.0:7003")?;
    for port in [7001, 7002, 7003] {
        Tcpw::wait_listener(&sandbox, port, |_row| true)?;
    }
    for (client, port, allowed) in [
        (CLIENT_V4, 7001, false),
        (CLIENT_V4_OTHER, 7001, true),
        (CLIENT_V4, 7002, true),
        (CLIENT_V4, 7003, true),
        (CLIENT_V4_OTHER, 7003, false),
    ] {
        let attempt = attempt(&sandbox, client, SERVER_V4, port)?;
        assert_eq!(attempt.is_connected(), allowed, "{client} at port {port}: {attempt:?}");
        assert_eq!(is_refused(&attempt), !allowed, "{client} at port {port}: {attempt:?}");
    }
    Ok(())
}

#[test]
fn every_member_of_a_reuseport_group_is_judged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("reuseport")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _before = Testd::start(&sandbox, "alphad", "--reuse-port 4 [::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let _after = Testd::start(&sandbox, "alphad", "--reuse-port 4 [::]:7001")?;
    // 24 attempts choose among 8 members: one that is not judged would be met.
    for _round in 0..24 {
        // One that is not identified yet waits.
        let attempt = connect(sandbox.client(), CLIENT_V4, SocketAddr::new(SERVER_V4, 7001), SOON)?;
        assert!(attempt.is_connected(), "{attempt:?}");
    }
    let refused = connect_many(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7001, 24)?;
    assert_eq!(refused, 24);
    Ok(())
}

/// Attempts at once; returns how many got no answer.
fn connect_many(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16, count: usize) -> Result<usize> {
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..count).map(|_| scope.spawn(|| attempt(sandbox, client, server, port))).collect();
        let mut refused = 0;
        for one in all {
            let one = one.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            refused += usize::from(is_refused(&one));
        }
        Ok(refused)
    })
}

#[test]
fn listener_in_another_network_namespace_is_judged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("netns")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    // In the guarded cgroup, but in the client's network, where tcpw is not.
    let _alphad = Testd::start_at(&sandbox, Place::GuardedClient, "alphad", "0.0.0.0:7001")?;
    for (client, server, allowed) in [(SERVER_V4, CLIENT_V4, true), (CLIENT_V4_OTHER, CLIENT_V4_OTHER, false)]
    {
        let from = if client == SERVER_V4 { sandbox.server() } else { sandbox.client() };
        let attempt = connect(from, client, SocketAddr::new(server, 7001), PATIENCE)?;
        assert_eq!(attempt.is_connected(), allowed, "{client}: {attempt:?}");
    }
    Ok(())
}

#[test]
fn refused_attempt_is_one_line_however_often_its_syn_is_sent() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("retransmit")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001 [::]:7002")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    // Long enough for two retransmits: after 1 and 3 seconds, since Linux 6.5 after 1, 2 and 3.
    connect(sandbox.client(), CLIENT_V4_OTHER, server, Duration::from_millis(3500))?;
    attempt(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7002)?;
    tcpw.process.wait_for_line("refused connect from ::ffff:1.2.4.4 (::ffff:1.2.4.4)", SOON)?;
    let lines: Vec<String> = tcpw
        .process
        .lines()
        .into_iter()
        .map(|line| line.text)
        .filter(|line| line.contains("refused connect"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].ends_with(": refused connect from 1.2.4.4 (1.2.4.4)"), "{lines:#?}");
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!(counters["refused"], 2);
    assert!((2..=4).contains(&counters["retransmits"]), "{counters:?}");
    assert_eq!(counters["broken"], 0);
    Ok(())
}

/// Sends the SYN with options in the IP header, IPv4 and IPv6.
fn attempt_with_headers(
    sandbox: &Sandbox,
    client: IpAddr,
    server: SocketAddr,
    options: &[(i32, i32, &[u8])],
) -> Result<bool> {
    sandbox.client().run(|| packets::connect_with_options(client, server, options, PATIENCE))
}

#[test]
fn ip_options_and_extension_headers_hide_nothing() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("headers")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    const NOPS: (i32, i32, &[u8]) = (libc::IPPROTO_IP, libc::IP_OPTIONS, &[1, 1, 1, 1]);
    const PADDED: &[u8] = &[0, 0, 1, 4, 0, 0, 0, 0];
    /// An experimental option that receivers skip (RFC 4727), 28 bytes.
    const LONG: &[u8] =
        &[0, 3, 0x1e, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const DESTINATION: (i32, i32, &[u8]) = (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, PADDED);
    const HOP_BY_HOP: (i32, i32, &[u8]) = (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS, PADDED);
    const DESTINATION_LONG: (i32, i32, &[u8]) = (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, LONG);
    let v4: [&[(i32, i32, &[u8])]; 1] = [&[NOPS]];
    let v6: [&[(i32, i32, &[u8])]; 4] =
        [&[DESTINATION], &[HOP_BY_HOP], &[HOP_BY_HOP, DESTINATION], &[HOP_BY_HOP, DESTINATION_LONG]];
    for (client, server, allowed) in CLIENTS {
        let all: &[&[(i32, i32, &[u8])]] = if client.is_ipv4() { &v4 } else { &v6 };
        for options in all {
            let connected = attempt_with_headers(&sandbox, client, SocketAddr::new(server, 7001), options)?;
            assert_eq!(connected, allowed, "{client} with {options:?}");
        }
    }
    assert_eq!(Tcpw::counters(&sandbox)?["unparsable"], 0);
    Ok(())
}

#[test]
fn fast_open_syn_with_data_is_judged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("fastopen")?;
    sandbox.write_tables(ALLOW, DENY)?;
    // Client and server without cookies: the first SYN already carries data.
    for netns in [sandbox.server(), sandbox.client()] {
        netns.run(|| Ok(fs::write("/proc/sys/net/ipv4/tcp_fastopen", "519")?))?;
    }
    // A daemon that does not read what came with the SYN resets its client when it closes.
    let _alphad = Testd::start(&sandbox, "alphad", "--fast-open --tell [::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for (client, server, allowed) in CLIENTS {
        let server = SocketAddr::new(server, 7001);
        // One that is let in may take its time: a SYN sent again carries no data, and is not counted below.
        let patience = if allowed { Duration::from_secs(10) } else { PATIENCE };
        let mut attempt = sandbox.client().run(|| fast_open(client, server, b"x", patience))?;
        let greeting = attempt.greeting(patience);
        assert_eq!(!greeting.is_empty(), allowed, "{client}: \"{greeting}\", {attempt:?}");
    }
    assert_eq!(sandbox.server().netstat("TCPFastOpenPassive")?, Some(2), "the SYNs did carry data");
    Ok(())
}

#[test]
fn ecn_syn_is_judged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("ecn")?;
    sandbox.write_tables(ALLOW, DENY)?;
    sandbox.client().run(|| Ok(fs::write("/proc/sys/net/ipv4/tcp_ecn", "1")?))?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    assert_judged(&sandbox, 7001, "46")
}
