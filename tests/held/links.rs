//! Held clients that are of one link, and listeners of one device: what is sent again has to come in
//! by the device it came by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use anyhow::{Context as _, Result};
use tcpw_tests::{Netns, Sandbox, Tcpw, Testd, client::connect};

use super::{DENY, SOON, patience, ready, sandbox};

const SERVERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];

/// Clients, and whether the rules allow them.
const CLIENTS: [(IpAddr, bool); 4] = [
    (IpAddr::V4(Ipv4Addr::new(169, 254, 3, 4)), true),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 4, 4)), false),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x3456)), true),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x4444)), false),
];

/// Too many networks for a table.
const ALLOW: &str = "alphad: *.3.4 *3456*\n";

fn prepare(sandbox: &Sandbox) -> Result<()> {
    let bits = |address: IpAddr| if address.is_ipv4() { 16 } else { 64 };
    for address in SERVERS {
        sandbox.server().address("tcpw0", address, bits(address))?;
    }
    for (address, _) in CLIENTS {
        sandbox.client().address("tcpw0", address, bits(address))?;
    }
    Ok(())
}

fn scope(netns: &Netns, device: &'static str) -> Result<u32> {
    netns.run(|| nix::net::if_::if_nametoindex(device).context("no such device"))
}

fn with_scope(address: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
    }
}

#[test]
fn held_client_of_one_link_is_connected_without_trying_again() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("link", ALLOW, DENY)?;
    prepare(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _mptcp = Testd::start(&sandbox, "alphad", "--mptcp [::]:7002")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    // One that nobody has identified yet.
    let _later = Testd::start(&sandbox, "alphad", "[::]:7003")?;
    let scope = scope(sandbox.client(), "tcpw0")?;
    for port in [7001, 7002, 7003] {
        for (client, allowed) in CLIENTS {
            let server = with_scope(SERVERS[usize::from(client.is_ipv6())], port, scope);
            let mut attempt = connect(sandbox.client(), client, server, patience(client, allowed))?;
            assert_eq!(attempt.is_connected(), allowed, "{client} to {server}: {attempt:?}");
            assert_eq!(attempt.greeting(SOON).starts_with("hello"), allowed, "{client} to {server}");
        }
    }
    for client in ["::ffff:169.254.4.4", "fe80::4444"] {
        // Without its zone, which no tool that reads the lines knows.
        tcpw.process.wait_for_line(&format!("refused connect from {client} ({client})"), SOON)?;
    }
    Ok(())
}

#[test]
fn held_datagram_of_one_link_is_delivered() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("linkudp", ALLOW, DENY)?;
    prepare(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp [::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let scope = scope(sandbox.client(), "tcpw0")?;
    for (client, allowed) in CLIENTS {
        let socket = sandbox.client().run(|| {
            UdpSocket::bind(with_scope(client, 0, scope)).with_context(|| format!("bind {client}"))
        })?;
        socket.set_read_timeout(Some(patience(client, allowed)))?;
        socket.send_to(b"hello?", with_scope(SERVERS[usize::from(client.is_ipv6())], 7001, scope))?;
        let answered = socket.recv_from(&mut [0; 64]).is_ok();
        assert_eq!(answered, allowed, "{client}");
    }
    Ok(())
}

/// Two daemons at one port, each of its own device and with its own rules.
#[test]
fn held_client_comes_to_the_listener_of_its_own_device() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("devices", "alphad: *.3.4 *3456*\nbetad: *.4.4 *4444*\n", DENY)?;
    prepare(&sandbox)?;
    let (server, client) = (sandbox.server(), sandbox.client());
    server.connect(client, "tcpw1")?;
    server.address("tcpw1", "10.9.0.1".parse()?, 16)?;
    server.address("tcpw1", SERVERS[1], 64)?;
    for address in ["10.9.3.4", "10.9.4.4"] {
        client.address("tcpw1", address.parse()?, 16)?;
    }
    for (address, _) in CLIENTS.into_iter().filter(|(address, _)| address.is_ipv6()) {
        client.address("tcpw1", address, 64)?;
    }
    let _alphad = Testd::start(&sandbox, "alphad", "--device tcpw0 [::]:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "--device tcpw1 [::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let (first, second) = (scope(client, "tcpw0")?, scope(client, "tcpw1")?);
    let local = SERVERS[1];
    for (from, to, greeting) in [
        ("169.254.3.4", with_scope(SERVERS[0], 7001, 0), "hello from alphad"),
        ("169.254.4.4", with_scope(SERVERS[0], 7001, 0), ""),
        ("10.9.4.4", "10.9.0.1:7001".parse()?, "hello from betad"),
        ("10.9.3.4", "10.9.0.1:7001".parse()?, ""),
        ("fe80::3456", with_scope(local, 7001, first), "hello from alphad"),
        ("fe80::4444", with_scope(local, 7001, first), ""),
        ("fe80::4444", with_scope(local, 7001, second), "hello from betad"),
        ("fe80::3456", with_scope(local, 7001, second), ""),
    ] {
        let from: IpAddr = from.parse()?;
        let mut attempt = connect(client, from, to, patience(from, !greeting.is_empty()))?;
        assert_eq!(attempt.greeting(SOON), greeting, "{from} to {to}: {attempt:?}");
    }
    Ok(())
}
