//! Packages that `cargo xtask setup` unpacks and does not install, because others exclude them or because they would
//! serve this machine's files: they are laid over the sandbox's /usr.
//!
//! In: what was unpacked. Out: the sandbox's /usr and /etc as if the packages were installed, without what their
//! scripts do: accounts, and files that they write. Invariant: the host's /usr is not changed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

use crate::sandbox::Sandbox;

/// Where `cargo xtask setup` unpacks packages.
const UNPACKED: &str = "/var/lib/tcpw-tests";

/// Lays the /usr of packages over the sandbox's, and copies their /etc.
///
/// # Errors
/// A package is not unpacked.
pub fn lay_over(sandbox: &Sandbox, packages: &[&str]) -> Result<()> {
    for package in packages {
        let into = sandbox.scratch().join(package);
        copy(&Path::new(UNPACKED).join(package), &into).context("cargo xtask setup --all")?;
        // In the host's /usr, too, they are one.
        for directory in ["bin", "sbin", "lib"].map(|name| into.join(name)).iter().filter(|it| it.exists()) {
            let merged = into.join("usr").join(directory.file_name().context("a name")?);
            fs::create_dir_all(&merged).with_context(|| format!("make {}", merged.display()))?;
            copy(&directory.join("."), &merged)?;
        }
        if into.join("etc").exists() {
            copy(&into.join("etc/."), &sandbox.etc())?;
        }
    }
    let layers: Vec<_> =
        packages.iter().map(|package| layer(sandbox, package).display().to_string()).collect();
    let layers = format!("lowerdir={}:/usr", layers.join(":"));
    // Layers that are only read: changes to them are made before anything has looked.
    sandbox.mounts().run(|| {
        mount(Some("overlay"), "/usr", Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
            .context("lay over /usr")
    })
}

/// The /usr of a package that was laid over the sandbox's: where to change it.
pub fn layer(sandbox: &Sandbox, package: &str) -> PathBuf {
    sandbox.scratch().join(package).join("usr")
}

/// Gives a program the owner and mode that a script of its package would have given it.
///
/// # Errors
/// It is not there.
pub fn mark(program: &Path, (uid, gid): (u32, u32), mode: u32) -> Result<()> {
    chown(program, Some(uid), Some(gid)).with_context(|| format!("chown {}", program.display()))?;
    fs::set_permissions(program, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Makes a user and a group of that name in the sandbox.
///
/// # Errors
/// The disk is full.
pub fn account(sandbox: &Sandbox, name: &str, (uid, gid): (u32, u32)) -> Result<()> {
    let etc = sandbox.etc();
    add(&etc.join("passwd"), &format!("{name}:x:{uid}:{gid}::/nonexistent:/usr/sbin/nologin\n"))?;
    add(&etc.join("group"), &format!("{name}:x:{gid}:\n"))
}

/// Adds a line to a file.
///
/// # Errors
/// It is not there.
pub fn add(file: &Path, line: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))? + line;
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

fn copy(from: &Path, into: &Path) -> Result<()> {
    let done = Command::new("cp").arg("-a").args([from, into]).output().context("start cp")?;
    if !done.status.success() {
        bail!("copy {}: {}", from.display(), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}
