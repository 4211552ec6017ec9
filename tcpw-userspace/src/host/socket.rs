//! What the kernel tells of a socket, and how many this process may have.

use std::{
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{AsRawFd, BorrowedFd},
};

/// Lets this process have as many open files as it may: a scan holds every listening socket and
/// namespace of the host at once, and services begin with 1024.
pub fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: passes pointers to a live struct.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    if !done {
        log::warn!("the limit of open files stays: {}", io::Error::last_os_error());
    }
}

/// Cookie of a socket's network namespace.
///
/// Minimum kernel version: 5.14.
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    // Of linux asm-generic/socket.h; libc has no name for it on every target.
    const SO_NETNS_COOKIE: i32 = 71;
    socket_option(socket, SO_NETNS_COOKIE)
}

/// Cookie of a socket.
pub fn socket_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    socket_option(socket, libc::SO_COOKIE)
}

/// Whether the process that connected to a Unix socket is in a group: its own, or a supplementary one.
///
/// Minimum kernel version: 4.13.
pub(crate) fn peer_is_in_group(socket: BorrowedFd<'_>, group: u32) -> io::Result<bool> {
    let own: libc::ucred = socket_option(socket, libc::SO_PEERCRED)?;
    if own.gid == group {
        return Ok(true);
    }
    // Of linux asm-generic/socket.h; libc has no name for it on every target. Source: socket(7) says nothing of it,
    // linux/net/core/sock.c `sk_getsockopt` does: gids, and ERANGE with the room that they need.
    const SO_PEERGROUPS: i32 = 59;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length = libc::socklen_t::try_from(groups.len() * size_of::<libc::gid_t>()).unwrap_or(0);
        let room = length;
        // SAFETY: the kernel writes at most `length` bytes, the size of the list.
        let result = unsafe {
            let list = groups.as_mut_ptr().cast();
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PEERGROUPS, list, &raw mut length)
        };
        let count = length as usize / size_of::<libc::gid_t>();
        if result == 0 {
            return Ok(groups.iter().take(count).any(|one| *one == group));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || length <= room {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// An integer that every bit pattern is a value of.
pub(crate) trait Plain: Copy {}
impl Plain for i32 {}
impl Plain for u64 {}
impl Plain for libc::ucred {}

/// An option of SOL_SOCKET.
pub(crate) fn socket_option<T: Plain>(socket: BorrowedFd<'_>, option: i32) -> io::Result<T> {
    option_of(socket, libc::SOL_SOCKET, option)
}

/// An option of a level.
pub(crate) fn option_of<T: Plain>(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = socklen::<T>();
    // SAFETY: the kernel writes at most `length` bytes, the size of `value`.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, value.as_mut_ptr().cast(), &raw mut length)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed at first, and every bit pattern of `T` is valid.
    Ok(unsafe { value.assume_init() })
}

fn socklen<T>() -> libc::socklen_t {
    #[expect(clippy::cast_possible_truncation, reason = "sizes of a few bytes")]
    let length = size_of::<T>() as libc::socklen_t;
    length
}
