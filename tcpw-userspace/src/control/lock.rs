//! One daemon per run directory.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

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
        /// The lock file.
        path: PathBuf,
        /// Who, if it says so.
        pid: Option<u32>,
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
            reason: crate::source::reason(&error),
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
}
