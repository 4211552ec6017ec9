//! Giving up root.
//!
//! In: a charge, as root. Out: a process of another user without any capability. It cannot gain one, cannot
//! make the system calls of [`syscalls`](super::syscalls), and can change files only where the charge says.
//! Invariant: every failure here is an error, except a missing landlock on older kernels.
//! Source: capabilities(7), landlock(7), prctl(2), seccomp(2).

use std::{ffi::CString, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use caps::{CapSet, Capability};
use landlock::{
    ABI, AccessFs, BitFlags, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
    path_beneath_rules,
};
use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::{Gid, User, initgroups, setresgid, setresuid},
};

use super::{
    super::{mailer::Mailer, wire::Charge},
    syscalls,
};
use crate::host::System;

/// Where a command may write to existing files, if its user may.
pub const LOGS: &str = "/var/log";

/// Devices that discard what is written to them.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty"];

/// Memory of one process.
const MEMORY: u64 = 1 << 30;

/// Longest file a command may make.
const FILE_SIZE: u64 = 4 << 30;

const OPEN_FILES: u64 = 256;

/// What a set-uid mailer needs to become another user and to deliver.
const OF_SET_UID: [Capability; 6] = [
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_CHOWN,
    Capability::CAP_FOWNER,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_KILL,
];

/// Leaves no descriptor but the standard ones.
pub(in crate::effects) fn close_inherited() -> Result<()> {
    // SAFETY: nothing in this process uses a descriptor above 2 yet.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    ensure!(done == 0, "close what was inherited: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Gives up root and every capability.
pub(super) fn confine(charge: &Charge, notes: &mut Vec<String>) -> Result<()> {
    let user = find(&charge.user)?;
    let mailer = Mailer::find(&System);
    let group = match &mailer {
        Mailer::OfGroup { program, group, gid, .. } if charge.mailer_group && !charge.allow_set_uid => {
            notes.push(format!(
                "their group is {group}, that of {}, so that mail works; \"mailer-group = false\" in [effects] ends that",
                program.display()
            ));
            Some(Gid::from_raw(*gid))
        }
        Mailer::OfGroup { .. } | Mailer::Missing | Mailer::Plain | Mailer::Privileged { .. } => None,
    };
    let spool = if group.is_some() || charge.allow_set_uid { mailer.spool() } else { Vec::new() };
    limit(charge)?;
    if charge.allow_set_uid {
        drop_bounding(&OF_SET_UID)?;
    } else {
        drop_bounding(&[])?;
        prctl::set_no_new_privs().context("set no_new_privs")?;
    }
    // While root: without no_new_privs only root may do either.
    restrict_writing(charge, &spool, notes)?;
    syscalls::forbid().context("forbid system calls")?;
    become_user(&user, group)
}

/// Becomes another user, without capabilities.
pub(super) fn give_up_root(name: &str) -> Result<()> {
    let user = find(name)?;
    drop_bounding(&[])?;
    prctl::set_no_new_privs().context("set no_new_privs")?;
    become_user(&user, None)
}

fn find(name: &str) -> Result<User> {
    let user = User::from_name(name).with_context(|| format!("look for user {name}"))?;
    let user = user.with_context(|| format!("there is no user {name}"))?;
    ensure!(
        !user.uid.is_root(),
        "user {name} is root: commands with data from the network do not run as root"
    );
    Ok(user)
}

fn limit(charge: &Charge) -> Result<()> {
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NPROC, charge.processes),
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_FSIZE, FILE_SIZE),
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
        (Resource::RLIMIT_MEMLOCK, 64 << 10),
    ] {
        setrlimit(resource, most, most).with_context(|| format!("set {resource:?}"))?;
    }
    Ok(())
}

fn drop_bounding(but: &[Capability]) -> Result<()> {
    for capability in caps::all() {
        let has = caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false);
        if has && !but.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)
                .with_context(|| format!("drop {capability} from the bounding set"))?;
        }
    }
    Ok(())
}

fn restrict_writing(charge: &Charge, spool: &[PathBuf], notes: &mut Vec<String>) -> Result<()> {
    let change = AccessFs::from_write(ABI::V3);
    let append: BitFlags<AccessFs> = AccessFs::WriteFile.into();
    let mut ruleset = Ruleset::default().handle_access(change)?;
    ruleset = ruleset.scope(Scope::Signal)?;
    let status = ruleset
        .create()?
        .no_new_privs(false)
        .add_rules(path_beneath_rules(charge.writable.iter().chain(spool), change))?
        .add_rules(path_beneath_rules(&charge.files, append | AccessFs::Truncate))?
        .add_rules(path_beneath_rules([LOGS].iter().chain(&DEVICES), append))?
        .restrict_self()
        .context("restrict what may be written")?;
    if status.ruleset == RulesetStatus::NotEnforced {
        notes.push("no landlock in this kernel: commands may write wherever their user may".into());
    }
    Ok(())
}

/// If `group` replaces the user's own primary group, the user's group becomes a supplementary one. The real
/// group id is set too: under no_new_privs execve(2) sets the effective group id to the real one.
fn become_user(user: &User, group: Option<Gid>) -> Result<()> {
    let name = CString::new(user.name.as_str())?;
    initgroups(&name, user.gid).with_context(|| format!("take the groups of {}", user.name))?;
    let group = group.unwrap_or(user.gid);
    setresgid(group, group, group).with_context(|| format!("take group {group}"))?;
    setresuid(user.uid, user.uid, user.uid).with_context(|| format!("become {}", user.name))?;
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        drop(caps::clear(None, set));
        let left = caps::read(None, set).with_context(|| format!("read the {set:?} set"))?;
        if !left.is_empty() {
            bail!("capabilities are left in the {set:?} set");
        }
    }
    ensure!(nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).is_err(), "could become root again");
    Ok(())
}
