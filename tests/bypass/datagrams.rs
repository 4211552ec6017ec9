//! Datagrams in unusual packets: by the gate alone, and where refused ones are answered by ICMP.

use anyhow::Result;

use crate::{
    headers::{self, PADDING, RECORD_ROUTE, chain, segments},
    packet::{AUTHENTICATION, DESTINATION, Datagram, FRAGMENT, HOP_BY_HOP, Payload, ROUTING, UDP, UDP_LITE},
    wire::{ALLOWED_V4, ALLOWED_V6, REFUSED_V4, REFUSED_V6},
    world::{
        ALLOW, DENY,
        Families::{self, Both, V4, V6},
        How, Leg, PORT, Theme, Way, World, patience, tried,
    },
};
use tcpw_tests::{SERVER_V4, SERVER_V6};

pub(crate) const THEME: Theme = Theme { name: "datagrams", start, ways: WAYS };
pub(crate) const BY_ICMP: Theme = Theme { name: "with ICMP", start: start_by_icmp, ways: WAYS };

/// Of a socket of IPv4: one of IPv6 hears no IPv4 group it has not joined.
const V4_PORT: u16 = 7000;

/// How a datagram becomes what is sent.
pub(crate) type Craft = fn(&Datagram) -> Vec<Vec<u8>>;

const WAYS: &[Way] = &[
    sent("plain datagram", Both, |it| vec![it.plain()]),
    sent("datagram without data", Both, |it| vec![Datagram { data: Vec::new(), ..it.clone() }.plain()]),
    sent("IPv4 option NOP", V4, |it| vec![it.payload().with_options(&[1, 1, 1, 1])]),
    sent("IPv4 record route", V4, |it| vec![it.payload().with_options(RECORD_ROUTE)]),
    sent("IPv4 options to the limit", V4, |it| vec![it.payload().with_options(&[1; 40])]),
    sent("IPv4 fragments: eight bytes, then the rest", V4, |it| it.payload().fragments(&[(0, 8), (8, 99)])),
    sent("IPv4 fragments: the last first", V4, |it| it.payload().fragments(&[(16, 99), (0, 16)])),
    sent("IPv4 fragments: one twice", V4, |it| it.payload().fragments(&[(0, 8), (0, 8), (8, 99)])),
    dropped("IPv4 fragments: overlapping, another port at first", V4, overlapping),
    dropped("IPv4 first fragment alone", V4, |it| it.payload().fragments(&[(0, 16)])),
    sent("IPv4 without a checksum", V4, |it| vec![unsummed(it).plain()]),
    dropped("IPv6 without a checksum", V6, |it| vec![unsummed(it).plain()]),
    dropped("wrong checksum", Both, |it| vec![missummed(it).plain()]),
    sent("more data than the header says", Both, |it| vec![it.of(UDP, 16).plain()]),
    dropped("less data than the header says", Both, |it| vec![it.of(UDP, 9 + it.data.len()).plain()]),
    dropped("IPv4 header that says no length", V4, |it| vec![it.of(UDP, 0).plain()]),
    // As a jumbogram has it.
    sent("IPv6 header that says no length", V6, |it| vec![it.of(UDP, 0).plain()]),
    dropped("UDP-Lite at the same port", Both, |it| vec![it.of(UDP_LITE, 8 + it.data.len()).plain()]),
    sent("IPv6 hop-by-hop", V6, |it| vec![it.payload().behind(&[(HOP_BY_HOP, PADDING)])]),
    sent("IPv6 destination options", V6, |it| vec![it.payload().behind(&[(DESTINATION, PADDING)])]),
    sent("IPv6 routing type 0, used up", V6, |it| {
        vec![it.payload().behind(&[(ROUTING, &[0, 0, 0, 0, 0, 0, 0])])]
    }),
    dropped("IPv6 routing type 2", V6, |it| {
        vec![it.payload().behind(&[(ROUTING, &headers::routed(2, it.to))])]
    }),
    sent("IPv6 segment routing, used up", V6, |it| vec![it.payload().behind(&[(ROUTING, &segments(it.to))])]),
    sent("IPv6 atomic fragment", V6, |it| {
        let payload = it.payload();
        vec![payload.fragment(UDP, 0, false, &payload.bytes)]
    }),
    dropped("IPv6 two atomic fragment headers", V6, |it| {
        vec![it.payload().behind(&[(FRAGMENT, &[0; 7]), (FRAGMENT, &[0; 7])])]
    }),
    dropped("IPv6 authentication header without a key", V6, |it| {
        vec![it.payload().behind(&[(AUTHENTICATION, headers::AUTHENTICATED)])]
    }),
    sent("IPv6 eight headers", V6, |it| vec![it.payload().behind(&chain(8))]),
    sent("IPv6 twelve headers", V6, |it| vec![it.payload().behind(&chain(12))]),
    sent("IPv6 forty headers", V6, |it| vec![it.payload().behind(&chain(40))]),
    sent("IPv6 fragments: the data in the second", V6, |it| it.payload().fragments(&[(0, 16), (16, 99)])),
    sent("IPv6 fragments: the last first", V6, |it| it.payload().fragments(&[(16, 99), (0, 16)])),
    dropped("IPv6 fragments: the UDP header in the second", V6, header_in_the_second),
    dropped("IPv6 fragments: overlapping, another port at first", V6, overlapping),
    sent("frame with a priority tag", Both, |it| {
        let kind: [u8; 2] = if it.from.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        vec![[&[0x81, 0x00, 0xe0, 0x00][..], &kind, &it.plain()].concat()]
    }),
    sent("from the port of a name server", Both, |it| vec![from_port(it, 53).plain()]),
    sent("from the service's own port", Both, |it| vec![from_port(it, PORT).plain()]),
    tried("from the server's own address", |world| impostor(world, SERVER_V4, SERVER_V4)),
    tried("from a loopback address", |world| impostor(world, "127.0.0.1".parse()?, SERVER_V4)),
    tried("from ::1", |world| impostor(world, "::1".parse()?, SERVER_V6)),
    tried("from a mapped address in an IPv6 packet", |world| {
        impostor(world, "::ffff:1.2.3.99".parse()?, SERVER_V6)
    }),
    tried("to the subnet's broadcast address", |world| to_many(world, "1.2.255.255")),
    tried("to 255.255.255.255", |world| to_many(world, "255.255.255.255")),
    tried("to all hosts", |world| to_many(world, "224.0.0.1")),
];

