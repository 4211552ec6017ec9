//! One daemon per run directory, and one per pin directory.

use std::{
    fs::{File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag, openat},
    sys::stat::{Mode, major, minor},
};

use crate::host::{self, NotOwn, is_own, make_own_dir};

/// A command that only tests whether the pins are in use may hold the lock itself, for less than this.
const GLANCE: Duration = Duration::from_millis(200);

/// Held while the daemon lives; the kernel releases it however the daemon ends.
pub struct Lock {
    _file: Flock<File>,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("already running{} with {}: \"tcpw status\" shows it, stop it before starting another", pid.map(|pid| format!(" as pid {pid}")).unwrap_or_default(), path.display())]
    Held {
        /// The lock file, or the pin directory.
        path: PathBuf,
        /// Its process id, if known.
        pid: Option<u32>,
    },
    /// A policy of an earlier daemon is pinned there, and this daemon would enforce a second one: it would
    /// not be known which of the two refuses a client.
    #[error("a policy is pinned in {}: adopt it with --pin, or end it with \"tcpw detach\"", path.display())]
    Orphan {
        /// The pin directory.
        path: PathBuf,
    },
    /// The directory, or one above it, may be another user's, or the lock may be held by one.
    #[error("directory {}: {reason}", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The directory or the file cannot be made.
    #[error("{}: {reason}: name a directory that can be written with --run-dir", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// strerror(3)'s text.
        reason: String,
    },
}

impl Lock {
    /// Takes the lock of `run_dir`, making the directory if need be.
    ///
    /// # Errors
    ///
    /// See [`LockError`].
    pub fn take(run_dir: &Path) -> Result<Self, LockError> {
        let path = run_dir.join("lock");
        let unusable = |error: io::Error| unusable(run_dir, &error);
        let dir = make_own_dir(run_dir).map_err(|error| unsafe_dir(run_dir, error))?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(
            openat(&dir, "lock", flags, Mode::from_bits_truncate(0o600))
                .map_err(|errno| unusable(errno.into()))?,
        );
        let found = file.metadata().map_err(unusable)?;
        if !found.is_file() || !is_own(found.uid()) {
            let reason = format!("{} is not a file of root: remove it", path.display());
            return Err(LockError::Unsafe { path: run_dir.to_path_buf(), reason });
        }
        // A user that can open it can hold it.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(unusable)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
                return Err(LockError::Held { path, pid: text.trim().parse().ok() });
            }
            Err((_, errno)) => return Err(unusable(errno.into())),
        };
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
        Ok(Self { _file: file })
    }

    /// Takes the lock of a pin directory, making it if need be. No file can be kept there: the
    /// directory itself is locked.
    ///
    /// # Errors
    ///
    /// See [`LockError`].
    pub fn take_pins(pin_dir: &Path) -> Result<Self, LockError> {
        let unusable = |error: io::Error| unusable(pin_dir, &error);
        let deadline = Instant::now() + GLANCE;
        loop {
            let dir = match make_own_dir(pin_dir) {
                Ok(dir) => File::from(dir),
                // The previous holder removed it.
                Err(error) if error.is_missing() && Instant::now() < deadline => continue,
                Err(error) => return Err(unsafe_dir(pin_dir, error)),
            };
            let found = dir.metadata().map_err(unusable)?;
            if found.mode() & 0o044 != 0 {
                let reason = format!(
                    "others can open it (mode {:04o}), and so hold its lock: `chmod go-r {}`, or name a directory below it",
                    found.mode() & 0o7777,
                    pin_dir.display()
                );
                return Err(LockError::Unsafe { path: pin_dir.to_path_buf(), reason });
            }
            let dir = match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
                Ok(dir) => dir,
                Err((_, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                    thread::sleep(GLANCE / 10);
                    continue;
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(LockError::Held { path: pin_dir.to_path_buf(), pid: holder(pin_dir) });
                }
                Err((_, errno)) => return Err(unusable(errno.into())),
            };
            // The previous holder may have removed the directory when it ended.
            if found.ino() == inode(pin_dir) {
                return Ok(Self { _file: dir });
            }
        }
    }

    /// Fails if a daemon uses the pins in `pin_dir`. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`]; [`LockError::Unsafe`].
    pub fn refuse_held_pins(pin_dir: &Path) -> Result<(), LockError> {
        if !pin_dir.exists() {
            return Ok(());
        }
        match Self::take_pins(pin_dir) {
            Err(error @ (LockError::Held { .. } | LockError::Unsafe { .. })) => Err(error),
            Ok(_) | Err(LockError::Orphan { .. } | LockError::Unusable { .. }) => Ok(()),
        }
    }
}

fn unusable(dir: &Path, error: &io::Error) -> LockError {
    LockError::Unusable { path: dir.to_path_buf(), reason: host::reason(error) }
}

fn unsafe_dir(dir: &Path, error: NotOwn) -> LockError {
    match error {
        NotOwn::Failed { reason, .. } => LockError::Unusable { path: dir.to_path_buf(), reason },
        NotOwn::Owner { .. } | NotOwn::Writable { .. } | NotOwn::Link { .. } | NotOwn::Names { .. } => {
            LockError::Unsafe { path: dir.to_path_buf(), reason: error.to_string() }
        }
    }
}

fn inode(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.ino())
}

/// The process that has a directory locked, if /proc/locks shows it.
fn holder(dir: &Path) -> Option<u32> {
    let metadata = dir.metadata().ok()?;
    let device = (major(metadata.dev()), minor(metadata.dev()));
    let locks = procfs::locks().ok()?;
    let lock = locks.into_iter().find(|lock| {
        lock.inode == metadata.ino() && (u64::from(lock.devmaj), u64::from(lock.devmin)) == device
    })?;
    u32::try_from(lock.pid?).ok().filter(|pid| *pid != 0)
}
