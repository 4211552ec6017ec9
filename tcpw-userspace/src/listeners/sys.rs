//! The system calls std does not have: another process's sockets, files below another root.
//!
//! Minimum kernel version: 5.6 (pidfd_getfd, openat2).

use std::{
    ffi::CString,
    fs::File,
    io,
    mem::{size_of, zeroed},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, fs::MetadataExt as _},
    },
    path::Path,
};

use nix::{errno::Errno, sys::stat::fstat};

use crate::host::{netns_cookie, option_of, socket_cookie, socket_option};

/// A process that keeps its identity: its number cannot be given to another one while this is used.
#[derive(Debug)]
pub(super) struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process `pid`, a thread group leader.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: takes two integers; the result is checked before it is used.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        Ok(Self(owned(fd)?))
    }

    /// A duplicate of its descriptor `fd`, which was seen to be the socket with this inode.
    ///
    /// # Errors
    /// EBADF if the descriptor is closed, or another file's meanwhile: execve(2) closes it, and what the program opens
    /// next gets its number. Others: pidfd_getfd(2).
    pub(super) fn socket(&self, fd: RawFd, inode: u64) -> io::Result<OwnedFd> {
        // SAFETY: takes three integers; the result is checked before it is used.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), fd, 0) };
        let socket = owned(fd)?;
        let found = fstat(&socket)?;
        let is_socket = found.st_mode & libc::S_IFMT == libc::S_IFSOCK;
        if is_socket && found.st_ino == inode { Ok(socket) } else { Err(Errno::EBADF.into()) }
    }

    /// Whether the process has not exited: everything read under its process id so far belongs to it.
    pub(super) fn is_alive(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, no waiting.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 0 }
    }
}

/// A listening TCP or MPTCP socket, or a bound UDP or UDP-Lite socket, as the kernel describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listening {
    pub(super) family: u32,
    pub(super) protocol: u16,
    pub(super) cookie: u64,
    pub(super) netns: u64,
    pub(super) local: SocketAddr,
    /// A UDP socket whose datagrams the kernel itself consumes before any filter sees them.
    pub(super) is_tunnel: bool,
}

/// Describes a socket; `None` unless it listens for TCP or MPTCP over IPv4 or IPv6, or is a UDP or UDP-Lite
/// socket with a port that is not connected.
pub(super) fn listening(socket: BorrowedFd<'_>) -> Option<Listening> {
    let number = |option| socket_option::<i32>(socket, option).ok();
    let (listens, kind) = (number(libc::SO_ACCEPTCONN)? == 1, number(libc::SO_TYPE)?);
    if !listens && kind != libc::SOCK_DGRAM {
        return None;
    }
    let family = number(libc::SO_DOMAIN)?;
    let protocol = number(libc::SO_PROTOCOL)?;
    let is_inet = family == libc::AF_INET || family == libc::AF_INET6;
    let is_tcp = listens && (protocol == libc::IPPROTO_TCP || protocol == libc::IPPROTO_MPTCP);
    let is_udp = !listens && (protocol == libc::IPPROTO_UDP || protocol == libc::IPPROTO_UDPLITE);
    if !is_inet || !(is_tcp || is_udp) {
        return None;
    }
    if is_udp && (is_connected(socket) || local_address(socket)?.port() == 0) {
        return None;
    }
    Some(Listening {
        family: u32::try_from(family).ok()?,
        protocol: u16::try_from(protocol).ok()?,
        cookie: socket_cookie(socket).ok()?,
        netns: netns_cookie(socket).unwrap_or(0),
        local: local_address(socket)?,
        is_tunnel: is_udp && is_tunnel(socket),
    })
}

/// Whether a UDP socket is an end of a tunnel (IPsec, L2TP, GTP); true if that cannot be read.
fn is_tunnel(socket: BorrowedFd<'_>) -> bool {
    /// Source: linux/include/uapi/linux/udp.h.
    const UDP_ENCAP: i32 = 100;
    !option_of::<i32>(socket, libc::SOL_UDP, UDP_ENCAP).is_ok_and(|kind| kind == 0)
}

fn is_connected(socket: BorrowedFd<'_>) -> bool {
    let mut length = 0;
    // SAFETY: with a length of 0 the kernel writes nothing but the length.
    unsafe { libc::getpeername(socket.as_raw_fd(), std::ptr::null_mut(), &raw mut length) == 0 }
}

fn local_address(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    // SAFETY: all zeroes is a valid sockaddr_storage (family AF_UNSPEC).
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = socklen::<libc::sockaddr_storage>();
    // SAFETY: the kernel writes at most `length` bytes, the size of `storage`.
    let result = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut storage).cast(), &raw mut length) };
    if result != 0 {
        return None;
    }
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in was written; storage is aligned for it.
            let v4 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that a sockaddr_in6 was written; storage is aligned for it.
            let v6 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(address, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Whether a file gives capabilities to the process that executes it; true if that cannot be read.
pub(super) fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return true };
    // SAFETY: two NUL-terminated strings; with a length of 0 the kernel writes nothing.
    let size =
        unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    let error = io::Error::last_os_error().raw_os_error();
    size >= 0 || !matches!(error, Some(libc::ENODATA | libc::EOPNOTSUPP))
}

/// The user that made a user namespace below ours, or of nested ones the outermost: other users cannot make it theirs.
///
/// Source: ioctl_ns(2); linux/include/uapi/linux/nsfs.h.
pub(super) fn owner_of_user_namespace(ours: &File, theirs: File) -> io::Result<u32> {
    const NS_GET_PARENT: libc::c_ulong = 0xb702;
    const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;
    let ours = ours.metadata()?.ino();
    let mut inner = theirs;
    loop {
        // SAFETY: takes a live descriptor; the result is checked before it is used.
        let parent = unsafe { libc::ioctl(inner.as_raw_fd(), NS_GET_PARENT) };
        let parent = File::from(owned(parent.into())?);
        if parent.metadata()?.ino() != ours {
            inner = parent;
            continue;
        }
        let mut owner: libc::uid_t = 0;
        // SAFETY: the kernel writes one uid_t to a live one.
        let done = unsafe { libc::ioctl(inner.as_raw_fd(), NS_GET_OWNER_UID, &raw mut owner) };
        return if done == 0 { Ok(owner) } else { Err(io::Error::last_os_error()) };
    }
}

/// Opens `path` for reading as a process whose root is `root` would: symbolic links stay below it.
///
/// Never waits: a FIFO opens at once, and reads as empty.
pub(super) fn open_in_root(root: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    open_below(root, path, libc::RESOLVE_IN_ROOT)
}

/// Opens `path`, relative to `directory`, for reading.
pub(super) fn open_at(directory: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    open_below(directory, path, libc::RESOLVE_NO_MAGICLINKS)
}

fn open_below(directory: BorrowedFd<'_>, path: &Path, resolve: u64) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zeroes is a valid open_how.
    let mut how: libc::open_how = unsafe { zeroed() };
    how.flags = u64::from((libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK).cast_unsigned());
    how.resolve = resolve;
    // SAFETY: a NUL-terminated path and an open_how of the size given, both alive over the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            directory.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    owned(fd).map(File::from)
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

fn socklen<T>() -> libc::socklen_t {
    #[expect(clippy::cast_possible_truncation, reason = "sizes of a few bytes")]
    let length = size_of::<T>() as libc::socklen_t;
    length
}
