//! Addresses: mapped, scoped, special, secondary; and devices a packet may come by.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    process::Command,
};

use anyhow::Result;
use tcpw_tests::{CLIENT_V4, CLIENT_V4_OTHER, Netns, SERVER_V4, SERVER_V6};

use crate::{
    client,
    packet::Segment,
    wire::{ALLOWED_V4, REFUSED_V4, know, sysctl},
    world::{Families::Both, Leg, PORT, Theme, Way, World, patience, sent, tried},
};

pub(crate) const THEME: Theme = Theme { name: "addresses", start, ways: WAYS };

const WAYS: &[Way] = &[
    tried("mapped destination on a socket of IPv6", mapped_destination),
    tried("mapped source in an IPv6 packet", |world| from_v6(world, |v4| v4.to_ipv6_mapped())),
    tried("compatible source in an IPv6 packet", |world| from_v6(world, |v4| v4.to_ipv6_compatible())),
    tried("6to4 source", |world| from_v6(world, six_to_four)),
    tried("link-local with a scope, refused", |world| link_local(world, "", false)),
    tried("link-local with a scope, allowed", |world| link_local(world, " [fe80::]/10", true)),
    tried("0.0.0.0 as destination", |world| on_the_server(world, "127.0.0.1", "0.0.0.0", false)),
    tried(":: as destination", |world| on_the_server(world, "::1", "::", false)),
    tried("127.0.0.2", |world| on_the_server(world, "127.0.0.2", "127.0.0.2", false)),
    tried("loopback to an address of the cable", |world| on_the_server(world, "127.0.0.1", "1.2.3.1", false)),
    tried("own address over the loopback, allowed", |world| on_the_server(world, "1.2.3.1", "1.2.3.1", true)),
    tried("own address over the loopback, refused", |world| {
        on_the_server(world, "1.2.4.1", "1.2.3.1", false)
    }),
    tried("secondary address of the server", |world| {
        Ok(vec![
            world.connect(CLIENT_V4_OTHER, "1.2.4.1".parse()?, PORT, false)?,
            world.connect(CLIENT_V4, "1.2.4.1".parse()?, PORT, true)?,
        ])
    }),
    tried("anycast address", anycast),
    tried("broadcast address", |world| {
        nobody(world, &[(REFUSED_V4, "1.2.255.255"), (ALLOWED_V4, "1.2.255.255")])
    }),
    tried("multicast address", |world| {
        nobody(world, &[(REFUSED_V4, "224.0.0.1"), (ALLOWED_V4, "224.0.0.1")])
    }),
    tried("the server's own address from outside", |world| impostor(world, SERVER_V4)),
    tried("a loopback address from outside", |world| impostor(world, Ipv4Addr::LOCALHOST.into())),
    tried("0.0.0.0 from outside", |world| impostor(world, Ipv4Addr::UNSPECIFIED.into())),
    tried("broadcast from outside", |world| impostor(world, Ipv4Addr::BROADCAST.into())),
    tried("multicast from outside", |world| impostor(world, Ipv4Addr::new(224, 0, 0, 9).into())),
    tried("::1 from outside", |world| impostor_v6(world, Ipv6Addr::LOCALHOST.into())),
    sent("frame with a priority tag", Both, |syn| vec![tagged(&[0x81, 0x00, 0xe0, 0x00], syn)]),
    sent("frame with two tags", Both, |syn| {
        vec![tagged(&[0x88, 0xa8, 0x00, 0x00, 0x81, 0x00, 0x00, 0x00], syn)]
    }),
    tried("checksums left to the card, and not", offload),
    tried("a macvlan device", |world| {
        device(world, "link add tcpwm link tcpw0 type macvlan mode bridge", "tcpwm")
    }),
    tried("a bridge", bridge),
    tried("a tunnel", tunnel),
    tried("a network of its own, made after the start", late_network),
];

fn start(theme: &'static str) -> Result<World> {
    let world = World::start(theme)?;
    world.sandbox.server().address("tcpw0", "1.2.4.1".parse()?, 16)?;
    Ok(world)
}

/// The socket is of IPv6, the packet of IPv4.
fn mapped_destination(world: &World) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for (from, expected) in [(CLIENT_V4_OTHER, false), (CLIENT_V4, true)] {
        let (IpAddr::V4(client), IpAddr::V4(server)) = (from, SERVER_V4) else { continue };
        let from = SocketAddr::new(client.to_ipv6_mapped().into(), 0);
        let to = SocketAddr::new(server.to_ipv6_mapped().into(), PORT);
        let seen =
            world.sandbox.client().run(|| client::prepared(from, to, patience(expected), |_| Ok(())))?;
        legs.push(Leg::new(from, expected, seen));
    }
    Ok(legs)
}

