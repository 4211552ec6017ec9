//! Forged sources: what they make tcpw do takes nothing from the clients that are there.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, Commands, DENY, Requirement, SERVER_V4, Sandbox, Tcpw, Testd, can_run,
    client::{connect, knock_from},
    daemons::Unbound,
    wait_until,
};

use super::{SOON, ready, zones};

/// Clients that are there, one after the other.
const CLIENTS: u8 = 20;

/// Longer than proof takes, shorter than a client waits before it sends its SYN again.
const WITHOUT_RETRANSMIT: Duration = Duration::from_secs(1);

/// Forged SYNs: how many in a hundredth of a second, and their sources.
struct Forged {
    rate: u32,
    source: fn(u32) -> SocketAddr,
}

/// A thousand a second from all of 1.2.128.0/17, whose addresses get no answer.
const ANYBODY: Forged = Forged {
    rate: 10,
    source: |number| {
        // Of one network after the other.
        let (network, host) = (number % 0x80, number / 0x80 % 0x100);
        let first = Ipv4Addr::new(1, 2, 128, 0).to_bits();
        SocketAddr::new(Ipv4Addr::from_bits(first + network * 0x100 + host).into(), 0)
    },
};

/// As many from the network of the clients that are there, where nobody has these addresses.
const NEIGHBOURS: Forged = Forged {
    rate: 10,
    source: |number| SocketAddr::new(there(128 + u8::try_from(number % 128).unwrap_or_default()), 0),
};

/// A hundred a second from the first client that is there: from ports that get no answer.
const OF_A_CLIENT: Forged = Forged {
    rate: 1,
    source: |number| SocketAddr::new(there(1), 1024 + u16::try_from(number % 1000).unwrap_or_default()),
};

/// 1.2.5.0/24: clients whose names stand in /etc/hosts.
fn there(number: u8) -> IpAddr {
    IpAddr::from([1, 2, 5, number])
}

/// A sandbox with both kinds of addresses.
fn sandbox(name: &str) -> Result<Sandbox> {
    let sandbox = Sandbox::new(name)?;
    for network in ["1.2.128.0/17", "1.2.5.0/24"] {
        sandbox.client().ip(&format!("route add local {network} dev lo"))?;
        sandbox.server().ip(&format!("route add {network} via {CLIENT_V4}"))?;
    }
    sandbox.client().nft(
        "table ip forged {\nchain in { type filter hook prerouting priority raw\n\
         ip daddr { 1.2.128.0/17, 1.2.5.128/25 } drop\nip daddr 1.2.5.1 tcp dport 1024-2023 drop\n}\n}\n",
    )?;
    let hosts = (1..=CLIENTS).map(|number| format!("{} c{number}.example.test\n", there(number)));
    fs::write(sandbox.etc().join("hosts"), format!("127.0.0.1 localhost\n{}", hosts.collect::<String>()))?;
    Ok(sandbox)
}

/// A rule of names, and a name server that never answers.
fn silent_name_server(sandbox: &Sandbox) -> Result<Unbound> {
    sandbox.write_tables("alphad: .example.test\n", DENY)?;
    let unbound = Unbound::start(sandbox, &zones())?;
    fs::write(sandbox.etc().join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:8 attempts:2\n")?;
    // A module that is not there comes first: look-ups in /etc/hosts wait for their turn like others.
    fs::write(sandbox.etc().join("nsswitch.conf"), "hosts: absent files dns\n")?;
    unbound.delay(None);
    Ok(unbound)
}

/// Starts tcpw with a budget of commands: 60 a minute for a network, 600 for all.
fn start_with_commands(sandbox: &Sandbox) -> Result<Tcpw> {
    let commands = Commands::prepare(sandbox, 65_534)?;
    let settings = commands.settings(sandbox, "per-minute-and-source = 60\nper-minute = 600\n")?;
    Tcpw::start(sandbox, &["--config", &settings.display().to_string()])
}

/// Forged SYNs to a port, until `work` has ended. Returns its result and how many there were.
fn flooded<T>(
    sandbox: &Sandbox,
    port: u16,
    Forged { rate, source }: Forged,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, u32)> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            sandbox.client().run(|| {
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    for _ in 0..rate {
                        knock_from(source(sent), SocketAddr::new(SERVER_V4, port))?;
                        sent += 1;
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                Ok(sent)
            })
        });
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        Ok((done?, flood.join().ok().context("the flood panicked")??))
    })
}

/// These clients connect one after the other. How long each took.
fn all_connect(sandbox: &Sandbox, clients: impl Iterator<Item = u8>) -> Result<Vec<Duration>> {
    let connected = clients.map(|number| {
        let attempt = connect(sandbox.client(), there(number), SocketAddr::new(SERVER_V4, 7001), SOON)?;
        ensure!(attempt.is_connected(), "{number}: {attempt:?}");
        Ok(attempt.took)
    });
    connected.collect()
}

fn wait_challenged(sandbox: &Sandbox) -> Result<()> {
    Tcpw::wait_counters(sandbox, "forged ones are challenged", SOON, |counters| {
        counters["challenges"] > 100
    })?;
    Ok(())
}

