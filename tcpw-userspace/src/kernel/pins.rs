//! The pin directory: what makes enforcement outlive the process.
//!
//! In: a directory on a BPF file system. Out: the paths of maps and links below
//! `v<ABI_VERSION>`, and what an earlier process left there.

use std::{
    ffi::OsStr,
    io,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData, PerCpuArray};
use tcpw_common::{
    ABI_VERSION,
    counter::Counter,
    decide::{AUDIT, Header},
};

use super::{attach::Hook, sys};

const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// The pin directory of one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
}

/// What is pinned, read without a daemon.
#[derive(Clone, Debug)]
pub struct PinnedStatus {
    /// Generation of the policy in force.
    pub generation: u32,
    /// Audit mode: nothing is refused.
    pub audit: bool,
    /// Id of the guarded cgroup: the inode number of its directory. 0: it is gone.
    pub cgroup: u64,
    /// Counters by name.
    pub counters: Vec<(&'static str, u64)>,
}

impl Pins {
    /// The pins below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes the directories.
    ///
    /// # Errors
    /// `root` is not on a BPF file system, or cannot be made.
    pub fn create(&self) -> Result<()> {
        std::fs::create_dir_all(self.dir()).with_context(|| format!("create {}", self.dir().display()))?;
        if !is_bpf_fs(&self.root)? {
            bail!(
                "{} is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or choose another --pin-dir",
                self.root.display()
            );
        }
        Ok(())
    }

    /// Whether a gate is pinned here.
    pub fn hold_a_gate(&self) -> bool {
        self.link(Hook::Gate).exists()
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
        self.root.join(format!("v{ABI_VERSION}"))
    }

    /// Removes every pin, links first, of this and of every other version. Enforcement ends
    /// unless a running process holds the links too.
    ///
    /// Returns what was removed, the names as pinned; empty if nothing was there.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn remove(&self) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        let versions = match std::fs::read_dir(&self.root) {
            Ok(versions) => versions,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
            Err(error) => return Err(error).with_context(|| format!("read {}", self.root.display())),
        };
        for version in versions {
            let version = version?;
            if !is_version(&version.file_name()) {
                continue;
            }
            let dir = version.path();
            let mut names: Vec<_> = std::fs::read_dir(&dir)?.collect::<io::Result<Vec<_>>>()?;
            names.retain(|entry| is_pin(&entry.file_name()));
            names.sort_by_key(|entry| (!entry.file_name().as_bytes().starts_with(LINK), entry.file_name()));
            for entry in names {
                std::fs::remove_file(entry.path())
                    .with_context(|| format!("remove {}", entry.path().display()))?;
                removed.push(entry.file_name().to_string_lossy().into_owned());
            }
            remove_if_empty(&dir)?;
        }
        remove_if_empty(&self.root)?;
        Ok(removed)
    }

    /// What is pinned here; `None` if no gate is.
    ///
    /// # Errors
    /// The pins cannot be read.
    pub fn status(&self) -> Result<Option<PinnedStatus>> {
        if !self.hold_a_gate() {
            return Ok(None);
        }
        let open = |name: &str| {
            MapData::from_pin(self.map(name)).with_context(|| format!("open the pinned map {name}"))
        };
        let active: Array<MapData, u32> = Array::try_from(Map::Array(open("ACTIVE")?))?;
        let headers: Array<MapData, Header> = Array::try_from(Map::Array(open("HEADERS")?))?;
        let counters: PerCpuArray<MapData, u64> = PerCpuArray::try_from(Map::PerCpuArray(open("COUNTERS")?))?;
        let header = headers.get(&active.get(&0, 0)?, 0)?;
        let link = sys::open_pin(&self.link(Hook::Gate)).context("open the pinned gate")?;
        Ok(Some(PinnedStatus {
            generation: header.generation,
            audit: header.flags & AUDIT != 0,
            cgroup: sys::cgroup_link(link.as_fd()).context("ask the pinned gate for its cgroup")?.cgroup,
            counters: read_counters(&counters)?,
        }))
    }
}

/// What the pins of links begin with.
const LINK: &[u8] = b"link_";

/// What those of resets begin with.
const RESETS: &str = "link_refuse_";

/// Whether a directory is of some version of tcpw: `v` and a number. Nothing else below a pin
/// directory is ever touched: it may be shared with other programs.
fn is_version(name: &OsStr) -> bool {
    name.as_bytes()
        .strip_prefix(b"v")
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Whether a pin is tcpw's, of any version: maps are named in capitals.
fn is_pin(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(LINK)
        || !name.is_empty()
            && name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

fn remove_if_empty(dir: &Path) -> Result<()> {
    match std::fs::remove_dir(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        // A mount point: not ours to remove.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", dir.display())),
    }
}

/// Sums the per-CPU counters.
pub(super) fn read_counters<M: std::borrow::Borrow<MapData>>(
    map: &PerCpuArray<M, u64>,
) -> Result<Vec<(&'static str, u64)>> {
    Counter::ALL
        .iter()
        .map(|(counter, name)| {
            let values = map.get(&(*counter as u32), 0).with_context(|| format!("read counter {name}"))?;
            Ok((*name, values.iter().sum()))
        })
        .collect()
}

/// The id the kernel gives a cgroup: the inode number of its directory.
pub(super) fn cgroup_id(dir: &Path) -> Result<u64> {
    Ok(std::fs::metadata(dir).with_context(|| format!("open cgroup {}", dir.display()))?.ino())
}

fn is_bpf_fs(dir: &Path) -> Result<bool> {
    let stat = nix::sys::statfs::statfs(dir).with_context(|| format!("statfs {}", dir.display()))?;
    Ok(u32::try_from(stat.filesystem_type().0).is_ok_and(|magic| magic == BPF_FS_MAGIC))
}
