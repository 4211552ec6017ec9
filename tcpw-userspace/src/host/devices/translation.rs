//! Whether packets that arrive may be given another destination (NAT).
//!
//! In: nothing. Out: whether the network namespace has a table for it. Invariant: as in the module above.
//! Source: linux/include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h.

use std::{fs, io, path::Path};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NlasIterator};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

use crate::host::netlink::NLM_F_DUMP_INTR;

/// Names of the tables of iptables (legacy) that are in use.
const LEGACY: [&str; 2] = ["/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"];

/// It exists if connections are followed, without which nothing is translated.
const FOLLOWED: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Types of messages that every protocol has: NLMSG_ERROR, NLMSG_DONE.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// NFNL_SUBSYS_NFTABLES, in the upper byte of a message's type.
const NF_TABLES: u16 = 10 << 8;
const NEW_CHAIN: u16 = NF_TABLES | 3;
const GET_CHAIN: u16 = NF_TABLES | 4;
/// Attributes of a chain and of its hook.
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
/// NF_INET_PRE_ROUTING.
const PREROUTING: u32 = 0;

/// How often the chains are listed if they change meanwhile.
const TRIES: u32 = 3;

/// struct nlmsghdr, and struct nfgenmsg.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// Whether a table of NAT is in use for packets that arrive.
pub(super) fn translates() -> io::Result<bool> {
    if !Path::new(FOLLOWED).exists() {
        return Ok(false);
    }
    for names in LEGACY {
        match fs::read_to_string(names) {
            Ok(names) if names.lines().any(|name| name == "nat") => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for _try in 0..TRIES {
        if let Some(found) = has_chain()? {
            return Ok(found);
        }
    }
    Err(io::Error::other("the chains of nftables change all the time"))
}

/// Whether nftables, or iptables on top of them, have such a chain; `None` if they changed meanwhile.
fn has_chain() -> io::Result<Option<bool>> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    let mut request = Vec::with_capacity(HEADER + GENERIC);
    request.extend(20_u32.to_ne_bytes());
    request.extend(GET_CHAIN.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence number, port; every family, version 0, no resource.
    request.resize(HEADER + GENERIC, 0);
    socket.send(&request, 0)?;
    let (mut found, mut is_whole) = (false, true);
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while let Some((kind, flags, body, after)) = message(rest) {
            is_whole &= flags & NLM_F_DUMP_INTR == 0;
            match kind {
                NEW_CHAIN => found |= is_translating(body.get(GENERIC..).unwrap_or_default()),
                DONE => return Ok(is_whole.then_some(found)),
                ERROR => {
                    let number = body.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number));
                    return match -number {
                        // This kernel has no nftables.
                        libc::EINVAL | libc::EOPNOTSUPP => Ok(Some(false)),
                        // So nf_tables says that they changed.
                        libc::EINTR => Ok(None),
                        number => Err(io::Error::from_raw_os_error(number)),
                    };
                }
                _ => {}
            }
            rest = after;
        }
    }
}

/// The type, flags and body of the first message, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let flags = u16::from_ne_bytes(*bytes.get(6..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, flags, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Whether a chain, by its attributes, is one that gives arriving packets another destination.
fn is_translating(chain: &[u8]) -> bool {
    let hook = attribute(chain, CHAIN_HOOK).and_then(|hook| attribute(&hook, HOOK_NUMBER));
    let hook = hook.and_then(|number| Some(u32::from_be_bytes(*number.first_chunk()?)));
    attribute(chain, CHAIN_TYPE).is_some_and(|kind| kind.starts_with(b"nat\0")) && hook == Some(PREROUTING)
}

fn attribute(of: &[u8], kind: u16) -> Option<Vec<u8>> {
    NlasIterator::new(of).flatten().find(|nla| nla.kind() == kind).map(|nla| nla.value().to_vec())
}
