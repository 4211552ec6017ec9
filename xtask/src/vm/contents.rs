//! What a machine has beside the test programs: what they call, what those read, modules.
//!
//! In: this host, where `setup` installed it all. Out: paths; each goes to the same place in the image.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::command::{find, output};

/// What the tests and their sandbox call. busybox would do for much of it, but a test of process
/// names wants the real ones.
const PROGRAMS: &[&str] = &[
    "bash",
    "sh",
    "sleep",
    "true",
    "timeout",
    "nice",
    "id",
    "date",
    "cat",
    "tee",
    "touch",
    "rm",
    "ls",
    "grep",
    "ip",
    "ss",
    "setpriv",
    "unshare",
    "nft",
    "ethtool",
    "perl",
    PYTHON,
    "ssh",
    "ssh-keygen",
    "sshd",
    "nginx",
    "xinetd",
    "tcpd",
    "oidentd",
    "unbound",
    "dnsmasq",
    "dig",
    "chronyd",
    "avahi-daemon",
    "in.tftpd",
    "tftp",
    "rsyslogd",
    "smtpd",
    "smtpctl",
    "mail",
    "curl",
    "/bin/nc.openbsd",
];

/// Names of programs that are links.
pub(super) const LINKS: &[(&str, &str)] = &[("/usr/sbin/sendmail", "smtpctl")];

/// Not a version of somebody's own, whose library is elsewhere.
const PYTHON: &str = "/usr/bin/python3";

/// Modules of Debian's kernels that the tests need; the kernel asks for none by itself there.
pub(super) const MODULES: &[&str] = &[
    "veth",
    "dummy",
    "macvlan",
    "bridge",
    "vxlan",
    "8021q",
    "tcp_diag",
    "udp_diag",
    "mptcp_diag",
    "nft_chain_nat",
    "nft_nat",
    "nft_redir",
    "nft_tproxy",
    "nfsd",
    "tun",
];

/// What test programs read, below the workspace.
pub(super) const DATA: &[&str] = &["tests/cases"];

/// What daemons read: files and whole directories.
const FILES: &[&str] = &[
    "/etc/services",
    "/etc/protocols",
    "/etc/xinetd.conf",
    "/etc/xinetd.d",
    "/usr/libexec/opensmtpd",
    "/var/lib/opensmtpd",
];

/// Where shared libraries are that a program opens by itself.
const PLUGINS: &[&str] = &["/usr/lib/x86_64-linux-gnu/rsyslog"];

/// The programs, busybox among them, and what they load when they run.
pub(super) fn programs() -> Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = PROGRAMS
        .iter()
        .chain(&["busybox"])
        .map(|program| find(program).with_context(|| format!("{program} is not installed")))
        .collect::<Result<_>>()?;
    for directory in PLUGINS {
        let entries = std::fs::read_dir(directory).with_context(|| format!("read {directory}"))?;
        all.extend(entries.flatten().map(|entry| entry.path()));
    }
    Ok(all)
}

/// Files and directories that are copied as they are.
pub(super) fn files() -> Result<Vec<PathBuf>> {
    Ok(FILES.iter().map(PathBuf::from).chain(python_library()?).collect())
}

/// The parts of python's library that the tests' scripts load.
fn python_library() -> Result<Vec<PathBuf>> {
    const SCRIPT: &str = "import os, socket, sys\n\
        for one in list(sys.modules.values()):\n    print(getattr(one, '__file__', None) or '')\n\
        print(os.path.dirname(os.__file__) + '/lib-dynload')\n";
    let listed = output(Command::new(PYTHON).args(["-c", SCRIPT])).context("ask python for its library")?;
    Ok(listed.lines().filter(|line| line.starts_with('/')).map(PathBuf::from).collect())
}

/// The accounts of this host's system, without those of persons.
pub(super) fn accounts(file: &str) -> Result<String> {
    /// Debian's first number of a person. Source: adduser.conf(5), FIRST_UID.
    const FIRST_PERSON: u32 = 1000;
    const NOBODY: u32 = 65534;
    let text = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    let is_systems = |line: &&str| {
        let number = line.split(':').nth(2).and_then(|number| number.parse::<u32>().ok());
        number.is_some_and(|number| number < FIRST_PERSON || number == NOBODY)
    };
    Ok(text.lines().filter(is_systems).map(|line| format!("{line}\n")).collect())
}
