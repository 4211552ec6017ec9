//! Giving up root, in a process of its own.
//!
//! In: a process of root with one thread. Out: one of another user without any capability, that cannot gain one.
//! Invariant: every failure is an error.
//! Source: capabilities(7), prctl(2).

use std::ffi::CString;

use anyhow::{Context as _, Result, bail, ensure};
use caps::{CapSet, Capability};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Gid, Pid, User, getppid, initgroups, setresgid, setresuid},
};

/// Leaves no descriptor but the standard ones.
pub(crate) fn close_inherited() -> Result<()> {
    // SAFETY: nothing in this process uses a descriptor above 2 yet.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    ensure!(done == 0, "close what was inherited: {}", std::io::Error::last_os_error());
    Ok(())
}

/// A user that is not root.
pub(crate) fn ordinary_user(name: &str) -> Result<User> {
    let user = User::from_name(name).with_context(|| format!("look for user {name}"))?;
    let user = user.with_context(|| format!("there is no user {name}"))?;
    ensure!(!user.uid.is_root(), "user {name} is root: what strangers send is not handled as root");
    Ok(user)
}

/// Becomes another user, without capabilities and for good.
pub(crate) fn give_up_root(name: &str) -> Result<()> {
    let user = ordinary_user(name)?;
    // A container without CAP_SETPCAP: no_new_privs stands in for it.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(true) {
        drop_bounding(&[])?;
    }
    prctl::set_no_new_privs().context("set no_new_privs")?;
    become_user(&user, None)
}

/// No program that is executed later has other capabilities than these.
pub(crate) fn drop_bounding(but: &[Capability]) -> Result<()> {
    for capability in caps::all() {
        let has = caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false);
        if has && !but.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)
                .with_context(|| format!("drop {capability} from the bounding set"))?;
        }
    }
    Ok(())
}

/// If `group` replaces the user's own primary group, the user's group becomes a supplementary one. The real
/// group id is set too: under no_new_privs execve(2) sets the effective group id to the real one.
pub(crate) fn become_user(user: &User, group: Option<Gid>) -> Result<()> {
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

/// Ends with its parent. Giving up root undoes this, so it comes after.
pub(crate) fn end_with(parent: Pid) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("ask to end with the parent")?;
    ensure!(getppid() == parent, "the daemon is gone");
    Ok(())
}
