//! The helper: a process without rights that runs commands for the daemon.
//!
//! In: on its standard input, a socket: the charge, then orders. Out: reports.
//! Invariant: it has given up root before it reads the first order. When it ends, so do its
//! commands; when the daemon ends, so does it.
//!
//! If the kernel has pid namespaces it is two processes: the one that the daemon started only
//! waits; the other is the first process of its own pid namespace. So no process that a command starts
//! outlives it, and no command can signal it or any process outside.

mod confine;
mod inbox;
mod jobs;
mod serve;

pub use confine::LOGS;

use std::{
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, FromRawFd as _},
        unix::net::UnixStream,
    },
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        stat::{SFlag, fstat},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getppid, setsid},
};

use super::wire::{self, Charge, Order, Report};
use crate::host::{close_inherited, end_with, give_up_root};
use inbox::OrderInbox;
use jobs::Jobs;

/// How often process groups are checked whose members are not children of the helper.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The command `tcpw effects-helper`.
pub fn main() -> ExitCode {
    // SAFETY: standard input is open, and nothing else in this process uses it.
    let socket = unsafe { File::from_raw_fd(0) };
    let is_socket = fstat(&socket)
        .is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK);
    if !is_socket {
        let mut stderr = io::stderr();
        drop(writeln!(stderr, "tcpw: effects-helper is started by tcpw run"));
        return ExitCode::from(2);
    }
    let mut socket = Some(UnixStream::from(std::os::fd::OwnedFd::from(socket)));
    match serve(&mut socket) {
        Ok(code) => code,
        Err(error) => {
            if let Some(socket) = &mut socket {
                drop(say(socket, &Report::Failed(format!("{error:#}"))));
            }
            ExitCode::FAILURE
        }
    }
}

/// Takes the socket away where this process must not keep it.
fn serve(given: &mut Option<UnixStream>) -> Result<ExitCode> {
    let socket = given.as_mut().context("no socket")?;
    close_inherited()?;
    let charge: Charge = wire::read(socket).context("read the daemon's charge")?;
    // Not the daemon's terminal, nor its process group.
    setsid().context("leave the daemon's session")?;
    let mut notes = Vec::new();
    match unshare(CloneFlags::CLONE_NEWPID) {
        // SAFETY: this process has one thread.
        Ok(()) => match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => return keep(child, &charge, given),
            ForkResult::Child => {}
        },
        Err(error) => notes
            .push(format!("no pid namespace ({error}): what a command leaves behind may outlive the helper")),
    }
    let parent = getppid();
    let signals = block_child_signals()?;
    confine::confine(&charge, &mut notes)?;
    end_with(parent)?;
    say(socket, &Report::Ready { notes })?;
    let jobs = Jobs::new(Duration::from_secs(charge.time_limit_s), charge.user);
    run(socket, &signals, jobs)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the process that runs the commands; has no rights and not the socket.
fn keep(child: Pid, charge: &Charge, socket: &mut Option<UnixStream>) -> Result<ExitCode> {
    let parent = getppid();
    give_up_root(&charge.user)?;
    end_with(parent)?;
    let_go(socket);
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => return Ok(ExitCode::SUCCESS),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => bail!("wait for the helper: {error}"),
        }
    }
}

/// Closes the socket, once: it must close when the other process ends, so that the daemon notices that.
fn let_go(socket: &mut Option<UnixStream>) {
    drop(socket.take());
}

fn block_child_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().context("block SIGCHLD")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("make a signalfd")
}

/// Runs orders until the daemon is gone.
fn run(socket: &mut UnixStream, signals: &SignalFd, mut jobs: Jobs) -> Result<()> {
    let mut inbox = OrderInbox::new(socket.try_clone().context("keep the daemon's socket")?);
    loop {
        let (is_ordered, has_signal) = {
            let mut waited = [
                PollFd::new(socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            let timeout = if jobs.is_idle() {
                PollTimeout::NONE
            } else {
                PollTimeout::try_from(LOOK_EVERY).unwrap_or(PollTimeout::MAX)
            };
            match poll(&mut waited, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => bail!("poll: {error}"),
            }
            let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            (is_ready(&waited[0]), is_ready(&waited[1]))
        };
        if has_signal {
            while let Ok(Some(_)) = signals.read_signal() {}
        }
        for report in jobs.look(Instant::now()) {
            say(socket, &report)?;
        }
        if is_ordered {
            let Ok(order) = wire::read::<Order>(&mut inbox) else {
                jobs.kill_all();
                return Ok(());
            };
            let connection = order.connection.as_ref().and_then(|_| inbox.descriptor());
            if let Some(report) = jobs.start(&order, connection) {
                say(socket, &report)?;
            }
        }
    }
}

fn say(socket: &mut UnixStream, report: &Report) -> io::Result<()> {
    socket.write_all(&wire::frame(report)?)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    };

    use super::*;

    /// A number that nothing else in this process takes.
    const NUMBER: RawFd = 900;

    /// A duplicate with that number.
    fn at_number(file: &impl std::os::fd::AsRawFd) -> OwnedFd {
        // SAFETY: takes integers; the kernel makes the descriptor for this process.
        unsafe {
            let made = libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, NUMBER);
            assert_eq!(made, NUMBER);
            OwnedFd::from_raw_fd(made)
        }
    }

    #[test]
    fn socket_is_closed_once_and_no_other_file_of_its_number() {
        let (socket, mut daemon) = UnixStream::pair().expect("a pair");
        let mut given = Some(UnixStream::from(at_number(&socket)));
        drop(socket);
        let_go(&mut given);
        assert_eq!(daemon.read(&mut [0]).expect("the end"), 0);
        let later = at_number(&daemon);
        drop(given);
        // SAFETY: takes integers.
        assert_ne!(unsafe { libc::fcntl(later.as_raw_fd(), libc::F_GETFD) }, -1);
    }
}
