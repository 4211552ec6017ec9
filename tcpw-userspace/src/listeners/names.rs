//! The names of a process.
//!
//! In: a [`ProcessInfo`]. Out: its names and its ident. No I/O.
//! Invariant: names that a process can choose freely (argv\[0\], comm) count only for privileged processes. Which
//! names are proven is decided in [`proof`](super::proof).

use super::{
    NamePart,
    libwrap_names::libwrap_name,
    process::{ProcessInfo, base_name},
};

/// Length of a comm that the kernel may have cut off.
const COMM_LIMIT: usize = 15;

/// The fact each of them comes from; the first, if several give the same name.
pub(super) fn sources(process: &ProcessInfo) -> Vec<NamePart> {
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut sources = Vec::new();
    for (name, part) in parts(process) {
        if !name.is_empty() && !seen.contains(&name) {
            seen.push(name);
            sources.push(part);
        }
    }
    sources
}

/// All names a process is known under, each with the fact that it comes from.
pub(super) fn parts(process: &ProcessInfo) -> Vec<(&[u8], NamePart)> {
    let mut names: Vec<(&[u8], NamePart)> = Vec::new();
    let executable = process.executable_name();
    names.extend(executable.map(|name| (name, NamePart::Executable)));
    names.extend(executable.and_then(libwrap_name).map(|name| (name, NamePart::Libwrap)));
    names.extend(unit(&process.cgroup).map(|name| (name, NamePart::Unit)));
    if process.is_privileged {
        names.extend(title(process).map(|name| (name, NamePart::Argv)));
        let is_cut =
            process.comm.len() >= COMM_LIMIT && names.iter().any(|(name, _)| name.starts_with(&process.comm));
        if !is_cut {
            names.push((&process.comm, NamePart::Comm));
        }
    }
    names
}

/// The ident that syslog(3) would use for the process: argv\[0\], if root chose it.
pub(super) fn ident(process: &ProcessInfo) -> String {
    let is_chosen_by_root = process.is_privileged && process.is_run_by_root().is_ok();
    let title = if is_chosen_by_root { title(process) } else { None };
    let name = title.or(process.executable_name()).unwrap_or(&process.comm);
    String::from_utf8_lossy(name).into_owned()
}

/// The name in argv\[0\]. Daemons overwrite it: `sshd: /usr/sbin/sshd -D [listener]`,
/// `nginx: master process /usr/sbin/nginx`; login shells are `-bash`.
fn title(process: &ProcessInfo) -> Option<&[u8]> {
    let text = process.arguments.first()?;
    let end = text.iter().position(|&byte| byte == b':' || byte.is_ascii_whitespace());
    let name = base_name(&text[..end.unwrap_or(text.len())]);
    let name = name.strip_prefix(b"-").unwrap_or(name);
    (!name.is_empty()).then_some(name)
}

/// The systemd unit a cgroup path belongs to: `ssh.service` is `ssh`, `foo@bar.service` is `foo`.
///
/// The topmost unit counts: below it the path belongs to the service itself, or to
/// a user (`user@1000.service`) or container, which can choose any name.
pub(super) fn unit(cgroup: &[u8]) -> Option<&[u8]> {
    let unit = unit_file(cgroup)?;
    let name = unit.strip_suffix(b".service").or_else(|| unit.strip_suffix(b".socket"))?;
    let name = name.split(|&byte| byte == b'@').next().unwrap_or(name);
    (name != b"user" && !name.is_empty()).then_some(name)
}

