//! Asks the system manager which process is the main process of a unit.
//!
//! In: the name of a unit. Out: a process id, as systemd keeps it: where it started the process, or the unit said so.
//! Invariant: waits for [`PATIENCE`] at most, and not again in the same look at processes; what was answered once for a
//! process holds as long as that lives, so that a manager that is busy takes no name away.
//! Source: org.freedesktop.systemd1(5); the D-Bus specification, "Message Protocol" and "Authentication Protocol".
//!
//! Not a D-Bus library: it is one question, at a socket of systemd's own that needs no bus.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
};

use super::program::host_root;

const PATIENCE: Duration = Duration::from_millis(200);
/// Where systemd takes root's calls. Source: systemd, `src/libsystemd/sd-bus/bus-internal.h` and `src/core/dbus.c`.
const SOCKET: &str = "run/systemd/private";
/// Most main processes that are remembered; beyond that they are asked for again.
const MOST: usize = 4096;
/// Longest answer that is read.
const MOST_BYTES: u32 = 4096;

/// A process: its id and when it started.
type Started = (u32, u64);

/// The main processes that systemd has told of.
#[derive(Debug, Default)]
pub(super) struct MainProcesses(Mutex<HashSet<(Started, Vec<u8>)>>);

/// The questions of one look at processes.
pub(super) struct Questions<'a> {
    known: &'a MainProcesses,
    has_failed: bool,
}

impl MainProcesses {
    /// For one look at processes.
    pub(super) fn questions(&self) -> Questions<'_> {
        Questions { known: self, has_failed: false }
    }
}

impl Questions<'_> {
    /// Whether a process is the main process of a unit.
    pub(super) fn is_main(&mut self, proc_root: &Path, unit: &[u8], process: Started) -> bool {
        let key = (process, unit.to_vec());
        if self.known.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
            return true;
        }
        if self.has_failed {
            return false;
        }
        match main_process(proc_root, unit) {
            Ok(main) if main == process.0 => {
                let mut known = self.known.0.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= MOST {
                    known.clear();
                }
                known.insert(key);
                true
            }
            Ok(_) => false,
            Err(error) => {
                log::debug!("the system manager does not say the main process of a unit: {error}");
                self.has_failed = true;
                false
            }
        }
    }
}

/// 0 if the unit has none.
fn main_process(proc_root: &Path, unit: &[u8]) -> io::Result<u32> {
    let mut stream = Limited::connect(&host_root(proc_root).join(SOCKET))?;
    if getsockopt(&stream.stream, PeerCredentials)?.uid() != 0 {
        return Err(io::Error::other("its socket is not root's"));
    }
    // The user is root: 30 is "0" in hexadecimal digits.
    stream.write_all(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
        if line.len() > 256 {
            break;
        }
    }
    if !line.starts_with(b"OK ") {
        return Err(io::Error::other("it does not accept root"));
    }
    // Not before: what comes in one piece with the BEGIN is read when more comes.
    stream.write_all(&call(unit))?;
    answer(&mut stream)
}

/// A connection all of which takes at most [`PATIENCE`].
struct Limited {
    stream: UnixStream,
    until: Instant,
}

