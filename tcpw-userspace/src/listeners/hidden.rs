//! Listeners that no process holds: the kernel's own.
//!
//! In: the sockets that the kernel lists, and what was seen of processes. Out: which of them are the kernel's, by their
//! cookies.
//! Invariant: a listener of a process is never taken for one of the kernel, which no rule for a daemon names. A socket
//! counts as the kernel's only if it listened before the first process was looked at, no process has a descriptor of
//! it, and a second look at all processes finds none either: between two looks it may go from one process to another
//! by fork(2) or in a message. What is neither found nor the kernel's has no tag, and its clients are held.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _};

use super::{Listener, holders::Missed};
use crate::host::sock_diag::DiagSocket;

const TCP: u16 = 6;

/// Listeners that may be the kernel's: `listed_before` are the cookies of those that listened before any process was
/// looked at, `held` the inodes of the sockets that processes have descriptors of.
///
/// A UDP socket of the kernel is an end of a tunnel: the gate never sees its datagrams.
pub(super) fn may_be_the_kernels(
    sockets: &[DiagSocket],
    listed_before: &BTreeSet<u64>,
    listeners: &[Listener],
    held: &BTreeSet<u64>,
) -> Vec<DiagSocket> {
    let shown: BTreeSet<u64> = listeners.iter().map(|listener| listener.cookie).collect();
    let is_hidden = |socket: &&DiagSocket| {
        socket.protocol == TCP
            && !shown.contains(&socket.cookie)
            && listed_before.contains(&socket.cookie)
            // It was met before it listened, or its process ended before it was read; of a subflow, its MPTCP listener.
            && !held.contains(&socket.inode)
    };
    sockets.iter().filter(is_hidden).copied().collect()
}

/// Why a listener that was found in no process may still be that of a process; `None` if every process that may hold
/// it was seen.
pub(super) fn unseen(missed: &Missed, socket: &DiagSocket) -> Option<&'static str> {
    if missed.may_hold(socket) {
        Some(
            "cannot be looked into: give tcpw CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE, and no security module that denies it",
        )
    } else if sees_every_process() {
        None
    } else {
        Some("are not seen from this pid namespace: run tcpw in that of the host")
    }
}

/// Whether this process sees those of the whole host.
fn sees_every_process() -> bool {
    /// Source: linux/include/linux/proc_ns.h, `PROC_PID_INIT_INO`.
    const OF_THE_HOST: u64 = 0xEFFF_FFFC;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|found| found.ino() == OF_THE_HOST)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn socket(cookie: u64, inode: u64) -> DiagSocket {
        DiagSocket {
            cookie,
            interface: 0,
            is_v6_only: false,
            netns: 1,
            resident: 1,
            cgroup: 1,
            inode,
            protocol: TCP,
            family: 2,
            local: ([127, 0, 0, 1], 22).into(),
            is_connected: false,
        }
    }

    /// The cookies of those that may be the kernel's.
    fn hidden(sockets: &[DiagSocket], before: &[u64], held: &[u64]) -> Vec<u64> {
        let before = before.iter().copied().collect();
        let found = may_be_the_kernels(sockets, &before, &[], &held.iter().copied().collect());
        found.iter().map(|socket| socket.cookie).collect()
    }

    #[test]
    fn listener_that_began_to_listen_during_the_scan_is_not_the_kernels() {
        let sockets = [socket(1, 11), socket(2, 12)];
        assert_eq!(hidden(&sockets, &[1, 2], &[]), [1, 2]);
        assert_eq!(hidden(&sockets, &[1], &[]), [1]);
        assert_eq!(hidden(&sockets, &[], &[]), [0; 0]);
    }

    #[test]
    fn listener_that_a_process_has_open_is_not_the_kernels_though_it_was_not_named() {
        let sockets = [socket(1, 11), socket(2, 12)];
        assert_eq!(hidden(&sockets, &[1, 2], &[12]), [1]);
        let udp = DiagSocket { protocol: 17, ..socket(3, 13) };
        assert_eq!(hidden(&[udp], &[3], &[]), [0; 0]);
    }
}
