//! What the file system says of the files: the only thing that is asked of it here.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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
pub struct Status {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: u32,
    /// Group.
    pub group: u32,
}

impl Status {
    /// Of a path that cannot be looked at.
    pub const MISSING: Self = Self { kind: Kind::Missing, mode: 0, owner: 0, group: 0 };
}

/// Where the facts come from.
pub trait Facts {
    /// What a path leads to.
    fn status(&self, path: &Path) -> Status;
}

/// This machine.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Facts for System {
    fn status(&self, path: &Path) -> Status {
        match std::fs::metadata(path) {
            Ok(metadata) => {
                let kind = match metadata.file_type() {
                    kind if kind.is_file() => Kind::File,
                    kind if kind.is_dir() => Kind::Directory,
                    _ => Kind::Other,
                };
                Status { kind, mode: metadata.mode(), owner: metadata.uid(), group: metadata.gid() }
            }
            Err(error) => {
                let is_link = std::fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink());
                let is_gone = error.kind() == std::io::ErrorKind::NotFound;
                Status {
                    kind: if is_link && is_gone { Kind::Dangling } else { Kind::Missing },
                    ..Status::MISSING
                }
            }
        }
    }
}

/// Facts that are given: tables that are not on this machine, and tests.
#[derive(Clone, Debug, Default)]
pub struct Given(pub Vec<(PathBuf, Status)>);

impl Facts for Given {
    fn status(&self, path: &Path) -> Status {
        let given = self.0.iter().find(|(known, _)| known == path).map(|(_, status)| *status);
        given.unwrap_or(Status { kind: Kind::File, mode: 0o644, owner: 0, group: 0 })
    }
}
