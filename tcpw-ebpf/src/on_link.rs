//! Whether a datagram comes from the link: its sender needs no router.
//!
//! In: a source address, the interface that the datagram came by, and the networks of that interface, which user space
//! writes. Out: yes, or no.
//! Invariant: what is not known is not on the link. The loopback device is no exception: held datagrams of any sender
//! come by it when user space sends them again.
//! Source: RFC 6762, section 11: the sender of a multicast reply is on the link.

use aya_ebpf::maps::lpm_trie::Key;
use tcpw_common::key::{FlowKey, ON_LINK_BITS, OnLinkKey, is_link_local_v6};

use crate::maps::ON_LINK;

/// Whether the client of a flow is on the link of the interface.
#[inline(always)]
pub(crate) fn is_on_link(flow: &FlowKey, ifindex: u32) -> bool {
    if is_link_local_v6(&flow.client) {
        return true;
    }
    let key = OnLinkKey { netns: flow.netns, ifindex, reserved: 0, address: flow.client };
    ON_LINK.get(&Key::new(ON_LINK_BITS + 128, key)).is_some()
}
