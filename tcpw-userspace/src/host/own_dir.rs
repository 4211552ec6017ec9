//! Directories and files in which no other user has a say.
//!
//! In: a path. Out: an open directory or file that only root, or the user of this process, can have put there.
//! Invariant: every component is opened by itself, without following a symbolic link, and its owner and mode
//! are read from the descriptor; so what is checked is what is used.
//!
//! A directory that others can write to is passed only if it is sticky (/tmp, a bpf file system as mount(8) makes
//! it): there others can neither rename nor remove what is root's, and what they made first is refused.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, readlinkat},
    sys::stat::{Mode, SFlag, fstat, mkdirat},
    unistd::geteuid,
};

/// Symbolic links in one path. Source: path_resolution(7).
const MAX_LINKS: u32 = 40;

const STICKY: u32 = 0o1000;
const BY_GROUP: u32 = 0o020;
const BY_ALL: u32 = 0o002;

/// Why a directory or file is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOwn {
    /// A component belongs to another user.
    #[error("{} belongs to uid {uid} (mode {mode:04o}), not to root: remove it, or `chown root {}`", path.display(), path.display())]
    Owner {
        /// The component.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its permissions.
        mode: u32,
    },
    /// Others can replace what is in a component.
    #[error("{} (uid {uid}, mode {mode:04o}) can be written by others: `chmod go-w {}`, or name another directory", path.display(), path.display())]
    Writable {
        /// The component.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link where none is followed.
    #[error("{} is a symbolic link, which is not followed here: name what it points to", path.display())]
    Link {
        /// The component.
        path: PathBuf,
    },
    /// A file has a second name, which may be another program's.
    #[error("{} has more than one name (hard links): remove it", path.display())]
    Names {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened or made.
    #[error("{}: {reason}", path.display())]
    Failed {
        /// The component.
        path: PathBuf,
        /// The kernel's error.
        errno: Errno,
        /// strerror(3)'s text.
        reason: String,
    },
}

impl NotOwn {
    /// Whether the path is just not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Failed { errno: Errno::ENOENT, .. })
    }

    fn failed(path: &Path, errno: Errno) -> Self {
        let reason = crate::host::reason(&errno.into());
        Self::Failed { path: path.to_path_buf(), errno, reason }
    }
}

impl From<NotOwn> for io::Error {
    fn from(error: NotOwn) -> Self {
        match error {
            NotOwn::Failed { errno, .. } => errno.into(),
            NotOwn::Owner { .. } | NotOwn::Writable { .. } | NotOwn::Link { .. } | NotOwn::Names { .. } => {
                Self::new(io::ErrorKind::PermissionDenied, error)
            }
        }
    }
}

/// Opens a directory that others can neither replace nor write to, making what is missing of its path: the last
/// component with mode 0700, those above with 0755.
///
/// # Errors
/// Another user could have made or could replace a component, or could write to the directory.
pub fn make_own_dir(path: &Path) -> Result<OwnedFd, NotOwn> {
    let dir = walk(path, true, BY_GROUP | BY_ALL)?;
    dir.refuse_writers(BY_GROUP | BY_ALL)?;
    dir.open()
}

/// As [`make_own_dir`], of a directory that is there.
///
/// # Errors
/// As there, and [`NotOwn::is_missing`].
pub fn open_own_dir(path: &Path) -> Result<OwnedFd, NotOwn> {
    let dir = walk(path, false, BY_GROUP | BY_ALL)?;
    dir.refuse_writers(BY_GROUP | BY_ALL)?;
    dir.open()
}

/// Opens a file for appending, making it with mode 0600 if it is missing. No symbolic link is followed to it.
///
/// Its directories may be writable by a group, as /var/log is on Ubuntu, and there the file may be another
/// user's, as a syslog daemon's is. All are root's, and the links of the file are counted on its descriptor: so
/// the group can take the file away, but not lead the process to another one.
///
/// # Errors
/// It, or a component above, may be another user's.
pub fn append_to_own_file(path: &Path, flags: OFlag) -> Result<File, NotOwn> {
    let Some(name) = path.file_name() else {
        return Err(NotOwn::failed(path, Errno::EISDIR));
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = walk(parent, false, BY_ALL)?;
    if dir.mode & STICKY == 0 {
        dir.refuse_writers(BY_ALL)?;
    }
    let flags = flags | OFlag::O_APPEND | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o600);
    let file = match openat(dir.file.as_fd(), name, flags | OFlag::O_CREAT, mode) {
        // fs.protected_regular and fs.protected_fifos: an existing file in a sticky directory.
        Err(Errno::EACCES) => openat(dir.file.as_fd(), name, flags, mode),
        other => other,
    };
    let file = File::from(file.map_err(|errno| {
        if errno == Errno::ELOOP {
            return NotOwn::Link { path: path.to_path_buf() };
        }
        NotOwn::failed(path, errno)
    })?);
    let found = file.metadata().map_err(|_| NotOwn::failed(path, Errno::last()))?;
    let (uid, mode) = (found.uid(), found.mode() & 0o7777);
    // In a sticky directory anybody can have made it.
    if !is_own(uid) && dir.mode & STICKY != 0 {
        return Err(NotOwn::Owner { path: path.to_path_buf(), uid, mode });
    }
    if found.is_file() && found.nlink() != 1 {
        return Err(NotOwn::Names { path: path.to_path_buf() });
    }
    Ok(file)
}

