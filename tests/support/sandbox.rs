//! A server, a client and a cable between them; see the crate's head.

use std::{
    env,
    fs::{self, File},
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::{
        fd::AsFd,
        unix::{fs::DirBuilderExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::{
    cgroup::{Cgroup, cgroup2_root},
    cleanup::{self, Leftover},
    namespace::{Listening, MountNamespace, Netns},
    process::Process,
    wait::wait_ready,
};

/// A client the seed's rules allow.
pub const CLIENT_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 2, 3, 4));
/// A client they refuse.
pub const CLIENT_V4_OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 2, 4, 4));
/// A client the seed's rules allow.
pub const CLIENT_V6: IpAddr =
    IpAddr::V6(Ipv6Addr::new(0x3ffe, 0xffff, 0x100, 0x200, 0x212, 0x34ff, 0xfe12, 0x3456));
/// A client they refuse.
pub const CLIENT_V6_OTHER: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3ffe, 0xffff, 0x100, 0x201, 0, 0, 0, 1));
/// The server.
pub const SERVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 2, 3, 1));
/// The server.
pub const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3ffe, 0xffff, 0x100, 0x200, 0, 0, 0, 1));

/// A client on the server itself; it is also the server that it can reach.
pub const LO_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Likewise.
pub const LO_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// hosts.allow of most tests: daemon `alphad` serves the clients that the seed's rules allow.
pub const ALLOW: &str = "alphad: 1.2.3. [3ffe:ffff:100:200::]/64\n";
/// hosts.deny of most tests: whatever hosts.allow does not allow is refused.
pub const DENY: &str = "ALL: ALL\n";

/// Each client, the server it can reach, and whether the seed's rules allow it.
pub const CLIENTS: [(IpAddr, IpAddr, bool); 4] = [
    (CLIENT_V4, SERVER_V4, true),
    (CLIENT_V4_OTHER, SERVER_V4, false),
    (CLIENT_V6, SERVER_V6, true),
    (CLIENT_V6_OTHER, SERVER_V6, false),
];

/// Both sides' prefixes cover the other's addresses, so no route is needed.
const PREFIX_BITS_V4: u8 = 16;
const PREFIX_BITS_V6: u8 = 48;
const INTERFACE: &str = "tcpw0";

/// Where a program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the server, in the guarded cgroup: the daemons.
    Guarded,
    /// On the server, outside the guarded cgroup: tcpw itself.
    Server,
    /// In the guarded cgroup, but on the client's network.
    GuardedClient,
    /// On the client.
    Client,
}

/// A private server and client; dropping it removes all of it.
#[derive(Debug)]
pub struct Sandbox {
    leftover: Leftover,
    guarded: PathBuf,
    clients: PathBuf,
    server: Netns,
    client: Netns,
    mounts: MountNamespace,
    // Last: kills what still runs in it.
    cgroup: Cgroup,
}

impl Sandbox {
    /// A new sandbox; the name, unique within the process, shows in its directories.
    ///
    /// # Errors
    /// Not root, no cgroup2, or a missing ip(8).
    pub fn new(name: &str) -> Result<Self> {
        cleanup::sweep(&cgroup2_root()?);
        let unique = cleanup::unique(name);
        let leftover =
            Leftover { cgroup: cgroup2_root()?.join(&unique), scratch: env::temp_dir().join(&unique) };
        cleanup::register(&leftover)?;
        Self::make(&unique, leftover.clone()).inspect_err(|_failed| cleanup::remove(&leftover))
    }

    fn make(unique: &str, leftover: Leftover) -> Result<Self> {
        let scratch = &leftover.scratch;
        fs::DirBuilder::new()
            .mode(0o755)
            .create(scratch)
            .with_context(|| format!("make {}", scratch.display()))?;
        for directory in ["run", "run/sshd", "log", "dev", "tables"] {
            fs::create_dir(scratch.join(directory)).with_context(|| format!("make {directory}"))?;
        }
        copy_etc(scratch)?;

        let cgroup = Cgroup::new(unique)?;
        let guarded = cgroup.child("guarded")?;
        let clients = cgroup.child("clients")?;
        let server = Netns::new()?;
        let client = Netns::new()?;
        server.connect(&client, INTERFACE)?;
        server.address(INTERFACE, SERVER_V4, PREFIX_BITS_V4)?;
        server.address(INTERFACE, SERVER_V6, PREFIX_BITS_V6)?;
        for address in [CLIENT_V4, CLIENT_V4_OTHER] {
            client.address(INTERFACE, address, PREFIX_BITS_V4)?;
        }
        for address in [CLIENT_V6, CLIENT_V6_OTHER] {
            client.address(INTERFACE, address, PREFIX_BITS_V6)?;
        }
        let mounts = MountNamespace::new(scratch)?;
        Ok(Self { leftover, guarded, clients, server, client, mounts, cgroup })
    }

