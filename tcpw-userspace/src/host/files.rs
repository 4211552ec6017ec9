//! What this machine says of files, users and groups.
//!
//! In: paths and names. Out: what stat(2), readdir(3), getpwnam(3), getgrgid(3) tell, and texts of
//! files. Invariant: nothing but a regular file is opened.

use std::{
    ffi::CString,
    io::Read as _,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Group, User, getgrouplist};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Nothing.
    Missing,
    /// A symbolic link that leads nowhere.
    Dangling,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A FIFO, a device, a socket.
    Other,
}

/// What stat(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: u32,
    /// Group.
    pub group: u32,
    /// Bytes.
    pub size: u64,
}

impl FileStatus {
    /// Of a path that cannot be looked at.
    pub const MISSING: Self = Self { kind: FileKind::Missing, mode: 0, owner: 0, group: 0, size: 0 };
}

/// A user, as far as rights go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// All its groups.
    pub groups: Vec<u32>,
}

/// Most bytes of a text: configurations have a few thousand.
const MAX_TEXT: u64 = 1 << 20;

/// What a machine says of its files, users and groups.
pub trait HostFiles {
    /// What a path leads to.
    fn status(&self, path: &Path) -> FileStatus;

    /// What is in a directory, by name.
    fn entries(&self, directory: &Path) -> Vec<PathBuf>;

    /// The text of a regular file, 1 MiB at most; bytes that are not UTF-8 are replaced.
    fn text(&self, _path: &Path) -> Option<String> {
        None
    }

    /// The path without symbolic links, as far as it exists.
    fn real(&self, path: &Path) -> PathBuf;

    /// A user.
    fn account(&self, name: &str) -> Option<Account>;

    /// Name of a group.
    fn group(&self, gid: u32) -> Option<String>;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl HostFiles for System {
    fn status(&self, path: &Path) -> FileStatus {
        match std::fs::metadata(path) {
            Ok(metadata) => {
                let kind = match metadata.file_type() {
                    kind if kind.is_file() => FileKind::File,
                    kind if kind.is_dir() => FileKind::Directory,
                    _ => FileKind::Other,
                };
                FileStatus {
                    kind,
                    mode: metadata.mode(),
                    owner: metadata.uid(),
                    group: metadata.gid(),
                    size: metadata.size(),
                }
            }
            Err(error) => {
                let is_link = std::fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink());
                let is_gone = error.kind() == std::io::ErrorKind::NotFound;
                FileStatus {
                    kind: if is_link && is_gone { FileKind::Dangling } else { FileKind::Missing },
                    ..FileStatus::MISSING
                }
            }
        }
    }

    fn entries(&self, directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    fn text(&self, path: &Path) -> Option<String> {
        // A FIFO would wait for its writer.
        let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        let mut bytes = Vec::with_capacity(usize::try_from(file.len().min(MAX_TEXT)).ok()?);
        std::fs::File::open(path).ok()?.take(MAX_TEXT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn real(&self, path: &Path) -> PathBuf {
        path.canonicalize().unwrap_or_else(|_missing| path.into())
    }

    fn account(&self, name: &str) -> Option<Account> {
        let user = User::from_name(name).ok()??;
        let name = CString::new(user.name).unwrap_or_default();
        let groups = getgrouplist(&name, user.gid).unwrap_or_default();
        Some(Account { uid: user.uid.as_raw(), groups: groups.into_iter().map(Gid::as_raw).collect() })
    }

    fn group(&self, gid: u32) -> Option<String> {
        Group::from_gid(Gid::from_raw(gid)).ok()?.map(|group| group.name)
    }
}