/// Root's, or that of the user of this process.
pub(crate) fn is_own(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// A directory on the way.
struct Dir {
    path: PathBuf,
    /// O_PATH: enough to go on from.
    file: OwnedFd,
    uid: u32,
    mode: u32,
}

impl Dir {
    fn of(path: PathBuf, file: OwnedFd) -> Result<Self, NotOwn> {
        let found = fstat(&file).map_err(|errno| NotOwn::failed(&path, errno))?;
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        let (uid, mode) = (found.st_uid, found.st_mode & 0o7777);
        if !is_own(uid) {
            return Err(NotOwn::Owner { path, uid, mode });
        }
        if kind != SFlag::S_IFDIR {
            return Err(NotOwn::failed(&path, Errno::ENOTDIR));
        }
        Ok(Self { path, file, uid, mode })
    }

    fn refuse_writers(&self, bits: u32) -> Result<(), NotOwn> {
        if self.mode & bits == 0 {
            return Ok(());
        }
        Err(NotOwn::Writable { path: self.path.clone(), uid: self.uid, mode: self.mode })
    }

    /// For reading, and for flock(2).
    fn open(&self) -> Result<OwnedFd, NotOwn> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat(self.file.as_fd(), ".", flags, Mode::empty())
            .map_err(|errno| NotOwn::failed(&self.path, errno))
    }
}

/// Opens a directory, component by component; `writers` may not write to those above it.
fn walk(path: &Path, makes: bool, writers: u32) -> Result<Dir, NotOwn> {
    let absolute = std::path::absolute(path).map_err(|_| NotOwn::failed(path, Errno::ENOENT))?;
    let mut dir = root()?;
    let mut ahead = names(&absolute);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if dir.mode & STICKY == 0 {
            dir.refuse_writers(writers)?;
        }
        let path = if name == ".." {
            dir.path.parent().unwrap_or(Path::new("/")).to_path_buf()
        } else {
            dir.path.join(&name)
        };
        let file = match open_component(&dir, &name) {
            Err(Errno::ENOENT) if makes => {
                let mode = if ahead.is_empty() { 0o700 } else { 0o755 };
                match mkdirat(dir.file.as_fd(), name.as_os_str(), Mode::from_bits_truncate(mode)) {
                    // What another process made meanwhile is checked like any other.
                    Ok(()) | Err(Errno::EEXIST) => open_component(&dir, &name),
                    Err(errno) => Err(errno),
                }
            }
            other => other,
        };
        let file = file.map_err(|errno| NotOwn::failed(&path, errno))?;
        if let Some(target) = link_target(&dir, &file, &path, &name)? {
            links += 1;
            if links > MAX_LINKS {
                return Err(NotOwn::failed(&path, Errno::ELOOP));
            }
            if target.is_absolute() {
                dir = root()?;
            }
            for part in names(&target).into_iter().rev() {
                ahead.push_front(part);
            }
            continue;
        }
        dir = Dir::of(path, file)?;
    }
    Ok(dir)
}

fn root() -> Result<Dir, NotOwn> {
    let root = Path::new("/");
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let file = open(root, flags, Mode::empty()).map_err(|errno| NotOwn::failed(root, errno))?;
    Dir::of(root.to_path_buf(), file)
}

/// With O_PATH and O_NOFOLLOW a symbolic link is opened itself.
fn open_component(dir: &Dir, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(dir.file.as_fd(), name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// Where a component leads, if it is a symbolic link.
fn link_target(dir: &Dir, file: &OwnedFd, path: &Path, name: &OsStr) -> Result<Option<PathBuf>, NotOwn> {
    let found = fstat(file).map_err(|errno| NotOwn::failed(path, errno))?;
    if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
        return Ok(None);
    }
    let (uid, mode) = (found.st_uid, found.st_mode & 0o7777);
    if !is_own(uid) {
        return Err(NotOwn::Owner { path: path.to_path_buf(), uid, mode });
    }
    // Where others can write it may be a hard link to root's own.
    if dir.mode & (BY_GROUP | BY_ALL) != 0 {
        return Err(NotOwn::Link { path: path.to_path_buf() });
    }
    let target = readlinkat(dir.file.as_fd(), name).map_err(|errno| NotOwn::failed(path, errno))?;
    Ok(Some(target.into()))
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
#[path = "own_dir_tests.rs"]
mod tests;
