//! The cgroup2 hierarchy: where it is mounted, and the ids of its cgroups.
//!
//! In: /proc/self/mountinfo, directories. Out: its root, ids. Invariant: only what
//! statfs(2) calls cgroup2 is taken for it.
//!
//! Not the procfs crate for mountinfo: it leaves octal escapes in paths, and one line it cannot read fails the
//! whole file.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::requirements::Missing;

/// The root of the cgroup2 hierarchy, wherever it is mounted.
///
/// # Errors
///
/// There is none.
pub fn cgroup2_root() -> Result<PathBuf, Missing> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    cgroup2_mounts(&mounts)
        .into_iter()
        .map(|(_, point)| point)
        // Another mount may lie over it.
        .find(|path| is_cgroup2(path))
        .ok_or_else(|| {
            Missing("no cgroup2 file system is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup".into())
        })
}

/// Refuses a container's own cgroup2 mount: its top directory looks like the root of all cgroups and holds the container
/// alone. A directory below it may be named.
///
/// # Errors
///
/// What to mount.
pub(super) fn refuse_container_root(cgroup: &Path) -> Result<(), Missing> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = fs::canonicalize(cgroup).unwrap_or_else(|_| cgroup.to_path_buf());
    if is_root_cgroup(&path) || !cgroup2_mounts(&mounts).iter().any(|(_, point)| *point == path) {
        return Ok(());
    }
    Err(Missing(format!(
        "cgroup {}: the top of a container's own cgroup2 mount, not the root of all cgroups: nothing outside the container \
         would be guarded: mount the host's /sys/fs/cgroup there (in a pod a hostPath volume), or name a directory below it",
        cgroup.display()
    )))
}

/// Whether a directory is the root of all cgroups, and not just that of a container.
pub fn is_root_cgroup(directory: &Path) -> bool {
    /// Source: linux/fs/kernfs/dir.c, `kernfs_create_root`.
    const ROOT_INODE: u64 = 1;
    fs::metadata(directory).is_ok_and(|found| found.ino() == ROOT_INODE)
}

/// The id of a process's cgroup; `None` if it cannot be found, as in a cgroup namespace that does not show it.
///
/// Source: proc_pid_cgroup(5).
pub fn cgroup_of(proc_root: &Path, pid: u32) -> Option<u64> {
    let text = fs::read_to_string(proc_root.join(pid.to_string()).join("cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    if Path::new(path).components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let directory = cgroup2_root().ok().filter(|root| is_root_cgroup(root))?.join(path);
    fs::metadata(directory).ok().map(|found| found.ino())
}

/// The cgroups that have a directory: those below one, and all others. Ids are inode numbers of directories.
#[derive(Debug, Default)]
pub struct Cgroups {
    inside: HashSet<u64>,
    outside: HashSet<u64>,
}

impl Cgroups {
    /// With a directory and what is below it as the inside. The outside is what else the mount of that directory shows.
    pub fn around(directory: &Path) -> Self {
        let inside = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_path_buf());
        let top = inside.ancestors().take_while(|above| is_cgroup2(above)).last().unwrap_or(&inside);
        let mut found = Self::default();
        let mut open: Vec<PathBuf> = vec![top.to_path_buf()];
        while let Some(directory) = open.pop() {
            let Ok(entry) = fs::metadata(&directory) else { continue };
            let ids = if directory.starts_with(&inside) { &mut found.inside } else { &mut found.outside };
            ids.insert(entry.ino());
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            open.extend(
                entries
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        found
    }

    /// Whether a cgroup is inside. `None` if it has no directory: it was removed, or the mount does not show it, or the
    /// kernel did not say which it is (0).
    pub fn is_inside(&self, id: u64) -> Option<bool> {
        if self.inside.contains(&id) { Some(true) } else { self.outside.contains(&id).then_some(false) }
    }
}

/// Roots and mount points of cgroup2, those that show the whole hierarchy first.
///
/// Source: proc_pid_mountinfo(5).
fn cgroup2_mounts(mountinfo: &str) -> Vec<(PathBuf, PathBuf)> {
    let mut mounts: Vec<(PathBuf, PathBuf)> = mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            file_system.starts_with("cgroup2 ").then(|| (unescape(root), unescape(point)))
        })
        .collect();
    mounts.sort_by_key(|(root, _)| root != Path::new("/"));
    mounts
}

/// Undoes mountinfo's octal escapes of blank, tab, newline and backslash.
fn unescape(point: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(point.to_owned(), |point, (escape, byte)| point.replace(escape, byte)).into()
}

pub(super) fn is_cgroup2(path: &Path) -> bool {
    path.is_dir() && statfs(path).is_ok_and(|it| it.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_in_pure_and_hybrid_layouts_whole_hierarchies_first() {
        let pure = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let points = |mounts| cgroup2_mounts(mounts).into_iter().map(|(_, point)| point).collect::<Vec<_>>();
        assert_eq!(points(pure), [Path::new("/sys/fs/cgroup")]);
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            39 31 0:37 /user /part rw - cgroup2 cgroup2 rw\n\
            41 31 0:38 / /sys/fs/my\\040cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(points(hybrid), [Path::new("/sys/fs/my cgroup"), Path::new("/part")]);
        assert_eq!(points(""), Vec::<PathBuf>::new());
    }

    #[test]
    fn cgroup_without_a_directory_is_neither_inside_nor_outside() {
        let top = std::env::temp_dir().join(format!("tcpw-cgroups-{}", std::process::id()));
        let [inside, below, other] = ["in", "in/below", "other"].map(|name| top.join(name));
        for directory in [&below, &other] {
            fs::create_dir_all(directory).unwrap();
        }
        let id = |directory: &Path| fs::metadata(directory).unwrap().ino();
        let mut cgroups = Cgroups::around(&inside);
        assert_eq!([&inside, &below].map(|it| cgroups.is_inside(id(it))), [Some(true); 2]);
        assert_eq!([id(&other), 0].map(|it| cgroups.is_inside(it)), [None; 2]);
        cgroups.outside.insert(id(&other));
        assert_eq!(cgroups.is_inside(id(&other)), Some(false));
        fs::remove_dir_all(&top).unwrap();
    }
}
