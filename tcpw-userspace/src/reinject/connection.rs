//! Connections as the kernel keeps them: found and ended by sock_diag(7).
//!
//! In: both ends of a connection and the cookie of its socket, in the calling thread's network
//! namespace. Invariant: only the socket of that cookie is ever ended.
//! Minimum kernel version: 4.5 (SOCK_DESTROY), built with CONFIG_INET_DIAG_DESTROY.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::{
    SOCK_DESTROY, SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use crate::host::sock_diag;

/// A connection of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// SO_COOKIE of its socket.
    pub cookie: u64,
    /// The host's own end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Interface its packets come in on.
    pub ifindex: u32,
}

/// Ends a connection: the client gets a reset, the daemon an error. `false` if it is gone, or
/// cannot be found.
///
/// # Errors
/// The kernel cannot do it, or refuses.
pub fn destroy(connection: &Ends) -> io::Result<bool> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    // A socket that is bound to a device is found by its device, the others by any.
    for interface_id in [connection.ifindex, 0] {
        match ask(&socket, request(connection, interface_id)) {
            Ok(()) => return Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// The cookies of every TCP socket.
///
/// # Errors
/// The kernel does not list them.
pub fn cookies() -> io::Result<HashSet<u64>> {
    let mut all = HashSet::new();
    each(|response| all.extend(sock_diag::cookie(response)))?;
    Ok(all)
}

/// The inodes of these TCP sockets, by cookie; 0 for a connection that no process has accepted. Sockets that
/// are gone are missing.
///
/// # Errors
/// The kernel does not list them.
pub fn inodes(wanted: &HashSet<u64>) -> io::Result<HashMap<u64, u64>> {
    let mut found = HashMap::new();
    each(|response| {
        let cookie = sock_diag::cookie(response).filter(|cookie| wanted.contains(cookie));
        found.extend(cookie.map(|cookie| (cookie, u64::from(response.header.inode))));
    })?;
    Ok(found)
}

/// Every TCP socket.
fn each(mut take: impl FnMut(&InetResponse)) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id,
        };
        sock_diag::dump(&socket, request, |response| take(&response))?;
    }
    Ok(())
}

fn request(connection: &Ends, interface_id: u32) -> InetRequest {
    let cookie = connection.cookie;
    let halves = [cookie & u64::from(u32::MAX), cookie >> 32].map(|half| u32::try_from(half).unwrap_or(0));
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&halves[0].to_ne_bytes());
    bytes[4..].copy_from_slice(&halves[1].to_ne_bytes());
    InetRequest {
        family: if connection.local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: connection.local.port(),
            destination_port: connection.remote.port(),
            source_address: connection.local.ip(),
            destination_address: connection.remote.ip(),
            interface_id,
            cookie: bytes,
        },
    }
}

/// A request to end what it describes.
struct Destroy(SockDiagMessage);

impl NetlinkSerializable for Destroy {
    fn message_type(&self) -> u16 {
        SOCK_DESTROY
    }

    fn buffer_len(&self) -> usize {
        NetlinkSerializable::buffer_len(&self.0)
    }

    fn serialize(&self, buffer: &mut [u8]) {
        NetlinkSerializable::serialize(&self.0, buffer);
    }
}

fn ask(socket: &Socket, request: InetRequest) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let payload = NetlinkPayload::InnerMessage(Destroy(SockDiagMessage::InetRequest(request)));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match NetlinkMessage::<SockDiagMessage>::deserialize(&answer).map(|message| message.payload) {
        Ok(NetlinkPayload::Error(error)) if error.code.is_none() => Ok(()),
        Ok(NetlinkPayload::Error(error)) => Err(error.to_io()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not an answer of sock_diag")),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsFd as _,
    };

    use super::*;

    /// Only the test's own connection on loopback.
    #[test]
    fn connection_of_the_cookie_is_ended_and_no_other() -> io::Result<()> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address)?;
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            let (mut accepted, remote) = listener.accept()?;
            let cookie = crate::host::socket_cookie(accepted.as_fd())?;
            let ends = Ends { cookie, local: accepted.local_addr()?, remote, ifindex: 1 };
            assert!(cookies()?.contains(&cookie));
            assert!(!destroy(&Ends { cookie: cookie + 1, ..ends })?, "another cookie");
            accepted.write_all(b"x")?;
            client.read_exact(&mut [0])?;
            match destroy(&ends) {
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(()),
                done => assert!(done?),
            }
            assert!(accepted.read(&mut [0]).is_err());
            assert!(client.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
            assert!(!destroy(&ends)? && !cookies()?.contains(&cookie));
        }
        Ok(())
    }
}
