//! The executable of a process: can others than root have put it where it is?
//!
//! In: /proc/PID/exe and the files of the host. Out: [`Program`].
//! Invariant: the answer holds for the mount namespace of the host, whatever the process has mounted.

use std::{
    ffi::OsStr,
    fs::{self, Metadata},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::sys;

/// The executable of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Set-uid or set-gid.
    pub(super) is_set_id: bool,
    /// The file itself gives capabilities.
    pub(super) has_capabilities: bool,
    /// Device and inode of the file.
    pub(super) file: (u64, u64),
    /// Only root can have put it where it is; otherwise why not.
    pub(super) of_root: Result<(), String>,
}

impl Program {
    /// Reads the executable of a process whose path it says is `path`; `None` if the process is gone, or has none.
    pub(super) fn read(proc_root: &Path, directory: &Path, path: &[u8]) -> Option<Self> {
        let running = fs::metadata(directory.join("exe")).ok()?;
        Some(Self {
            is_set_id: running.mode() & 0o6000 != 0,
            has_capabilities: sys::has_capabilities(&directory.join("exe")),
            file: (running.dev(), running.ino()),
            of_root: of_root(&host_root(proc_root), &running, Path::new(OsStr::from_bytes(path))),
        })
    }
}

/// The root directory of the host's first process.
pub(super) fn host_root(proc_root: &Path) -> PathBuf {
    proc_root.join("1/root")
}

fn of_root(root: &Path, running: &Metadata, path: &Path) -> Result<(), String> {
    let Ok(below) = path.strip_prefix("/") else {
        return Err(format!("its program {} is not in a directory of the host", path.display()));
    };
    let file = root.join(below);
    let directories = file.ancestors().skip(1).take_while(|directory| directory.starts_with(root));
    for directory in directories {
        // The root itself is a link of /proc.
        let found = if directory == root { fs::metadata(directory) } else { fs::symlink_metadata(directory) };
        let shown = || Path::new("/").join(directory.strip_prefix(root).unwrap_or(directory));
        match found {
            Ok(found) if !found.is_dir() => return Err(format!("{} is no directory", shown().display())),
            Ok(found) if can_others_write(&found) => {
                return Err(format!("others than root can write to {}", shown().display()));
            }
            Ok(_) => {}
            Err(error) => return Err(format!("{}: {error}", shown().display())),
        }
    }
    if can_others_write(running) {
        return Err(format!("others than root can write to its program {}", path.display()));
    }
    // A package upgrade removed it, from a directory that is root's alone.
    if running.nlink() == 0 {
        return Ok(());
    }
    match fs::symlink_metadata(&file) {
        Ok(found) if (found.dev(), found.ino()) == (running.dev(), running.ino()) => Ok(()),
        Ok(_) => Err(format!("its program is not the host's {}", path.display())),
        Err(error) => Err(format!("its program {}: {error}", path.display())),
    }
}

/// Whether a user other than root can change a file or directory, by its owner and mode. An access control list
/// shows in the bits of the group.
pub(super) fn can_others_write(found: &Metadata) -> bool {
    let mode = found.mode();
    found.uid() != 0 || mode & 0o002 != 0 || mode & 0o020 != 0 && found.gid() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(path: &str) -> Result<(), String> {
        let running = fs::metadata(path).unwrap();
        of_root(Path::new("/"), &running, Path::new(path))
    }

    #[test]
    fn file_of_root_is_where_only_root_can_have_put_it() {
        let shell = fs::canonicalize("/bin/sh").unwrap();
        assert_eq!(judged(shell.to_str().unwrap()), Ok(()));
    }

    #[test]
    fn copy_in_a_directory_that_others_can_write_to_is_not() {
        let copy = std::env::temp_dir().join(format!("tcpw-program-{}", std::process::id()));
        fs::copy("/bin/sh", &copy).unwrap();
        let judged = judged(copy.to_str().unwrap());
        fs::remove_file(&copy).unwrap();
        assert!(judged.unwrap_err().starts_with("others than root can write to /"));
    }

    #[test]
    fn other_file_mounted_over_the_path_is_not() {
        let running = fs::metadata(fs::canonicalize("/bin/cat").unwrap()).unwrap();
        let path = fs::canonicalize("/bin/sh").unwrap();
        let judged = of_root(Path::new("/"), &running, &path).unwrap_err();
        assert!(judged.starts_with("its program is not the host's /"), "{judged}");
        assert!(of_root(Path::new("/"), &running, Path::new("memfd:x")).is_err());
    }
}
