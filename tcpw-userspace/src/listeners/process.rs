//! Reads a process from /proc.
//!
//! In: the directory /proc/PID. Out: [`ProcessInfo`]. A process that ends meanwhile is no error.
//!
//! Not the procfs crate: it reads names as UTF-8 and fails on other bytes. A process chooses its comm and its
//! arguments, and must not be able to prevent that its listeners are found.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::RawFd,
        unix::{ffi::OsStrExt, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use super::{program::Program, proof::Doubt, sys, unit::Unit};

/// A process, as far as names depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessInfo {
    pub(super) pid: u32,
    /// Path of the executable.
    pub(super) executable: Option<Vec<u8>>,
    pub(super) comm: Vec<u8>,
    pub(super) arguments: Vec<Vec<u8>>,
    /// Path in the cgroup2 hierarchy.
    pub(super) cgroup: Vec<u8>,
    /// Whether it may choose its own name: root or CAP_NET_BIND_SERVICE on the host, and no set-id program.
    pub(super) is_privileged: bool,
    /// Its user ids, as those of the host: real, effective, saved, file system.
    pub(super) uids: [u32; 4],
    /// It is in another user namespace than this process.
    pub(super) has_foreign_users: bool,
    /// The user that made that user namespace.
    pub(super) users_maker: u32,
    /// It has CAP_NET_BIND_SERVICE on the host, and not from its file: root gave it.
    pub(super) has_given_capability: bool,
    /// The file it runs.
    pub(super) program: Option<Program>,
    /// Its unit of the system manager.
    pub(super) unit: Option<Unit>,
    /// It became another program while it was read: some of its facts are those of before.
    pub(super) is_changing: bool,
    /// When it started: clock ticks since boot.
    pub(super) started: u64,
}

impl ProcessInfo {
    /// Reads the process `pid`; `None` if there is no such process.
    pub(super) fn read(proc_root: &Path, pid: u32) -> Option<Self> {
        let directory = directory(proc_root, pid);
        let status = fs::read(directory.join("status")).ok()?;
        let stat = fs::read(directory.join("stat")).ok()?;
        let executable = fs::read_link(directory.join("exe"))
            .ok()
            .map(|path| path.into_os_string().into_encoded_bytes())
            .map(without_deleted);
        let program = executable.as_deref().and_then(|path| Program::read(proc_root, &directory, path));
        let has_foreign_users = !shares_our_users(proc_root, &directory);
        let users_maker = if has_foreign_users { maker_of_users(proc_root, &directory) } else { 0 };
        let uids = uids(&status)?;
        let is_set_id = program.as_ref().is_some_and(|program| program.is_set_id);
        let may_bind = may_bind_low_ports(&status) && !has_foreign_users && !is_set_id;
        let is_of_file = program.as_ref().is_none_or(|program| program.has_capabilities);
        let mut process = Self {
            pid,
            executable,
            comm: comm(&stat)?.to_vec(),
            arguments: arguments(&fs::read(directory.join("cmdline")).ok()?),
            cgroup: cgroup(&fs::read(directory.join("cgroup")).ok()?)?.to_vec(),
            is_privileged: uids == [0; 4] && !is_set_id || may_bind,
            has_given_capability: may_bind && !is_of_file,
            uids,
            has_foreign_users,
            users_maker,
            program,
            unit: None,
            is_changing: false,
            started: stat_field(&stat, 22)?,
        };
        process.unit = Unit::read(proc_root, &process);
        Some(process)
    }

    /// Whether it is what it was when it was read: not in the midst of setuid(2) or execve(2), when some of its facts are
    /// those of before.
    pub(super) fn is_unchanged(&self, proc_root: &Path) -> bool {
        let directory = directory(proc_root, self.pid);
        let uids = fs::read(directory.join("status")).ok().and_then(|status| uids(&status));
        let executable = fs::read_link(directory.join("exe"))
            .ok()
            .map(|path| without_deleted(path.into_os_string().into_encoded_bytes()));
        let file = fs::metadata(directory.join("exe")).ok().map(|found| (found.dev(), found.ino()));
        uids == Some(self.uids)
            && executable == self.executable
            && file == self.program.as_ref().map(|program| program.file)
            && self.has_foreign_users != shares_our_users(proc_root, &directory)
    }

