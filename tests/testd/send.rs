//! A file to each client, by one of the ways there are to send.
//!
//! In: `--send FILE`, `--by HOW`, `--wait`: nothing is sent before the client has. Out: the file, and the end.

use std::{
    fs::File,
    io::{self, IoSlice, Read as _, Write as _},
    net::TcpStream,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    path::{Path, PathBuf},
    ptr::null_mut,
    str::FromStr,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
        socket::{ControlMessageOwned, MsgFlags},
    },
    unistd::{getpid, gettid, pipe},
};

/// What is sent, and how.
#[derive(Clone, Default)]
pub(crate) struct Style {
    pub(crate) file: Option<PathBuf>,
    pub(crate) by: By,
    pub(crate) waits: bool,
    /// `--alarm`: a signal comes now and then, whose handler has the kernel go on with what it did.
    pub(crate) alarm: bool,
}

/// A system call.
#[derive(Clone, Copy, Default)]
pub(crate) enum By {
    /// write(2), all at once.
    #[default]
    Write,
    /// writev(2), of 1,000 pieces at once.
    Writev,
    /// send(2) with MSG_MORE, a byte at a time in the beginning.
    Bytes,
    /// sendfile(2).
    Sendfile,
    /// splice(2) from a pipe.
    Splice,
    /// send(2) that does not block, and poll(2).
    Nonblocking,
    /// send(2) with MSG_ZEROCOPY; then every completion is waited for.
    Zerocopy,
}

impl FromStr for By {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "write" => Self::Write,
            "writev" => Self::Writev,
            "bytes" => Self::Bytes,
            "sendfile" => Self::Sendfile,
            "splice" => Self::Splice,
            "nonblocking" => Self::Nonblocking,
            "zerocopy" => Self::Zerocopy,
            other => bail!("no way to send: {other}"),
        })
    }
}

impl Style {
    /// Serves one client, if this is what is wanted of us; gives it back otherwise.
    pub(crate) fn serve(&self, mut client: TcpStream) -> Option<TcpStream> {
        let Some(file) = self.file.clone() else { return Some(client) };
        let style = self.clone();
        thread::spawn(move || {
            let sent = style.send(&mut client, &file);
            drop(writeln!(io::stdout(), "sent: {sent:?}"));
        });
        None
    }

    fn send(&self, client: &mut TcpStream, file: &Path) -> Result<()> {
        if self.alarm {
            alarm()?;
        }
        if self.waits {
            client.read_exact(&mut [0; 1])?;
        }
        let mut file = File::open(file).with_context(|| format!("open {}", file.display()))?;
        let size = usize::try_from(file.metadata()?.len())?;
        match self.by {
            By::Write => client.write_all(&read(&mut file)?)?,
            By::Writev => {
                let all = read(&mut file)?;
                let pieces: Vec<IoSlice<'_>> =
                    all.chunks(size.div_ceil(1000).max(1)).map(IoSlice::new).collect();
                let sent = client.write_vectored(&pieces)?;
                client.write_all(&all[sent..])?;
            }
            By::Bytes => {
                let all = read(&mut file)?;
                let first = all.len().min(100);
                for byte in all[..first].chunks(1) {
                    nix::sys::socket::send(
                        client.as_raw_fd(),
                        byte,
                        MsgFlags::from_bits_retain(libc::MSG_MORE),
                    )?;
                }
                client.write_all(&all[first..])?;
            }
            By::Nonblocking => {
                client.set_nonblocking(true)?;
                let all = read(&mut file)?;
                let mut rest = &all[..];
                while !rest.is_empty() {
                    match client.write(rest) {
                        Ok(sent) => rest = &rest[sent..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            let mut wanted = [PollFd::new(client.as_fd(), PollFlags::POLLOUT)];
                            poll(&mut wanted, PollTimeout::MAX)?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            By::Zerocopy => zerocopy(client, &read(&mut file)?)?,
            By::Sendfile => {
                let mut left = size;
                while left > 0 {
                    // SAFETY: two open descriptors, no offset.
                    left -= bytes(unsafe {
                        libc::sendfile(client.as_raw_fd(), file.as_raw_fd(), null_mut(), left)
                    })?;
                }
            }
            By::Splice => {
                let (from, to) = pipe()?;
                let mut left = size;
                while left > 0 {
                    let mut held = pass_on(file.as_fd(), to.as_fd(), left)?;
                    left -= held;
                    while held > 0 {
                        held -= pass_on(from.as_fd(), client.as_fd(), held)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn read(file: &mut File) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    file.read_to_end(&mut all)?;
    Ok(all)
}

fn pass_on(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
    // SAFETY: two open descriptors, no offsets.
    bytes(unsafe {
        libc::splice(from.as_raw_fd(), null_mut(), to.as_raw_fd(), null_mut(), most, libc::SPLICE_F_MORE)
    })
}

fn bytes(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

extern "C" fn nothing(_signal: i32) {}

/// Sends this thread a signal every 20 ms.
fn alarm() -> Result<()> {
    let handler = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &handler)? };
    let (process, thread) = (getpid().as_raw(), gettid().as_raw());
    thread::spawn(move || {
        // SAFETY: takes numbers; a thread that is gone gets none.
        while unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) } == 0 {
            thread::sleep(Duration::from_millis(20));
        }
    });
    Ok(())
}

/// The kernel says of every such call when its bytes are not needed any more, by a message that poll(2) calls
/// an error. Source: Documentation/networking/msg_zerocopy.rst.
fn zerocopy(client: &TcpStream, all: &[u8]) -> Result<()> {
    let (fd, on) = (client.as_raw_fd(), 1_i32);
    // SAFETY: passes a live int and its size, 4.
    let done =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY, (&raw const on).cast(), 4) };
    ensure!(done == 0, "SO_ZEROCOPY: {}", io::Error::last_os_error());
    let (mut calls, mut rest) = (0, all);
    while !rest.is_empty() {
        let sent = nix::sys::socket::send(fd, rest, MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY))?;
        (calls, rest) = (calls + 1, &rest[sent..]);
    }
    let mut completed = 0;
    while completed < calls {
        let mut wanted = [PollFd::new(client.as_fd(), PollFlags::empty())];
        ensure!(poll(&mut wanted, 3000_u16)? == 1, "{completed} of {calls} calls are completed");
        let mut control = nix::cmsg_space!([u8; 64]);
        let message =
            nix::sys::socket::recvmsg::<()>(fd, &mut [], Some(&mut control), MsgFlags::MSG_ERRQUEUE)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) =
                control
            {
                completed += error.ee_data - error.ee_info + 1;
            }
        }
    }
    Ok(())
}
