//! Writes metrics to a file that node_exporter reads.
//!
//! In: a path. Out: the file, new every [`PERIOD`].
//! Invariant: a reader sees a whole file, the one before or the new one. No symbolic link is followed in the last two
//! components, and no other user may write to the directory: so none leads the daemon to another file. The file goes away
//! with the daemon: its numbers would be taken for those of now.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, renameat},
    sys::stat::{Mode, fchmod},
    unistd::{UnlinkatFlags, geteuid, unlinkat},
};
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::ask;
use crate::{control::Asker, metrics};

/// How often it is written: node_exporter is scraped every 15 s or less often.
const PERIOD: Duration = Duration::from_secs(15);

/// Others may read it: node_exporter is another user's.
const MODE: Mode = Mode::from_bits_truncate(0o644);

/// Writes it for good.
pub(super) async fn write_always(path: PathBuf, asker: Asker) {
    let _removed_at_the_end = Written(path.clone());
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said: Option<String> = None;
    loop {
        period.tick().await;
        let written = match ask(&asker).await {
            Ok(metrics) => {
                let path = path.clone();
                let written = spawn_blocking(move || write(&path, metrics::prometheus(metrics).as_bytes()));
                match written.await {
                    Ok(written) => written.map_err(|error| crate::host::reason(&error)),
                    Err(error) => Err(error.to_string()),
                }
            }
            Err(reason) => Err(reason),
        };
        if let Some(reason) = written.as_ref().err().filter(|reason| said.as_ref() != Some(reason)) {
            log::error!("metrics: {} is not written: {reason}; it is tried again", path.display());
        }
        said = written.err();
    }
}

/// Removes the file when the daemon ends.
struct Written(PathBuf);

impl Drop for Written {
    fn drop(&mut self) {
        let removed = Directory::of(&self.0).and_then(|directory| {
            Ok(unlinkat(&directory.open, directory.name.as_str(), UnlinkatFlags::NoRemoveDir)?)
        });
        if let Err(error) = removed {
            log::debug!("metrics: remove {}: {error}", self.0.display());
        }
    }
}

/// Where the file is.
struct Directory {
    open: OwnedFd,
    name: String,
}

impl Directory {
    fn of(path: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EISDIR.into());
        };
        let name = name.to_string_lossy().into_owned();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = File::from(open(directory, flags, Mode::empty())?);
        let found = directory.metadata()?;
        if found.mode() & 0o022 != 0 || ![0, geteuid().as_raw()].contains(&found.uid()) {
            let reason = "other users can write to its directory: it must belong to root, without write \
                          permission for group and others";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        Ok(Self { open: directory.into(), name })
    }
}

/// Writes a new file in the same directory, and renames it to the name.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let Directory { open: directory, name } = Directory::of(path)?;
    // node_exporter reads names that end in .prom.
    let new = format!(".{name}.new");
    // One that an earlier daemon left.
    match unlinkat(&directory, new.as_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&directory, new.as_str(), flags, MODE)?);
    // Whatever the umask is.
    fchmod(&file, MODE)?;
    let written = file.write_all(text).and_then(|()| {
        renameat(&directory, new.as_str(), &directory, name.as_str()).map_err(io::Error::from)
    });
    if written.is_err() {
        let _ = unlinkat(&directory, new.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    written
}
