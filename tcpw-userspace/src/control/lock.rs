//! One daemon per run directory, and one per pin directory.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::stat::{major, minor},
};

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
        let unusable = |error: io::Error| LockError::Unusable {
            path: run_dir.to_path_buf(),
            reason: crate::host::reason(&error),
        };
        DirBuilder::new().recursive(true).mode(0o755).create(run_dir).map_err(unusable)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(unusable)?;
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
        let unusable = |error: io::Error| LockError::Unusable {
            path: pin_dir.to_path_buf(),
            reason: crate::host::reason(&error),
        };
        let deadline = Instant::now() + GLANCE;
        loop {
            DirBuilder::new().recursive(true).mode(0o700).create(pin_dir).map_err(unusable)?;
            let dir = match File::open(pin_dir) {
                Ok(dir) => dir,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unusable(error)),
            };
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
            if dir.metadata().map_err(unusable)?.ino() == inode(pin_dir) {
                return Ok(Self { _file: dir });
            }
        }
    }

    /// Fails if a daemon uses the pins in `pin_dir`. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`].
    pub fn refuse_held_pins(pin_dir: &Path) -> Result<(), LockError> {
        if !pin_dir.exists() {
            return Ok(());
        }
        match Self::take_pins(pin_dir) {
            Err(error @ LockError::Held { .. }) => Err(error),
            Ok(_) | Err(_) => Ok(()),
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
