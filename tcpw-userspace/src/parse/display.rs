//! Addresses and bytes as text.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An address as getnameinfo(3) with NI_NUMERICHOST prints it.
///
/// Source: glibc 2.36 `resolv/inet_ntop.c`; Rust prints `::a.b.c.d` otherwise.
pub fn numeric_host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => numeric_v4(address),
        IpAddr::V6(address) => numeric_v6(address),
    }
}

/// Without the formatter, which takes ten times as long: texts of many addresses are made when tables are compared.
fn numeric_v4(address: Ipv4Addr) -> String {
    const LONGEST: usize = "255.255.255.255".len();
    let mut text = String::with_capacity(LONGEST);
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        for (unit, is_written) in [(100, octet >= 100), (10, octet >= 10), (1, true)] {
            if is_written {
                text.push(char::from(b'0' + octet / unit % 10));
            }
        }
    }
    text
}

fn numeric_v6(address: Ipv6Addr) -> String {
    let groups = address.segments();
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    // Six leading zero groups, no more: an IPv4-compatible address.
    if zeros != 6 {
        return address.to_string();
    }
    let mut text = String::from("::");
    let [.., a, b, c, d] = address.octets();
    // Writing to a String cannot fail.
    let _ = write!(text, "{a}.{b}.{c}.{d}");
    text
}

/// Text for a message; bytes that are not UTF-8 as `\xNN`.
pub(crate) fn quoted_bytes(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! prints {
        ($($name:ident: $address:expr => $want:expr;)*) => { $(#[test] fn $name() {
            assert_eq!(numeric_host($address.parse().unwrap()), $want);
        })* };
    }

    #[test]
    fn v4_is_what_the_formatter_prints() {
        for number in 0..=u32::from(u16::MAX) {
            let address = Ipv4Addr::from_bits(number * 0x0001_0001);
            assert_eq!(numeric_v4(address), address.to_string());
        }
    }

    prints! {
        v4: "1.2.3.4" => "1.2.3.4";
        unspecified: "::" => "::";
        loopback: "::1" => "::1";
        compatible: "::1.2.3.4" => "::1.2.3.4";
        compatible_small: "::1:2" => "::0.1.0.2";
        seven_zero_groups: "::ffff" => "::ffff";
        mapped: "::ffff:1.2.3.4" => "::ffff:1.2.3.4";
        mapped_zero: "::ffff:0:0" => "::ffff:0.0.0.0";
        longest_run: "1:0:0:2:0:0:0:3" => "1:0:0:2::3";
        first_of_equal_runs: "1:0:0:2:3:0:0:4" => "1::2:3:0:0:4";
        single_zero_group: "1:0:2:3:4:5:6:7" => "1:0:2:3:4:5:6:7";
        documentation: "3FFE:FFFF:100:200::5" => "3ffe:ffff:100:200::5";
    }
}
