//! TCP: flags, sequence numbers, ports, checksums, Fast Open.

use std::net::SocketAddr;

use anyhow::Result;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, SERVER_V4, SERVER_V6, client::fast_open,
};

use crate::{
    client,
    packet::{ACK, CWR, ECE, FIN, PSH, RST, SYN, Segment, URG},
    wire::{ALLOWED_V4, REFUSED_V4, sysctl},
    world::{Families::Both, Leg, PORT, Theme, Way, World, dropped, is_in, patience, sent, tried},
};

pub(crate) const THEME: Theme = Theme { name: "TCP", start, ways: WAYS };

const WAYS: &[Way] = &[
    sent("SYN with ECE and CWR", Both, |syn| flagged(syn, ECE | CWR)),
    sent("SYN with PSH and URG", Both, |syn| flagged(syn, PSH | URG)),
    // Linux drops a SYN that has FIN, since 3.12.
    dropped("SYN with FIN", Both, |syn| flagged(syn, FIN)),
    sent("SYN with everything but ACK, RST, FIN", Both, |syn| flagged(syn, ECE | CWR | PSH | URG)),
    sent("SYN with reserved bits", Both, reserved),
    sent("SYN with data", Both, data),
    dropped("SYN with RST", Both, |syn| flagged(syn, RST)),
    dropped("SYN with ACK", Both, |syn| flagged(syn, ACK)),
    dropped("no flags", Both, |syn| only(syn, 0)),
    dropped("FIN, PSH and URG", Both, |syn| only(syn, FIN | PSH | URG)),
    dropped("ACK first", Both, |syn| only(syn, ACK)),
    dropped("FIN with ACK first", Both, |syn| only(syn, FIN | ACK)),
    dropped("ACK with data first", Both, |syn| only(&Segment { data: b"x".to_vec(), ..syn.clone() }, ACK)),
    sent("sequence number 0", Both, |syn| vec![numbered(syn, 0)]),
    sent("sequence number at its end", Both, |syn| vec![numbered(syn, u32::MAX)]),
    sent("urgent pointer and options to the limit", Both, |syn| {
        vec![Segment { options: vec![1; 40], ..syn.clone() }.plain()]
    }),
    dropped("wrong TCP checksum", Both, |syn| vec![broken(syn, 16)]),
    dropped("TCP header cut short", Both, |syn| vec![broken(syn, 12)]),
    sent("SYN twice, the second as data", Both, |syn| vec![syn.plain(), syn.plain()]),
    sent("RST before the SYN", Both, reset_first),
    tried("client port 0", port_zero),
    tried("Fast Open without a cookie", |world| opened_fast(world, "519")),
    tried("Fast Open with a cookie", |world| opened_fast(world, "3")),
    tried("client that listens itself", simultaneous),
    tried("client of Multipath TCP", multipath),
];

fn start(theme: &'static str) -> Result<World> {
    let world = World::start(theme)?;
    // A daemon that does not read what came with the SYN resets its client when it closes.
    world.daemon("alphad", "--fast-open --tell [::]:7002")?;
    world.daemon("alphad", "--mptcp [::]:7003")?;
    Ok(world)
}

/// More flags on the SYN alone.
fn flagged(segment: &Segment, more: u8) -> Vec<Vec<u8>> {
    let more = if segment.flags & SYN != 0 { more } else { 0 };
    vec![Segment { flags: segment.flags | more, ..segment.clone() }.plain()]
}

/// Other flags.
fn only(segment: &Segment, flags: u8) -> Vec<Vec<u8>> {
    vec![Segment { flags, ..segment.clone() }.plain()]
}

fn reset_first(segment: &Segment) -> Vec<Vec<u8>> {
    let mut packets = vec![segment.plain()];
    if segment.flags & SYN != 0 {
        packets.insert(0, Segment { flags: RST, ..segment.clone() }.plain());
    }
    packets
}

