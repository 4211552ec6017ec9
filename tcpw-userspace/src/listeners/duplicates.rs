//! Sockets by inode, whoever holds them.
//!
//! In: inodes. Out: a duplicate of each, as far as a process shows it.

use std::{collections::HashSet, os::fd::OwnedFd, path::Path};

use super::{process, sys::PidFd};

/// A duplicate of each of these sockets. A number may have become another socket's meanwhile: whoever asks
/// looks at the cookie.
pub(crate) fn duplicates_of(proc_root: &Path, inodes: &HashSet<u64>) -> Vec<OwnedFd> {
    let mut open = inodes.clone();
    let mut found = Vec::new();
    for pid in process::all(proc_root).unwrap_or_default() {
        if open.is_empty() {
            break;
        }
        for (fd, inode) in process::sockets(proc_root, pid) {
            if open.contains(&inode)
                && let Ok(socket) = PidFd::open(pid).and_then(|process| process.duplicate(fd))
            {
                open.remove(&inode);
                found.push(socket);
            }
        }
    }
    found
}
