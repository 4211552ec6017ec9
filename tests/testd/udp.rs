//! The UDP side: answers each datagram with a greeting, and says who sent it.

use std::{
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

/// What a UDP socket does beside answering.
#[derive(Clone, Debug, Default)]
pub(crate) struct Style {
    /// Writes to these first.
    pub(crate) ask: Vec<SocketAddr>,
    /// Is connected to this peer.
    pub(crate) connect: Option<SocketAddr>,
    /// Joins a multicast group of IPv4, on this local address.
    pub(crate) group: Option<(std::net::Ipv4Addr, std::net::Ipv4Addr)>,
    /// Does not answer.
    pub(crate) quiet: bool,
    /// Is an end of a tunnel of L2TP, by UDP_ENCAP.
    pub(crate) tunnel: bool,
    /// Is connected to this peer, and then no more.
    pub(crate) disconnect: Option<SocketAddr>,
    /// Writes to those of `ask` only after a first datagram came.
    pub(crate) late: bool,
}

/// Binds a socket; port 0 leaves the choice to the kernel.
pub(crate) fn open(address: SocketAddr, of: &crate::style::Style) -> Result<UdpSocket> {
    let style = &of.datagrams;
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Udp)?;
    if let Some(device) = &of.device {
        setsockopt(&fd, sockopt::BindToDevice, &device.into())?;
    }
    if of.reuse_port {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    of.mark(&fd)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    let socket = UdpSocket::from(fd);
    if let Some((group, local)) = style.group {
        socket.join_multicast_v4(&group, &local)?;
    }
    socket.set_broadcast(true)?;
    if let Some(peer) = style.connect.or(style.disconnect) {
        socket.connect(peer)?;
    }
    if style.tunnel {
        encapsulate(&socket)?;
    }
    if style.disconnect.is_some() {
        disconnect(&socket)?;
    }
    writeln!(std::io::stdout(), "bound {}", socket.local_addr()?.port())?;
    Ok(socket)
}

/// Source: linux/include/uapi/linux/udp.h.
fn encapsulate(socket: &UdpSocket) -> Result<()> {
    const UDP_ENCAP: i32 = 100;
    static UDP_ENCAP_L2TPINUDP: i32 = 3;
    let kind = &raw const UDP_ENCAP_L2TPINUDP;
    // SAFETY: passes a static int and its size, 4.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, UDP_ENCAP, kind.cast(), 4) };
    ensure!(done == 0, "UDP_ENCAP: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Leaves the socket without a peer, at its port.
fn disconnect(socket: &UdpSocket) -> Result<()> {
    // SAFETY: all zeroes is a valid address, of no family.
    let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr>())?;
    // SAFETY: passes a live address and its length.
    let done = unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, length) };
    ensure!(done == 0, "disconnect: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Asks, then serves without end.
pub(crate) fn serve(socket: &UdpSocket, greeting: &str, style: &Style) -> Result<()> {
    let mut buffer = [0; 65536];
    if !style.late {
        ask(socket, style)?;
    }
    let mut waits = style.late;
    loop {
        // A peer that is not there makes an error of the next call.
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..length.min(64)]).into_owned();
        writeln!(std::io::stdout(), "heard {text} from {peer}").context("say")?;
        if waits {
            waits = false;
            ask(socket, style)?;
        }
        if !style.quiet {
            let _ = match style.connect {
                Some(_) => socket.send(greeting.as_bytes()),
                None => socket.send_to(greeting.as_bytes(), peer),
            };
        }
    }
}

fn ask(socket: &UdpSocket, style: &Style) -> Result<()> {
    for peer in &style.ask {
        socket.send_to(b"question", peer).with_context(|| format!("write to {peer}"))?;
    }
    writeln!(std::io::stdout(), "asked").context("say")
}