fn data(segment: &Segment) -> Vec<Vec<u8>> {
    let data = if segment.flags & SYN != 0 { b"x".to_vec() } else { Vec::new() };
    vec![Segment { data, ..segment.clone() }.plain()]
}

fn numbered(segment: &Segment, seq: u32) -> Vec<u8> {
    let seq = if segment.flags & SYN != 0 { seq } else { segment.seq };
    Segment { seq, ..segment.clone() }.plain()
}

/// The three bits between header length and flags, outside of what [`Segment`] knows.
fn reserved(segment: &Segment) -> Vec<Vec<u8>> {
    let mut packet = segment.plain();
    let tcp = if segment.from.is_ipv4() { 20 } else { 40 };
    packet[tcp + 12] |= 0x0e;
    // One's complement: what is added there is taken away here.
    let sum = u16::from_be_bytes([packet[tcp + 16], packet[tcp + 17]]);
    let (less, borrowed) = sum.overflowing_sub(0x0e00);
    packet[tcp + 16..tcp + 18].copy_from_slice(&(less - u16::from(borrowed)).to_be_bytes());
    vec![packet]
}

fn broken(segment: &Segment, byte: usize) -> Vec<u8> {
    let mut packet = segment.plain();
    let tcp = if segment.from.is_ipv4() { 20 } else { 40 };
    packet[tcp + byte] ^= 0x30;
    packet
}

fn port_zero(world: &World) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for (from, expected) in [(REFUSED_V4, false), (ALLOWED_V4, true)] {
        let syn = Segment { from_port: 0, ..world.wire.syn(from, SERVER_V4, PORT) };
        let got = world.wire.converse(&syn, |syn| vec![syn.plain()], patience(false))?;
        // Linux opens the connection, and loses what it sends to port 0.
        legs.push(Leg::new(from, expected, is_in(got, false)));
    }
    Ok(legs)
}

/// 519: neither side asks for cookies. 3: the first connection fetches one, the second uses it.
fn opened_fast(world: &World, mode: &str) -> Result<Vec<Leg>> {
    for netns in [world.sandbox.server(), world.sandbox.client()] {
        sysctl(netns, "ipv4/tcp_fastopen", mode)?;
    }
    let mut legs = Vec::new();
    for (from, to, expected) in [
        (CLIENT_V4_OTHER, SERVER_V4, false),
        (CLIENT_V4, SERVER_V4, true),
        (CLIENT_V6_OTHER, SERVER_V6, false),
        (CLIENT_V6, SERVER_V6, true),
    ] {
        for _round in 0..2 {
            let (server, time) = (SocketAddr::new(to, 7002), patience(expected));
            let mut attempt = world.sandbox.client().run(|| fast_open(from, server, b"x", time))?;
            legs.push(Leg::new(from, expected, !attempt.greeting(time).is_empty()));
        }
    }
    Ok(legs)
}

/// The client's socket has an address that also listens: its SYN is a SYN all the same.
fn simultaneous(world: &World) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for (from, expected) in [(CLIENT_V4_OTHER, false), (CLIENT_V4, true)] {
        let server = SocketAddr::new(SERVER_V4, PORT);
        let seen = world
            .sandbox
            .client()
            .run(|| client::connect_while_listening(from, server, patience(expected)))?;
        legs.push(Leg::new(from, expected, seen));
    }
    Ok(legs)
}

fn multipath(world: &World) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for port in [PORT, 7003] {
        for (from, to, expected) in [
            (CLIENT_V4_OTHER, SERVER_V4, false),
            (CLIENT_V4, SERVER_V4, true),
            (CLIENT_V6_OTHER, SERVER_V6, false),
            (CLIENT_V6, SERVER_V6, true),
        ] {
            let server = SocketAddr::new(to, port);
            let seen = world.sandbox.client().run(|| client::multipath(from, server, patience(expected)))?;
            legs.push(Leg::new(from, expected, seen));
        }
    }
    Ok(legs)
}
