//! Clients behind a VLAN device on a virtual cable, whatever of checksums and tags the devices leave
//! to each other.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use tcpw_tests::{Requirement, Sandbox, Tcpw, Testd, can_run, client::connect};

/// Who is let in by mistake would be in by then.
const AT_ONCE: Duration = Duration::from_millis(700);

/// Who has to get in, and sends his SYN once, may take his time on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn ready() -> bool {
    let program = Requirement::Program("/usr/sbin/ethtool");
    can_run("vlan", &[Requirement::Root, program, Requirement::Kernel("/proc/net/vlan")])
}

/// The server's addresses on a VLAN of this number.
fn servers(number: u8) -> [IpAddr; 2] {
    [IpAddr::from([10, number, 0, 1]), v6(number, 0, 1)]
}

/// Clients there, and whether the rules allow them.
fn clients(number: u8) -> [(IpAddr, bool); 4] {
    [
        (IpAddr::from([10, number, 3, 4]), true),
        (IpAddr::from([10, number, 4, 4]), false),
        (v6(number, 3, 0x3456), true),
        (v6(number, 4, 1), false),
    ]
}

fn v6(number: u8, network: u16, last: u16) -> IpAddr {
    IpAddr::from([0xfd00 + u16::from(number), 0, 0, network, 0, 0, 0, last])
}

/// A VLAN device at both ends.
fn add(sandbox: &Sandbox, below: &str, name: &str, protocol: &str, number: u8) -> Result<()> {
    for netns in [sandbox.server(), sandbox.client()] {
        netns.ip(&format!("link add link {below} name {name} type vlan protocol {protocol} id {number}"))?;
        netns.ip(&format!("link set {name} up"))?;
    }
    for address in servers(number) {
        sandbox.server().address(name, address, if address.is_ipv4() { 16 } else { 48 })?;
    }
    for (address, _) in clients(number) {
        sandbox.client().address(name, address, if address.is_ipv4() { 16 } else { 48 })?;
    }
    Ok(())
}

fn offload(sandbox: &Sandbox, devices: &[&str], features: &[&str], state: &str) -> Result<()> {
    for netns in [sandbox.server(), sandbox.client()] {
        for device in devices {
            for feature in features {
                let done = netns
                    .run(|| Ok(Command::new("ethtool").args(["-K", device, feature, state]).output()?))?;
                ensure!(
                    done.status.success(),
                    "ethtool -K {device} {feature} {state}: {}",
                    String::from_utf8_lossy(&done.stderr)
                );
            }
        }
    }
    Ok(())
}

/// Every client at the daemon whose rules are networks, and at that whose rules are text.
fn assert_judged(sandbox: &Sandbox, number: u8, what: &str) -> Result<()> {
    for port in [7001, 7002] {
        for (client, allowed) in clients(number) {
            let [v4, v6] = servers(number);
            let server = SocketAddr::new(if client.is_ipv4() { v4 } else { v6 }, port);
            let time = if allowed { SOON } else { AT_ONCE };
            let mut attempt = connect(sandbox.client(), client, server, time)?;
            let is_connected = attempt.is_connected();
            assert_eq!(is_connected, allowed, "{what}: {client} to {port}: {attempt:?}");
            assert_eq!(attempt.greeting(SOON).starts_with("hello"), allowed, "{what}: {client} to {port}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs 802.1Q in the kernel: cargo xtask vm"]
fn clients_behind_a_vlan_are_refused_allowed_and_held_as_any() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("vlan")?;
    sandbox.send_each_syn_once()?;
    let networks: String =
        [7, 8, 9].map(|number| format!(" 10.{number}.3. [{}]/64", v6(number, 3, 0))).concat();
    sandbox.write_tables(&format!("alphad:{networks}\nbetad: *3.4 *3456\n"), "ALL: ALL\n")?;
    add(&sandbox, "tcpw0", "tcpwv7", "802.1Q", 7)?;
    add(&sandbox, "tcpw0", "tcpwv8", "802.1ad", 8)?;
    // One in the other.
    add(&sandbox, "tcpwv8", "tcpwv9", "802.1Q", 9)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "[::]:7002")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let mut asked = 0;
    for (what, features, state) in [
        ("as the devices are made", &[][..], ""),
        ("checksums finished by the sender", &["tx", "tso", "gso"], "off"),
        ("tags written by the sender", &["txvlan", "rxvlan"], "off"),
        ("checksums left to the device", &["tx", "tso", "gso"], "on"),
    ] {
        offload(&sandbox, &["tcpw0"], features, state)?;
        for number in [7, 8, 9] {
            assert_judged(&sandbox, number, &format!("VLAN {number}, {what}"))?;
        }
        // Refused ones are asked about anew under another policy alone; an answer is kept.
        let counters = Tcpw::counters(&sandbox)?;
        ensure!(counters["asked"] > asked, "nobody was held: {counters:?}");
        ensure!(counters["unparsable"] == 0 && counters["disagreements"] == 0, "{counters:?}");
        asked = counters["asked"];
        let mark = tcpw.process.mark();
        sandbox
            .write_tables(&format!("alphad:{networks}\nbetad: *3.4 *3456 9.9.9.{asked}\n"), "ALL: ALL\n")?;
        tcpw.wait_applied(mark)?;
    }
    Ok(())
}
