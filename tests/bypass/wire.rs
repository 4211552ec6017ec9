//! A client without a network stack: it sends frames as they are and answers nothing by itself.
//!
//! Its addresses are on no interface: the client's own kernel resets none of its connections.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tcpw_tests::{Netns, Sandbox};

use crate::packet::{ACK, Datagram, RST, SYN, Segment, answer, reply};

/// Clients by family: one the rules allow, one they refuse.
pub(crate) const ALLOWED_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 2, 3, 99));
pub(crate) const REFUSED_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 2, 4, 99));
pub(crate) const ALLOWED_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3ffe, 0xffff, 0x100, 0x200, 0, 0, 0, 0x99));
pub(crate) const REFUSED_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3ffe, 0xffff, 0x100, 0x201, 0, 0, 0, 0x99));

/// What came of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Nothing,
    Reset,
    /// The server's half of a handshake.
    Handshake,
    /// What the daemon says to its clients.
    Greeting,
}

/// How a segment becomes what is sent: IP packets, or frames from their EtherType on.
pub(crate) type Craft = fn(&Segment) -> Vec<Vec<u8>>;

pub(crate) struct Wire {
    socket: OwnedFd,
    interface: i32,
    ours: [u8; 6],
    theirs: [u8; 6],
    ports: AtomicU16,
}

impl Wire {
    /// At the client's end of the sandbox's cable.
    pub(crate) fn new(sandbox: &Sandbox) -> Result<Self> {
        Self::between(sandbox.client(), sandbox.server(), "tcpw0")
    }

    /// At `client`'s end of a cable whose interface has that name at both.
    pub(crate) fn between(client: &Netns, server: &Netns, interface: &str) -> Result<Self> {
        let (ours, theirs) = (mac(client, interface)?, mac(server, interface)?);
        for address in [ALLOWED_V4, REFUSED_V4, ALLOWED_V6, REFUSED_V6] {
            know(server, address, ours, interface)?;
        }
        let (socket, index) = client.run(|| open(interface))?;
        Ok(Self { socket, interface: index, ours, theirs, ports: AtomicU16::new(20_000) })
    }

    /// The client's link address.
    pub(crate) fn mac(&self) -> [u8; 6] {
        self.ours
    }

    /// The server's link address.
    pub(crate) fn server_mac(&self) -> [u8; 6] {
        self.theirs
    }

    /// The first segment of a new connection.
    pub(crate) fn syn(&self, from: IpAddr, to: IpAddr, to_port: u16) -> Segment {
        let from_port = self.ports.fetch_add(1, Ordering::Relaxed);
        Segment {
            from,
            to,
            from_port,
            to_port,
            seq: 0x1234_5678,
            ack: 0,
            flags: SYN,
            options: vec![2, 4, 5, 0xb4],
            data: Vec::new(),
        }
    }

    /// Opens a connection with `syn`, greets nobody, and waits to be greeted.
    pub(crate) fn converse(&self, syn: &Segment, craft: Craft, patience: Duration) -> Result<Got> {
        self.drain()?;
        self.send(&craft(syn))?;
        let Some(answer) = self.wait(syn, patience, |flags, _| flags & (SYN | RST) != 0)? else {
            return Ok(Got::Nothing);
        };
        if answer.flags & RST != 0 {
            return Ok(Got::Reset);
        }
        let mut next = Segment {
            seq: answer.ack,
            ack: answer.seq.wrapping_add(1),
            flags: ACK,
            options: Vec::new(),
            data: Vec::new(),
            ..syn.clone()
        };
        self.send(&craft(&next))?;
        let greeted = self.wait(syn, patience, |_, data| data.starts_with(b"hello"))?;
        next.flags = RST;
        self.send(&[next.plain()])?;
        Ok(if greeted.is_some() { Got::Greeting } else { Got::Handshake })
    }

