//! A client that takes its time between SYN and ACK: raw packets of an address nobody has.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tcpw_tests::{SERVER_V4, Sandbox};

/// On the client's cable, but no address of it: its kernel does not answer for it.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(1, 2, 3, 77);
const SYN: u8 = 0x02;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;
const PATIENCE: Duration = Duration::from_secs(2);

/// Sockets that send and see whole packets.
pub(crate) struct Client {
    sender: OwnedFd,
    receiver: OwnedFd,
}

/// A handshake that lacks its last packet.
pub(crate) struct Half {
    client_port: u16,
    server_port: u16,
    next: u32,
    acknowledges: u32,
}

/// A received TCP segment.
struct Segment {
    ports: (u16, u16),
    sequence: u32,
    flags: u8,
    data: Vec<u8>,
}

impl Client {
    pub(crate) fn new(sandbox: &Sandbox) -> Result<Self> {
        // The server finds it without asking.
        sandbox.client().ip("link set tcpw0 address 02:00:00:00:00:77")?;
        sandbox.server().ip("neigh replace 1.2.3.77 lladdr 02:00:00:00:00:77 dev tcpw0")?;
        sandbox.client().run(|| {
            Ok(Self {
                sender: socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?,
                receiver: socket(libc::AF_PACKET, libc::SOCK_DGRAM, i32::from(0x0800_u16.to_be()))?,
            })
        })
    }

    /// Sends a SYN and takes the answer.
    pub(crate) fn begin(&mut self, client_port: u16, server_port: u16) -> Result<Half> {
        let half = Half { client_port, server_port, next: 1001, acknowledges: 0 };
        self.send(&Half { next: 1000, ..half }, SYN)?;
        let answer = self.receive(&half, SYN | ACK)?;
        Ok(Half { acknowledges: answer.sequence.wrapping_add(1), ..half })
    }

    /// Sends a SYN, always with the same sequence number.
    pub(crate) fn knock(&self, client_port: u16, server_port: u16) -> Result<()> {
        self.knock_from(client_port, server_port, 1000)
    }

    /// As [`knock`](Self::knock), with that sequence number.
    pub(crate) fn knock_from(&self, client_port: u16, server_port: u16, isn: u32) -> Result<()> {
        self.send(&Half { client_port, server_port, next: isn, acknowledges: 0 }, SYN)
    }

    /// Sends the last ACK.
    pub(crate) fn complete(&self, half: &Half) -> Result<()> {
        self.send(half, ACK)
    }

    /// Sends the last ACK, and returns what the server says.
    pub(crate) fn finish(&mut self, half: &Half) -> Result<Vec<u8>> {
        self.complete(half)?;
        Ok(self.receive(half, PUSH)?.data)
    }

    fn send(&self, half: &Half, flags: u8) -> Result<()> {
        let IpAddr::V4(server) = SERVER_V4 else { bail!("no IPv4 address") };
        let mut tcp = Vec::new();
        tcp.extend(half.client_port.to_be_bytes());
        tcp.extend(half.server_port.to_be_bytes());
        tcp.extend(half.next.to_be_bytes());
        tcp.extend(half.acknowledges.to_be_bytes());
        tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let mut sum: u32 = 6 + 20;
        for pair in ADDRESS.octets().chunks(2).chain(server.octets().chunks(2)).chain(tcp.chunks(2)) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        let sum = !u16::try_from(sum)?;
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
        packet.extend(ADDRESS.octets());
        packet.extend(server.octets());
        packet.extend(tcp);
        let to = libc::sockaddr_in {
            sin_family: 2,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(server.octets()) },
            sin_zero: [0; 8],
        };
        // SAFETY: packet and address live over the call, their lengths are passed.
        let sent = unsafe {
            libc::sendto(
                self.sender.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const to).cast(),
                16,
            )
        };
        ensure!(sent == 40, "send: {}", io::Error::last_os_error());
        Ok(())
    }

    /// The next segment of the server's with one of these flags.
    fn receive(&self, half: &Half, flags: u8) -> Result<Segment> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            let mut bytes = [0_u8; 2048];
            // SAFETY: the kernel writes at most the length given.
            let length = unsafe {
                libc::recv(
                    self.receiver.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    bytes.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            let Ok(length) = usize::try_from(length) else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            let Some(segment) = bytes.get(..length).and_then(read) else { continue };
            if segment.ports != (half.server_port, half.client_port) {
                continue;
            }
            if segment.flags & flags == flags {
                return Ok(segment);
            }
            seen.push(segment.flags);
        }
        bail!("no segment with flags {flags:#x} came, but with {seen:x?}")
    }
}

fn read(packet: &[u8]) -> Option<Segment> {
    let header = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    if *packet.get(9)? != 6 {
        return None;
    }
    let tcp = packet.get(header..total)?;
    let port = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
    let data = usize::from(*tcp.get(12)? >> 4) * 4;
    Some(Segment {
        ports: (port(0)?, port(2)?),
        sequence: u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?),
        flags: *tcp.get(13)?,
        data: tcp.get(data..)?.to_vec(),
    })
}

fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
    // SAFETY: takes three integers; the result is checked before it is used.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("make a raw socket");
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
