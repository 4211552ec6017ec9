//! The early drop, with frames on a tap device (native XDP), a bridge (generic XDP) and a cable (tcx).
//!
//! "Dropped early" is shown by its counter, and by that of the gate, which stays. "Passed" is shown by the gate's
//! counter, by the answer, or by a SYN that was dropped early afterwards.

#[path = "early/coexistence.rs"]
mod coexistence;
#[path = "early/headers.rs"]
mod headers;
#[path = "early/life.rs"]
mod life;
#[path = "bypass/packet.rs"]
#[expect(dead_code, reason = "shared with tests/bypass.rs, which uses all of it")]
mod packet;
#[path = "early/tap.rs"]
mod tap;
#[path = "early/vlan.rs"]
mod vlan;

use std::{cell::Cell, collections::BTreeMap, net::IpAddr, time::Duration};

use anyhow::Result;
use tcpw_tests::{DENY, Requirement, Sandbox, Tcpw, Testd, can_run, wait_until};

use packet::{ACK, RST, SYN, Segment};
use tap::Tap;

/// What must come is waited for this long: a busy or an emulated machine is slow.
const SOON: Duration = Duration::from_secs(20);

const DEVICE: &str = "early0";
const SERVERS: [&str; 2] = ["10.9.0.1", "fd09::1"];
const ALLOWED: [&str; 2] = ["10.9.1.1", "fd09::1:1"];
const REFUSED: [&str; 2] = ["10.9.2.2", "fd09::2:2"];
const ALLOW: &str = "alphad: 10.9.1. [fd09::1:0]/112\n";
const PORT: u16 = 7001;

