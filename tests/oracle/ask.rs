//! One case, in a process of its own.

use std::{
    io::{ErrorKind, Read},
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    sys::{
        stat::{Mode, umask},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork, getegid, geteuid},
};
use tcpw_tests::differential::Case;

use crate::{
    library::Libwrap,
    place::Place,
    recording::{Record, Recording},
};

/// A case that takes longer is ended; seconds.
const TIMEOUT_S: u32 = 20;
/// The umask of every case.
pub(crate) const UMASK: u32 = 0o022;

/// The library, and where it is asked.
pub(crate) struct Oracle {
    library: Libwrap,
    place: Place,
    recording: Recording,
    /// The two ends of a case's connection: the client's, and the one libwrap has.
    client: UnixStream,
    server: UnixStream,
}

/// What happened to a case.
#[derive(Debug)]
pub(crate) struct Run {
    /// What libwrap said and ran, in order.
    pub(crate) records: Vec<Record>,
    /// How its process ended.
    pub(crate) end: WaitStatus,
    /// What the client was sent.
    pub(crate) sent: Vec<u8>,
}

impl Oracle {
    /// Loads the library, and makes a place for it.
    ///
    /// # Errors
    /// It is not installed, or the caller not root.
    pub(crate) fn new() -> Result<Self> {
        let niceness = niceness();
        set_niceness(0).context("set the niceness to 0, which cases of the option `nice` start from")?;
        set_niceness(niceness).context("set the niceness back")?;
        let library = Libwrap::load()?;
        let place = Place::enter()?;
        umask(Mode::from_bits_truncate(UMASK));
        let (client, server) = UnixStream::pair().context("make a pair of sockets")?;
        client.set_nonblocking(true).context("prepare a socket")?;
        Ok(Self { library, place, recording: Recording::new()?, client, server })
    }

    /// Asks the library about a case.
    ///
    /// # Errors
    /// The case is not sound, or there are no processes left.
    pub(crate) fn ask(&mut self, case: &Case) -> Result<Run> {
        self.place.arrange(case)?;
        self.recording.clear();
        // SAFETY: this process has one thread.
        let child = match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => child,
            ForkResult::Child => self.judge(case),
        };
        let end = waitpid(child, None).context("wait for the case")?;
        let mut sent = Vec::new();
        if let Err(error) = self.client.read_to_end(&mut sent) {
            ensure!(error.kind() == ErrorKind::WouldBlock, "read what the client was sent: {error}");
        }
        Ok(Run { records: self.recording.records()?, end, sent })
    }

    /// Asks, in the process of a case, and ends it.
    fn judge(&self, case: &Case) -> ! {
        if is_about_niceness(case) && set_niceness(0).is_err() {
            // SAFETY: ends this process without the parent's exit handlers.
            unsafe { libc::_exit(1) }
        }
        let before = niceness();
        // Messages of calls that have not failed tell what failed before.
        Errno::clear();
        // SAFETY: SIGALRM ends this process, and nothing else.
        unsafe { libc::alarm(TIMEOUT_S) };
        let after = self.library.ask(case, Place::ALLOW, Place::DENY, self.server.as_raw_fd());
        let mask = umask(Mode::empty()).bits();
        let number = |id: u32| i32::try_from(id).unwrap_or(-1);
        Recording::leave(&[
            i32::from(after.allowed),
            after.allow_severity,
            after.deny_severity,
            number(mask),
            niceness() - before,
            after.rfc931_timeout,
            number(geteuid().as_raw()),
            number(getegid().as_raw()),
        ]);
        // SAFETY: ends this process without the parent's exit handlers.
        unsafe { libc::_exit(0) }
    }
}

/// Whether the tables have the option `nice`: then a case starts from the niceness 0, whatever that of this program is.
fn is_about_niceness(case: &Case) -> bool {
    let tables = [&case.allow, &case.deny].into_iter().flatten();
    tables
        .map(|table| table.as_bytes().to_ascii_lowercase())
        .any(|text| text.windows(4).any(|word| word == b"nice"))
}

fn niceness() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

fn set_niceness(niceness: i32) -> std::io::Result<()> {
    // SAFETY: changes the priority of this process, and nothing else.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
