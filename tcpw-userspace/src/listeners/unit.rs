//! The unit of the system manager that a process belongs to.
//!
//! In: the cgroup of a process, its executable, unit files of the host. Out: [`Unit`].
//! Invariant: only the system manager and root can make a process the main program of a unit: users that run
//! programs below the unit (jobs of cron, sessions without a scope of their own) do not.
//! Source: systemd.service(5), systemd.exec(5), systemd.unit(5).

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{
    config_files::{ConfigFiles, UNIT_DIRECTORIES},
    names::unit_file,
    process::ProcessInfo,
    program::{can_others_write, host_root},
    socket_unit::assignments,
};
use crate::host::cgroup2_root;

/// User ids that systemd gives to services with DynamicUser=, and to nothing else.
const DYNAMIC_USERS: std::ops::RangeInclusive<u32> = 61184..=65519;

/// The unit of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// Its cgroup, and every one above it, is root's alone.
    pub(super) is_of_root: bool,
    /// The process is its main program.
    pub(super) is_main: bool,
    /// The user that its main program runs as, unless that is root.
    pub(super) user: Option<u32>,
}

impl Unit {
    /// The unit of `process`; `None` if it has none.
    pub(super) fn read(proc_root: &Path, process: &ProcessInfo) -> Option<Self> {
        let file = unit_file(&process.cgroup)?;
        let root = cgroup2_root().ok()?;
        let is_of_root = is_cgroup_of_root(&root, &process.cgroup, file);
        let name = std::str::from_utf8(file).ok()?;
        let service = ServiceUnit::read(&ConfigFiles::below(&host_root(proc_root)).ok()?, name, process);
        Some(Self { is_of_root, ..service })
    }
}

/// What a service unit says of its main program.
#[derive(Debug, Default)]
struct ServiceUnit {
    programs: Vec<PathBuf>,
    pid_file: Option<PathBuf>,
    user: Option<String>,
    has_dynamic_user: bool,
}

impl ServiceUnit {
    fn read(files: &ConfigFiles, name: &str, process: &ProcessInfo) -> Unit {
        let template = name.split_once('@').map(|(prefix, _)| format!("{prefix}@.service"));
        let mut texts =
            template.map_or_else(Vec::new, |template| files.unit_texts(&UNIT_DIRECTORIES, &template));
        texts.extend(files.unit_texts(&UNIT_DIRECTORIES, name));
        let service = Self::parse(texts.iter().map(String::as_str), name);
        let is_dynamic = |uid: &u32| service.has_dynamic_user && DYNAMIC_USERS.contains(uid);
        let named = service.user.as_deref().and_then(|user| uid_of(files, user));
        let own = process.uids[0];
        let is_program = service.programs.iter().any(|path| {
            let found = files.metadata(path).ok().map(|found| (found.dev(), found.ino()));
            found.is_some() && found == process.program.as_ref().map(|program| program.file)
        });
        // A service that forks: its user is not the unit's, but the one that the file of its process id is of.
        let by_pid_file = || service.pid_file.as_deref().and_then(|path| owner_of_pid(files, path, process));
        if is_program {
            return Unit { is_main: true, user: named.or(Some(own).filter(is_dynamic)), ..Unit::default() };
        }
        match by_pid_file() {
            Some(owner) if owner == own => Unit { is_main: true, user: Some(owner), ..Unit::default() },
            Some(_) | None => Unit::default(),
        }
    }

    fn parse<'a>(texts: impl IntoIterator<Item = &'a str>, name: &str) -> Self {
        let mut service = Self::default();
        for (key, value) in texts.into_iter().flat_map(|text| assignments(text, "[Service]")) {
            match key {
                "ExecStart" if value.is_empty() => service.programs.clear(),
                "ExecStart" => service.programs.extend(program(value)),
                "PIDFile" => service.pid_file = absolute("/run", &expanded(value, name)),
                "User" => service.user = Some(expanded(value, name)).filter(|user| !user.is_empty()),
                "DynamicUser" => {
                    service.has_dynamic_user = matches!(value, "yes" | "true" | "on" | "1");
                }
                _ => {}
            }
        }
        service
    }
}

