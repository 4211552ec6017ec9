//! The look-up that sk_lookup judges.

use tcpw_common::{
    certified::{Certified, CertifiedKey},
    key::{AnswerKey, AttemptKey, FlowKey, PeerKey, Query},
    tag::Tag,
};

/// One look-up of a socket. Lives in [`LOOKUP`](crate::maps::LOOKUP): it does not fit the stack.
#[repr(C)]
pub(crate) struct Lookup {
    pub(crate) key: CertifiedKey,
    pub(crate) flow: FlowKey,
    pub(crate) query: Query,
    pub(crate) answer: AnswerKey,
    pub(crate) certified: Certified,
    pub(crate) tag: Tag,
    pub(crate) peer: PeerKey,
    /// The attempt that is refused by an answer for it only, if `is_once` is not 0.
    pub(crate) once: AttemptKey,
    pub(crate) is_once: u32,
    pub(crate) ifindex: u32,
    pub(crate) family: u32,
    /// Not 0 while it is in use.
    pub(crate) is_busy: u32,
}
