//! Datagrams from a chosen address, and what comes back.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    namespace::Netns,
    wait::{wait_for, wait_until},
};

/// An exchange on this cable takes under a millisecond.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// What must come may take its time on a busy machine: a datagram is sent once.
const LONG: Duration = Duration::from_secs(10);

/// A client that keeps its port.
#[derive(Debug)]
pub struct Client(UdpSocket);

/// What came of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// An answer.
    Answer(String),
    /// ICMP says that nobody is at that port.
    Refusal,
    /// Nothing, in time.
    Nothing,
}

impl Client {
    /// A client at `source`; port 0 is any.
    ///
    /// # Errors
    /// The source is no address of the network, or the port is taken.
    pub fn new(netns: &Netns, source: IpAddr, port: u16) -> Result<Self> {
        let socket = netns.run(|| bind(SocketAddr::new(source, port)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Its socket.
    pub fn socket(&self) -> &UdpSocket {
        &self.0
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn send(&self, server: SocketAddr, bytes: &[u8]) -> Result<()> {
        self.0.send_to(bytes, server).map(drop).with_context(|| format!("send to {server}"))
    }

    /// What comes next; `None` if nothing does in time.
    ///
    /// # Errors
    /// Of the socket.
    pub fn receive(&self) -> Result<Option<String>> {
        let mut buffer = [0; 2048];
        match self.0.recv_from(&mut buffer) {
            Ok((length, _)) => Ok(Some(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error).context("receive"),
        }
    }

    /// As a connected client, which alone is told of ICMP: what comes of one datagram, and how long it took.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn ask(&self, server: SocketAddr) -> Result<(Came, Duration)> {
        self.0.connect(server).with_context(|| format!("connect to {server}"))?;
        // A refusal that came before is reported by the next call, whichever that is.
        drop(self.0.take_error());
        let began = Instant::now();
        self.0.send(b"hello?").with_context(|| format!("send to {server}"))?;
        let mut buffer = [0; 2048];
        let came = match self.0.recv(&mut buffer) {
            Ok(length) => Came::Answer(String::from_utf8_lossy(&buffer[..length]).trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Came::Refusal,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Came::Nothing
            }
            Err(error) => return Err(error).context("receive"),
        };
        Ok((came, began.elapsed()))
    }

    /// As [`Self::receive`], with more patience for what is expected.
    ///
    /// # Errors
    /// Of the socket.
    pub fn receive_as(&self, is_expected: bool) -> Result<Option<String>> {
        self.0.set_read_timeout(Some(if is_expected { LONG } else { PATIENCE }))?;
        let received = self.receive();
        self.0.set_read_timeout(Some(PATIENCE))?;
        received
    }

    /// Whether the server answers one datagram, as is expected or not.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn is_answered(&self, server: SocketAddr, is_expected: bool) -> Result<bool> {
        self.send(server, b"hello?")?;
        Ok(self.receive_as(is_expected)?.is_some_and(|answer| answer.starts_with("hello from")))
    }
}

/// A program that is just being started holds our sockets until it runs: the port may be free in a moment.
fn bind(source: SocketAddr) -> Result<UdpSocket> {
    wait_for(&format!("bind to {source}"), PATIENCE, || match UdpSocket::bind(source) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        bound => bound.map(Some).with_context(|| format!("bind to {source}")),
    })
}

/// Waits until a UDP socket has this port.
///
/// # Errors
/// None has in time.
pub fn wait_bound(netns: &Netns, port: u16, v6: bool) -> Result<()> {
    let file = if v6 { "/proc/thread-self/net/udp6" } else { "/proc/thread-self/net/udp" };
    let wanted = format!(":{port:04X} ");
    let is_local = |line: &str| {
        line.split_whitespace().nth(1).is_some_and(|local| format!("{local} ").ends_with(&wanted))
    };
    wait_until(&format!("a socket is bound to port {port}"), Duration::from_secs(20), || {
        let table = netns.run(|| Ok(fs::read_to_string(file)?))?;
        Ok(table.lines().skip(1).any(is_local))
    })
}
