//! Each kind of token at the borders of its region.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{all, clients, tables, text};
use crate::{
    compile::{
        Names,
        automaton::Glob,
        pattern::PatternRegions,
        region::{Collector, Intervals, Regions},
        text::{self as walk, Effort},
        text_v6::text_v6,
    },
    parse::rule::{ClientPattern, HostPattern, List, TextPattern},
};

fn region(hosts: Vec<HostPattern>) -> Regions {
    let tables = tables(vec![], vec![]);
    let list = clients(hosts);
    PatternRegions::new(&tables, Names::Unknown).list(&list).as_ref().clone()
}

fn v4(intervals: &Intervals<u32>) -> Vec<String> {
    let show = |(first, last)| format!("{}-{}", Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last));
    intervals.iter().map(show).collect()
}

fn v6(intervals: &Intervals<u128>) -> Vec<String> {
    let show = |(first, last)| format!("{}-{}", Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(last));
    intervals.iter().map(show).collect()
}

fn glob(pattern: &str) -> HostPattern {
    text(TextPattern::Glob(pattern.as_bytes().into()))
}

fn exact(pattern: &str) -> HostPattern {
    text(TextPattern::Exact(pattern.as_bytes().into()))
}

fn net(net: &str, mask: &str) -> HostPattern {
    HostPattern::NetV4 { net: net.parse().unwrap(), mask: mask.parse().unwrap() }
}

fn net_v6(net: &str, prefix_bits: u8) -> HostPattern {
    HostPattern::NetV6 { net: net.parse().unwrap(), prefix_bits }
}

/// `name: pattern => sure IPv4 intervals, sure IPv6 intervals`, nothing in doubt.
macro_rules! matches_exactly {
    ($($name:ident: $pattern:expr => [$($v4:literal),*], [$($v6:literal),*];)*) => {$(
        #[test]
        fn $name() {
            let region = region(vec![$pattern]);
            assert_eq!(v4(&region.v4.sure), [$($v4),*] as [&str; _]);
            assert_eq!(v6(&region.v6.sure), [$($v6),*] as [&str; _]);
            assert!(region.v4.doubtful.is_empty() && region.v6.doubtful.is_empty(), "{region:?}");
        }
    )*};
}