/// An IPv4 client's address in another guise is not the client the rules name.
fn from_v6(world: &World, guise: fn(&Ipv4Addr) -> Ipv6Addr) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for from in [ALLOWED_V4, REFUSED_V4] {
        let IpAddr::V4(v4) = from else { continue };
        let from = IpAddr::V6(guise(&v4));
        know(world.sandbox.server(), from, world.wire.mac(), "tcpw0").ok();
        world.sandbox.server().ip("-6 route replace default dev tcpw0")?;
        legs.push(world.crafted(from, SERVER_V6, |syn| vec![syn.plain()], false)?);
    }
    Ok(legs)
}

fn six_to_four(v4: &Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = v4.octets();
    Ipv6Addr::from([0x20, 0x02, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}

fn link_local(world: &World, more: &str, expected: bool) -> Result<Vec<Leg>> {
    let allow = format!("alphad: 1.2.3. [3ffe:ffff:100:200::]/64{more}\n");
    if expected {
        world.apply(&allow, crate::world::DENY)?;
    }
    let scoped = |netns: &Netns| -> Result<(Ipv6Addr, u32)> {
        netns.run(|| {
            let shown = Command::new("ip")
                .args(["-6", "-o", "addr", "show", "dev", "tcpw0", "scope", "link"])
                .output()?;
            let text = String::from_utf8_lossy(&shown.stdout).into_owned();
            let address = text.split_whitespace().find_map(|word| word.split_once("/64"));
            let (address, _) = address.ok_or_else(|| anyhow::anyhow!("no link-local address: {text}"))?;
            Ok((address.parse()?, nix::net::if_::if_nametoindex("tcpw0")?))
        })
    };
    let (server, _) = scoped(world.sandbox.server())?;
    let (client, scope) = scoped(world.sandbox.client())?;
    let from = SocketAddrV6::new(client, 0, 0, scope).into();
    let to = SocketAddrV6::new(server, PORT, 0, scope).into();
    let seen = world.sandbox.client().run(|| client::prepared(from, to, patience(expected), |_| Ok(())))?;
    if expected {
        world.apply(crate::world::ALLOW, crate::world::DENY)?;
    }
    Ok(vec![Leg::new(from, expected, seen)])
}

fn on_the_server(world: &World, from: &str, to: &str, expected: bool) -> Result<Vec<Leg>> {
    let to = SocketAddr::new(to.parse()?, PORT);
    Ok(vec![world.connect_in(world.sandbox.server(), from.parse()?, to, expected)?])
}

/// The subnet's router address, which a router answers to (RFC 4291, 2.6.1).
fn anycast(world: &World) -> Result<Vec<Leg>> {
    sysctl(world.sandbox.server(), "ipv6/conf/all/forwarding", "1")?;
    world.sandbox.server().ip("-6 address add 3ffe:ffff:100:210::1/64 dev tcpw0 nodad")?;
    let to: IpAddr = "3ffe:ffff:100:210::".parse()?;
    know(world.sandbox.client(), to, world.wire.server_mac(), "tcpw0")?;
    // Linux listens for TCP at no such address.
    let legs = vec![
        world.connect(tcpw_tests::CLIENT_V6_OTHER, to, PORT, false)?,
        world.connect(tcpw_tests::CLIENT_V6, to, PORT, false)?,
    ];
    sysctl(world.sandbox.server(), "ipv6/conf/all/forwarding", "0")?;
    Ok(legs)
}

fn nobody(world: &World, pairs: &[(IpAddr, &str)]) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for (from, to) in pairs {
        legs.push(world.crafted(*from, to.parse()?, |syn| vec![syn.plain()], false)?);
    }
    Ok(legs)
}

/// Nobody has this address outside: no answer may go there, nor any daemon be spoken to.
fn impostor(world: &World, from: IpAddr) -> Result<Vec<Leg>> {
    Ok(vec![world.crafted(from, SERVER_V4, |syn| vec![syn.plain()], false)?])
}

fn impostor_v6(world: &World, from: IpAddr) -> Result<Vec<Leg>> {
    Ok(vec![world.crafted(from, SERVER_V6, |syn| vec![syn.plain()], false)?])
}

/// The packet behind VLAN tags of no VLAN: priority alone.
fn tagged(tags: &[u8], syn: &Segment) -> Vec<u8> {
    let kind: [u8; 2] = if syn.from.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    [tags, &kind, &syn.plain()].concat()
}

fn offload(world: &World) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for state in ["off", "on"] {
        for netns in [world.sandbox.server(), world.sandbox.client()] {
            netns.run(|| {
                for features in [["tx", state], ["rx", state], ["gro", state], ["tso", state]] {
                    Command::new("ethtool").arg("-K").arg("tcpw0").args(features).output()?;
                }
                Ok(())
            })?;
        }
        legs.extend(world.connect_all(Both, PORT)?);
    }
    Ok(legs)
}