/// Every datagram so crafted gets to a daemon that allows its client.
const fn sent(name: &'static str, families: Families, craft: Craft) -> Way {
    Way { name, how: How::Datagrams(families, craft) }
}

/// None does: the kernel itself drops it.
const fn dropped(name: &'static str, families: Families, craft: Craft) -> Way {
    Way { name, how: How::NoDatagrams(families, craft) }
}

fn start(theme: &'static str) -> Result<World> {
    start_with(theme, "drop")
}

fn start_by_icmp(theme: &'static str) -> Result<World> {
    start_with(theme, "reset")
}

fn start_with(theme: &'static str, on_deny: &str) -> Result<World> {
    let world = World::prepared(theme, ALLOW, DENY, |sandbox| {
        headers::take_all_routes(sandbox.server())?;
        let sockets = format!("--udp [::]:{PORT} 0.0.0.0:{V4_PORT}");
        let alphad = tcpw_tests::Testd::start(sandbox, "alphad", &sockets)?;
        Ok((vec![alphad], vec!["--on-deny".into(), on_deny.into()]))
    })?;
    Ok(world)
}

/// Datagrams from the client that the tables refuse and the one they allow, over each family.
pub(crate) fn all(world: &World, families: Families, craft: Craft, get_in: bool) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for (from, to, is_allowed) in [
        (REFUSED_V4, SERVER_V4, false),
        (ALLOWED_V4, SERVER_V4, true),
        (REFUSED_V6, SERVER_V6, false),
        (ALLOWED_V6, SERVER_V6, true),
    ] {
        let left_out = if from.is_ipv4() { V6 } else { V4 };
        if families != left_out {
            legs.push(one(world, from, to, craft, get_in && is_allowed)?);
        }
    }
    Ok(legs)
}

fn one(
    world: &World,
    from: std::net::IpAddr,
    to: std::net::IpAddr,
    craft: Craft,
    expected: bool,
) -> Result<Leg> {
    one_at(world, from, (to, PORT), craft, expected)
}

fn one_at(
    world: &World,
    from: std::net::IpAddr,
    (to, port): (std::net::IpAddr, u16),
    craft: Craft,
    expected: bool,
) -> Result<Leg> {
    let mut datagram = world.wire.datagram(from, to, port);
    let packets = craft(&datagram);
    // Answers go to the port it came from.
    if let Some(port) = crafted_port(&packets, &datagram) {
        datagram.from_port = port;
    }
    Ok(Leg::new(from, expected, world.wire.ask(&datagram, &packets, patience(expected))?))
}

/// The source port of a plain packet.
fn crafted_port(packets: &[Vec<u8>], datagram: &Datagram) -> Option<u16> {
    let header = if datagram.from.is_ipv4() { 20 } else { 40 };
    let [packet] = packets else { return None };
    let plain = datagram.plain();
    let port = u16::from_be_bytes(packet.get(header..header + 2)?.try_into().ok()?);
    (packet.len() == plain.len() && packet.get(..10) == plain.get(..10)).then_some(port)
}

fn from_port(datagram: &Datagram, from_port: u16) -> Datagram {
    Datagram { from_port, ..datagram.clone() }
}

fn unsummed(datagram: &Datagram) -> Payload {
    let mut payload = datagram.payload();
    payload.bytes[6..8].fill(0);
    payload
}

fn missummed(datagram: &Datagram) -> Payload {
    let mut payload = datagram.payload();
    payload.bytes[6] ^= 0x55;
    payload
}

/// The second fragment says again what the first said, and changes the port.
fn overlapping(datagram: &Datagram) -> Vec<Vec<u8>> {
    let harmless = Datagram { to_port: PORT + 9, ..datagram.clone() }.payload();
    let real = datagram.payload();
    vec![
        real.fragment(UDP, 0, true, &harmless.bytes[..16]),
        real.fragment(UDP, 0, true, &real.bytes[..24]),
        real.fragment(UDP, 24, false, &real.bytes[24..]),
    ]
}

/// Its first fragment has to hold all headers (RFC 7112).
fn header_in_the_second(datagram: &Datagram) -> Vec<Vec<u8>> {
    let payload = datagram.payload();
    let inner = [&[UDP][..], PADDING, &payload.bytes].concat();
    vec![
        payload.fragment(DESTINATION, 0, true, &inner[..8]),
        payload.fragment(DESTINATION, 8, false, &inner[8..]),
    ]
}

/// Nobody has this address outside.
fn impostor(world: &World, from: std::net::IpAddr, to: std::net::IpAddr) -> Result<Vec<Leg>> {
    Ok(vec![one(world, from, to, |it| vec![it.plain()], false)?])
}

/// The daemon hears a group and a broadcast like anybody else.
fn to_many(world: &World, to: &str) -> Result<Vec<Leg>> {
    let to = (to.parse()?, V4_PORT);
    let plain: Craft = |it| vec![it.plain()];
    Ok(vec![one_at(world, REFUSED_V4, to, plain, false)?, one_at(world, ALLOWED_V4, to, plain, true)?])
}
