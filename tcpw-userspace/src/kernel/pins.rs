//! The pin directory: with pins enforcement outlives the process.
//!
//! In: a directory on a BPF file system. Out: the paths of maps and links below
//! `v<ABI_VERSION>`, and what an earlier process, of this or another version, left there.
//! Invariant: nothing is pinned where another user could remove it, nor believed that one may have put there; a
//! version reads only those parts of another's pins that [`ABI_VERSION`] documents.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use tcpw_common::ABI_VERSION;

use super::{programs::Hook, sys};
use crate::host::{make_own_dir, open_own_dir};

const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// The pins of one gate: those of one version in a pin directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
    version: u32,
}

impl Pins {
    /// This version's pins below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), version: ABI_VERSION }
    }

    /// The layout version they are of.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Makes the directories.
    ///
    /// # Errors
    /// `root` is not on a BPF file system, cannot be made, or may be another user's.
    pub fn create(&self) -> Result<()> {
        make_own_dir(&self.root).with_context(|| format!("pin directory {}", self.root.display()))?;
        make_own_dir(&self.dir()).with_context(|| format!("create {}", self.dir().display()))?;
        if !is_bpf_fs(&self.root)? {
            bail!(
                "{} is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or choose another --pin-dir",
                self.root.display()
            );
        }
        Ok(())
    }

    /// Whether a gate of this version is pinned here.
    pub fn hold_a_gate(&self) -> bool {
        self.link(Hook::Gate).exists()
    }

    /// The pins of any version, this one first, then the newest.
    ///
    /// # Errors
    /// The directory cannot be read, or it or a version's may be another user's: what is in there is not believed.
    pub fn all_versions(&self) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        refuse_others(&self.root)?;
        for entry in entries(&self.root)? {
            if let Some(version) = version_of(&entry) {
                let pins = Self { root: self.root.clone(), version };
                refuse_others(&pins.dir())?;
                found.push(pins);
            }
        }
        found.sort_by_key(|pins| (pins.version != self.version, std::cmp::Reverse(pins.version)));
        Ok(found)
    }

    /// The gates that enforce here, of any version, this one first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn gates(&self) -> Result<Vec<Self>> {
        Ok(self.all_versions()?.into_iter().filter(Self::hold_a_gate).collect())
    }

    /// Path of a map's pin.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Path of a link's pin.
    pub(super) fn link(&self, hook: Hook) -> PathBuf {
        self.dir().join(format!("link_{}", hook.program()))
    }

    /// Path of the link of a network namespace's resets.
    pub(super) fn link_of_resets(&self, netns: u64) -> PathBuf {
        self.dir().join(format!("{RESETS}{netns}"))
    }

    /// The links of resets that are pinned, by network namespace cookie.
    pub(super) fn links_of_resets(&self) -> Result<Vec<(u64, PathBuf)>> {
        let dir = self.dir();
        let entries = std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let netns = name.to_str().and_then(|name| name.strip_prefix(RESETS)?.parse().ok());
            found.extend(netns.map(|netns| (netns, entry.path())));
        }
        Ok(found)
    }

    fn dir(&self) -> PathBuf {
        self.root.join(format!("v{}", self.version))
    }

    /// Id of the cgroup that the pinned gate guards; 0 if it was removed.
    ///
    /// # Errors
    /// No gate is pinned.
    pub(super) fn guarded_cgroup(&self) -> Result<u64> {
        let path = self.link(Hook::Gate);
        let link = sys::open_pin(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(sys::cgroup_link(link.as_fd()).with_context(|| format!("ask {}", path.display()))?.cgroup)
    }

    /// Ends enforcement, of every version.
    ///
    /// Returns what was removed, the names as pinned; empty if nothing was there.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn remove_all(&self) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for pins in self.all_versions()? {
            removed.extend(pins.remove()?);
        }
        remove_if_empty(&self.root)?;
        Ok(removed)
    }

    /// Ends enforcement of this version: detaches its links, the gate's first, and removes its pins.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn remove(&self) -> Result<Vec<String>> {
        let dir = self.dir();
        refuse_others(&dir)?;
        let mut names = entries(&dir)?;
        names.retain(|name| is_pin(name));
        names.sort_by_key(|name| (!is_link(name), !name.as_bytes().ends_with(b"gate"), name.clone()));
        for name in &names {
            self.remove_pin(name)?;
        }
        remove_if_empty(&dir)?;
        remove_if_empty(&self.root)?;
        Ok(names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    /// Removes the links of hooks that are not in use: an earlier process may have had others.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub(super) fn keep_links(&self, in_use: &[Hook]) -> Result<()> {
        // Those of resets come and go with the services.
        let is_hook = |name: &&OsString| is_link(name) && !name.as_bytes().starts_with(RESETS.as_bytes());
        for name in entries(&self.dir())?.iter().filter(is_hook) {
            if in_use.iter().all(|hook| self.link(*hook).file_name() != Some(name)) {
                self.remove_pin(name)?;
            }
        }
        Ok(())
    }

    fn remove_pin(&self, name: &OsStr) -> Result<()> {
        let path = self.dir().join(name);
        if is_link(name) {
            // At once, even if another process holds the link.
            let link = sys::open_pin(&path).with_context(|| format!("open {}", path.display()))?;
            sys::detach_link(link.as_fd()).with_context(|| format!("detach {}", path.display()))?;
        }
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }
}

