//! When the sources of the BPF object were last changed.
//!
//! Shared by `cargo xtask build` and tcpw-userspace's build script: what the one
//! calls built, the other must call fresh.

use std::{fs, io, path::Path, time::SystemTime};

/// The packages whose sources make the object.
pub(crate) const OBJECT_SOURCES: [&str; 2] = ["tcpw-ebpf", "tcpw-common"];

/// Modification time of the newest source of the BPF object.
pub(crate) fn newest_source(workspace: &Path) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for package in OBJECT_SOURCES {
        let package = workspace.join(package);
        newest = newest.max(package.join("Cargo.toml").metadata()?.modified()?);
        newest = newest.max(newest_below(&package.join("src"))?);
    }
    Ok(newest)
}

fn newest_below(directory: &Path) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            newest = newest.max(newest_below(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            newest = newest.max(path.metadata()?.modified()?);
        }
    }
    Ok(newest)
}