    /// Whether root of the host runs it, and no other user gave it its arguments.
    pub(super) fn is_run_by_root(&self) -> Result<(), Doubt> {
        if self.is_changing {
            return Err(Doubt::Changing);
        }
        if self.has_foreign_users {
            return Err(Doubt::UserNamespace(self.users_maker));
        }
        if self.program.as_ref().is_some_and(|program| program.is_set_id) {
            return Err(Doubt::SetId);
        }
        match self.uids.iter().find(|uid| **uid != 0) {
            Some(uid) => Err(Doubt::User(*uid)),
            None => Ok(()),
        }
    }

    /// The user whose rights root's own process has taken for a time, and can give back (seteuid(2), as proftpd does).
    /// Only root can have real and saved ids of root. execve(2) makes the effective id the saved one: so the process ran
    /// its program as root. Users with that effective id cannot trace it or send it signals.
    /// Source: credentials(7), execve(2), ptrace(2), kill(2).
    pub(super) fn taken_user(&self) -> Option<u32> {
        let [real, effective, saved, file] = self.uids;
        (real == 0 && saved == 0 && effective == file).then_some(effective)
    }

    /// The last part of the executable's path.
    pub(super) fn executable_name(&self) -> Option<&[u8]> {
        self.executable.as_deref().map(base_name)
    }
}

/// The parent of a process; `None` if there is none.
pub(super) fn parent_of(proc_root: &Path, pid: u32) -> Option<u32> {
    let stat = fs::read(directory(proc_root, pid).join("stat")).ok()?;
    u32::try_from(stat_field(&stat, 4)?).ok().filter(|&parent| parent != 0)
}

/// All processes, in no particular order.
pub(super) fn all(proc_root: &Path) -> io::Result<Vec<u32>> {
    Ok(fs::read_dir(proc_root)?.flatten().filter_map(|entry| number(&entry.file_name())).collect())
}

/// The descriptors of a process that are sockets, with the inodes of these.
///
/// # Errors
/// They cannot be read: the process is gone, or may not be looked into.
pub(super) fn sockets(proc_root: &Path, pid: u32) -> io::Result<Vec<(RawFd, u64)>> {
    let entries = fs::read_dir(directory(proc_root, pid).join("fd"))?;
    let mut sockets = Vec::new();
    for entry in entries.flatten() {
        let target = match fs::read_link(entry.path()) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // It was closed.
            Err(_) => continue,
        };
        let inode = target.as_os_str().as_bytes().strip_prefix(b"socket:[");
        let inode = inode.and_then(|rest| rest.strip_suffix(b"]"));
        let inode = inode.and_then(|inode| number(OsStr::from_bytes(inode)));
        sockets.extend(number(&entry.file_name()).zip(inode));
    }
    Ok(sockets)
}

/// The last part of a path.
pub(super) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

fn directory(proc_root: &Path, pid: u32) -> PathBuf {
    proc_root.join(pid.to_string())
}

fn number<N: std::str::FromStr>(text: &OsStr) -> Option<N> {
    text.to_str()?.parse().ok()
}

/// A package upgrade removes the file a daemon runs from; the name stays.
fn without_deleted(mut path: Vec<u8>) -> Vec<u8> {
    if let Some(shorter) = path.strip_suffix(b" (deleted)") {
        path.truncate(shorter.len());
    }
    path
}

fn arguments(cmdline: &[u8]) -> Vec<Vec<u8>> {
    let text = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    text.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

fn cgroup(text: &[u8]) -> Option<&[u8]> {
    text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

/// The name in parentheses: it may itself hold parentheses.
fn comm(stat: &[u8]) -> Option<&[u8]> {
    let begin = stat.iter().position(|&byte| byte == b'(')? + 1;
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    stat.get(begin..end)
}

/// A numeric field of /proc/PID/stat, counted from 1 as in proc(5); those behind comm only.
fn stat_field(stat: &[u8], field: usize) -> Option<u64> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

/// Real, effective, saved, file system.
fn uids(status: &[u8]) -> Option<[u32; 4]> {
    let ids = status_line(status, "Uid:")?.split_ascii_whitespace();
    ids.map(|id| id.parse().ok()).collect::<Option<Vec<u32>>>()?.try_into().ok()
}

fn may_bind_low_ports(status: &[u8]) -> bool {
    const CAP_NET_BIND_SERVICE: u32 = 10;
    status_line(status, "CapEff:")
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << CAP_NET_BIND_SERVICE) != 0)
}