fn ready() -> bool {
    can_run("early", &[Requirement::Root, Requirement::Kernel("/dev/net/tun")])
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A server whose tap device drops early, and its clients.
struct World {
    sandbox: Sandbox,
    tap: Tap,
    sent: Cell<u16>,
}

impl World {
    fn new(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        sandbox.write_tables(ALLOW, DENY)?;
        let tap = Tap::new(sandbox.server(), DEVICE)?;
        let world = Self { sandbox, tap, sent: Cell::new(0) };
        world.give_addresses(DEVICE)?;
        Ok(world)
    }

    fn give_addresses(&self, device: &str) -> Result<()> {
        for (server, bits) in SERVERS.into_iter().zip([16, 64]) {
            self.sandbox.server().address(device, ip(server), bits)?;
        }
        ALLOWED
            .into_iter()
            .chain(REFUSED)
            .try_for_each(|client| Tap::knows(self.sandbox.server(), device, ip(client)))
    }

    /// Starts tcpw, and waits until it drops at the device in that way.
    fn start(&self, more: &[&str], how: &str) -> Result<Tcpw> {
        let mut tcpw = Tcpw::start(&self.sandbox, &[&["--early-drop", DEVICE], more].concat())?;
        self.wait_attached(&mut tcpw, 0, how)?;
        Ok(tcpw)
    }

    fn wait_attached(&self, tcpw: &mut Tcpw, mark: usize, how: &str) -> Result<()> {
        let line = format!("early-drop: {DEVICE}: SYNs of refused clients are dropped by {how}");
        tcpw.process.wait_for_line_after(mark, &line, SOON).map(drop)
    }

    /// A SYN from a port of its own.
    fn syn(&self, from: &str, to_port: u16) -> Segment {
        let number = self.sent.get() + 1;
        self.sent.set(number);
        let to = if from.contains(':') { SERVERS[1] } else { SERVERS[0] };
        Segment {
            from: ip(from),
            to: ip(to),
            from_port: 10_000 + number,
            to_port,
            seq: 1_000 + u32::from(number),
            ack: 0,
            flags: SYN,
            options: Vec::new(),
            data: Vec::new(),
        }
    }

    fn send(&self, segment: &Segment) -> Result<()> {
        self.tap.send(&segment.plain())
    }

    /// The flags of the answer to a SYN that is sent now; waits for it.
    fn answer(&self, from: &str, to_port: u16) -> Result<Option<u8>> {
        let syn = self.syn(from, to_port);
        self.send(&syn)?;
        self.tap.answer(&syn, SOON)
    }

    /// Waits until SYNs of a refused client are dropped early.
    fn wait_dropping(&self) -> Result<()> {
        let before = self.count("early_dropped")?;
        wait_until("SYNs are dropped early", SOON, || {
            self.send(&self.syn(REFUSED[0], PORT))?;
            Ok(self.count("early_dropped")? > before)
        })
    }

    /// Sends a SYN that is dropped early, and waits until it was counted: whatever was sent before has been judged.
    /// Returns how many others were dropped early and how many attempts were refused elsewhere since `before`.
    fn settle(&self, before: &BTreeMap<String, u64>) -> Result<(u64, u64)> {
        let since = |now: &BTreeMap<String, u64>, name: &str| now[name] - before[name];
        let marker = self.count("early_dropped")?;
        self.send(&self.syn(REFUSED[0], PORT))?;
        let what = "the SYN behind the others is dropped early";
        let now = Tcpw::wait_counters(&self.sandbox, what, SOON, |now| now["early_dropped"] > marker)?;
        Ok((since(&now, "early_dropped") - 1, since(&now, "refused")))
    }

    fn counters(&self) -> Result<BTreeMap<String, u64>> {
        Tcpw::counters(&self.sandbox)
    }

    fn count(&self, name: &str) -> Result<u64> {
        Ok(self.counters()?[name])
    }
}

fn is_syn_ack(flags: Option<u8>) -> bool {
    flags.is_some_and(|flags| flags & (SYN | ACK | RST) == SYN | ACK)
}

fn is_reset(flags: Option<u8>) -> bool {
    flags.is_some_and(|flags| flags & RST != 0)
}

#[test]
fn refused_syn_never_reaches_the_stack_and_all_others_do() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("early")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = world.start(&[], "XDP, native")?;
    world.wait_dropping()?;
    let received = || world.sandbox.server().snmp("Ip", "InReceives");
    let (before, received_before) = (world.counters()?, received()?);
    let syns = [world.syn(REFUSED[0], PORT), world.syn(REFUSED[1], PORT)];
    for syn in &syns {
        // The same again is no second attempt.
        world.send(syn)?;
        world.send(syn)?;
    }
    assert_eq!(world.settle(&before)?, (4, 0));
    assert_eq!(received()?, received_before, "packets of IPv4 that the stack received");
    assert_eq!(world.count("retransmits")? - before["retransmits"], 2);
    for syn in &syns {
        tcpw.process.wait_for_line(&format!("{})", syn.from), SOON)?;
    }
    for client in ALLOWED {
        assert!(is_syn_ack(world.answer(client, PORT)?), "{client}");
        assert!(is_reset(world.answer(client, 7099)?), "{client} at a closed port");
    }
    for client in REFUSED {
        assert!(is_reset(world.answer(client, 7099)?), "{client} at a closed port");
    }
    assert_eq!(world.count("disagreements")?, 0);
    Ok(())
}

#[test]
fn flood_is_counted_to_the_last_syn_and_reported_in_part() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    const SYNS: u16 = 3_000;
    let world = World::new("flood")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = world.start(&[tcpw_tests::FORGEABLE], "XDP, native")?;
    world.wait_dropping()?;
    let before = world.counters()?;
    for number in 0..SYNS {
        let [high, low] = number.to_be_bytes();
        world.send(&world.syn(&format!("10.9.{}.{low}", 10 + high), PORT))?;
    }
    let now = world.counters()?;
    let since = |name: &str| now[name] - before[name];
    assert_eq!((since("early_dropped"), since("refused")), (u64::from(SYNS), 0));
    assert!(since("early_unreported") > u64::from(SYNS) / 2 && since("ring_full") == 0, "{now:?}");
    // Every one has its line or is in a count.
    let dropped = now["early_dropped"];
    let is_told = |all: &BTreeMap<String, u64>| {
        all["unproven_counted"] >= all["early_unreported"] && all["early_dropped"] == dropped
    };
    Tcpw::wait_counters(&world.sandbox, "all are counted", SOON, is_told)?;
    assert!(tcpw.process.terminate(SOON)?.success());
    let lines = tcpw.process.lines();
    let number = |text: &str, end: &str| -> u64 {
        let words = text.split_once("refused ").and_then(|(_, rest)| rest.split_once(end));
        words.and_then(|(number, _)| number.parse().ok()).unwrap_or_default()
    };
    let own =
        lines.iter().filter(|line| line.text.contains("refused unproven attempt from 10.9.")).count() as u64;
    let counted: u64 = lines.iter().map(|line| number(&line.text, " more unproven attempts from")).sum();
    let at_devices: u64 =
        lines.iter().map(|line| number(&line.text, " more unproven SYNs at devices of early-drop")).sum();
    assert_eq!(at_devices, now["early_unreported"], "{}", tcpw.process.tail());
    // What the gate refused before the place was certified has its line, too.
    assert_eq!(own + counted + at_devices, dropped + now["refused"], "{}", tcpw.process.tail());
    Ok(())
}