/// What the pins of links begin with.
const LINK: &[u8] = b"link_";

/// What those of resets begin with.
const RESETS: &str = "link_refuse_";

fn is_link(name: &OsStr) -> bool {
    name.as_bytes().starts_with(LINK)
}

/// The version a directory is of: `v` and a number. Nothing else below a pin directory is ever
/// touched: it may be shared with other programs.
fn version_of(name: &OsStr) -> Option<u32> {
    let number = name.to_str()?.strip_prefix('v')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

/// Whether a pin is tcpw's, of any version: maps are named in capitals.
fn is_pin(name: &OsStr) -> bool {
    let is_ours = is_link(name);
    let name = name.as_bytes();
    is_ours
        || !name.is_empty()
            && name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

/// Refuses a directory that may be another user's; one that is missing is no error.
fn refuse_others(dir: &Path) -> Result<()> {
    match open_own_dir(dir) {
        Err(error) if !error.is_missing() => {
            Err(error).with_context(|| format!("pin directory {}", dir.display()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Names in a directory; none if it does not exist.
fn entries(dir: &Path) -> Result<Vec<OsString>> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", dir.display())),
    };
    listed.map(|entry| Ok(entry.with_context(|| format!("read {}", dir.display()))?.file_name())).collect()
}

fn remove_if_empty(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
            Ok(())
        }
        // A mount point: tcpw did not make it.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", dir.display())),
    }
}

/// The id the kernel gives a cgroup: the inode number of its directory.
pub(super) fn cgroup_id(dir: &Path) -> Result<u64> {
    Ok(fs::metadata(dir).with_context(|| format!("open cgroup {}", dir.display()))?.ino())
}

fn is_bpf_fs(dir: &Path) -> Result<bool> {
    let stat = nix::sys::statfs::statfs(dir).with_context(|| format!("statfs {}", dir.display()))?;
    Ok(u32::try_from(stat.filesystem_type().0).is_ok_and(|magic| magic == BPF_FS_MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_pins_are_told_from_what_others_keep_there() {
        let version = |name: &str| version_of(OsStr::new(name));
        assert_eq!((version("v2"), version("v10")), (Some(2), Some(10)));
        assert_eq!(
            (version("v"), version("v1a"), version("V1"), version("v99999999999")),
            (None, None, None, None)
        );
        let pin = |name: &str| is_pin(OsStr::new(name));
        assert!(pin("CLIENTS_V4") && pin("link_gate") && !pin("cilium") && !pin(""));
    }
}
