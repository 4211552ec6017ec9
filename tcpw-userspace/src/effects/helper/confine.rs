//! Giving up root.
//!
//! In: a charge, as root. Out: a process of another user without any capability. It cannot gain one, cannot
//! make the system calls that [`forbid_calls`] forbids, and can change files only where the charge says.
//! Invariant: every failure here is an error, except a missing landlock on older kernels.
//! Source: capabilities(7), landlock(7), prctl(2), seccomp(2).

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use caps::Capability;
use landlock::{
    ABI, AccessFs, BitFlags, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
    path_beneath_rules,
};
use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::Gid,
};

use super::super::{mailer::Mailer, wire::Charge};
use crate::host::{System, become_user, drop_bounding, forbid_calls, ordinary_user};

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

/// Gives up root and every capability.
pub(super) fn confine(charge: &Charge, notes: &mut Vec<String>) -> Result<()> {
    let user = ordinary_user(&charge.user)?;
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
    forbid_calls(&[]).context("forbid system calls")?;
    become_user(&user, group)
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
