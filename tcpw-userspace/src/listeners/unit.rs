//! The unit of the system manager that a process belongs to.
//!
//! In: the cgroup of a process, its executable, unit files of the host. Out: [`Unit`].
//! Invariant: a process belongs to a unit by what root wrote: the program that the unit names, the user that it names.
//! Users that run programs below the unit (jobs of cron, sessions without a scope of their own) have neither. The user
//! of a unit is no other unit, whatever program of root it runs.
//! Source: systemd.service(5), systemd.exec(5), systemd.unit(5).

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{
    config_files::{ConfigFiles, UNIT_DIRECTORIES},
    names::{unit, unit_file},
    process::{ProcessInfo, base_name},
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
    /// The process runs a program that its `ExecStart=` names, under whatever name.
    pub(super) is_program: bool,
    /// The name of its executable is the unit's: `ExecStart=` says it, or it is that of the unit but for the end
    /// (`mariadbd` and `postgres` of `mariadb` and `postgresql`).
    pub(super) is_called_so: bool,
    /// The user that the unit runs as, unless that is root.
    pub(super) user: Option<u32>,
    /// What systemd can tell of its user: the unit has no `User=`, and other users' processes cannot say that they are
    /// its main process.
    pub(super) is_for_manager: bool,
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
    /// Further paths of its commands: what a shell is told to run.
    arguments: Vec<PathBuf>,
    pid_file: Option<PathBuf>,
    user: Option<String>,
    has_dynamic_user: bool,
    /// Any process below it may say which is its main process.
    is_open_to_messages: bool,
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
        let runs = |path: &PathBuf| {
            let found = files.metadata(path).ok().map(|found| (found.dev(), found.ino()));
            found.is_some() && found == process.program.as_ref().map(|program| program.file)
        };
        let is_of_root = process.program.as_ref().is_some_and(|program| program.of_root.is_ok());
        let run: Vec<&PathBuf> = service.programs.iter().filter(|path| runs(path)).collect();
        let is_program = !run.is_empty() || is_of_root && service.arguments.iter().any(runs);
        // Links and mounts give the same file any name: those that only root can make are believed.
        let called = process.executable.as_deref().map(base_name).unwrap_or_default();
        let is_said = run.iter().any(|path| path.file_name().is_some_and(|name| name.as_bytes() == called));
        let is_namesake = unit(name.as_bytes()).is_some_and(|unit| are_namesakes(called, unit));
        let is_called_so = is_said || is_of_root && (is_program || is_namesake);
        // A service that forks: its user is not the unit's, but the one that the file of its process id is of.
        let by_pid_file = || service.pid_file.as_deref().and_then(|path| owner_of_pid(files, path, process));
        let user = named.or_else(|| Some(own).filter(is_dynamic)).or_else(by_pid_file);
        let is_for_manager = !texts.is_empty() && user.is_none() && own != 0 && !service.is_open_to_messages;
        let user = user.filter(|user| *user != 0);
        Unit { is_program, is_called_so, user, is_for_manager, ..Unit::default() }
    }

    fn parse<'a>(texts: impl IntoIterator<Item = &'a str>, name: &str) -> Self {
        let mut service = Self::default();
        for (key, value) in texts.into_iter().flat_map(|text| assignments(text, "[Service]")) {
            match key.as_str() {
                "ExecStart" if value.is_empty() => {
                    service.programs.clear();
                    service.arguments.clear();
                }
                "ExecStart" => {
                    let (program, arguments) = paths(&value);
                    service.programs.extend(program);
                    service.arguments.extend(arguments);
                }
                "PIDFile" => service.pid_file = absolute("/run", &expanded(&value, name)),
                "User" => service.user = Some(expanded(&value, name)).filter(|user| !user.is_empty()),
                "NotifyAccess" => service.is_open_to_messages = matches!(value.as_str(), "all" | "exec"),
                "DynamicUser" => {
                    service.has_dynamic_user = matches!(value.as_str(), "yes" | "true" | "on" | "1");
                }
                _ => {}
            }
        }
        service
    }
}

/// The path of a command's program, and those among its arguments, as systemd or a shell separates them.
fn paths(command: &str) -> (Option<PathBuf>, Vec<PathBuf>) {
    let command = command.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let mut words =
        command.split(|letter: char| letter.is_ascii_whitespace() || "\"'`;&|()<>=".contains(letter));
    let path = |word: &str| word.starts_with('/').then(|| PathBuf::from(word));
    (words.next().and_then(path), words.filter_map(path).collect())
}

/// Whether two names differ by two letters at the end, at most: `sshd-exporter` is not `sshd`.
fn are_namesakes(one: &[u8], other: &[u8]) -> bool {
    const MOST: usize = 2;
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    let rest = long.strip_prefix(short);
    short.len() > MOST
        && rest.is_some_and(|rest| rest.len() <= MOST && rest.iter().all(u8::is_ascii_alphabetic))
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

    /// As Debian's mariadb.service.
    #[test]
    fn program_that_a_shell_is_told_to_run_is_found() {
        let unit = "[Service]\nExecStart=/bin/sh -c \"[ ! -e /usr/bin/x ] && VAR= || \\\n VAR=`/usr/bin/y`; \\\n\
                    # not this: /usr/bin/z\n exec /usr/sbin/mariadbd $VAR\"\nUser=mysql\n";
        let service = ServiceUnit::parse([unit], "mariadb.service");
        assert_eq!(service.programs, [PathBuf::from("/bin/sh")]);
        let named = ["/usr/bin/x", "/usr/bin/y", "/usr/sbin/mariadbd"].map(PathBuf::from);
        assert_eq!(service.arguments, named);
        assert_eq!(service.user.as_deref(), Some("mysql"));
        let service = ServiceUnit::parse([unit, "[Service]\nExecStart=\n"], "mariadb.service");
        assert!(service.programs.is_empty() && service.arguments.is_empty());
    }

    #[test]
    fn namesakes_differ_at_the_end_alone() {
        for (one, other, are) in [
            ("mariadbd", "mariadb", true),
            ("postgres", "postgresql", true),
            ("sshd", "sshd", true),
            ("sshd", "sshd-exporter", false),
            ("sshd", "sshd-x", false),
            ("sshd", "sshd2", false),
            ("ss", "sshd", false),
            ("sh", "ssh", false),
        ] {
            assert_eq!(are_namesakes(one.as_bytes(), other.as_bytes()), are, "{one} {other}");
        }
    }

    #[test]
    fn cgroup_that_is_not_there_is_not_of_root() {
        assert!(!is_cgroup_of_root(Path::new("/nowhere"), b"/system.slice/ssh.service", b"ssh.service"));
    }
}
