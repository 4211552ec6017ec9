//! Numbers of protocols, address families and socket states; ports and addresses as hooks hand them over.
//!
//! Source: linux/include/uapi/linux/in.h, linux/include/linux/socket.h, linux/include/net/tcp_states.h.

use tcpw_common::key::Address;

pub(crate) const IPPROTO_TCP: u16 = 6;
pub(crate) const IPPROTO_UDP: u16 = 17;

pub(crate) const AF_INET: u32 = 2;
pub(crate) const AF_INET6: u32 = 10;

pub(crate) const TCP_ESTABLISHED: u32 = 1;
pub(crate) const TCP_SYN_RECV: u32 = 3;
/// Also the state of a UDP socket that is not connected.
pub(crate) const TCP_CLOSE: u32 = 7;
pub(crate) const TCP_CLOSE_WAIT: u32 = 8;
pub(crate) const TCP_LISTEN: u32 = 10;

/// Source: linux/include/linux/net.h.
const SOCK_DGRAM: u32 = 2;

/// A port in host order; the kernel leaves the upper half 0.
#[inline(always)]
pub(crate) const fn port(value: u32) -> u16 {
    (value & 0xffff) as u16
}

/// An IPv6 address, which hooks show as four words.
#[inline(always)]
pub(crate) fn join(words: [u32; 4]) -> Address {
    let [a, b, c, d] = words.map(|word| u128::from(u32::from_le(word)));
    (d << 96 | c << 64 | b << 32 | a).to_le_bytes()
}

/// Whether a socket is a UDP socket; a raw one of that protocol is none.
#[inline(always)]
pub(crate) fn is_udp(protocol: u32, kind: u32) -> bool {
    protocol == IPPROTO_UDP as u32 && kind == SOCK_DGRAM
}
