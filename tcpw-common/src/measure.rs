//! Networks for measurements of the decision: numbered, so that both sides know them without a list.
//!
//! In: a number. Out: its network. Of 100 IPv4 networks 85 are hosts, 12 are /24 and 3 are /16 to /22, as in lists of
//! bans, anywhere in the address space. Of 100 IPv6 networks 60 are /64, 25 are hosts, 10 are /48 and 5 are /32, all
//! of them in 2a00::/12, as in tables of routes.
//! Invariant: two numbers below 2^31 rarely have one network.

use crate::key::{Address, NamesId, mapped};

/// A measurement: that many decisions about clients of the numbered networks.
///
/// Layout: 8 + 16 + 4 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasureInput {
    /// Names of the listener.
    pub names: NamesId,
    /// Local address.
    pub server: Address,
    /// Local port.
    pub port: u32,
    /// How many decisions.
    pub decisions: u32,
    /// How many networks there are.
    pub networks: u32,
    /// [`IPV6`], [`ELSEWHERE`] and [`EMPTY`].
    pub flags: u32,
}
const _: () = assert!(size_of::<MeasureInput>() == 40);

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for MeasureInput {}

/// The clients are of IPv6.
pub const IPV6: u32 = 1;

/// Nothing is decided: what the loop itself takes.
pub const EMPTY: u32 = 2;

/// Bit of a number whose network is not among the first ones: its clients are in no network but by chance.
pub const ELSEWHERE: u32 = 1 << 31;

/// First address and length of a network of IPv4 clients.
#[inline(always)]
#[must_use]
pub const fn network_v4(number: u32) -> (u32, u8) {
    // Knuth's multiplicative hash: an odd factor loses no bit.
    let address = number.wrapping_mul(2_654_435_761);
    match number % 100 {
        0..85 => (address, 32),
        85..97 => (address & 0xffff_ff00, 24),
        _ => (address & 0xffff_fc00, 22 - (number % 7) as u8),
    }
}

/// First address, as its upper and lower 64 bits, and length of a network of IPv6 clients.
#[inline(always)]
#[must_use]
pub const fn network_v6(number: u32) -> (u64, u64, u8) {
    let hash = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let high = 0x2a00 << 48 | hash >> 12;
    match number % 100 {
        0..60 => (high, 0, 64),
        60..85 => (high, hash.wrapping_mul(2_654_435_761), 128),
        85..95 => (high & !0xffff, 0, 48),
        _ => (high & !0xffff_ffff, 0, 32),
    }
}

/// A client in a network.
#[inline(always)]
#[must_use]
pub fn client(number: u32, is_v6: bool) -> Address {
    if !is_v6 {
        return mapped(network_v4(number).0.to_be_bytes());
    }
    let (high, low, _) = network_v6(number);
    let (high, low) = (high.to_be_bytes(), low.to_be_bytes());
    let mut address = [0; 16];
    let mut at = 0;
    while at < 8 {
        address[at] = high[at];
        address[at + 8] = low[at];
        at += 1;
    }
    address
}
