//! A TCP client that is no socket of the kernel: it sends and sees single segments.
//!
//! Source: RFC 9293, raw(7).

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context, Result, bail};
use etherparse::{Ipv4Header, TcpHeader};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, sendto,
            setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};

use crate::Netns;

const ISN: u32 = 1_000;

/// How long an answer may take, in microseconds; and how often a SYN is sent.
const PATIENCE_US: i64 = 50_000;
const SYNS: usize = 100;

/// A client at one address, of any port, and its server.
#[derive(Debug)]
pub struct RawClient {
    socket: OwnedFd,
    address: Ipv4Addr,
    server: SocketAddrV4,
}

impl RawClient {
    /// A client in the network namespace of this thread.
    ///
    /// # Errors
    /// Not root, or the address is not of this namespace.
    pub fn new(address: Ipv4Addr, server: SocketAddrV4) -> Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)
            .context("make a raw socket")?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, PATIENCE_US))?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, 0))).context("bind")?;
        Ok(Self { socket, address, server })
    }

    /// Keeps a namespace's kernel, which has no socket for what the client receives, from resetting it.
    ///
    /// # Errors
    /// nft(8) is missing or refuses.
    pub fn keep_silent(netns: &Netns, address: Ipv4Addr) -> Result<()> {
        netns.nft("add table inet raw_client")?;
        netns.nft("add chain inet raw_client out { type filter hook output priority 0; }")?;
        netns.nft(&format!("add rule inet raw_client out ip saddr {address} tcp flags & rst == rst drop"))
    }

    /// Sends a SYN, always with the same sequence number.
    ///
    /// # Errors
    /// The kernel refuses the packet.
    pub fn send_syn(&self, from: u16) -> Result<()> {
        let mut header = TcpHeader::new(from, self.server.port(), ISN, 1024);
        header.syn = true;
        self.write(header, &[])
    }

    /// Sends an ACK of `ack`, with the first data or none.
    ///
    /// # Errors
    /// The kernel refuses the packet.
    pub fn send(&self, from: u16, ack: u32, data: &[u8]) -> Result<()> {
        let mut header = TcpHeader::new(from, self.server.port(), ISN + 1, 1024);
        (header.ack, header.acknowledgment_number) = (true, ack);
        self.write(header, data)
    }

    fn write(&self, mut header: TcpHeader, data: &[u8]) -> Result<()> {
        header.checksum =
            header.calc_checksum_ipv4_raw(self.address.octets(), self.server.ip().octets(), data)?;
        let mut segment = Vec::new();
        header.write(&mut segment)?;
        segment.extend(data);
        sendto(self.socket.as_raw_fd(), &segment, &SockaddrIn::from(self.server), MsgFlags::empty())
            .context("send a segment")?;
        Ok(())
    }

    /// Sends SYNs until one is answered: the number that acknowledges the answer.
    ///
    /// # Errors
    /// None is answered in 5 s.
    pub fn open(&self, from: u16) -> Result<u32> {
        for _syn in 0..SYNS {
            self.send_syn(from)?;
            if let Some(number) = self.syn_ack(from)? {
                return Ok(number.wrapping_add(1));
            }
        }
        bail!("no SYN-ACK came to port {from}")
    }

    /// The sequence number of the server's next SYN-ACK to a port, if one comes soon.
    fn syn_ack(&self, to: u16) -> Result<Option<u32>> {
        let mut packet = [0; 2048];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => return Ok(None),
                length => length.context("receive")?,
            };
            let (_ip, segment) = Ipv4Header::from_slice(&packet[..length])?;
            let (tcp, _data) = TcpHeader::from_slice(segment)?;
            if tcp.syn && tcp.ack && tcp.destination_port == to {
                return Ok(Some(tcp.sequence_number));
            }
        }
    }
}
