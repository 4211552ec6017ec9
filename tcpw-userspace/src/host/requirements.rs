//! What this machine must have for tcpw to run.
//!
//! In: the capabilities of this process, the kernel's BTF, the file systems of two directories. Out: what
//! is missing, and what to do. Invariant: nothing is changed.

use std::{fs, path::Path};

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::cgroups::{cgroup2_root, is_cgroup2, refuse_container_root};

/// Types of the programs and of every kernel structure they read.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Something is missing: what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub(super) String);

/// What the daemon needs, and whether CAP_SYS_ADMIN implies it.
const CAPABILITIES: [(Capability, bool); 6] = [
    (Capability::CAP_NET_ADMIN, false),
    (Capability::CAP_SYS_PTRACE, false),
    // Without it the processes of other users hold no listener that can be seen.
    (Capability::CAP_DAC_READ_SEARCH, false),
    (Capability::CAP_SYS_ADMIN, true),
    (Capability::CAP_PERFMON, true),
    (Capability::CAP_BPF, true),
];

/// Whether we may load and attach programs, and look into other processes.
///
/// # Errors
///
/// The capabilities that are missing.
pub fn privileges() -> Result<(), Missing> {
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    let missing = missing_capabilities(&effective);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Missing(if nix::unistd::geteuid().is_root() {
        format!("root without {}: give this container or unit these capabilities", missing.join(", "))
    } else {
        "not root: run as root, for example with sudo".into()
    }))
}

fn missing_capabilities(effective: &CapsHashSet) -> Vec<String> {
    let has = |capability| effective.contains(&capability);
    CAPABILITIES
        .iter()
        .filter(|(capability, by_admin)| !(has(*capability) || *by_admin && has(Capability::CAP_SYS_ADMIN)))
        .map(|(capability, _)| capability.to_string())
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
            Err(error) => crate::host::reason(&error),
        };
        return Err(Missing(format!("cgroup {}: {what}: name a cgroup2 directory{known}", cgroup.display())));
    }
    refuse_container_root(cgroup)?;
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
        use Capability::{
            CAP_BPF, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE,
        };
        let with = |has: &[Capability]| {
            missing_capabilities(&has.iter().copied().chain([CAP_DAC_READ_SEARCH]).collect())
        };
        assert_eq!(with(&[CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN]), Vec::<&str>::new());
        assert_eq!(with(&[CAP_NET_ADMIN, CAP_SYS_ADMIN]), ["CAP_SYS_PTRACE"]);
        assert_eq!(with(&[CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF]), ["CAP_SYS_ADMIN"]);
        assert_eq!(with(&[]).len(), 5);
        let rest = [CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN];
        assert_eq!(missing_capabilities(&rest.into_iter().collect()), ["CAP_DAC_READ_SEARCH"]);
    }
}