impl Limited {
    /// Does not wait until the other end accepts it.
    fn connect(path: &Path) -> io::Result<Self> {
        let until = Instant::now() + PATIENCE;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(Self { stream, until })
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The call `Properties.Get("org.freedesktop.systemd1.Service", "MainPID")` of a unit's object.
fn call(unit: &[u8]) -> Vec<u8> {
    const LITTLE_ENDIAN: u8 = b'l';
    const METHOD_CALL: u8 = 1;
    let mut body = Vec::new();
    string(&mut body, b"org.freedesktop.systemd1.Service");
    string(&mut body, b"MainPID");
    let mut fields = Vec::new();
    let path = [b"/org/freedesktop/systemd1/unit/".as_slice(), &escaped(unit)].concat();
    for (code, kind, text) in [
        (1, b'o', path.as_slice()),
        (2, b's', b"org.freedesktop.DBus.Properties"),
        (3, b's', b"Get"),
        (6, b's', b"org.freedesktop.systemd1"),
    ] {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        string(&mut fields, text);
    }
    pad(&mut fields, 8);
    fields.extend([8, 1, b'g', 0, 2, b's', b's', 0]);
    let mut message = vec![LITTLE_ENDIAN, METHOD_CALL, 0, 1];
    message.extend(length(&body).to_le_bytes());
    message.extend(1_u32.to_le_bytes());
    message.extend(length(&fields).to_le_bytes());
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(body);
    message
}

/// The number in the reply; other messages before it are passed over.
fn answer(stream: &mut impl Read) -> io::Result<u32> {
    const METHOD_RETURN: u8 = 2;
    const ERROR: u8 = 3;
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let [endian, kind, _, _, a, b, c, d, _, _, _, _, e, f, g, h] = head;
        let (body, fields) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if endian != b'l' || body > MOST_BYTES || fields > MOST_BYTES {
            return Err(io::Error::other("an answer that is not understood"));
        }
        let mut rest = vec![0; (fields.next_multiple_of(8) + body) as usize];
        stream.read_exact(&mut rest)?;
        match kind {
            METHOD_RETURN => {
                // A variant: its signature "u", and the number on a border of four bytes.
                let Some([1, b'u', 0, _, a, b, c, d]) = rest.last_chunk::<8>() else {
                    return Err(io::Error::other("an answer that is no number"));
                };
                return Ok(u32::from_le_bytes([*a, *b, *c, *d]));
            }
            ERROR => return Ok(0),
            _ => {}
        }
    }
}

fn string(to: &mut Vec<u8>, text: &[u8]) {
    pad(to, 4);
    to.extend(length(text).to_le_bytes());
    to.extend(text);
    to.push(0);
}

fn pad(to: &mut Vec<u8>, border: usize) {
    to.resize(to.len().next_multiple_of(border), 0);
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// As systemd writes a unit's name into a path: what is no letter and no digit, and a digit in front, as `_xx`.
fn escaped(unit: &[u8]) -> Vec<u8> {
    let mut path = Vec::new();
    for (index, byte) in unit.iter().enumerate() {
        if byte.is_ascii_alphabetic() || index > 0 && byte.is_ascii_digit() {
            path.push(*byte);
        } else {
            path.extend(format!("_{byte:02x}").into_bytes());
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_unit_is_escaped_as_systemd_does_it() {
        assert_eq!(escaped(b"postgresql@15-main.service"), b"postgresql_4015_2dmain_2eservice");
        assert_eq!(escaped(b"9p.service"), b"_39p_2eservice");
    }

    #[test]
    fn call_has_the_lengths_that_it_says() {
        let call = call(b"x.service");
        let number = |at: usize| u32::from_le_bytes(call[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(call.len(), 16 + number(12).next_multiple_of(8) + number(4));
        assert!(call.ends_with(b"\x07\0\0\0MainPID\0"));
    }

    #[test]
    fn number_is_read_from_the_reply_and_an_error_is_none() {
        let reply = |kind: u8, body: &[u8]| {
            let mut message = vec![b'l', kind, 1, 1];
            message.extend(length(body).to_le_bytes());
            message.extend([9, 0, 0, 0, 8, 0, 0, 0, 5, 1, b'u', 0, 1, 0, 0, 0]);
            message.extend(body);
            message
        };
        let number = [1, b'u', 0, 0, 0x39, 0x30, 0, 0];
        let signal = reply(4, b"x");
        assert_eq!(answer(&mut [signal, reply(2, &number)].concat().as_slice()).unwrap(), 12345);
        assert_eq!(answer(&mut reply(3, b"\0\0\0\0\0").as_slice()).unwrap(), 0);
        assert!(answer(&mut reply(2, b"\x01s\0\0\0\0\0\0").as_slice()).is_err());
        let mut cut = &reply(2, &number)[..20];
        assert!(answer(&mut cut).is_err());
    }

    #[test]
    fn manager_that_accepts_or_says_nothing_is_not_waited_for() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("tcpw-manager-{}", std::process::id()));
        let silent = std::os::unix::net::UnixListener::bind(&path)?;
        let begin = Instant::now();
        let mut all = Vec::new();
        // More than a listener keeps: the last is refused at once.
        let full = (0..10_000).find_map(|_| match Limited::connect(&path) {
            Ok(connection) => {
                all.push(connection);
                None
            }
            Err(error) => Some(error.kind()),
        });
        let said = all[0].read_exact(&mut [0]).map_err(|error| error.kind());
        std::fs::remove_file(&path)?;
        drop(silent);
        assert!(full.is_some(), "it takes any number");
        assert!(matches!(said, Err(io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)), "{said:?}");
        assert!(begin.elapsed() < PATIENCE * 25, "{:?}", begin.elapsed());
        Ok(())
    }
}