    /// Starts a program; its lines are captured.
    ///
    /// # Errors
    /// The program is missing, or a namespace cannot be entered.
    pub fn spawn(&self, place: Place, command: Command) -> Result<Process> {
        Process::spawn(self.placed(place, command)?)
    }

    /// Runs a program to its end; the process tells its lines.
    ///
    /// # Errors
    /// It cannot be started, fails, or runs longer than that.
    pub fn run(&self, place: Place, command: Command, timeout: Duration) -> Result<Process> {
        let mut process = self.spawn(place, command)?;
        let status = process.wait(timeout)?;
        if !status.success() {
            bail!("failed ({status}); its last lines:\n{}", process.tail());
        }
        Ok(process)
    }

    fn placed(&self, place: Place, mut command: Command) -> Result<Command> {
        let (cgroup, netns, mounts) = match place {
            Place::Guarded => (self.guarded.as_path(), &self.server, Some(&self.mounts)),
            Place::Server => (self.cgroup.path(), &self.server, Some(&self.mounts)),
            Place::GuardedClient => (self.guarded.as_path(), &self.client, None),
            Place::Client => (self.clients.as_path(), &self.client, None),
        };
        let processes = cgroup.join("cgroup.procs");
        let mut processes = File::options()
            .write(true)
            .open(&processes)
            .with_context(|| format!("open {}", processes.display()))?;
        let netns = netns.as_fd().try_clone_to_owned().context("keep the network namespace")?;
        let mounts = mounts
            .map(|mounts| mounts.as_fd().try_clone_to_owned())
            .transpose()
            .context("keep the mount namespace")?;
        let enter = move || {
            processes.write_all(b"0")?;
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            if let Some(mounts) = &mounts {
                setns(mounts, CloneFlags::CLONE_NEWNS)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it only calls write(2) and setns(2); no allocation, no lock.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// The cgroup to guard: `tcpw run --cgroup`.
    pub fn cgroup(&self) -> &Path {
        &self.guarded
    }

    /// From here on each SYN of the client's leaves once: if a handshake completes whose SYN was held,
    /// somebody else has sent it again, however long that took.
    ///
    /// # Errors
    /// nft(8) is missing.
    pub fn send_each_syn_once(&self) -> Result<()> {
        let sets: String = [("four", "ipv4_addr"), ("six", "ipv6_addr")]
            .map(|(set, kind)| {
                format!(
                    "set {set} {{ type {kind} . inet_service . inet_service; size 65535; flags dynamic; }}\n"
                )
            })
            .concat();
        let rules: String = [("four", "ip saddr"), ("six", "ip6 saddr")]
            .map(|(set, source)| {
                let (syn, flow) =
                    ("tcp flags & (syn | ack) == syn", format!("{source} . tcp sport . tcp dport"));
                format!("{syn} {flow} @{set} drop\n{syn} add @{set} {{ {flow} }}\n")
            })
            .concat();
        self.client.nft(&format!(
            "table inet once {{\n{sets}chain out {{ type filter hook output priority 0\n{rules}}}\n}}\n"
        ))
    }

    /// The server's network.
    pub fn server(&self) -> &Netns {
        &self.server
    }

    /// The client's network.
    pub fn client(&self) -> &Netns {
        &self.client
    }

    /// The network that a client is on: the server's own for one of its loopback addresses.
    pub fn netns_of(&self, client: IpAddr) -> &Netns {
        if client.is_loopback() { &self.server } else { &self.client }
    }

    /// Writes settings into a file of the sandbox; its path, for `--config`.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write_settings(&self, text: &str) -> Result<String> {
        let file = self.scratch().join("tcpw.toml");
        fs::write(&file, text).context("write settings")?;
        Ok(file.display().to_string())
    }

    /// The server's files: `.run(|| ..)` sees its /etc, /run and pins.
    pub fn mounts(&self) -> &MountNamespace {
        &self.mounts
    }

    /// A directory of the sandbox's own, at the same path inside and outside.
    pub fn scratch(&self) -> &Path {
        &self.leftover.scratch
    }

    /// The server's /etc, seen from outside.
    pub fn etc(&self) -> PathBuf {
        self.scratch().join("etc")
    }

    /// The hosts.allow tcpw is given. The server's own /etc/hosts.allow and hosts.deny are
    /// empty: what refuses is the kernel, never a daemon's libwrap.
    pub fn hosts_allow(&self) -> PathBuf {
        self.scratch().join("tables/hosts.allow")
    }

    /// The hosts.deny tcpw is given.
    pub fn hosts_deny(&self) -> PathBuf {
        self.scratch().join("tables/hosts.deny")
    }

    /// Writes both tables.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write_tables(&self, allow: &str, deny: &str) -> Result<()> {
        fs::write(self.hosts_allow(), allow).context("write hosts.allow")?;
        fs::write(self.hosts_deny(), deny).context("write hosts.deny")
    }

    /// Waits until the server listens so; looks, does not connect.
    ///
    /// # Errors
    /// It does not in time: with the last lines of the process that should.
    pub fn wait_listening(&self, process: &mut Process, wanted: &[Listening]) -> Result<()> {
        wait_ready(process, &format!("it listens at {wanted:?}"), Duration::from_secs(10), || {
            let listening = self.server.listening()?;
            Ok(wanted.iter().all(|socket| listening.contains(socket)))
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        cleanup::remove(&self.leftover);
    }
}

/// The host's /etc, without its access tables.
fn copy_etc(scratch: &Path) -> Result<()> {
    let etc = scratch.join("etc");
    let done = Command::new("cp").args(["-a", "/etc"]).arg(&etc).output().context("start cp")?;
    if !done.status.success() {
        bail!("copy /etc: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    for table in ["hosts.allow", "hosts.deny"] {
        let table = etc.join(table);
        fs::write(&table, "").with_context(|| format!("write {}", table.display()))?;
    }
    unlock_root(&etc.join("shadow"))
}

/// sshd lets nobody in whose password is locked with `!`, whatever the key.
fn unlock_root(shadow: &Path) -> Result<()> {
    let text = fs::read_to_string(shadow).with_context(|| format!("read {}", shadow.display()))?;
    let text: String = text
        .lines()
        .map(|line| match line.strip_prefix("root:").and_then(|rest| rest.split_once(':')) {
            Some((_password, rest)) => format!("root:*:{rest}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    fs::write(shadow, text).with_context(|| format!("write {}", shadow.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::{Requirement, can_run};

    #[test]
    fn nothing_is_left_of_a_sandbox_not_even_its_processes() {
        if !can_run("sandbox", &[Requirement::Root]) {
            return;
        }
        let sandbox = Sandbox::new("gone").expect("sandbox");
        let (scratch, cgroup) = (sandbox.scratch().to_owned(), sandbox.cgroup().to_owned());
        let mut shell = Command::new("sh");
        shell.args(["-c", "setsid sleep 1000 & echo started $!; wait"]);
        let mut shell = sandbox.spawn(Place::Guarded, shell).expect("start");
        let started = shell.wait_for_line("started", Duration::from_secs(5)).expect("line").text;
        let orphan = started.rsplit(' ').next().expect("pid").to_owned();
        assert!(Path::new("/proc").join(&orphan).exists());
        drop(sandbox);
        drop(shell);
        assert!(!scratch.exists() && !cgroup.exists());
        // Its new parent may need a moment to collect it.
        let state = fs::read_to_string(format!("/proc/{orphan}/stat")).unwrap_or_else(|_gone| ") Z".into());
        assert!(state.contains(") Z") || state.contains(") X"), "{state}");
    }

    #[test]
    fn etc_of_the_server_is_its_own() {
        if !can_run("sandbox", &[Requirement::Root]) {
            return;
        }
        let sandbox = Sandbox::new("etc").expect("sandbox");
        fs::write(sandbox.etc().join("tcpw-was-here"), "yes").expect("write");
        let inside = sandbox.mounts().run(|| Ok(fs::read_to_string("/etc/tcpw-was-here")?));
        assert_eq!(inside.expect("read"), "yes");
        assert!(!Path::new("/etc/tcpw-was-here").exists());
        assert!(fs::exists("/dev/null").expect("dev"), "the host's /dev is untouched");
    }
}
