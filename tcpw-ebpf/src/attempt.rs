//! The attempt that the gate judges.

use tcpw_common::{
    handshake::Handshake,
    key::{AttemptKey, Query},
    tag::Tag,
    user::Pending,
};

use crate::packet::Header;

/// A connection attempt at a listener: a SYN, or the ACK that completes its handshake; or a datagram
/// to a UDP listener. Lives in [`SCRATCH`](crate::maps::SCRATCH): it does not fit the stack.
#[repr(C)]
pub(crate) struct Attempt {
    pub(crate) key: AttemptKey,
    pub(crate) query: Query,
    pub(crate) tag: Tag,
    pub(crate) family: u32,
    pub(crate) ifindex: u32,
    /// Not 0: an ACK that belongs to no handshake.
    pub(crate) has_no_handshake: u32,
    /// Not 0: the ACK.
    pub(crate) completes: u32,
    /// Not 0: its connection has to wait for its client's user.
    pub(crate) waits: u32,
    pub(crate) reserved: u32,
    pub(crate) handshake: Handshake,
    pub(crate) header: Header,
    pub(crate) pending: Pending,
}