/// A device of the server with an address of its own.
fn device(world: &World, make: &str, name: &str) -> Result<Vec<Leg>> {
    let server = world.sandbox.server();
    server.ip(make)?;
    server.ip(&format!("link set {name} up"))?;
    server.address(name, "1.2.9.1".parse()?, 32)?;
    let to = "1.2.9.1".parse()?;
    let legs =
        vec![world.connect(CLIENT_V4_OTHER, to, PORT, false)?, world.connect(CLIENT_V4, to, PORT, true)?];
    server.ip(&format!("link delete {name}"))?;
    Ok(legs)
}

/// The server's end of a second cable is a port of a bridge, which has the address.
fn bridge(world: &World) -> Result<Vec<Leg>> {
    let (server, client) = (world.sandbox.server(), world.sandbox.client());
    server.connect(client, "tcpwp")?;
    for command in ["link add tcpwb type bridge", "link set tcpwp master tcpwb", "link set tcpwb up"] {
        server.ip(command)?;
    }
    reach(world, "tcpwb", "tcpwp")
}

/// Ethernet in UDP.
fn tunnel(world: &World) -> Result<Vec<Leg>> {
    let (server, client) = (world.sandbox.server(), world.sandbox.client());
    for (netns, remote, local) in [(server, CLIENT_V4, SERVER_V4), (client, SERVER_V4, CLIENT_V4)] {
        netns.ip(&format!("link add tcpwx type vxlan id 7 remote {remote} local {local} dstport 4789"))?;
        netns.ip("link set tcpwx up")?;
    }
    reach(world, "tcpwx", "tcpwx")
}

/// Addresses of another network on a device of the server and one of the client.
fn reach(world: &World, on_server: &str, on_client: &str) -> Result<Vec<Leg>> {
    let (server, client) = (world.sandbox.server(), world.sandbox.client());
    let (to, refused, allowed): (IpAddr, IpAddr, IpAddr) =
        ("10.7.0.1".parse()?, "10.7.0.2".parse()?, "10.7.0.3".parse()?);
    server.address(on_server, to, 24)?;
    client.address(on_client, refused, 24)?;
    client.address(on_client, allowed, 24)?;
    world.apply("alphad: 1.2.3. [3ffe:ffff:100:200::]/64 10.7.0.3\n", crate::world::DENY)?;
    let legs = vec![world.connect(refused, to, PORT, false)?, world.connect(allowed, to, PORT, true)?];
    world.apply(crate::world::ALLOW, crate::world::DENY)?;
    for (netns, name) in [(server, on_server), (client, on_client)] {
        netns.ip(&format!("address flush dev {name}"))?;
    }
    Ok(legs)
}

/// A daemon in a network that did not exist when tcpw started.
fn late_network(world: &World) -> Result<Vec<Leg>> {
    let late = Netns::new()?;
    late.connect(world.sandbox.client(), "tcpwl")?;
    late.address("tcpwl", "1.3.3.1".parse()?, 16)?;
    for address in ["1.3.3.4", "1.3.4.4"] {
        world.sandbox.client().address("tcpwl", address.parse()?, 16)?;
    }
    let path = late.path();
    world.daemon("alphad", &format!("--netns {} [::]:{PORT}", path.display()))?;
    world.apply("alphad: 1.2.3. [3ffe:ffff:100:200::]/64 1.3.3.\n", crate::world::DENY)?;
    let to = "1.3.3.1".parse()?;
    let legs = vec![
        world.connect("1.3.4.4".parse()?, to, PORT, false)?,
        world.connect("1.3.3.4".parse()?, to, PORT, true)?,
    ];
    world.apply(crate::world::ALLOW, crate::world::DENY)?;
    Ok(legs)
}
