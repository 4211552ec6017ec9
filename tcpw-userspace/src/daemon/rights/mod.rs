//! What the daemon may do once it runs.
//!
//! In: a process of root with one thread. Out: the same with the capabilities of [`KEPT`] and no way to others, without
//! execve(2), and with the system calls that `syscalls.rs` lists.
//! Invariant: this is done before the first other thread is started, which inherits it, and before anything of the
//! network is read.
//! Source: capabilities(7), prctl(2), seccomp(2).

mod syscalls;

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

/// A capability and why the daemon keeps it.
pub struct Kept {
    /// The capability.
    pub capability: Capability,
    /// What needs it.
    pub reason: &'static str,
}

/// Defines the list.
macro_rules! kept {
    ($($capability:ident: $reason:literal;)*) => {
        /// Every capability that the daemon keeps. docs/operations.md has the same list.
        pub const KEPT: &[Kept] = &[$(Kept { capability: Capability::$capability, reason: $reason }),*];
    };
}

kept! {
    CAP_BPF: "load programs and create maps, also later, when an edited rule needs them";
    CAP_PERFMON: "programs that read kernel structures: those that see new listeners";
    CAP_NET_ADMIN: "attach programs to cgroups, network namespaces and devices; put frames onto devices; abort connections; take over a refused client's address";
    CAP_NET_RAW: "raw sockets that send held packets again";
    CAP_SYS_ADMIN: "enter network namespaces; bpf(2) on kernels before 5.8";
    CAP_SYS_PTRACE: "executables, user ids and sockets of other processes";
    CAP_DAC_READ_SEARCH: "open files of other users' processes; tables and pattern files that only their owner can read";
    CAP_CHOWN: "give files that commands write to, to the user of the commands";
    CAP_SYS_NICE: "the priority of the sign of life, and of the threads that clients and `tcpw status` wait for";
}

/// Gives up everything else, for this process and whatever it starts.
///
/// # Errors
/// A capability cannot be given up.
pub(super) fn give_up() -> Result<()> {
    let kept: CapsHashSet = KEPT.iter().map(|kept| kept.capability).collect();
    let has = caps::read(None, CapSet::Permitted).context("read the capabilities")?;
    let kept: CapsHashSet = kept.intersection(&has).copied().collect();
    for capability in caps::all() {
        let is_there = caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false);
        // A container without CAP_SETPCAP: no_new_privs, and no execve(2), stand in for it.
        if is_there && !kept.contains(&capability) && has.contains(&Capability::CAP_SETPCAP) {
            caps::drop(None, CapSet::Bounding, capability)
                .with_context(|| format!("drop {capability} from the bounding set"))?;
        }
    }
    prctl::set_no_new_privs().context("set no_new_privs")?;
    // A kernel without ambient capabilities has none to give up.
    drop(caps::clear(None, CapSet::Ambient));
    caps::clear(None, CapSet::Inheritable).context("give up inheritable capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("give up effective capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("give up permitted capabilities")?;
    if let Err(error) = syscalls::allow_only() {
        log::warn!("system calls are not limited: {error:#}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_has_the_same_list() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `CAP_")).collect();
        let wanted: Vec<String> =
            KEPT.iter().map(|kept| format!("| `{}` | {} |", kept.capability, kept.reason)).collect();
        assert_eq!(
            rows.iter().filter(|row| wanted.iter().any(|it| row.starts_with(it.as_str()))).count(),
            wanted.len(),
            "{wanted:#?}"
        );
    }
}