#[test]
fn reset_and_close_go_on_up_to_their_limits() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    for (how, is_answer) in [("reset", is_reset as fn(Option<u8>) -> bool), ("close", is_syn_ack)] {
        let world = World::new("limits")?;
        let _alphad = Testd::start(&world.sandbox, "alphad", "0.0.0.0:7001")?;
        let settings =
            world.sandbox.write_settings("early-drop = [\"early0\"]\n[reset]\nper-source = 5\n")?;
        let mut tcpw = Tcpw::start(&world.sandbox, &["--config", &settings, "--on-deny", how])?;
        world.wait_attached(&mut tcpw, 0, "XDP, native")?;
        wait_until("the client is answered", SOON, || {
            let syn = world.syn(REFUSED[0], PORT);
            world.send(&syn)?;
            Ok(is_answer(world.tap.answer(&syn, Duration::from_millis(300))?))
        })?;
        wait_until("SYNs beyond the limit are dropped early", SOON, || {
            for _ in 0..20 {
                world.send(&world.syn(REFUSED[0], PORT))?;
            }
            Ok(world.count("early_dropped")? > 0)
        })?;
        // Another source has its own limit.
        let before = world.count("early_dropped")?;
        Tap::knows(world.sandbox.server(), DEVICE, ip("10.9.3.3"))?;
        assert!(is_answer(world.answer("10.9.3.3", PORT)?), "{how}");
        assert_eq!(world.count("early_dropped")?, before, "{how}");
    }
    Ok(())
}

#[test]
fn rule_with_a_command_is_told_of_every_attempt() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("command")?;
    world.sandbox.write_tables("", "alphad: 10.9.3.: spawn /bin/true\nalphad: 10.9.2.\n")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = world.start(&[], "XDP, native")?;
    world.wait_dropping()?;
    let before = world.counters()?;
    world.send(&world.syn("10.9.3.3", PORT))?;
    assert_eq!(world.settle(&before)?, (0, 1));
    Ok(())
}

#[test]
fn exempt_client_and_audit_mode_are_never_dropped() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("exempt")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = world.sandbox.write_settings(&format!("[exempt]\naddresses = [\"{}\"]\n", ALLOWED[0]))?;
    world.sandbox.write_tables("", DENY)?;
    let tcpw = world.start(&["--config", &settings], "XDP, native")?;
    world.wait_dropping()?;
    let before = world.counters()?;
    assert!(is_syn_ack(world.answer(ALLOWED[0], PORT)?));
    assert_eq!(world.settle(&before)?, (0, 0));
    drop(tcpw);
    let settings = world.sandbox.write_settings("mode = \"audit\"\n")?;
    let mut tcpw = Tcpw::start(&world.sandbox, &["--config", &settings, "--early-drop", DEVICE])?;
    tcpw.process.wait_for_line("early-drop has no effect: audit mode refuses nothing", SOON)?;
    assert!(is_syn_ack(world.answer(REFUSED[0], PORT)?));
    assert_eq!(world.count("early_dropped")?, 0);
    assert!(!tap::shown(world.sandbox.server(), DEVICE)?.contains("xdp"), "a program is attached");
    Ok(())
}
