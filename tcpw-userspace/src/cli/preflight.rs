//! What this machine must have, asked before anything is touched.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use crate::{
    config::Config,
    control::{Lock, LockError},
};

/// Types of the programs and of every kernel structure they read.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Something is missing: what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(String);

/// Capabilities by number. Source: linux uapi/capability.h.
const CAPABILITIES: [(&str, u32, bool); 5] = [
    // Name, number, whether CAP_SYS_ADMIN stands in for it.
    ("CAP_NET_ADMIN", 12, false),
    ("CAP_SYS_PTRACE", 19, false),
    ("CAP_SYS_ADMIN", SYS_ADMIN, true),
    ("CAP_PERFMON", 38, true),
    ("CAP_BPF", 39, true),
];
const SYS_ADMIN: u32 = 21;

/// Whether we may load and attach programs, and look into other processes.
///
/// # Errors
///
/// Who is missing what.
pub fn privileges() -> Result<(), Missing> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing_capabilities(&status);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Missing(if nix::unistd::geteuid().is_root() {
        format!("root without {}: give this container or unit these capabilities", missing.join(", "))
    } else {
        "not root: run as root, for example with sudo".into()
    }))
}

fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let has = |number: u32| effective & (1 << number) != 0;
    CAPABILITIES
        .iter()
        .filter(|(_, number, by_admin)| !(has(*number) || *by_admin && has(SYS_ADMIN)))
        .map(|(name, _, _)| *name)
        .collect()
}

/// Whether the kernel and its file systems offer what `config` needs.
///
/// # Errors
///
/// The first thing that is missing.
pub fn kernel(config: &Config) -> Result<(), Missing> {
    if !is_cgroup2(&config.cgroup) {
        let known = cgroup2_root().map(|root| format!(" below {}", root.display())).unwrap_or_default();
        let what = match fs::metadata(&config.cgroup) {
            Ok(_) => "not in a cgroup2 file system".to_owned(),
            Err(error) => crate::source::reason(&error),
        };
        return Err(Missing(format!(
            "cgroup {}: {what}: name a cgroup2 directory{known}",
            config.cgroup.display()
        )));
    }
    if !Path::new(BTF).exists() {
        return Err(Missing(format!(
            "no {BTF}: use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's kernels are"
        )));
    }
    if config.pin { pin_dir(&config.pin_dir) } else { Ok(()) }
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

/// Takes the lock that keeps a second daemon from `run_dir`.
///
/// # Errors
///
/// Another daemon has it, or the directory cannot be used.
pub fn lock(run_dir: &Path) -> Result<Lock, LockError> {
    Lock::take(run_dir)
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
        let with = |numbers: &[u32]| {
            let bits = numbers.iter().fold(0u64, |bits, number| bits | (1 << number));
            missing_capabilities(&format!("Name:\tx\nCapEff:\t{bits:016x}\n"))
        };
        assert_eq!(with(&[12, 19, 21]), Vec::<&str>::new());
        assert_eq!(with(&[12, 21]), ["CAP_SYS_PTRACE"]);
        assert_eq!(with(&[12, 19, 38, 39]), ["CAP_SYS_ADMIN"]);
        assert_eq!(with(&[]).len(), 5);
        assert_eq!(missing_capabilities("").len(), 5);
    }
}
