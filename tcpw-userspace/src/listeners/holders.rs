//! The sockets that processes hold.
//!
//! In: the open files of processes. Out: each socket that listens or is bound, once, with its holders.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use nix::{errno::Errno, sys::stat::fstat};

use super::{
    process,
    sys::{self, Listening, PidFd},
};
use crate::host::{cgroup_of, sock_diag::DiagSocket};

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
    /// Inodes of all sockets that a process has a descriptor of, whether they listen or not.
    pub(super) held: BTreeSet<u64>,
    pub(super) missed: Missed,
}

/// How many sockets and processes could not be opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Missed {
    /// Too many files are open already, or the kernel has another reason, the first of which is kept.
    failed: Option<(usize, Errno)>,
    /// Cgroups of the processes that this one may not look into; 0 if it is not known.
    unseen: BTreeSet<u64>,
}

/// The process or its descriptor is gone.
const GONE: [Errno; 3] = [Errno::ESRCH, Errno::ENOENT, Errno::EBADF];

/// This process may not look.
const DENIED: [Errno; 2] = [Errno::EACCES, Errno::EPERM];

impl Missed {
    /// An error of opening a process or a socket of it. One that is gone meanwhile was not missed. `cgroup` is that of
    /// the process.
    pub(super) fn note(&mut self, error: &io::Error, cgroup: impl FnOnce() -> Option<u64>) {
        let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
        if GONE.contains(&errno) {
            return;
        }
        if DENIED.contains(&errno) {
            self.unseen.insert(cgroup().unwrap_or_default());
        } else {
            self.failed = Some(self.failed.map_or((1, errno), |(count, first)| (count + 1, first)));
        }
    }

    /// What two looks missed.
    pub(super) fn and(mut self, other: Self) -> Self {
        let sum = |((a, errno), (b, _)): ((usize, Errno), (usize, Errno))| (a + b, errno);
        self.failed = self.failed.zip(other.failed).map(sum).or(self.failed).or(other.failed);
        self.unseen.extend(other.unseen);
        self
    }

    /// Whether a process that was not seen may hold a socket: it is in the cgroup that the socket was made in.
    pub(super) fn may_hold(&self, socket: &DiagSocket) -> bool {
        !self.unseen.is_empty()
            && (socket.cgroup == 0 || self.unseen.contains(&0) || self.unseen.contains(&socket.cgroup))
    }

    /// Why not everything was looked at, though it may be.
    pub(super) fn reason(&self) -> Option<String> {
        let (count, errno) = self.failed?;
        let is_limit = [Errno::EMFILE, Errno::ENFILE].contains(&errno);
        let advice = if is_limit { "; raise the limit (LimitNOFILE=, ulimit -n)" } else { "" };
        Some(format!("{count} sockets or processes were not scanned: {}{advice}", errno.desc()))
    }
}

impl OpenedSockets {
    /// Opens the sockets of a process; with inodes, only those.
    pub(super) fn add(&mut self, proc_root: &Path, pid: u32, process: PidFd, inodes: Option<&BTreeSet<u64>>) {
        let mut is_holder = false;
        let sockets = match process::sockets(proc_root, pid) {
            Ok(sockets) => sockets,
            Err(error) => return self.missed.note(&error, || cgroup_of(proc_root, pid)),
        };
        for (fd, inode) in sockets {
            self.held.insert(inode);
            if inodes.is_some_and(|inodes| !inodes.contains(&inode)) {
                continue;
            }
            let known = match self.sockets.entry(inode) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match process.socket(fd, inode) {
                    Ok(socket) => new.insert(SocketHolders::new(socket)),
                    // Closed meanwhile, or the process is gone: another holder may still have it.
                    Err(error) => {
                        self.missed.note(&error, || cgroup_of(proc_root, pid));
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
    /// `None` unless the socket listens or is bound.
    fn new(socket: OwnedFd) -> Option<Self> {
        let listening = sys::listening(socket.as_fd())?;
        let maker = fstat(&socket).ok()?.st_uid;
        Some(Self { socket, listening, maker, holders: BTreeSet::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::TcpListener,
        os::{fd::AsRawFd as _, unix::fs::symlink},
    };

    use super::*;

    fn missed(errnos: &[Errno]) -> Missed {
        let mut missed = Missed::default();
        errnos.iter().for_each(|errno| missed.note(&io::Error::from_raw_os_error(*errno as i32), || Some(7)));
        missed
    }

    #[test]
    fn whatever_is_not_gone_was_missed() {
        assert_eq!(missed(&GONE).reason(), None);
        assert!(missed(&GONE).unseen.is_empty() && !missed(&DENIED).unseen.is_empty());
        let limit = missed(&[Errno::EMFILE, Errno::ENOMEM]).and(missed(&[Errno::ENOMEM])).reason().unwrap();
        assert!(limit.starts_with("3 sockets") && limit.contains("LimitNOFILE"), "{limit}");
        assert!(missed(&[]).and(missed(&[Errno::ENOMEM])).reason().is_some());
    }

    /// As a child between fork(2) and execve(2): its descriptor was the socket, and is another file when it is opened.
    #[test]
    fn descriptor_that_became_another_file_hides_no_socket_of_another_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&listener).unwrap().st_ino;
        let other = fs::File::open("/dev/null").unwrap();
        let proc_root = std::env::temp_dir().join(format!("tcpw-holders-{}", std::process::id()));
        let mut found = OpenedSockets::default();
        for (pid, fd) in [(1, other.as_raw_fd()), (2, listener.as_raw_fd())] {
            let directory = proc_root.join(pid.to_string()).join("fd");
            fs::create_dir_all(&directory).unwrap();
            symlink(format!("socket:[{inode}]"), directory.join(fd.to_string())).unwrap();
            found.add(&proc_root, pid, PidFd::open(std::process::id()).unwrap(), None);
        }
        fs::remove_dir_all(&proc_root).unwrap();
        let opened = found.sockets[&inode].as_ref().unwrap();
        assert_eq!(opened.holders, BTreeSet::from([2]));
        assert_eq!(found.missed.reason(), None);
    }

    #[test]
    fn process_that_is_not_seen_may_hold_the_sockets_of_its_cgroup() {
        let made_in = |cgroup| DiagSocket { cgroup, ..crate::listeners::hidden::tests::socket(1, 11) };
        let denied = missed(&DENIED);
        assert!(denied.may_hold(&made_in(7)) && !denied.may_hold(&made_in(8)));
        assert!(denied.may_hold(&made_in(0)), "it is not known where the socket was made");
        let mut unknown = Missed::default();
        unknown.note(&io::Error::from_raw_os_error(Errno::EACCES as i32), || None);
        assert!(unknown.may_hold(&made_in(8)), "it is not known where the process is");
        assert!(!missed(&GONE).may_hold(&made_in(0)));
    }
}
