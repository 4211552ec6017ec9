//! System calls that no process without rights needs, but that an attacker could use.
//!
//! In: further calls. Out: seccomp filters on this thread, and whatever it starts.
//! Invariant: the numbers of the x32 ABI are forbidden like those of x86-64; other ABIs end
//! the process.
//! Source: seccomp(2). clone3 fails with ENOSYS, because a filter cannot see its flags.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// BPF, tracing, mounts, namespaces, modules, kexec, keys, clocks, and what has no place in a shell line.
const FORBIDDEN: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const OF_ARCHITECTURE: &[i64] = &[libc::SYS_ioperm, libc::SYS_iopl, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const OF_ARCHITECTURE: &[i64] = &[];

/// Makes x32 numbers of those of x86-64. Source: linux/arch/x86/include/uapi/asm/unistd.h.
#[cfg(target_arch = "x86_64")]
const X32: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const X32: Option<i64> = None;

/// CLONE_NEW*: in a user namespace of its own any process is root.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Forbids them and `more`, for good.
pub(crate) fn forbid_calls(more: &[i64]) -> Result<()> {
    let plain = FORBIDDEN.iter().chain(OF_ARCHITECTURE).chain(more).map(|number| (*number, Vec::new()));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = plain.collect();
    rules.insert(libc::SYS_clone, NAMESPACES.into_iter().map(clone_with).collect::<Result<_>>()?);
    install(&filter(rules, libc::EPERM)?)?;
    // The C library falls back to clone.
    install(&filter([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS)?)
}

/// clone with this flag, which is in its first argument.
fn clone_with(flag: libc::c_int) -> Result<SeccompRule> {
    let flag = u64::from(flag.cast_unsigned());
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn filter(mut rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<BpfProgram> {
    if let Some(x32) = X32 {
        let twins: Vec<_> = rules.iter().map(|(number, rule)| (number | x32, rule.clone())).collect();
        rules.extend(twins);
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

/// seccompiler's own function sets no_new_privs, which disables set-uid mailers.
fn install(program: &BpfProgram) -> Result<()> {
    let length = u16::try_from(program.len()).context("the filter is too long")?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: seccompiler's instructions have the kernel's layout; the kernel copies them during the call.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    ensure!(done == 0, "seccomp: {}", std::io::Error::last_os_error());
    Ok(())
}
