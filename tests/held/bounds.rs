//! What the bounds on held attempts do: it is counted and said, and nobody else feels it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tcpw_common::limits::HOLDS_PER_SOURCE;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd,
    client::{connect, knock},
    wait_syn_sent, wait_until,
};

use super::{AT_ONCE, DENY, SOON, is_allowed, ready, sandbox};

/// The sum of what lines with this text count.
fn said(tcpw: &Tcpw, text: &str) -> u64 {
    let lines = tcpw.process.lines();
    let count = |line: &str| line.split_once(text)?.0.split_whitespace().next_back()?.parse::<u64>().ok();
    lines.iter().filter_map(|line| count(&line.text)).sum()
}

/// Waits until the lines have told of as many as a counter counts.
fn wait_said(sandbox: &Sandbox, tcpw: &Tcpw, counter: &str, text: &str) -> Result<()> {
    let mut both = (0, 0);
    wait_until(&format!("the log tells of all that {counter} counts"), SOON, || {
        both = (Tcpw::counters(sandbox)?[counter], said(tcpw, text));
        Ok(both.0 == both.1)
    })
    .with_context(|| format!("counted and said: {both:?}"))
}

const OF_A_SOURCE: &str = " attempts were not held, their source has too many";

/// Every address of one /64 has to be asked about; to a bound they are one host.
#[test]
fn source_that_is_held_too_often_is_counted_and_no_other_feels_it() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("source", "alphad: *3.4 *3456\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let tcpw = Tcpw::start(&sandbox, &[])?;
    let source =
        |number: u16| -> IpAddr { Ipv6Addr::new(0x3ffe, 0xffff, 0x100, 0x300, 0, 0, number, 1).into() };
    sandbox.client().ip("-6 route add local 3ffe:ffff:100:300::/64 dev lo")?;
    sandbox.client().run(|| Ok(std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")?))?;
    let server = SocketAddr::new(SERVER_V6, 7001);
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let sent = thread::scope(|scope| -> Result<u64> {
        let flood = scope.spawn(|| {
            sandbox.client().run(|| {
                let mut sent = 0_u16;
                while !stop.load(Ordering::Relaxed) && sent < u16::MAX {
                    knock(source(sent), server)?;
                    sent += 1;
                    // A few thousand in a second.
                    thread::sleep(Duration::from_micros(50));
                }
                Ok(u64::from(sent))
            })
        });
        let others = (|| {
            let deadline = Instant::now() + SOON;
            while Tcpw::counters(&sandbox)?["hold_limited"] == 0 {
                ensure!(Instant::now() < deadline, "no bound: {:?}", Tcpw::counters(&sandbox)?);
            }
            for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
                ensure!(!flood.is_finished(), "the flood is over");
                ensure!(is_allowed(&sandbox, client, server, 7001, true)?, "{client} is lost in the flood");
            }
            ensure!(!is_allowed(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7001, false)?, "1.2.4.4 got in");
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        let sent = flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))?;
        others.and(sent)
    })?;
    let seconds = began.elapsed().as_secs() + 2;
    // What was held is decided: refused, but for two. Some were challenged, and no host answers for them.
    let counters = Tcpw::wait_counters(&sandbox, &format!("{sent} sent are decided"), SOON, |counters| {
        let waits = ["challenges_waiting", "lookups_running", "names_waiting"];
        waits.iter().all(|waits| counters[*waits] == 0) && counters["refused"] > 0
    })?;
    ensure!(counters["refused"] + counters["challenges_unanswered"] + 2 <= counters["asked"], "{counters:?}");
    // Three others were held too. Of a flood the kernel's queue of received packets loses some, and of what is sent
    // again.
    ensure!(counters["asked"] <= HOLDS_PER_SOURCE * seconds + 3, "{seconds} s: {counters:?}");
    ensure!(counters["asked"] + counters["hold_limited"] <= sent + 3, "{sent} sent: {counters:?}");
    wait_said(&sandbox, &tcpw, "hold_limited", OF_A_SOURCE)
}

/// While tcpw does not answer, not even the first of an address is decided. Its neighbour has a
/// bound of its own.
#[test]
fn address_of_ipv4_is_a_source_of_its_own() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("sourcev4", "alphad: *3.4 *3.5\n", DENY)?;
    let neighbour: IpAddr = "1.2.3.5".parse()?;
    sandbox.client().address("tcpw0", neighbour, 16)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let tcpw = Tcpw::start(&sandbox, &[])?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    // More than the bound of two seconds, as a second may end meanwhile.
    let sent = HOLDS_PER_SOURCE * 2 + 100;
    tcpw.process.signal(Signal::SIGSTOP)?;
    let held = thread::scope(|scope| -> Result<_> {
        let flooded = sandbox.client().run(|| (0..sent).try_for_each(|_| knock(CLIENT_V4, server)));
        let held = scope.spawn(|| connect(sandbox.client(), neighbour, server, SOON));
        wait_syn_sent(sandbox.client(), 1)?;
        tcpw.process.signal(Signal::SIGCONT)?;
        flooded?;
        held.join().map_err(|_| anyhow::anyhow!("the neighbour panicked"))?
    })?;
    ensure!(held.is_connected(), "the neighbour waits for its own retransmit: {held:?}");
    let counters = Tcpw::wait_counters(&sandbox, &format!("a bound on {sent} sent"), SOON, |counters| {
        counters["hold_limited"] > 0
    })?;
    // Of a flood the cable loses some.
    ensure!(counters["asked"] <= 2 * HOLDS_PER_SOURCE + 1, "{sent} sent: {counters:?}");
    ensure!(counters["asked"] + counters["hold_limited"] <= sent + 1, "{sent} sent: {counters:?}");
    wait_said(&sandbox, &tcpw, "hold_limited", OF_A_SOURCE)
}

