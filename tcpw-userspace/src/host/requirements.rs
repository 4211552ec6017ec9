//! What this machine must have, asked before anything is touched.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use caps::{CapSet, Capability};

/// Types of the programs and of every kernel structure they read.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Something is missing: what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(String);

/// What is needed, and whether CAP_SYS_ADMIN stands in for it.
const CAPABILITIES: [(Capability, bool); 5] = [
    (Capability::CAP_NET_ADMIN, false),
    (Capability::CAP_SYS_PTRACE, false),
    (Capability::CAP_SYS_ADMIN, false),
    (Capability::CAP_PERFMON, true),
    (Capability::CAP_BPF, true),
];

/// Whether we may load and attach programs, and look into other processes.
///
/// # Errors
///
/// Who is missing what.
pub fn privileges() -> Result<(), Missing> {
    let missing = missing_capabilities(|one| caps::has_cap(None, CapSet::Effective, one).unwrap_or(false));
    if missing.is_empty() {
        return Ok(());
    }
    Err(Missing(if nix::unistd::geteuid().is_root() {
        format!("root without {}: give this container or unit these capabilities", missing.join(", "))
    } else {
        "not root: run as root, for example with sudo".into()
    }))
}

fn missing_capabilities(has: impl Fn(Capability) -> bool) -> Vec<String> {
    let is_missing = |(capability, by_admin): &&(Capability, bool)| {
        !(has(*capability) || *by_admin && has(Capability::CAP_SYS_ADMIN))
    };
    CAPABILITIES.iter().filter(is_missing).map(|(capability, _)| capability.to_string()).collect()
}

/// Whether the kernel and its file systems offer what is needed to guard `cgroup`, and to pin in `pins`.
///
/// # Errors
///
/// The first thing that is missing.
pub fn kernel(cgroup: &Path, pins: Option<&Path>) -> Result<(), Missing> {
    if !is_cgroup2(cgroup) {
        let known = cgroup2_root().map(|root| format!(" below {}", root.display())).unwrap_or_default();
        let what = match fs::metadata(cgroup) {
            Ok(_) => "not in a cgroup2 file system".to_owned(),
            Err(error) => crate::source::reason(&error),
        };
        return Err(Missing(format!("cgroup {}: {what}: name a cgroup2 directory{known}", cgroup.display())));
    }
    if !Path::new(BTF).exists() {
        return Err(Missing(format!(
            "no {BTF}: use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's kernels are"
        )));
    }
    pins.map_or(Ok(()), pin_dir)
}

/// Whether something can be pinned in `dir`, which need not exist.
///
/// # Errors
///
/// It is not in a bpf file system.
pub fn pin_dir(dir: &Path) -> Result<(), Missing> {
    if is_bpffs(dir) {
        return Ok(());
    }
    Err(Missing(format!(
        "pin directory {}: not in a bpf file system: mount -t bpf bpf /sys/fs/bpf, or name another with --pin-dir",
        dir.display()
    )))
}

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

/// The path of `cgroup` in the hierarchy, as /proc/PID/cgroup spells it.
///
/// # Errors
///
/// It is not in a cgroup2 file system.
pub fn cgroup_scope(cgroup: &Path) -> Result<PathBuf, Missing> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    fs::canonicalize(cgroup)
        .ok()
        .filter(|path| is_cgroup2(path))
        .and_then(|path| scope(&mounts, &path))
        .ok_or_else(|| {
            Missing(format!(
                "cgroup {}: not in a cgroup2 file system: name a cgroup2 directory",
                cgroup.display()
            ))
        })
}

fn scope(mountinfo: &str, path: &Path) -> Option<PathBuf> {
    let mounts = cgroup2_mounts(mountinfo);
    // The deepest mount point shows the path.
    let (root, point) =
        mounts.iter().filter(|(_, it)| path.starts_with(it)).max_by_key(|(_, it)| it.as_os_str().len())?;
    // Not `join` with nothing: it would append a slash.
    Some(match path.strip_prefix(point).ok()? {
        rest if rest.as_os_str().is_empty() => root.clone(),
        rest => root.join(rest),
    })
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

fn is_cgroup2(path: &Path) -> bool {
    path.is_dir() && statfs(path).is_ok_and(|it| it.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// Whether `path`, or where it would be made, is in a bpf file system.
fn is_bpffs(path: &Path) -> bool {
    let existing = path.ancestors().find(|path| path.exists());
    existing.is_some_and(|path| statfs(path).is_ok_and(|it| it.filesystem_type() == BPF_FS_MAGIC))
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
        let scope = |path| scope(hybrid, Path::new(path));
        assert_eq!(scope("/sys/fs/my cgroup").unwrap().as_os_str(), "/");
        assert_eq!(scope("/sys/fs/my cgroup/a/b").unwrap().as_os_str(), "/a/b");
        assert_eq!(scope("/part/c").unwrap().as_os_str(), "/user/c");
        assert_eq!(scope("/elsewhere"), None);
    }

    #[test]
    fn sys_admin_stands_in_for_bpf_and_perfmon_only() {
        use Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE};
        let with = |own: &[Capability]| missing_capabilities(|one| own.contains(&one));
        assert_eq!(with(&[CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN]), Vec::<String>::new());
        assert_eq!(with(&[CAP_NET_ADMIN, CAP_SYS_ADMIN]), ["CAP_SYS_PTRACE"]);
        assert_eq!(with(&[CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF]), ["CAP_SYS_ADMIN"]);
        assert_eq!(with(&[]).len(), 5);
    }
}