    /// Sends IP packets, or frames from their EtherType on.
    pub(crate) fn send(&self, packets: &[Vec<u8>]) -> Result<()> {
        for packet in packets {
            let kind: &[u8] = match packet.first().map(|first| first >> 4) {
                Some(4) => &[0x08, 0x00],
                Some(6) => &[0x86, 0xdd],
                _ => &[],
            };
            let frame = [&self.theirs[..], &self.ours, kind, packet].concat();
            // SAFETY: passes a live slice and its length.
            let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent < 0 {
                bail!("send on interface {}: {}", self.interface, std::io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// The first answer to `sent` that is wanted.
    pub(crate) fn wait(
        &self,
        sent: &Segment,
        patience: Duration,
        is_wanted: impl Fn(u8, &[u8]) -> bool,
    ) -> Result<Option<Answer>> {
        self.first(patience, |packet| {
            let reply = reply(packet, sent)?;
            let is_it = is_wanted(reply.flags, reply.data);
            is_it.then_some(Answer { flags: reply.flags, seq: reply.seq, ack: reply.ack })
        })
    }

    /// A datagram from a port that nobody used before.
    pub(crate) fn datagram(&self, from: IpAddr, to: IpAddr, to_port: u16) -> Datagram {
        let from_port = self.ports.fetch_add(1, Ordering::Relaxed);
        Datagram { from, to, from_port, to_port, data: b"hello, is anybody there?".to_vec() }
    }

    /// Sends these packets, and says whether a daemon answered the datagram in them.
    pub(crate) fn ask(&self, sent: &Datagram, packets: &[Vec<u8>], patience: Duration) -> Result<bool> {
        self.drain()?;
        self.send(packets)?;
        let greeted =
            self.first(patience, |packet| answer(packet, sent)?.starts_with(b"hello from").then_some(()));
        Ok(greeted?.is_some())
    }

    /// The first packet of which `read` makes something.
    fn first<T>(&self, patience: Duration, read: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waiting, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))? == 0 {
                return Ok(None);
            }
            let mut frame = [0; 2048];
            let length = self.receive(&mut frame)?;
            let packet = frame.get(14..length).unwrap_or_default();
            if let Some(found) = read(packet) {
                return Ok(Some(found));
            }
        }
    }

    /// Forgets what came so far.
    fn drain(&self) -> Result<()> {
        while self.receive(&mut [0; 64])? > 0 {}
        Ok(())
    }

    fn receive(&self, frame: &mut [u8]) -> Result<usize> {
        // SAFETY: passes a live slice and its length.
        let length = unsafe {
            libc::recv(self.socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), libc::MSG_DONTWAIT)
        };
        // Nothing there: nothing received.
        Ok(usize::try_from(length).unwrap_or(0))
    }
}

/// A reply's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
}

/// Tells a host the link address of an IP address.
pub(crate) fn know(host: &Netns, address: IpAddr, mac: [u8; 6], interface: &str) -> Result<()> {
    let text = mac.map(|byte| format!("{byte:02x}")).join(":");
    host.ip(&format!("neigh replace {address} lladdr {text} dev {interface}"))
}

fn mac(netns: &Netns, interface: &str) -> Result<[u8; 6]> {
    let shown =
        netns.run(|| Ok(Command::new("ip").args(["-o", "link", "show", "dev", interface]).output()?))?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
    let bytes = words.nth(1).with_context(|| format!("{interface} has no link address: {text}"))?;
    let bytes: Vec<u8> =
        bytes.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("{interface}: a link address of another length"))
}

/// A packet socket of one interface, in the network namespace of the calling thread.
fn open(interface: &str) -> Result<(OwnedFd, i32)> {
    let all = u16::try_from(libc::ETH_P_ALL)?.to_be();
    // SAFETY: takes three integers; the result is checked before it is used.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(all)) };
    if fd < 0 {
        bail!("packet socket: {}", std::io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let index = i32::try_from(nix::net::if_::if_nametoindex(interface)?)?;
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: all,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = u32::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: passes a live socket address and its length.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } != 0 {
        bail!("bind to {interface}: {}", std::io::Error::last_os_error());
    }
    Ok((socket, index))
}

/// Sets a sysctl of a network namespace.
pub(crate) fn sysctl(netns: &Netns, name: &str, value: &str) -> Result<()> {
    netns.run(|| {
        fs::write(format!("/proc/sys/net/{name}"), value).with_context(|| format!("{name} = {value}"))
    })
}
