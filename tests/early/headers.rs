//! Headers: what is understood is dropped, what is not is left to the gate, and what is not for this host passes.

use anyhow::Result;
use tcpw_tests::Testd;

use super::{PORT, REFUSED, SERVERS, World, ip, ready, tap};
use crate::packet::{ACK, CWR, DESTINATION, ECE, FIN, HOP_BY_HOP, ROUTING, RST, Segment};

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Early,
    /// The gate refuses it.
    Gate,
    /// It is no attempt at the listener.
    Neither,
}
use Fate::{Early, Gate, Neither};

const NOTHING: [u8; 1] = [1];
const PADDING: [u8; 7] = [0, 1, 4, 0, 0, 0, 0];

/// Frames of a SYN of IPv4.
fn of_v4(make: &dyn Fn() -> Segment) -> Vec<(&'static str, Vec<Vec<u8>>, Fate)> {
    let syn = |change: fn(&mut Segment)| {
        let mut syn = make();
        change(&mut syn);
        syn
    };
    let plain = |change| tap::frame(tap::OWN, &[], &syn(change).plain());
    let with = |options: &[u8]| tap::frame(tap::OWN, &[], &make().with_options(options));
    let tagged = |tags: &[[u8; 4]]| tap::frame(tap::OWN, tags, &make().plain());
    let pieces = make().fragments(&[(0, 8), (8, 20)]);
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| tap::frame(tap::OWN, &[], piece)).collect();
    // The first has the whole TCP header.
    let mut with_data = make();
    with_data.data = vec![0; 20];
    let first = tap::frame(tap::OWN, &[], &with_data.fragments(&[(0, 24), (24, 40)])[0]);
    let whole = plain(|_| {});
    vec![
        ("plain", vec![whole.clone()], Early),
        ("ECN", vec![plain(|it| it.flags |= ECE | CWR)], Early),
        ("data", vec![plain(|it| it.data = b"hello".to_vec())], Early),
        ("options that do nothing", vec![with(&NOTHING.repeat(4))], Early),
        ("record route", vec![with(&[7, 7, 4, 0, 0, 0, 0, 0])], Early),
        ("loose source route", vec![with(&[131, 7, 4, 10, 9, 0, 1, 0])], Neither),
        ("strict source route behind another option", vec![with(&[1, 137, 7, 4, 10, 9, 0, 1])], Neither),
        ("many options", vec![with(&NOTHING.repeat(12))], Gate),
        ("fragments", pieces.clone(), Gate),
        ("first fragment alone", vec![first], Neither),
        ("SYN and FIN", vec![plain(|it| it.flags |= FIN)], Gate),
        ("SYN and ACK", vec![plain(|it| it.flags |= ACK)], Neither),
        ("SYN and RST", vec![plain(|it| it.flags |= RST)], Neither),
        ("ACK", vec![plain(|it| it.flags = ACK)], Neither),
        ("other port", vec![plain(|it| it.to_port = 7098)], Neither),
        ("other host's address", vec![plain(|it| it.to = ip("10.9.0.77"))], Neither),
        ("loopback address", vec![plain(|it| it.to = ip("127.0.0.1"))], Neither),
        (
            "other host's Ethernet address",
            vec![tap::frame([2, 0, 0, 0, 0, 9], &[], &make().plain())],
            Neither,
        ),
        ("Ethernet broadcast", vec![tap::frame([0xff; 6], &[], &make().plain())], Neither),
        ("tag of a VLAN", vec![tagged(&[[0x81, 0, 0, 10]])], Neither),
        ("tag with a priority alone", vec![tagged(&[[0x81, 0, 0xe0, 0]])], Gate),
        ("two tags", vec![tagged(&[[0x88, 0xa8, 0, 10], [0x81, 0, 0, 11]])], Neither),
        ("end in the TCP header", vec![whole[..whole.len() - 8].to_vec()], Neither),
        ("end in the IP header", vec![whole[..24].to_vec()], Neither),
    ]
}

/// Frames of a SYN of IPv6.
fn of_v6(make: &dyn Fn() -> Segment) -> Vec<(&'static str, Vec<Vec<u8>>, Fate)> {
    let behind = |headers: &[(u8, &[u8])]| vec![tap::frame(tap::OWN, &[], &make().behind(headers))];
    let atomic = make();
    let bytes = atomic.bytes();
    let (from, to) = (ip("::ffff:10.9.2.2"), ip("::ffff:10.9.0.1"));
    let mapped = tap::frame(tap::OWN, &[], &Segment { from, to, ..make() }.plain());
    let atomic = atomic.fragment(6, 0, false, &bytes);
    // An unknown option that may be skipped.
    let option: [u8; 7] = [0, 0x1e, 4, 0, 0, 0, 0];
    let long = [&[1, 0x1e, 12][..], &[0; 12]].concat();
    vec![
        ("plain", vec![tap::frame(tap::OWN, &[], &make().plain())], Early),
        ("addresses with the form of IPv4's", vec![mapped], Neither),
        ("hop-by-hop options", behind(&[(HOP_BY_HOP, &PADDING)]), Early),
        ("long hop-by-hop options", behind(&[(HOP_BY_HOP, &long)]), Early),
        ("destination options that pad", behind(&[(DESTINATION, &PADDING)]), Early),
        ("both", behind(&[(HOP_BY_HOP, &PADDING), (DESTINATION, &PADDING)]), Early),
        ("other destination options", behind(&[(DESTINATION, &option)]), Gate),
        ("long destination options", behind(&[(DESTINATION, &long)]), Gate),
        ("routing header", behind(&[(ROUTING, &[0, 0, 0, 0, 0, 0, 0])]), Gate),
        ("atomic fragment", vec![tap::frame(tap::OWN, &[], &atomic)], Gate),
        (
            "tag with a priority alone",
            vec![tap::frame(tap::OWN, &[[0x81, 0, 0xe0, 0]], &make().plain())],
            Gate,
        ),
    ]
}

#[test]
fn what_is_not_understood_is_left_to_the_gate() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::new("headers")?;
    let _alphad = Testd::start(&world.sandbox, "alphad", "[::]:7001")?;
    let _tcpw = world.start(&[], "XDP, native")?;
    world.wait_dropping()?;
    let mut wrong = Vec::new();
    let v4 = of_v4(&|| world.syn(REFUSED[0], PORT));
    let v6 = of_v6(&|| world.syn(REFUSED[1], PORT));
    for (family, (name, frames, fate)) in
        v4.into_iter().map(|it| (SERVERS[0], it)).chain(v6.into_iter().map(|it| (SERVERS[1], it)))
    {
        let before = world.counters()?;
        frames.iter().try_for_each(|frame| world.tap.send_frame(frame))?;
        let seen = match world.settle(&before)? {
            (1, 0) => Some(Early),
            (0, 1) => Some(Gate),
            (0, 0) => Some(Neither),
            _ => None,
        };
        if seen != Some(fate) {
            wrong.push(format!("{name} to {family}: {seen:?}, not {fate:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