/// The systemd unit a cgroup path belongs to, with its kind: `ssh.service`.
pub(super) fn unit_file(cgroup: &[u8]) -> Option<&[u8]> {
    let is_unit =
        |part: &&[u8]| [&b".service"[..], b".socket", b".scope"].iter().any(|kind| part.ends_with(kind));
    cgroup.split(|&byte| byte == b'/').find(is_unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NamesSet;

    fn names(process: &ProcessInfo) -> NamesSet {
        NamesSet::new(parts(process).into_iter().map(|(name, _)| name))
    }

    fn process(executable: &str, title: &str, comm: &str, cgroup: &str) -> ProcessInfo {
        ProcessInfo {
            executable: Some(executable.into()),
            arguments: vec![title.into(), b"-D".to_vec()],
            comm: comm.into(),
            cgroup: cgroup.into(),
            is_privileged: true,
            ..ProcessInfo::default()
        }
    }

    #[test]
    fn sshd_has_the_names_of_program_and_unit() {
        let sshd = process(
            "/usr/sbin/sshd",
            "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",
            "sshd",
            "/system.slice/ssh.service",
        );
        assert_eq!(names(&sshd).to_string(), "ssh,sshd");
        assert_eq!(sources(&sshd), [NamePart::Executable, NamePart::Unit]);
        assert_eq!(ident(&sshd), "sshd");
    }

    #[test]
    fn program_that_calls_itself_otherwise_to_libwrap_has_both_names() {
        let mountd = process("/usr/sbin/rpc.mountd", "/usr/sbin/rpc.mountd", "rpc.mountd", "/");
        assert_eq!(names(&mountd).to_string(), "mountd,rpc.mountd");
        assert_eq!(sources(&mountd), [NamePart::Executable, NamePart::Libwrap]);
        let mut of_user = process("/home/u/rpc.mountd", "mountd", "x", "/");
        of_user.is_privileged = false;
        assert_eq!(
            names(&of_user).to_string(),
            "mountd,rpc.mountd",
            "whether they are proven is another question"
        );
    }

    #[test]
    fn unprivileged_process_does_not_choose_its_name() {
        let mut liar = process("/usr/bin/nc.openbsd", "sshd", "sshd", "/user.slice/session-1.scope");
        liar.is_privileged = false;
        assert_eq!(names(&liar).to_string(), "nc.openbsd");
        assert_eq!(ident(&liar), "nc.openbsd");
    }

    #[test]
    fn script_has_the_name_of_its_comm() {
        let script = process("/usr/bin/python3.11", "/usr/bin/python3", "foo", "/");
        assert_eq!(names(&script).to_string(), "foo,python3,python3.11");
        assert_eq!(sources(&script), [NamePart::Executable, NamePart::Argv, NamePart::Comm]);
    }

    #[test]
    fn cut_comm_is_no_name() {
        let long = process("/usr/sbin/systemd-resolved", "/lib/systemd-resolved", "systemd-resolve", "/");
        assert_eq!(names(&long).to_string(), "systemd-resolved");
    }

    #[test]
    fn process_without_executable_or_arguments_has_its_comm() {
        let mut odd = process("", "", "kthread", "/");
        odd.executable = None;
        odd.arguments.clear();
        assert_eq!(ident(&odd), "kthread");
        assert_eq!(names(&odd).to_string(), "kthread");
    }

    macro_rules! unit {
        ($($name:ident: $cgroup:expr => $unit:expr;)*) => {$(
            #[test]
            fn $name() {
                let wanted: Option<&str> = $unit;
                assert_eq!(unit($cgroup.as_bytes()), wanted.map(str::as_bytes));
            }
        )*};
    }

    unit! {
        unit_of_a_service: "/system.slice/ssh.service" => Some("ssh");
        unit_of_a_socket: "/system.slice/ssh.socket" => Some("ssh");
        unit_of_an_instance: "/system.slice/system-foo.slice/foo@bar.service" => Some("foo");
        unit_below_its_own_subtree: "/system.slice/foo.service/sshd.service" => Some("foo");
        unit_of_a_user_does_not_count:
            "/user.slice/user-1000.slice/user@1000.service/app.slice/sshd.service" => None;
        unit_in_a_scope_does_not_count: "/system.slice/docker-12.scope/sshd.service" => None;
        unit_of_the_root: "/" => None;
    }
}
