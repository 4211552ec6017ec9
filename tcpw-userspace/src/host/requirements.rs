//! What this machine must have for tcpw to run.
//!
//! In: the capabilities of this process, the kernel's BTF, the file systems of two directories. Out: what
//! is missing, and what to do. Invariant: nothing is changed.

use std::{fs, path::Path};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::cgroups::{cgroup2_root, is_cgroup2};

/// Types of the programs and of every kernel structure they read.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Something is missing: what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub(super) String);

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
/// The capabilities that are missing.
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

/// Whether the kernel and its file systems offer what it takes to guard `cgroup`, and to pin in `pin_dir`
/// if that is given.
///
/// # Errors
///
/// The first thing that is missing.
pub fn kernel(cgroup: &Path, pin_dir: Option<&Path>) -> Result<(), Missing> {
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
    pin_dir.map_or(Ok(()), can_pin_in)
}

/// Whether something can be pinned in `dir`, which need not exist.
///
/// # Errors
///
/// It is not in a bpf file system.
pub fn can_pin_in(dir: &Path) -> Result<(), Missing> {
    if is_bpffs(dir) {
        return Ok(());
    }
    Err(Missing(format!(
        "pin directory {}: not in a bpf file system: mount -t bpf bpf /sys/fs/bpf, or name another with --pin-dir",
        dir.display()
    )))
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
