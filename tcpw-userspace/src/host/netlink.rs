//! Lists of the kernel, by netlink(7).
//!
//! In: a request. Out: each message of the answer. Invariant: an answer that is not read to its end is an error.

use std::{io, ops::ControlFlow};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::Socket;

/// What is listed changed meanwhile. Source: linux/include/uapi/linux/netlink.h.
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;

/// Passes every entry that the kernel has for a request to `each`, until that breaks off: then nothing more can be
/// asked through the socket.
pub(super) fn dump<M: NetlinkSerializable + NetlinkDeserializable>(
    socket: &Socket,
    request: M,
    each: impl FnMut(M) -> ControlFlow<()>,
) -> io::Result<()> {
    ask(socket, request, NLM_F_DUMP, each)
}

/// Passes the one entry that the kernel has for a request to `each`.
pub(super) fn get<M: NetlinkSerializable + NetlinkDeserializable>(
    socket: &Socket,
    request: M,
    mut each: impl FnMut(M),
) -> io::Result<()> {
    ask(socket, request, 0, |entry| {
        each(entry);
        ControlFlow::Break(())
    })
}

fn ask<M: NetlinkSerializable + NetlinkDeserializable>(
    socket: &Socket,
    request: M,
    flags: u16,
    mut each: impl FnMut(M) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in messages::<M>(&datagram) {
            let message = message?;
            if let NetlinkPayload::InnerMessage(entry) = message {
                if each(entry).is_break() {
                    return Ok(());
                }
            } else if let NetlinkPayload::Error(error) = message {
                return Err(error.to_io());
            } else if let NetlinkPayload::Done(_) = message {
                return Ok(());
            }
        }
    }
}

/// The messages of a datagram.
pub(super) fn messages<M: NetlinkDeserializable>(
    datagram: &[u8],
) -> impl Iterator<Item = io::Result<NetlinkPayload<M>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = match NetlinkMessage::<M>::deserialize(rest) {
            Ok(message) => message,
            Err(error) => {
                rest = &[];
                return Some(Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())));
            }
        };
        if message.header.flags & NLM_F_DUMP_INTR != 0 {
            rest = &[];
            return Some(Err(io::Error::other("what the kernel lists changes")));
        }
        // Messages are aligned to four bytes.
        let length = (message.header.length as usize).next_multiple_of(4).max(16);
        rest = rest.get(length..).unwrap_or_default();
        Some(Ok(message.payload))
    })
}
