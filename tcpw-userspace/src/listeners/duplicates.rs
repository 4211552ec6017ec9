//! Finds sockets by inode, in any process.
//!
//! In: inodes. Out: a duplicate of each socket that is found in a process.

use std::{collections::HashSet, os::fd::OwnedFd, path::Path};

use super::{process, sys::PidFd};

/// A duplicate of each of these sockets. An inode number may have been reused by another socket: the caller
/// has to check the cookie.
pub(crate) fn duplicates_of(proc_root: &Path, inodes: &HashSet<u64>) -> Vec<OwnedFd> {
    let mut open = inodes.clone();
    let mut found = Vec::new();
    for pid in process::all(proc_root).unwrap_or_default() {
        if open.is_empty() {
            break;
        }
        for (fd, inode) in process::sockets(proc_root, pid).unwrap_or_default() {
            if open.contains(&inode)
                && let Ok(socket) = PidFd::open(pid).and_then(|process| process.socket(fd, inode))
            {
                open.remove(&inode);
                found.push(socket);
            }
        }
    }
    found
}
