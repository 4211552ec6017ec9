//! What a check asks of a machine.
//!
//! In: files, users and groups, from [`crate::host`] or given; how commands are run. Invariant: no I/O here.

use std::path::{Path, PathBuf};

use crate::effects::Settings;
pub use crate::host::{Account, FileKind as Kind, FileStatus as Status, HostFiles};

/// Where the facts come from.
pub trait Facts: HostFiles {
    /// How commands are run; `None` if that is not known.
    fn effects(&self) -> Option<&Settings>;

    /// The names that the settings give listeners.
    fn names(&self) -> &[String] {
        &[]
    }
}

/// This machine.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// How commands are run here, if that matters.
    pub effects: Option<Settings>,
    /// The names that the settings give listeners.
    pub names: Vec<String>,
}

impl HostFiles for System {
    fn status(&self, path: &Path) -> Status {
        crate::host::System.status(path)
    }

    fn entries(&self, directory: &Path) -> Vec<PathBuf> {
        crate::host::System.entries(directory)
    }

    fn text(&self, path: &Path) -> Option<String> {
        crate::host::System.text(path)
    }

    fn real(&self, path: &Path) -> PathBuf {
        crate::host::System.real(path)
    }

    fn account(&self, name: &str) -> Option<Account> {
        crate::host::System.account(name)
    }

    fn group(&self, gid: u32) -> Option<String> {
        crate::host::System.group(gid)
    }
}

impl Facts for System {
    fn effects(&self) -> Option<&Settings> {
        self.effects.as_ref()
    }

    fn names(&self) -> &[String] {
        &self.names
    }
}

/// Facts that are given: tables that are not on this machine, and tests. Every other file is there and
/// belongs to the user of the commands.
#[derive(Clone, Debug, Default)]
pub struct Given(pub Vec<(PathBuf, Status)>, pub Settings);

impl HostFiles for Given {
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
}

impl Facts for Given {
    fn effects(&self) -> Option<&Settings> {
        Some(&self.1)
    }
}