matches_exactly! {
    all_is_everybody: all() => ["0.0.0.0-255.255.255.255"], ["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
    known_and_local_need_a_name: HostPattern::Known => [], [];
    local_is_nobody_without_names: HostPattern::Local => [], [];
    netgroup_is_nobody_without_names: HostPattern::Netgroup(b"g"[..].into()) => [], [];
    unknown_is_everybody_without_names: exact("UNKNOWN") => ["0.0.0.0-255.255.255.255"], ["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
    paranoid_is_nobody_without_names: exact("PARANOID") => [], [];
    a_name_is_nobody: exact("www.example.com") => [], [];
    a_glob_may_match_the_word_unknown: glob("unk*") => ["0.0.0.0-255.255.255.255"], ["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
    never_is_nobody: HostPattern::Never => [], [];

    an_address: exact("1.2.3.4") => ["1.2.3.4-1.2.3.4"], [];
    an_address_is_text: exact("1.2.3.04") => [], [];
    the_broadcast_address_is_text_too: exact("255.255.255.255") => ["255.255.255.255-255.255.255.255"], [];
    one_octet: text(TextPattern::Prefix(b"10."[..].into())) => ["10.0.0.0-10.255.255.255"], [];
    three_octets: text(TextPattern::Prefix(b"1.2.3."[..].into())) => ["1.2.3.0-1.2.3.255"], [];
    four_octets_and_a_dot: text(TextPattern::Prefix(b"1.2.3.4."[..].into())) => [], [];
    octet_too_large: text(TextPattern::Prefix(b"256."[..].into())) => [], [];
    octet_with_a_zero_in_front: text(TextPattern::Prefix(b"01."[..].into())) => [], [];
    empty_octet: text(TextPattern::Prefix(b"1..2."[..].into())) => [], [];

    a_net: net("10.0.0.0", "255.0.0.0") => ["10.0.0.0-10.255.255.255"], [];
    host_bits_match_nothing: net("10.0.0.1", "255.0.0.0") => [], [];
    a_host_net: net("10.0.0.1", "255.255.255.255") => ["10.0.0.1-10.0.0.1"], [];
    every_v4_but_the_error_address: net("0.0.0.0", "0.0.0.0") => ["0.0.0.0-255.255.255.254"], [];
    the_last_net_lacks_the_error_address: net("255.255.255.0", "255.255.255.0") => ["255.255.255.0-255.255.255.254"], [];
    a_mask_with_a_hole: net("10.0.0.0", "255.253.255.254") =>
        ["10.0.0.0-10.0.0.1", "10.2.0.0-10.2.0.1"], [];

    a_v6_net: net_v6("3ffe:ffff:100:200::", 64) => [],
        ["3ffe:ffff:100:200::-3ffe:ffff:100:200:ffff:ffff:ffff:ffff"];
    v6_host_bits_are_ignored: net_v6("fe80::1", 10) => [], ["fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
    v6_zero_bits: net_v6("fe80::1", 0) => [], ["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
    mapped_net_is_nobody: net_v6("::ffff:0:0", 96) => [], [];
    bracketed: text(TextPattern::Bracketed(Some(Ipv6Addr::LOCALHOST))) => [], ["::1-::1"];
    bracketed_nonsense: text(TextPattern::Bracketed(None)) => [], [];
    v6_text: exact("FE80::1") => [], ["fe80::1-fe80::1"];
    v6_text_not_as_printed: exact("fe80:0::1") => [], [];
    v6_text_with_v4_inside: exact("::1.2.3.4") => [], ["::102:304-::102:304"];
    mapped_text_is_nobody: exact("::ffff:1.2.3.4") => [], [];

    octets_by_a_glob: glob("10.*") => ["10.0.0.0-10.255.255.255"], [];
    one_digit: glob("192.168.?.1") => ["192.168.0.1-192.168.0.1", "192.168.1.1-192.168.1.1",
        "192.168.2.1-192.168.2.1", "192.168.3.1-192.168.3.1", "192.168.4.1-192.168.4.1", "192.168.5.1-192.168.5.1",
        "192.168.6.1-192.168.6.1", "192.168.7.1-192.168.7.1", "192.168.8.1-192.168.8.1", "192.168.9.1-192.168.9.1"], [];
    two_digits: glob("10.0.0.25?") => ["10.0.0.250-10.0.0.255"], [];
    digits_and_more: glob("10.0.0.25*") => ["10.0.0.25-10.0.0.25", "10.0.0.250-10.0.0.255"], [];
    v6_by_a_glob: glob("3ffe*") => [], ["3ffe::-3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
    v6_words_by_a_glob: glob("2001:DB8:*") => [], ["2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"];
    everything_with_a_colon: glob("*:*") => [], ["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
}

#[test]
fn a_user_pattern_is_tried_on_unknown() {
    let tables = tables(vec![], vec![]);
    for (user, passes) in [
        (TextPattern::All, true),
        (TextPattern::Exact(b"UNKNOWN"[..].into()), true),
        (TextPattern::Known, false),
        (TextPattern::Exact(b"root"[..].into()), false),
    ] {
        let pattern =
            ClientPattern { span: crate::parse::rule::Span::default(), user: Some(user), host: all() };
        let list = List { patterns: smallvec::smallvec![pattern], except: None };
        assert_eq!(!PatternRegions::new(&tables, Names::Unknown).list(&list).is_empty(), passes, "{list:?}");
    }
}

#[test]
fn a_middle_octet_is_spelled_out() {
    let region = region(vec![glob("*.5.*")]);
    assert!(region.v4.doubtful.is_empty());
    assert!(region.v4.sure.iter().count() > 65_000);
    // `::` and four octets is text too: there it stays in doubt.
    assert_eq!(v6(&region.v6.doubtful), ["::1:0-::ffff:ffff"]);
}

#[test]
fn what_cannot_be_spelled_out_is_doubtful_not_wrong() {
    let last_octet = region(vec![text(TextPattern::Suffix(b".1"[..].into()))]);
    assert!(last_octet.v4.sure.is_empty());
    assert!(last_octet.v4.doubtful.iter().count() > 0);
    let digit = region(vec![glob("*1*")]);
    let sure = digit.v4.sure.iter().any(|(first, last)| (first..=last).contains(&0x0a01_0000));
    assert!(sure, "10.1.0.0/16 has a 1 in every text");
    let mask = region(vec![net("0.0.0.1", "0.0.0.255")]);
    assert_eq!(v4(&mask.v4.doubtful), ["0.0.0.0-255.255.255.254"]);
}

#[test]
fn a_question_mark_may_be_a_colon() {
    let region = region(vec![glob("fe8?:*")]);
    assert_eq!(
        v6(&region.v6.sure),
        ["fe8::-fe8::ffff:ffff:ffff:ffff", "fe80::-fe8f:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
    );
}

#[test]
fn link_local_by_a_glob_is_sure() {
    let region = region(vec![glob("fe80::*")]);
    assert!(v6(&region.v6.sure).contains(&"fe80::-fe80::ffff:ffff:ffff:ffff".to_owned()));
}

#[test]
fn v6_texts_are_those_of_inet_ntop() {
    for text in [
        "::",
        "::1",
        "1::",
        "::1.2.3.4",
        "::0.1.0.0",
        "1:0:1::1",
        "1::1:0:0:1",
        "1:0:2:0:3:0:4:0",
        "0:1::",
        "::1:0:0:0",
        "1:2:3:4:5:6:7:8",
        "1:0:0:2::",
        "fe80::212:34ff:fe12:3456",
        "1:2:3:4:5:6::",
        "::2:3:4:5:6:7",
    ] {
        let address: Ipv6Addr = text.parse().unwrap();
        assert_eq!(text_v6(address.to_bits()), text);
    }
}

/// Addresses with many zeros and repeated words, the hard cases of `::`.
fn hard_addresses() -> impl Iterator<Item = u128> {
    let words = [0u128, 1, 0xfe80];
    (0..3usize.pow(8)).map(move |index| {
        (0..8).fold(0, |address, word| (address << 16) | words[index / 3usize.pow(word) % 3])
    })
}

#[test]
fn no_v6_address_is_on_the_wrong_side() {
    for pattern in [
        "fe80::*",
        "*::1",
        "1:*",
        "*:0:*",
        "?::*1?",
        "::*",
        "*::",
        "*1.*",
        "10:*:fe80",
        "1::1:*",
        "1::*:*",
        "*:*:*",
        "::*:*",
        "*:*:*:*:*:*:*:*",
        "*::fe80:*",
    ] {
        let glob = Glob::new(&TextPattern::Glob(pattern.as_bytes().into())).unwrap();
        let mut out = Collector::default();
        walk::collect(&glob, Effort::Full, &mut out);
        let region = out.finish().v6;
        let mut sides = BTreeMap::new();
        for (kind, intervals) in [(1, &region.sure), (0, &region.doubtful)] {
            sides.extend(intervals.iter().map(|(first, last)| (first, (last, kind))));
        }
        for address in hard_addresses() {
            if address >> 32 == 0xffff {
                continue;
            }
            let matches = glob.accepts(glob.run(glob.start(), text_v6(address).as_bytes()));
            let kind = match sides.range(..=address).next_back() {
                Some((_, (last, kind))) if address <= *last => *kind,
                _ => 2,
            };
            assert!(kind == 0 || (kind == 1) == matches, "{pattern} {}", text_v6(address));
        }
    }
}

#[test]
fn no_v4_address_is_on_the_wrong_side() {
    for pattern in
        ["*.5.*", "*1*", "?.?.?.?", "1*.2?.*3.*", "*.1", "10.*.*.10", "**", "*.*.*.*.*", "2?5.*", "*.25?"]
    {
        let glob = Glob::new(&TextPattern::Glob(pattern.as_bytes().into())).unwrap();
        for effort in [Effort::Full, Effort::Brief, Effort::None] {
            let mut out = Collector::default();
            walk::collect(&glob, effort, &mut out);
            let region = out.finish().v4;
            let within = |intervals: &Intervals<u32>| intervals.iter().collect::<BTreeMap<_, _>>();
            let (sure, doubtful) = (within(&region.sure), within(&region.doubtful));
            let is_in = |map: &BTreeMap<u32, u32>, address| {
                map.range(..=address).next_back().is_some_and(|(_, last)| address <= *last)
            };
            for step in 0..40_000u32 {
                let address = step.wrapping_mul(0x9e37_79b9);
                let text = Ipv4Addr::from_bits(address).to_string();
                let matches = glob.accepts(glob.run(glob.start(), text.as_bytes()));
                if !is_in(&doubtful, address) {
                    assert_eq!(is_in(&sure, address), matches, "{pattern} {text}");
                }
            }
        }
    }
}
