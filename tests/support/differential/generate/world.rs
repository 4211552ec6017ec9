//! What the tables of a scene speak of, so that its requests are about the same.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::random::Random;

const NETS_V4: &[[u8; 4]] = &[
    [10, 0, 0, 0],
    [10, 1, 2, 0],
    [192, 168, 1, 0],
    [172, 16, 0, 0],
    [203, 0, 113, 0],
    [198, 51, 100, 128],
    [127, 0, 0, 1],
    [1, 2, 3, 4],
    [8, 8, 8, 8],
    [255, 255, 255, 255],
    [0, 0, 0, 0],
    [224, 0, 0, 1],
    [169, 254, 0, 1],
];

const NETS_V6: &[u128] = &[
    0x2001_0db8 << 96,
    0x2001_0db8_0001_0002 << 64,
    0xfe80 << 112,
    0x3ffe_ffff_0100_0200 << 64,
    0xfd00 << 112,
    1,
    0,
    0xffff << 32,
    0xffff_0102_0304,
    0x0064_ff9b << 96,
    u128::MAX,
];

const OCTETS: &[u8] = &[0, 1, 2, 3, 7, 8, 10, 100, 127, 128, 192, 200, 254, 255];

/// Addresses, names and the rest that occur in a scene.
#[derive(Clone, Debug)]
pub(super) struct World {
    nets_v4: Vec<u32>,
    nets_v6: Vec<u128>,
    /// Client addresses at borders of patterns, inside and just outside.
    pub(super) addresses: Vec<String>,
    /// Host names that patterns speak of.
    pub(super) names: Vec<String>,
    /// Users, likewise.
    pub(super) users: Vec<String>,
    /// Daemons, likewise.
    pub(super) daemons: Vec<String>,
    /// Ports, likewise.
    pub(super) ports: Vec<u16>,
    /// Server addresses, likewise.
    pub(super) servers: Vec<String>,
    /// Pattern files and banners.
    pub(super) files: BTreeMap<String, String>,
    /// Of these, the pattern files, in an order in which they name only later ones.
    pub(super) pattern_files: Vec<String>,
}

impl World {
    pub(super) fn new(random: &mut Random) -> Self {
        let nets_v4 = (0..3).map(|_| {
            if random.chance(80) {
                u32::from(Ipv4Addr::from(*random.pick(NETS_V4)))
            } else {
                random.bits_32()
            }
        });
        let nets_v4 = nets_v4.collect();
        let nets_v6 = (0..3)
            .map(|_| if random.chance(80) { *random.pick(NETS_V6) } else { random.bits_128() })
            .collect();
        Self {
            nets_v4,
            nets_v6,
            addresses: Vec::new(),
            names: vec!["www.example.com".into(), "gw".into()],
            users: vec!["root".into(), "alice".into()],
            daemons: vec!["sshd".into()],
            ports: vec![22],
            servers: vec!["10.0.0.1".into()],
            files: BTreeMap::new(),
            pattern_files: Vec::new(),
        }
    }

    /// An address in or near one of the scene's networks.
    pub(super) fn v4(&self, random: &mut Random) -> u32 {
        let mut octets = random.pick(&self.nets_v4).to_be_bytes();
        for octet in octets.iter_mut().rev().take(random.weighted(&[(2, 0), (4, 1), (3, 2), (1, 3)])) {
            *octet = if random.chance(70) { *random.pick(OCTETS) } else { random.next().to_be_bytes()[0] };
        }
        u32::from_be_bytes(octets)
    }

    /// An address in or near one of the scene's networks.
    pub(super) fn v6(&self, random: &mut Random) -> u128 {
        let mut groups = Ipv6Addr::from(*random.pick(&self.nets_v6)).segments();
        for group in groups.iter_mut().rev().take(random.weighted(&[(2, 0), (4, 1), (2, 2), (2, 4)])) {
            *group = *random.pick(&[0, 0, 1, 2, 0xff, 0x8000, 0xffff, 0xabcd]);
        }
        u128::from(Ipv6Addr::from(groups))
    }

    /// Remembers a network's borders: its first and last address, those just outside,
    /// and one inside.
    pub(super) fn borders_v4(&mut self, random: &mut Random, net: u32, mask: u32) {
        let (first, last) = (net & mask, net | !mask);
        let inside = first | (random.bits_32() & !mask);
        for address in [first, last, first.wrapping_sub(1), last.wrapping_add(1), inside] {
            self.addresses.push(Ipv4Addr::from(address).to_string());
        }
    }

    /// [`Self::borders_v4`], of IPv6.
    pub(super) fn borders_v6(&mut self, random: &mut Random, net: u128, mask: u128) {
        let (first, last) = (net & mask, net | !mask);
        let inside = first | (random.bits_128() & !mask);
        for address in [first, last, first.wrapping_sub(1), last.wrapping_add(1), inside] {
            self.addresses.push(Ipv6Addr::from(address).to_string());
        }
    }
}
