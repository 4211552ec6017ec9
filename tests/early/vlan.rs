//! VLAN devices: a tag's frames are dropped at the device of that VLAN alone.

use anyhow::Result;
use tcpw_tests::{DENY, Requirement, Tcpw, Testd, can_run};

use super::{DEVICE, PORT, SOON, World, ip, is_syn_ack, tap};
use crate::{packet::Segment, tap::Tap};

const VLAN: &str = "early0.10";
const TAG: [u8; 4] = [0x81, 0, 0, 10];

#[test]
#[ignore = "needs 802.1Q in the kernel: cargo xtask vm"]
fn frames_of_a_vlan_are_dropped_at_its_own_device() -> Result<()> {
    let kernel = [Requirement::Kernel("/dev/net/tun"), Requirement::Kernel("/proc/net/vlan")];
    if !can_run("early vlan", &[&[Requirement::Root], kernel.as_slice()].concat()) {
        return Ok(());
    }
    let world = World::new("vlan")?;
    let server = world.sandbox.server();
    server.ip(&format!("link add link {DEVICE} name {VLAN} type vlan id 10"))?;
    server.ip(&format!("link set {VLAN} up"))?;
    server.address(VLAN, ip("10.10.0.1"), 16)?;
    Tap::knows(server, VLAN, ip("10.10.1.1"))?;
    world.sandbox.write_tables("alphad: 10.9.1. 10.10.1.\n", DENY)?;
    let syn = |from| Segment { from: ip(from), to: ip("10.10.0.1"), ..world.syn("10.9.2.2", PORT) };
    let send = |syn: &Segment| world.tap.send_frame(&tap::frame(tap::OWN, &[TAG], &syn.plain()));
    let _alphad = Testd::start(&world.sandbox, "alphad", "0.0.0.0:7001")?;
    let tcpw = world.start(&[], "XDP, native")?;
    world.wait_dropping()?;
    let before = world.counters()?;
    send(&syn("10.10.2.2"))?;
    assert_eq!(world.settle(&before)?, (0, 1), "at the device below alone");
    drop(tcpw);
    let mut tcpw = Tcpw::start(&world.sandbox, &["--early-drop", DEVICE, "--early-drop", VLAN])?;
    for (device, how) in [(DEVICE, "XDP, native"), (VLAN, "XDP, generic")] {
        let line = format!("early-drop: {device}: SYNs of refused clients are dropped by {how}");
        tcpw.process.wait_for_line(&line, SOON)?;
    }
    world.wait_dropping()?;
    let before = world.counters()?;
    send(&syn("10.10.2.3"))?;
    assert_eq!(world.settle(&before)?, (1, 0));
    let allowed = syn("10.10.1.1");
    send(&allowed)?;
    assert!(is_syn_ack(world.tap.answer(&allowed, SOON)?));
    Ok(())
}
