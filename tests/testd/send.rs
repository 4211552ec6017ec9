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

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
        socket::MsgFlags,
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
