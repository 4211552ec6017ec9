//! The starter: the process that starts others for the daemon.
//!
//! They begin as root, to become another user, and commands may be set-uid programs. The daemon gives up the
//! rights for that before it reads anything of the network, and whatever it started afterwards would inherit its
//! seccomp filter and no_new_privs. So it starts this process before.
//!
//! In: on its standard input, a socket: what to start, and the socket that it gets; or the number of a process to end.
//! Out: process ids. Invariant: it reads nothing but these orders, of the daemon alone, and ends with the daemon.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    cmsg_space,
    sys::{
        prctl,
        signal::Signal,
        socket::{
            AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
            sendmsg, setsockopt, socketpair, sockopt::ReceiveTimeout,
        },
        time::TimeVal,
    },
    unistd::{getppid, setsid},
};

use super::{close_inherited, set_ordinary};

/// The subcommand that runs the starter.
pub const STARTER: &str = "starter";

/// The subcommand that runs commands.
pub const COMMANDS: &str = "effects-helper";

/// The subcommand that looks names up.
pub const NAME_LOOKUPS: &str = "name-lookups";

/// What it starts, and nothing else.
const SUBCOMMANDS: [&str; 2] = [COMMANDS, NAME_LOOKUPS];

/// How long the starter may take to answer: it forks.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Longest message.
const LONGEST: usize = 512;

/// The daemon's end.
#[derive(Debug)]
pub struct Starter {
    /// One order at a time; the number of the last.
    socket: Mutex<(OwnedFd, u64)>,
    /// It ends with the thread that started it, and with this.
    _process: Child,
}

impl Starter {
    /// Starts it. To be called by the main thread, before any right is given up.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start() -> Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .context("make a socket pair")?;
        let time = TimeVal::new(ANSWER_TIME.as_secs().cast_signed(), 0);
        setsockopt(&ours, ReceiveTimeout, &time).context("limit the time to answer")?;
        let process = run(STARTER, theirs).context("start the process that starts others")?;
        Ok(Self { socket: Mutex::new((ours, 0)), _process: process })
    }

    /// Starts one of [`SUBCOMMANDS`] with this socket: its process id. Waits for a fork.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start_process(&self, subcommand: &str, socket: &OwnedFd) -> Result<u32> {
        let descriptors = [socket.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&descriptors)];
        let answer = self.order(subcommand, &control).with_context(|| format!("start {subcommand}"))?;
        match answer.parse() {
            Ok(pid) => Ok(pid),
            Err(_) => bail!("start {subcommand}: {answer}"),
        }
    }

    /// Ends a process that it started, and waits for its end.
    pub(crate) fn end(&self, pid: u32) {
        drop(self.order(&pid.to_string(), &[]));
    }

    /// Gives an order, and waits for its answer; one to an earlier order, which came too late, is passed over.
    fn order(&self, order: &str, control: &[ControlMessage<'_>]) -> Result<String> {
        let mut starter = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, last) = &mut *starter;
        *last += 1;
        let numbered = format!("{last} {order}");
        let parts = [IoSlice::new(numbered.as_bytes())];
        sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None)?;
        loop {
            let (answer, _) = receive(socket)?;
            match answer.split_once(' ') {
                Some((number, answer)) if number.parse() == Ok(*last) => return Ok(answer.to_owned()),
                Some(_) | None => {}
            }
        }
    }
}

/// The command `tcpw starter`.
pub fn starter_main() -> ExitCode {
    // SAFETY: standard input is open, and nothing else in this process uses it.
    let socket = unsafe { OwnedFd::from_raw_fd(0) };
    match serve(&socket) {
        Ok(()) => ExitCode::SUCCESS,
        // The daemon notices that it is gone, and says so.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(socket: &OwnedFd) -> Result<()> {
    let daemon = getppid();
    close_inherited()?;
    prctl::set_pdeathsig(Signal::SIGKILL).context("ask to end with the daemon")?;
    ensure!(getppid() == daemon, "the daemon is gone");
    // The option `nice` counts from it.
    drop(set_ordinary());
    // What the terminal signals is for the daemon.
    setsid().context("leave the daemon's session")?;
    let mut started: Vec<Child> = Vec::new();
    loop {
        let (numbered, given) = receive(socket)?;
        let Some((number, order)) = numbered.split_once(' ') else {
            bail!("an order that is none: {numbered}")
        };
        started.retain_mut(|one| matches!(one.try_wait(), Ok(None)));
        let answer = match (order.parse::<u32>(), given) {
            (_, Some(given)) => match start(order, given) {
                Ok(process) => {
                    let pid = process.id();
                    started.push(process);
                    pid.to_string()
                }
                Err(error) => error.to_string(),
            },
            (Ok(pid), None) => {
                for process in started.iter_mut().filter(|one| one.id() == pid) {
                    drop(process.kill());
                    drop(process.wait());
                }
                "ended".into()
            }
            (Err(_), None) => bail!("an order that is none: {order}"),
        };
        let answer = format!("{number} {answer}");
        let answer = [IoSlice::new(&answer.as_bytes()[..answer.len().min(LONGEST)])];
        sendmsg::<()>(socket.as_raw_fd(), &answer, &[], MsgFlags::MSG_NOSIGNAL, None)?;
    }
}

fn start(subcommand: &str, socket: OwnedFd) -> io::Result<Child> {
    let known = SUBCOMMANDS.iter().find(|known| **known == subcommand);
    let known = known.ok_or_else(|| io::Error::other("it starts no such process"))?;
    run(known, socket)
}

/// Runs this program with a subcommand, and a socket as its standard input.
fn run(subcommand: &str, socket: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg(subcommand)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// A message, and the descriptor that came with it.
fn receive(socket: &OwnedFd) -> Result<(String, Option<OwnedFd>)> {
    let mut bytes = [0; LONGEST];
    let mut control = cmsg_space!([std::os::fd::RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other?,
        }
    };
    let length = message.bytes;
    let mut given = None;
    for one in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = one {
            for descriptor in descriptors {
                // SAFETY: the kernel made it for this process, and nothing else owns it.
                given = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    ensure!(length > 0, "the other end is closed");
    Ok((String::from_utf8_lossy(&bytes[..length]).into_owned(), given))
}
