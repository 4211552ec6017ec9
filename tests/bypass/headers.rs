//! IP options, extension headers, fragments.

use std::net::IpAddr;

use tcpw_tests::Netns;

use crate::{
    packet::{ACK, AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING, SYN, Segment, TCP},
    wire::sysctl,
    world::{
        Families::{Both, V4, V6},
        Theme, Way, World, dropped, sent,
    },
};

pub(crate) const THEME: Theme = Theme { name: "headers", start, ways: WAYS };

const WAYS: &[Way] = &[
    sent("plain SYN", Both, |syn| vec![syn.plain()]),
    sent("IPv4 option NOP", V4, |syn| vec![syn.with_options(&[1, 1, 1, 1])]),
    sent("IPv4 record route", V4, |syn| vec![syn.with_options(RECORD_ROUTE)]),
    sent("IPv4 timestamp", V4, |syn| vec![syn.with_options(TIMESTAMP)]),
    sent("IPv4 loose source route, at its end", V4, |syn| vec![syn.with_options(&source_route(syn))]),
    sent("IPv4 router alert", V4, |syn| vec![syn.with_options(&[148, 4, 0, 0])]),
    sent("IPv4 options to the limit", V4, |syn| vec![syn.with_options(&[1; 40])]),
    sent("IPv4 unknown option", V4, |syn| vec![syn.with_options(&[0x9e, 4, 1, 2])]),
    sent("IPv4 more data behind the packet", V4, |syn| vec![padded(syn)]),
    sent("IPv6 hop-by-hop", V6, |syn| vec![syn.behind(&[(HOP_BY_HOP, PADDING)])]),
    sent("IPv6 destination options", V6, |syn| vec![syn.behind(&[(DESTINATION, PADDING)])]),
    sent("IPv6 destination options of 264 bytes", V6, |syn| {
        vec![syn.behind(&[(DESTINATION, &long_padding())])]
    }),
    sent("IPv6 routing type 0, used up", V6, |syn| vec![syn.behind(&[(ROUTING, &[0, 0, 0, 0, 0, 0, 0])])]),
    dropped("IPv6 routing type 0, with a segment", V6, |syn| {
        vec![syn.behind(&[(ROUTING, &routed(0, syn.to))])]
    }),
    dropped("IPv6 routing type 2", V6, |syn| vec![syn.behind(&[(ROUTING, &routed(2, syn.to))])]),
    sent("IPv6 segment routing, used up", V6, |syn| vec![syn.behind(&[(ROUTING, &segments(syn.to))])]),
    sent("IPv6 atomic fragment", V6, |syn| vec![syn.fragment(TCP, 0, false, &syn.bytes())]),
    dropped("IPv6 two atomic fragment headers", V6, |syn| {
        vec![syn.behind(&[(FRAGMENT, &[0; 7]), (FRAGMENT, &[0; 7])])]
    }),
    dropped("IPv6 authentication header without a key", V6, |syn| {
        vec![syn.behind(&[(AUTHENTICATION, AUTHENTICATED)])]
    }),
    sent("IPv6 eight headers", V6, |syn| vec![syn.behind(&chain(8))]),
    sent("IPv6 twelve headers", V6, |syn| vec![syn.behind(&chain(12))]),
    sent("IPv6 forty headers", V6, |syn| vec![syn.behind(&chain(40))]),
    dropped("IPv6 hop-by-hop twice", V6, |syn| {
        vec![syn.behind(&[(HOP_BY_HOP, PADDING), (HOP_BY_HOP, PADDING)])]
    }),
    dropped("IPv6 home address option", V6, |syn| vec![syn.behind(&[(DESTINATION, &home())])]),
    sent("IPv4 fragments: eight bytes, then the rest", V4, |syn| syn.fragments(&[(0, 8), (8, 99)])),
    sent("IPv4 fragments: the flags in the second", V4, |syn| {
        long(syn).fragments(&[(0, 8), (8, 16), (16, 99)])
    }),
    sent("IPv4 fragments: the last first", V4, |syn| syn.fragments(&[(8, 99), (0, 8)])),
    sent("IPv4 fragments: one twice", V4, |syn| syn.fragments(&[(0, 8), (0, 8), (8, 99)])),
    dropped("IPv4 fragments: overlapping, no SYN at first", V4, overlapping),
    dropped("IPv4 first fragment alone", V4, |syn| syn.fragments(&[(0, 16)])),
    // Its first fragment has to hold all headers (RFC 7112).
    dropped("IPv6 fragments: the flags in the second", V6, |syn| {
        long(syn).fragments(&[(0, 8), (8, 16), (16, 99)])
    }),
    dropped("IPv6 fragments: the TCP header in the second", V6, |syn| headers_and_data(syn, 8)),
    dropped("IPv6 fragments: overlapping, no SYN at first", V6, overlapping),
    sent("IPv6 fragments: data in the second", V6, |syn| headers_and_data(syn, 40)),
    sent("IPv6 fragments: the last first", V6, |syn| headers_and_data(syn, 40).into_iter().rev().collect()),
];

