//! Patterns for addresses; their borders go to the scene.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Author;

impl Author<'_> {
    /// A pattern for IPv4 addresses.
    pub(super) fn v4(&mut self) -> String {
        let address = self.world.v4(self.random);
        let [a, b, c, d] = address.to_be_bytes();
        match self.random.below(10) {
            0..=2 => {
                self.world.borders_v4(self.random, address, u32::MAX);
                let zero = if self.random.chance(3) { "0" } else { "" };
                format!("{a}.{b}.{c}.{zero}{d}")
            }
            3..=5 => {
                let octets = self.random.between(1, 3);
                self.world.borders_v4(self.random, address, mask_v4(8 * octets));
                [a, b, c][..octets].iter().map(|octet| format!("{octet}.")).collect()
            }
            6 => {
                // A suffix that addresses have.
                self.world.borders_v4(self.random, address, u32::MAX);
                if self.random.chance(50) { format!(".{d}") } else { format!(".{c}.{d}") }
            }
            _ => self.net_v4(address),
        }
    }

    fn net_v4(&mut self, address: u32) -> String {
        let length = match self.random.below(4) {
            0 | 1 => *self.random.pick(&[8, 16, 24, 32]),
            2 => self.random.between(1, 32),
            _ => *self.random.pick(&[0, 1, 31, 32, 33, 30, 23, 25]),
        };
        let mut mask = mask_v4(length.min(32));
        if self.random.chance(8) {
            // Non-contiguous.
            mask = *self.random.pick(&[
                0xff00_00ff,
                0x0000_00ff,
                0xffff_0001,
                0x0000_0001,
                0x8000_0000,
                0xff00_ff00,
            ]);
            let net = address & mask;
            self.world.borders_v4(self.random, net, mask);
            return format!("{}/{}", Ipv4Addr::from(net), Ipv4Addr::from(mask));
        }
        // Host bits: such a rule never matches.
        let net = if self.random.chance(88) { address & mask } else { address };
        self.world.borders_v4(self.random, net, mask);
        let [a, b, c, d] = net.to_be_bytes();
        let net = match self.random.below(24) {
            0 => format!("0{a:o}.{b}.{c}.{d}"),
            1 => format!("0x{a:x}.{b}.0{c:o}.0X{d:X}"),
            2 => format!("{a}.{b}.{c}.{d:03}"),
            _ => format!("{a}.{b}.{c}.{d}"),
        };
        let mask = match self.random.below(16) {
            0..=2 => Ipv4Addr::from(mask).to_string(),
            3 => format!("{length}x"),
            4 => format!("0{length}"),
            5 => {
                let [a, b, c, d] = mask.to_be_bytes();
                format!("0x{a:x}.0{b:o}.{c}.{d}")
            }
            _ => length.to_string(),
        };
        format!("{net}/{mask}")
    }

    /// A pattern for IPv6 addresses.
    pub(super) fn v6(&mut self) -> String {
        let address = self.world.v6(self.random);
        let whole = self.random.chance(40);
        let length = if whole {
            128
        } else {
            match self.random.below(3) {
                0 => *self.random.pick(&[32, 48, 64, 128]),
                1 => self.random.between(0, 128),
                _ => *self.random.pick(&[0, 1, 10, 63, 65, 96, 112, 127, 129]),
            }
        };
        let mask = mask_v6(length.min(128));
        // Host bits do no harm.
        let net = if self.random.chance(70) { address & mask } else { address };
        self.world.borders_v6(self.random, net, mask);
        let text = self.v6_text(net);
        if whole {
            return format!("[{text}]");
        }
        match self.random.below(30) {
            0 => format!("[{text}/{length}]"),
            1 => format!("[{text}]/{length}x"),
            2 => format!("[{text}]/"),
            3 => format!("{text}/{length}"),
            4 => format!("[{text}]/{}", Ipv6Addr::from(mask)),
            _ => format!("[{text}]/{length}"),
        }
    }

    /// An IPv6 address in one of its spellings.
    pub(super) fn v6_text(&mut self, address: u128) -> String {
        let address = Ipv6Addr::from(address);
        let [.., c, d] = address.segments();
        match self.random.below(16) {
            0 => address.to_string().to_uppercase(),
            1 => address.segments().map(|group| format!("{group:04x}")).join(":"),
            2 => address.segments().map(|group| format!("{group:x}")).join(":"),
            3 => {
                let groups = address.segments().map(|group| format!("{group:x}"));
                let [c1, c0] = c.to_be_bytes();
                let [d1, d0] = d.to_be_bytes();
                format!("{}:{c1}.{c0}.{d1}.{d0}", groups[..6].join(":"))
            }
            4 => format!("{address}%{}", self.random.pick(&["lo", "nosuch", "1", "2", "0", ""])),
            _ => address.to_string(),
        }
    }
}

fn mask_v4(length: usize) -> u32 {
    let shift = u32::try_from(32 - length).unwrap_or_default();
    u32::MAX.checked_shl(shift).unwrap_or(0)
}

fn mask_v6(length: usize) -> u128 {
    let shift = u32::try_from(128 - length).unwrap_or_default();
    u128::MAX.checked_shl(shift).unwrap_or(0)
}
