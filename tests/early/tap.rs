//! A device whose frames a test writes and reads: a tap device, which has native XDP.
//!
//! Source: linux/Documentation/networking/tuntap.rst.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tcpw_tests::Netns;

use crate::packet::{Segment, reply};

/// Its Ethernet address.
pub(crate) const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// That of every client.
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The device, while it exists.
pub(crate) struct Tap(File);

impl Tap {
    /// Makes it.
    pub(crate) fn new(netns: &Netns, name: &str) -> Result<Self> {
        const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
        const IFF_TAP: u16 = 2;
        const IFF_NO_PI: u16 = 0x1000;
        /// `struct ifreq`, with its `ifr_flags` member.
        #[repr(C)]
        struct Request {
            name: [u8; 16],
            flags: u16,
            rest: [u8; 22],
        }
        let file = netns.run(|| {
            let file =
                File::options().read(true).write(true).open("/dev/net/tun").context("open /dev/net/tun")?;
            let mut request = Request { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
            request.name[..name.len()].copy_from_slice(name.as_bytes());
            // SAFETY: passes a pointer to a live struct of the right size.
            let done = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) };
            ensure!(done == 0, "TUNSETIFF {name}: {}", std::io::Error::last_os_error());
            Ok(file)
        })?;
        netns.ip(&format!("link set {name} address {} up", text(OWN)))?;
        Ok(Self(file))
    }

    /// The server knows the client's Ethernet address.
    pub(crate) fn knows(netns: &Netns, device: &str, client: IpAddr) -> Result<()> {
        netns.ip(&format!("neigh replace {client} lladdr {} dev {device} nud permanent", text(CLIENT)))
    }

    /// Sends a packet to the server.
    pub(crate) fn send(&self, packet: &[u8]) -> Result<()> {
        self.send_frame(&frame(OWN, &[], packet))
    }

    /// Sends a frame.
    pub(crate) fn send_frame(&self, frame: &[u8]) -> Result<()> {
        (&self.0).write_all(frame).context("write a frame")
    }

    /// The flags of the answer to a segment, if one comes in time.
    pub(crate) fn answer(&self, sent: &Segment, within: Duration) -> Result<Option<u8>> {
        let deadline = Instant::now() + within;
        let mut bytes = [0; 2048];
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waiting, PollTimeout::try_from(rest)?)? == 0 {
                return Ok(None);
            }
            let length = (&self.0).read(&mut bytes).context("read a frame")?;
            // Behind a VLAN tag, if there is one.
            let begin = if bytes[12..14] == [0x81, 0] { 18 } else { 14 };
            if let Some(found) = reply(bytes.get(begin..length).unwrap_or_default(), sent) {
                return Ok(Some(found.flags));
            }
        }
    }
}

/// A frame; `tags` are VLAN tags, each with its protocol.
pub(crate) fn frame(to: [u8; 6], tags: &[[u8; 4]], packet: &[u8]) -> Vec<u8> {
    let protocol: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [to.as_slice(), &CLIENT, &tags.concat(), &protocol, packet].concat()
}

/// What ip(8) shows of a device.
pub(crate) fn shown(netns: &Netns, device: &str) -> Result<String> {
    let done = netns.run(|| Ok(Command::new("ip").args(["-d", "link", "show", device]).output()?))?;
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn text(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