fn start(theme: &'static str) -> anyhow::Result<World> {
    let world = World::start(theme)?;
    take_all_routes(world.sandbox.server())?;
    Ok(world)
}

/// Packets may say which way they go.
pub(crate) fn take_all_routes(server: &Netns) -> anyhow::Result<()> {
    for interface in ["all", "default", "tcpw0"] {
        for name in ["ipv4", "ipv6"] {
            sysctl(server, &format!("{name}/conf/{interface}/accept_source_route"), "1")?;
        }
        sysctl(server, &format!("ipv6/conf/{interface}/seg6_enabled"), "1")?;
    }
    Ok(())
}

pub(crate) const PADDING: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
pub(crate) const RECORD_ROUTE: &[u8] = &[
    7, 39, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0,
];
const _: () = assert!(RECORD_ROUTE.len() == 40 && AUTHENTICATED.len() == 23);
const TIMESTAMP: &[u8] = &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0];
pub(crate) const AUTHENTICATED: &[u8] =
    &[4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// As if it had passed by its sender once more: the answer goes back that way.
fn source_route(syn: &Segment) -> Vec<u8> {
    let mut option = vec![131, 7, 8];
    if let IpAddr::V4(from) = syn.from {
        option.extend(from.octets());
    }
    option.push(0);
    option
}

/// An option that receivers skip (RFC 4727).
fn long_padding() -> Vec<u8> {
    let mut option = vec![32, 0x1e, 255];
    option.resize(263, 0);
    // The rest: PadN of three bytes.
    option[258..261].copy_from_slice(&[1, 3, 0]);
    option
}

/// A routing header with one address left.
pub(crate) fn routed(kind: u8, to: IpAddr) -> Vec<u8> {
    let mut header = vec![2, kind, 1, 0, 0, 0, 0];
    if let IpAddr::V6(to) = to {
        header.extend(to.octets());
    }
    header
}

/// A segment routing header at its last segment, which is the server (RFC 8754).
pub(crate) fn segments(to: IpAddr) -> Vec<u8> {
    let mut header = vec![2, 4, 0, 0, 0, 0, 0];
    if let IpAddr::V6(to) = to {
        header.extend(to.octets());
    }
    header
}

/// The home address option (RFC 6275) of an allowed client.
fn home() -> Vec<u8> {
    let mut header = vec![2, 1, 2, 0, 0, 201, 16];
    if let IpAddr::V6(home) = crate::wire::ALLOWED_V6 {
        header.extend(home.octets());
    }
    header
}

pub(crate) fn chain(length: usize) -> Vec<(u8, &'static [u8])> {
    vec![(DESTINATION, PADDING); length]
}

/// Bytes that the IP header does not count.
fn padded(syn: &Segment) -> Vec<u8> {
    let mut packet = syn.plain();
    packet.extend([0xff; 18]);
    packet
}

/// With options, so that it is long enough for three fragments.
fn long(syn: &Segment) -> Segment {
    Segment { options: vec![1; 20], ..syn.clone() }
}

/// The second fragment says again what the first said, and makes an ACK a SYN.
fn overlapping(syn: &Segment) -> Vec<Vec<u8>> {
    let harmless = Segment { flags: ACK, ..syn.clone() }.bytes();
    let real = Segment { flags: SYN, ..syn.clone() }.bytes();
    vec![
        syn.fragment(TCP, 0, true, &harmless[..16]),
        syn.fragment(TCP, 8, true, &real[8..24]),
        syn.fragment(TCP, 16, false, &real[16..]),
    ]
}

/// Destination options and a SYN with data, in two fragments; what follows is sent whole.
fn headers_and_data(syn: &Segment, first: usize) -> Vec<Vec<u8>> {
    if syn.flags & SYN == 0 {
        return vec![syn.plain()];
    }
    let syn = Segment { data: vec![0; 16], ..syn.clone() };
    let inner = [&[TCP][..], PADDING, &syn.bytes()].concat();
    vec![
        syn.fragment(DESTINATION, 0, true, &inner[..first]),
        syn.fragment(DESTINATION, first, false, &inner[first..]),
    ]
}
