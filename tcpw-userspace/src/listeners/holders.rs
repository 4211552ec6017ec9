//! The sockets that processes hold.
//!
//! In: the open files of processes. Out: each socket that listens or is bound, once, with its holders.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
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
    /// Those in scope.
    pub(super) guarded: BTreeSet<u32>,
    /// Sockets and processes that could not be opened: too many are open already.
    pub(super) over_limit: usize,
}

/// Whether an error says that too many files are open.
pub(super) fn is_limit(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

impl OpenedSockets {
    pub(super) fn add(&mut self, proc_root: &Path, pid: u32, process: PidFd, inodes: Option<&BTreeSet<u64>>) {
        let mut is_holder = false;
        for (fd, inode) in process::sockets(proc_root, pid) {
            if inodes.is_some_and(|inodes| !inodes.contains(&inode)) {
                continue;
            }
            let known = match self.sockets.entry(inode) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match process.duplicate(fd) {
                    Ok(socket) => new.insert(SocketHolders::new(socket, inode)),
                    Err(error) if is_limit(&error) => {
                        self.over_limit += 1;
                        continue;
                    }
                    // Closed meanwhile, or the process is gone: another holder may still have it.
                    Err(_) => continue,
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
