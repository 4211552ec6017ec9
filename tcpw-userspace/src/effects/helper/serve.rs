//! A connection: its client gets a banner, then a command gets the connection.
//!
//! In: an order and a connected socket. Out: a process that serves it, and then ends.
//! Invariant: only that process waits for the client. Once no other process holds the connection, it reads
//! for a moment what the client still sends: closing with unread data would reset the connection, and the
//! client could lose the end of the text sent to it.
//! Source: tcp_wrappers 7.6.q `options.c`, `twist_option`, `banners_option`; RFC 1122 section 4.2.2.13.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::ExitStatusExt as _,
    },
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        socket::{setsockopt, sockopt},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, setsid},
};

use super::{
    super::wire::{Connection, Order},
    jobs::command,
};

/// How long a client may take to close the connection, once everything was sent.
const PATIENCE: Duration = Duration::from_secs(1);

/// Most bytes read from it meanwhile.
const MOST: usize = 1 << 20;

/// Starts the process.
pub(super) fn start(order: &Order, what: &Connection, socket: OwnedFd, user: &str) -> io::Result<Pid> {
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // Most likely its client is gone.
            let status = serve(order, what, TcpStream::from(socket), user).unwrap_or(1);
            // SAFETY: ends the process without the parent's exit handlers.
            unsafe { libc::_exit(status) }
        }
    }
}

fn serve(order: &Order, what: &Connection, mut stream: TcpStream, user: &str) -> io::Result<i32> {
    setsid()?;
    close_standard_input()?;
    // Processes that the command leaves behind become children of this process.
    prctl::set_child_subreaper(true)?;
    stream.set_nonblocking(false)?;
    if what.keepalive {
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
    }
    if let Some(seconds) = what.linger_s {
        let linger = libc::linger { l_onoff: 1, l_linger: i32::try_from(seconds).unwrap_or(i32::MAX) };
        setsockopt(&stream, sockopt::Linger, &linger)?;
    }
    stream.write_all(&what.banner)?;
    let status = if what.has_command { run(order, &stream, user)? } else { 0 };
    part(stream)?;
    Ok(status)
}

/// The daemon's socket stays the helper's own.
fn close_standard_input() -> io::Result<()> {
    let null = File::open("/dev/null")?;
    // SAFETY: both are open; descriptor 0 belongs to nothing in this process.
    match unsafe { libc::dup2(null.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs the command with the connection, until no process holds it any more.
fn run(order: &Order, stream: &TcpStream, user: &str) -> io::Result<i32> {
    let end = || Ok::<_, io::Error>(Stdio::from(OwnedFd::from(stream.try_clone()?)));
    let mut command = command(order, user, false);
    command.stdin(end()?).stdout(end()?).stderr(end()?);
    let mut child = command.spawn()?;
    // It holds descriptors of the connection.
    drop(command);
    let status = child.wait()?;
    while let Ok(_) | Err(Errno::EINTR) = waitpid(None, None) {}
    Ok(status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1))
}

/// Shuts down the sending side, and reads what the client sends until it closes or the time limit passes.
fn part(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    let mut heard = 0;
    while heard < MOST {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => heard += length,
        }
    }
    Ok(())
}
