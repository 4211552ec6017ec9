//! Sockets by inode, wherever in the file tables of the processes they are.

use std::{collections::HashSet, os::fd::OwnedFd, path::Path};

use super::{process, sys::PidFd};

/// One duplicate of each of these sockets, as far as a process shows it.
pub(crate) fn holders_of(proc_root: &Path, inodes: &HashSet<u64>) -> Vec<OwnedFd> {
    let mut open = inodes.clone();
    let mut found = Vec::new();
    for pid in process::all(proc_root).unwrap_or_default() {
        if open.is_empty() {
            break;
        }
        for (fd, inode) in process::sockets(proc_root, pid) {
            // Another one may have taken its number meanwhile: whoever asks looks at the cookie.
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
