//! The sockets that processes hold.
//!
//! In: the open files of processes. Out: each socket that listens or is bound, once, with its holders.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use nix::sys::stat::fstat;

use super::{
    process,
    sys::{self, Listening, PidFd},
};

/// A listening or bound socket and every process that holds it.
pub(super) struct SocketHolders {
    pub(super) socket: OwnedFd,
    pub(super) listening: Listening,
    /// The user that made the socket.
    pub(super) maker: u32,
    pub(super) holders: BTreeSet<u32>,
}

#[derive(Default)]
pub(super) struct OpenedSockets {
    /// By inode; `None` for one that does not listen.
    pub(super) sockets: BTreeMap<u64, Option<SocketHolders>>,
    pub(super) processes: BTreeMap<u32, PidFd>,
    pub(super) missed: Missed,
}

/// How many sockets and processes could not be opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missed {
    /// Too many files are open already.
    pub(super) over_limit: usize,
    /// This process may not look into them.
    pub(super) unseen: usize,
}

impl Missed {
    /// An error of opening one. One that is gone meanwhile was not missed.
    pub(super) fn note(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => self.over_limit += 1,
            Some(libc::EACCES | libc::EPERM) => self.unseen += 1,
            Some(_) | None => {}
        }
    }

    /// In words, if too many files were open.
    pub(super) fn reason(self) -> Option<String> {
        (self.over_limit > 0).then(|| {
            format!(
                "{} sockets or processes were not scanned, too many files are open; raise the limit (LimitNOFILE=, \
                 ulimit -n)",
                self.over_limit
            )
        })
    }
}

impl OpenedSockets {
    /// Opens the sockets of a process.
    pub(super) fn add(&mut self, proc_root: &Path, pid: u32, process: PidFd) {
        let mut is_holder = false;
        let sockets = match process::sockets(proc_root, pid) {
            Ok(sockets) => sockets,
            Err(error) => return self.missed.note(&error),
        };
        for (fd, inode) in sockets {
            let known = match self.sockets.entry(inode) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match process.duplicate(fd) {
                    Ok(socket) => new.insert(SocketHolders::new(socket, inode)),
                    // Closed meanwhile, or the process is gone: another holder may still have it.
                    Err(error) => {
                        self.missed.note(&error);
                        continue;
                    }
                },
            };
            if let Some(opened) = known {
                opened.holders.insert(pid);
                is_holder = true;
            }
        }
        if is_holder {
            self.processes.insert(pid, process);
        }
    }
}

impl SocketHolders {
    /// `None` unless the socket listens or is bound, and is the one with this inode.
    fn new(socket: OwnedFd, inode: u64) -> Option<Self> {
        let listening = sys::listening(socket.as_fd())?;
        let found = fstat(&socket).ok().filter(|found| found.st_ino == inode)?;
        Some(Self { socket, listening, maker: found.st_uid, holders: BTreeSet::new() })
    }
}
