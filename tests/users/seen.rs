//! What a client of a held connection sees.

use std::{
    io::{ErrorKind, Read as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
pub(crate) use tcpw_tests::{DENY, LO_V4, LO_V6};
use tcpw_tests::{
    Sandbox,
    client::{Ended, connect},
};

/// What must come does so in milliseconds; this is for a busy or an emulated machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// A greeting that was held comes by then: the server's socket is woken.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(700);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The server's first bytes.
    Bytes(String),
    /// The end, and not one byte before it.
    End,
    /// A reset, and not one byte before it.
    Reset,
    /// Nothing at all.
    Nothing,
}

impl Seen {
    pub(crate) fn is_greeting(&self) -> bool {
        matches!(self, Self::Bytes(text) if text.starts_with("hello"))
    }
}

/// Connects; the handshake must be answered.
pub(crate) fn open(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<TcpStream> {
    let place = sandbox.netns_of(client);
    match connect(place, client, SocketAddr::new(server, port), SOON)?.ended {
        Ended::Connected(stream) => Ok(stream),
        Ended::ConnectedAndReset => Err(Errno::ECONNRESET.into()),
        other @ (Ended::Refused | Ended::TimedOut) => bail!("{client} to port {port}: {other:?}"),
    }
}

/// Connects, and waits for the first bytes.
pub(crate) fn see_at(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<Seen> {
    see_or_reset(open(sandbox, client, server, port))
}

/// Waits for the first bytes of a connection that may be reset before anybody has looked.
pub(crate) fn see_or_reset(connection: Result<TcpStream>) -> Result<Seen> {
    match connection {
        Ok(mut stream) => see(&mut stream, SOON),
        Err(error) => {
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            let is_reset = error.downcast_ref() == Some(&Errno::ECONNRESET)
                || matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
            if is_reset { Ok(Seen::Reset) } else { Err(error) }
        }
    }
}

/// Waits for the first bytes, or for what comes in their place.
pub(crate) fn see(stream: &mut TcpStream, timeout: Duration) -> Result<Seen> {
    stream.set_read_timeout(Some(timeout))?;
    let mut bytes = [0; 256];
    match stream.read(&mut bytes) {
        Ok(0) => Ok(Seen::End),
        Ok(length) => Ok(Seen::Bytes(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Seen::Reset),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Seen::Nothing),
        Err(error) => Err(error).context("read"),
    }
}