/// The path of a command's program.
fn program(command: &str) -> Option<PathBuf> {
    let path = command.trim_start_matches(['@', '-', ':', '+', '!', '|']).split_ascii_whitespace().next()?;
    path.starts_with('/').then(|| path.into())
}

fn absolute(directory: &str, path: &str) -> Option<PathBuf> {
    (!path.is_empty()).then(|| Path::new(directory).join(path))
}

/// The specifiers that name the unit or its instance.
fn expanded(value: &str, name: &str) -> String {
    let prefix = name.rsplit_once('.').map_or(name, |(prefix, _)| prefix);
    let (template, instance) = prefix.split_once('@').unwrap_or((prefix, ""));
    let pairs =
        [("%i", instance), ("%I", instance), ("%n", name), ("%N", prefix), ("%p", template), ("%t", "/run")];
    pairs.iter().fold(value.to_owned(), |value, (from, to)| value.replace(from, to))
}

/// The user that the file with the process id of the main program is of, if it names this process. Only that user
/// and root can have written it.
fn owner_of_pid(files: &ConfigFiles, path: &Path, process: &ProcessInfo) -> Option<u32> {
    let pid: u32 = files.text(path).ok()?.trim().parse().ok()?;
    let found = files.metadata(path).ok()?;
    let directory = files.metadata(path.parent()?).ok()?;
    let owner = process.uids[0];
    let is_of_owner = |uid: u32, mode: u32| (uid == 0 || uid == owner) && mode & 0o002 == 0;
    let is_safe = is_of_owner(found.uid(), found.mode()) && is_of_owner(directory.uid(), directory.mode());
    (pid == process.pid && is_safe).then_some(owner)
}

fn uid_of(files: &ConfigFiles, user: &str) -> Option<u32> {
    if let Ok(uid) = user.parse() {
        return Some(uid);
    }
    let text = files.text(Path::new("/etc/passwd")).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

/// Whether no other than root can write to a unit's cgroup, or to one above it.
fn is_cgroup_of_root(root: &Path, cgroup: &[u8], unit: &[u8]) -> bool {
    let mut directory = root.to_path_buf();
    for part in cgroup.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        directory.push(std::ffi::OsStr::from_bytes(part));
        if fs::symlink_metadata(&directory).map_or(true, |found| can_others_write(&found)) {
            return false;
        }
        if part == unit {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_program_user_and_file_of_the_process_id_are_read() {
        let unit = "[Unit]\nUser=x\n[Service]\nExecStart=-/usr/bin/pg_ctlcluster --skip %i start\n\
                    PIDFile=/run/postgresql/%i.pid\nUser=redis\nDynamicUser=yes\n";
        let service = ServiceUnit::parse([unit], "postgresql@15-main.service");
        assert_eq!(service.programs, [PathBuf::from("/usr/bin/pg_ctlcluster")]);
        assert_eq!(service.pid_file.as_deref(), Some(Path::new("/run/postgresql/15-main.pid")));
        assert_eq!(service.user.as_deref(), Some("redis"));
        assert!(service.has_dynamic_user);
        let service =
            ServiceUnit::parse([unit, "[Service]\nExecStart=\nExecStart=/b x\nPIDFile=y.pid\n"], "a.service");
        assert_eq!(service.programs, [PathBuf::from("/b")]);
        assert_eq!(service.pid_file.as_deref(), Some(Path::new("/run/y.pid")));
    }

    #[test]
    fn cgroup_that_is_not_there_is_not_of_root() {
        assert!(!is_cgroup_of_root(Path::new("/nowhere"), b"/system.slice/ssh.service", b"ssh.service"));
    }
}