/// Attempts at a listener that no process shows wait for a scan of all processes, at most one in a
/// second: more of them than there is room for.
#[test]
fn packets_beyond_those_that_may_wait_are_counted_and_left_to_their_clients() -> Result<()> {
    const SOURCES: u32 = 64;
    /// More than may wait, fewer than the ring has room for.
    const PACKETS: u32 = 5000;
    const ROUNDS: u16 = 5;
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("waiting", "nobody-there: ALL\nALL: 1.2.3.\n", DENY)?;
    sandbox.client().ip("route add local 1.2.128.0/24 dev lo")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let server = |port| SocketAddr::new(SERVER_V4, port);
    let (mut hidden, mut port) = (Vec::new(), 7000);
    let mut hide = |port: u16| -> Result<()> {
        hidden.push(Testd::start(&sandbox, "alphad", &format!("--hide 0.0.0.0:{port}"))?);
        Ok(())
    };
    // Where a round takes longer than the second between two scans, none has to wait: then once more.
    for _ in 0..ROUNDS {
        port += 2;
        hide(port - 1)?;
        ensure!(connect(sandbox.client(), CLIENT_V4, server(port - 1), SOON)?.is_connected());
        let decided = |counters: &BTreeMap<String, u64>| {
            counters["allowed"] + counters["refused"] + counters["hold_waiting_full"]
        };
        let before = Tcpw::counters(&sandbox)?;
        // That was a scan. The next listener comes after it, and its packets come all at once.
        tcpw.process.signal(Signal::SIGSTOP)?;
        let sent = hide(port).and_then(|()| {
            sandbox.client().run(|| {
                (0..PACKETS).try_for_each(|packet| {
                    let last = u8::try_from(packet % SOURCES)?;
                    knock(IpAddr::from([1, 2, 128, last]), server(port))
                })
            })
        });
        tcpw.process.signal(Signal::SIGCONT)?;
        sent?;
        Tcpw::wait_counters(&sandbox, "all packets are read", SOON, |counters| {
            counters["asked"] - before["asked"] == decided(counters) - decided(&before)
        })?;
        if Tcpw::counters(&sandbox)?["hold_waiting_full"] > 0 {
            break;
        }
    }
    let line = tcpw.process.wait_for_line(" connection attempts were not held: 4096 wait already", SOON);
    line.with_context(|| format!("{:?}", Tcpw::counters(&sandbox)))?;
    wait_said(&sandbox, &tcpw, "hold_waiting_full", " connection attempts were not held: ")?;
    // It goes on, and so do others. The first may come while 4,096 still wait, and here a SYN leaves once.
    wait_until("a client is connected when the others wait no more", SOON, || {
        Ok(connect(sandbox.client(), CLIENT_V4, server(port), 2 * AT_ONCE)?.is_connected())
    })?;
    ensure!(!connect(sandbox.client(), CLIENT_V4_OTHER, server(port), AT_ONCE)?.is_connected());
    Ok(())
}