/// Nine of ten did not have to send their SYN again. One may, where the machine is busy.
fn assert_at_once(mut took: Vec<Duration>) {
    took.sort_unstable();
    let most = took[took.len() * 9 / 10 - 1];
    assert!(most < WITHOUT_RETRANSMIT, "{took:?}");
}

#[test]
fn client_that_is_there_does_not_wait_for_a_silent_name_server_that_forged_ones_ask() -> Result<()> {
    if !ready() || !can_run("forged", &[Requirement::Program("/usr/sbin/nft")]) {
        return Ok(());
    }
    let sandbox = sandbox("forged-names")?;
    let _unbound = silent_name_server(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let (took, sent) = flooded(&sandbox, 7001, ANYBODY, || {
        wait_challenged(&sandbox)?;
        all_connect(&sandbox, 1..=CLIENTS)
    })?;
    assert_at_once(took);
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!(counters["challenges_answered"], u64::from(CLIENTS), "{sent} forged: {counters:?}");
    // Half of the 64 that may run, and those of the clients.
    assert!(counters["lookups"] <= 32 + u64::from(CLIENTS), "{counters:?}");
    assert_eq!((counters["disagreements"], counters["refused"]), (0, 0), "{counters:?}");
    wait_until("what was not answered is given up", SOON, || {
        let counters = Tcpw::counters(&sandbox)?;
        Ok(counters["challenges_waiting"] == 0 && counters["challenges_unanswered"] > 0)
    })
}

/// What is sent again is the packet that was held: clients send theirs once.
#[test]
fn proven_client_goes_on_without_sending_its_syn_again() -> Result<()> {
    [("forged-once", ANYBODY), ("forged-near", NEIGHBOURS)]
        .into_iter()
        .try_for_each(|(name, forged)| proven_goes_on(name, forged))
}

fn proven_goes_on(name: &str, forged: Forged) -> Result<()> {
    if !ready() || !can_run("forged", &[Requirement::Program("/usr/sbin/nft")]) {
        return Ok(());
    }
    let sandbox = sandbox(name)?;
    let _unbound = silent_name_server(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    sandbox.send_each_syn_once()?;
    flooded(&sandbox, 7001, forged, || {
        wait_challenged(&sandbox)?;
        all_connect(&sandbox, 1..=CLIENTS)
    })?;
    assert_eq!(Tcpw::counters(&sandbox)?["challenges_answered"], u64::from(CLIENTS));
    Ok(())
}

/// Firewalls that follow connections, at both ends and with address translation in between, take the challenge and its
/// answer for parts of the connection.
#[test]
fn challenge_passes_address_translation_and_firewalls_that_follow_connections() -> Result<()> {
    if !ready() || !can_run("forged", &[Requirement::Program("/usr/sbin/nft")]) {
        return Ok(());
    }
    let sandbox = sandbox("forged-nat")?;
    sandbox.write_tables("alphad: ALL: aclexec /bin/true\n", DENY)?;
    sandbox.client().nft(
        "table ip nat {\nchain out { type nat hook postrouting priority srcnat\nip saddr 1.2.5.0/24 snat to 1.2.3.4\n}\n}\n\
         table ip strict {\nchain in { type filter hook input priority 0; policy drop;\n\
         ct state invalid drop\nct state established accept\niif lo accept\n}\n\
         chain out { type filter hook output priority 0;\nct state invalid drop\n}\n}\n",
    )?;
    sandbox.server().nft(
        "table ip strict {\nchain in { type filter hook input priority 0; policy drop;\n\
         ct state invalid drop\nct state established accept\ntcp dport 7001 ct state new accept\niif lo accept\n}\n\
         chain out { type filter hook output priority 0;\nct state invalid drop\n}\n}\n",
    )?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = start_with_commands(&sandbox)?;
    let (took, _) = flooded(&sandbox, 7001, ANYBODY, || {
        wait_challenged(&sandbox)?;
        all_connect(&sandbox, 1..=CLIENTS)
    })?;
    assert_at_once(took);
    Ok(())
}

/// The attacker forges the very address of the client, whose firewall drops what belongs to no connection: no more than
/// half of its commands run for the forged ones.
#[test]
fn client_behind_a_firewall_whose_own_address_is_forged_gets_its_command_run() -> Result<()> {
    if !ready() || !can_run("forged", &[Requirement::Program("/usr/sbin/nft")]) {
        return Ok(());
    }
    let sandbox = sandbox("forged-command")?;
    sandbox.write_tables("alphad: 1.2.5.: aclexec /bin/true\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = start_with_commands(&sandbox)?;
    let (took, sent) = flooded(&sandbox, 7001, OF_A_CLIENT, || {
        wait_challenged(&sandbox)?;
        all_connect(&sandbox, std::iter::repeat_n(1, CLIENTS.into()))
    })?;
    assert_at_once(took);
    let counters = Tcpw::counters(&sandbox)?;
    assert!(counters["commands_run"] < 60 + u64::from(CLIENTS), "{sent} forged: {counters:?}");
    assert_eq!(counters["commands_suppressed"], 0, "{counters:?}");
    Ok(())
}