/// In a user namespace of its own a process has every capability: only capabilities in ours count.
fn shares_our_users(proc_root: &Path, directory: &Path) -> bool {
    let ours = fs::read_link(proc_root.join("self/ns/user"));
    let theirs = fs::read_link(directory.join("ns/user"));
    matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours == theirs)
}

/// The user that made its user namespace; if that cannot be known, one that no user is.
fn maker_of_users(proc_root: &Path, directory: &Path) -> u32 {
    let open = |directory: &Path| fs::File::open(directory.join("ns/user"));
    let maker = || sys::owner_of_user_namespace(&open(&proc_root.join("self"))?, open(directory)?);
    maker().unwrap_or(u32::MAX)
}

fn status_line<'a>(status: &'a [u8], key: &str) -> Option<&'a str> {
    status
        .split(|&byte| byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .find_map(|line| line.strip_prefix(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comm_with_parentheses_and_blanks_hides_no_field() {
        let stat = b"12 (a) b (c) S 7 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        assert_eq!(comm(stat), Some(&b"a) b (c"[..]));
        assert_eq!(stat_field(stat, 4), Some(7));
        assert_eq!(stat_field(stat, 22), Some(98765));
        assert_eq!(stat_field(b"12 (x", 22), None);
    }

    #[test]
    fn executable_of_an_upgraded_package_keeps_its_name() {
        assert_eq!(without_deleted(b"/usr/sbin/sshd (deleted)".to_vec()), b"/usr/sbin/sshd");
        assert_eq!(without_deleted(b"/usr/sbin/sshd".to_vec()), b"/usr/sbin/sshd");
    }

    #[test]
    fn uids_and_capability_are_read() {
        let user = b"Name:\tx\nUid:\t0\t1000\t0\t0\nCapEff:\t0000000000000400\n";
        assert_eq!(uids(user), Some([0, 1000, 0, 0]));
        assert!(may_bind_low_ports(user));
        let root = b"Name:\tx\nUid:\t1000\t0\t0\t0\nCapEff:\t0000000000000000\n";
        assert_eq!(uids(root), Some([1000, 0, 0, 0]));
        assert!(!may_bind_low_ports(root));
    }

    #[test]
    fn root_in_effect_alone_does_not_run_a_process() {
        let process = |uids| ProcessInfo { uids, ..ProcessInfo::default() };
        assert_eq!(process([0; 4]).is_run_by_root(), Ok(()));
        assert_eq!(process([1000, 0, 0, 0]).is_run_by_root(), Err(Doubt::User(1000)));
        assert_eq!(process([0, 0, 1000, 0]).is_run_by_root(), Err(Doubt::User(1000)));
    }

    #[test]
    fn unified_cgroup_is_found_among_the_old_ones() {
        assert_eq!(cgroup(b"9:name=systemd:/x\n0::/a/b\n"), Some(&b"/a/b"[..]));
        assert_eq!(cgroup(b"9:name=systemd:/x\n"), None);
    }

    #[test]
    fn own_process_is_read() {
        let own = ProcessInfo::read(Path::new("/proc"), std::process::id()).unwrap();
        assert!(own.executable_name().is_some_and(|name| name.starts_with(b"tcpw")));
        assert!(!own.arguments.is_empty() && own.started > 0);
        assert!(own.is_unchanged(Path::new("/proc")));
        let before = ProcessInfo { uids: [1; 4], ..own.clone() };
        assert!(!before.is_unchanged(Path::new("/proc")), "it has called setuid");
        let before = ProcessInfo { executable: Some(b"/bin/x".to_vec()), ..own };
        assert!(!before.is_unchanged(Path::new("/proc")), "it has called execve");
        assert_eq!(ProcessInfo::read(Path::new("/proc"), u32::MAX), None);
    }
}
