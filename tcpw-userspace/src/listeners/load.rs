//! Reads configuration files as the process that uses them sees them.
//!
//! In: a process and paths. Out: texts. Files are found below the process's own root,
//! so another mount namespace or a container is read rightly.
//! Invariant: bounded in size, number and depth, and never waits: the files are not ours.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use super::{
    process::Process,
    sys,
    xinetd::{self, Entry},
};

/// Most bytes of one file: a long one has a few thousand.
const MAX_BYTES: u64 = 1 << 20;
/// Most files of one configuration.
const MAX_FILES: usize = 1024;

/// The files of one process.
pub(super) struct Files {
    root: File,
    working_directory: Option<File>,
}

impl Files {
    /// The files as `process` sees them.
    pub(super) fn of(proc_root: &Path, process: &Process) -> io::Result<Self> {
        let directory = proc_root.join(process.pid.to_string());
        Ok(Self {
            root: File::open(directory.join("root"))?,
            working_directory: File::open(directory.join("cwd")).ok(),
        })
    }

    /// The text of a regular file; bytes that are not UTF-8 are replaced.
    pub(super) fn text(&self, path: &Path) -> io::Result<String> {
        let file = self.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All entries of xinetd's configuration, includes read where they stand.
    pub(super) fn xinetd(&self, path: &Path) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.add_xinetd(path, &mut 0, &mut entries);
        entries
    }

    fn add_xinetd(&self, path: &Path, files: &mut usize, entries: &mut Vec<Entry>) {
        // Also ends a file that includes itself.
        *files += 1;
        if *files > MAX_FILES {
            return;
        }
        let text = match self.text(path) {
            Ok(text) => text,
            Err(error) => return log::warn!("{}: {error}: its services have no names", path.display()),
        };
        let (found, diagnostics) = xinetd::parse(&text);
        for diagnostic in diagnostics {
            log::warn!("{}:{}: {}", path.display(), diagnostic.line, diagnostic.message);
        }
        for entry in found {
            match entry {
                Entry::Include(path) => self.add_xinetd(&path, files, entries),
                Entry::IncludeDir(directory) => {
                    for path in self.included(&directory) {
                        self.add_xinetd(&path, files, entries);
                    }
                }
                Entry::Service(_) | Entry::Defaults(_) => entries.push(entry),
            }
        }
    }

    /// The files of an included directory, in xinetd's order.
    fn included(&self, directory: &Path) -> Vec<PathBuf> {
        let listing = self
            .open(directory)
            .and_then(|opened| fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd())));
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) => {
                log::warn!("{}: {error}: its services have no names", directory.display());
                return Vec::new();
            }
        };
        let mut names: Vec<_> = listing
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| xinetd::is_included(name.as_bytes()))
            .collect();
        names.sort();
        names.into_iter().map(|name| directory.join(name)).collect()
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        match &self.working_directory {
            Some(directory) if path.is_relative() => sys::open_at(directory.as_fd(), path),
            Some(_) | None => sys::open_in_root(self.root.as_fd(), path),
        }
    }
}
