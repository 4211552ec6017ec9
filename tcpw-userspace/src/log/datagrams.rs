//! Records to a daemon of this host, as datagrams to its socket: what syslog and journald have in common.
//!
//! Invariant: never waits. A line the daemon has no room for, or that comes while it restarts,
//! waits here; order is kept; only what exceeds the waiting room is lost.
//! Source: unix(7).

use std::{collections::VecDeque, io, os::unix::net::UnixDatagram, path::PathBuf};

use super::{LogSink, Lost, line::Renderer};

/// Lines that may wait. A socket's queue is short (10 by default, see
/// net.unix.max_dgram_qlen); this takes a burst of some seconds.
const MAX_WAITING: usize = 8192;

/// A form that is a datagram.
pub(super) trait AsDatagram: Send {
    /// Appends it.
    fn push_datagram(&self, renderer: &mut Renderer, out: &mut Vec<u8>);
}

/// A daemon's socket.
#[derive(Debug)]
pub(super) struct DatagramSink {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    waiting: VecDeque<Vec<u8>>,
    /// Datagrams that the socket takes at no time, because they are too long.
    dropped: u64,
    renderer: Renderer,
}

impl DatagramSink {
    /// To the daemon at `path`. It need not run yet.
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        let (waiting, renderer) = (VecDeque::new(), Renderer::default());
        Self { path: path.into(), socket: None, waiting, dropped: 0, renderer }
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            match socket.send(datagram) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // The daemon restarted: its old socket is dead.
                Err(_) => self.socket = None,
            }
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        socket.send(datagram)?;
        self.socket = Some(socket);
        Ok(())
    }
}

impl DatagramSink {
    /// Sends those that wait, in their order.
    fn send_waiting(&mut self) -> io::Result<()> {
        while let Some(datagram) = self.waiting.pop_front() {
            match self.send(&datagram) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => self.dropped += 1,
                Err(error) => {
                    self.waiting.push_front(datagram);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl<E: AsDatagram> LogSink<E> for DatagramSink {
    fn write(&mut self, entries: &[E]) -> Result<(), Lost> {
        for (written, entry) in entries.iter().enumerate() {
            let mut datagram = Vec::new();
            entry.push_datagram(&mut self.renderer, &mut datagram);
            self.waiting.push_back(datagram);
            // All in one go, and sooner only if there is no more room.
            if (written + 1 == entries.len() || self.waiting.len() > MAX_WAITING)
                && let Err(source) = self.send_waiting()
                && self.waiting.len() > MAX_WAITING
            {
                self.waiting.pop_back();
                return Err(Lost { written, source });
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_waiting()
    }

    fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.socket = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogEntry, line::example};
    use std::{fs, time::Duration};

    /// A syslog daemon; its socket goes away with it.
    struct Daemon(UnixDatagram, PathBuf);

    impl Daemon {
        fn start(path: &PathBuf) -> Self {
            let socket = UnixDatagram::bind(path).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            Self(socket, path.clone())
        }

        fn line(&self) -> Vec<u8> {
            let mut bytes = [0; 512];
            let length = self.0.recv(&mut bytes).unwrap();
            bytes[..length].to_vec()
        }
    }

    impl Drop for Daemon {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.1);
        }
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("tcpw-{name}-{}", std::process::id()))
    }

    #[test]
    fn daemon_gets_the_datagram() {
        let path = path("syslog");
        let daemon = Daemon::start(&path);
        DatagramSink::new(&path).write(&[example()]).unwrap();
        assert_eq!(daemon.line(), example().datagram());
    }

    #[test]
    fn lines_wait_for_a_daemon_that_restarts_and_keep_their_order() {
        let path = path("restart");
        let numbered = |pid| LogEntry { pid, ..example() };
        let daemon = Daemon::start(&path);
        let mut sink = DatagramSink::new(&path);
        sink.write(&[numbered(1)]).unwrap();
        drop(daemon);
        sink.write(&[numbered(2)]).unwrap();
        sink.write(&[numbered(3)]).unwrap();
        let daemon = Daemon::start(&path);
        sink.write(&[numbered(4)]).unwrap();
        for pid in [2, 3, 4] {
            assert_eq!(daemon.line(), numbered(pid).datagram());
        }
    }

    #[test]
    fn busy_daemon_does_not_block_and_gets_everything_later() {
        let path = path("busy");
        let daemon = Daemon::start(&path);
        let mut sink = DatagramSink::new(&path);
        for pid in 0..2000 {
            sink.write(&[LogEntry { pid, ..example() }]).unwrap();
        }
        for pid in 0..2000 {
            let _ = sink.send_waiting();
            assert_eq!(daemon.line(), LogEntry { pid, ..example() }.datagram());
        }
    }

    #[test]
    fn datagram_that_no_socket_takes_holds_up_no_other() {
        let path = path("long");
        let daemon = Daemon::start(&path);
        let mut sink = DatagramSink::new(&path);
        let long = LogEntry { message: "x".repeat(1 << 24), ..example() };
        sink.write(&[long, example()]).unwrap();
        assert_eq!(daemon.line(), example().datagram());
        assert_eq!((sink.dropped, sink.waiting.len()), (1, 0));
    }

    #[test]
    fn what_exceeds_the_waiting_room_is_an_error() {
        let mut sink = DatagramSink::new(path("nobody"));
        for _ in 0..MAX_WAITING {
            sink.write(&[example()]).unwrap();
        }
        let error = sink.write(&[example()]).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
        assert_eq!(sink.waiting.len(), MAX_WAITING);
    }
}
