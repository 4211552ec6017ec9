//! What is asked of a machine about files and the user of commands; `host` answers for this one.

use std::path::{Path, PathBuf};

use crate::effects::Settings;

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
    /// Bytes.
    pub size: u64,
}

impl Status {
    /// Of a path that cannot be looked at.
    pub const MISSING: Self = Self { kind: Kind::Missing, mode: 0, owner: 0, group: 0, size: 0 };
}

/// A user, as far as rights go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// All its groups.
    pub groups: Vec<u32>,
}

/// Where the facts come from.
pub trait Facts {
    /// What a path leads to.
    fn status(&self, path: &Path) -> Status;

    /// What is in a directory, by name.
    fn entries(&self, directory: &Path) -> Vec<PathBuf>;

    /// The path without symbolic links, as far as it exists.
    fn real(&self, path: &Path) -> PathBuf;

    /// A user.
    fn account(&self, name: &str) -> Option<Account>;

    /// Name of a group.
    fn group(&self, gid: u32) -> Option<String>;

    /// How commands are run; `None` if that is not known.
    fn effects(&self) -> Option<&Settings>;
}

/// Facts that are given: tables that are not on this machine, and tests. Every other file is there and
/// belongs to the user of the commands.
#[derive(Clone, Debug, Default)]
pub struct Given(pub Vec<(PathBuf, Status)>, pub Settings);

impl Facts for Given {
    fn status(&self, path: &Path) -> Status {
        let given = self.0.iter().find(|(known, _)| known == path).map(|(_, status)| *status);
        given.unwrap_or(Status { kind: Kind::File, mode: 0o755, owner: 0, group: 0, size: 0 })
    }

    fn entries(&self, directory: &Path) -> Vec<PathBuf> {
        let paths = self.0.iter().map(|(path, _)| path);
        paths.filter(|path| path.parent() == Some(directory)).cloned().collect()
    }

    fn real(&self, path: &Path) -> PathBuf {
        path.into()
    }

    fn account(&self, _name: &str) -> Option<Account> {
        Some(Account { uid: 0, groups: vec![0] })
    }

    fn group(&self, _gid: u32) -> Option<String> {
        None
    }

    fn effects(&self) -> Option<&Settings> {
        Some(&self.1)
    }
}
