//! Files and users of this machine.
//!
//! In: paths and names. Out: what `check` wants to know of them.

use std::{
    ffi::CString,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Group, User, getgrouplist};

use crate::{
    check::facts::{Account, Facts, Kind, Status},
    effects::Settings,
};

/// This machine.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// How commands are run here, if that matters.
    pub effects: Option<Settings>,
}

impl Facts for System {
    fn status(&self, path: &Path) -> Status {
        match std::fs::metadata(path) {
            Ok(metadata) => {
                let kind = match metadata.file_type() {
                    kind if kind.is_file() => Kind::File,
                    kind if kind.is_dir() => Kind::Directory,
                    _ => Kind::Other,
                };
                Status {
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
                Status {
                    kind: if is_link && is_gone { Kind::Dangling } else { Kind::Missing },
                    ..Status::MISSING
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

    fn effects(&self) -> Option<&Settings> {
        self.effects.as_ref()
    }
}
