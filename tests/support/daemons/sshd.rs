//! OpenSSH's sshd, on Debian's two sockets or on one dual-stack socket.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::libc;

use super::both_families;
use crate::{
    namespace::Listening,
    process::Process,
    sandbox::{Place, Sandbox},
};

/// Longest log-in: its arithmetic is much for an emulated processor.
const LOG_IN: Duration = Duration::from_secs(120);

/// The sockets sshd listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshdSockets {
    /// One for each family: Debian's default.
    PerFamily,
    /// One for both: IPv4 clients appear as `::ffff:1.2.3.4`, as in the seed's log.
    DualStack,
}

/// A running sshd.
#[derive(Debug)]
pub struct Sshd {
    /// Its process; it logs to its own output.
    pub process: Process,
    /// Its port.
    pub port: u16,
}

/// A throw-away key with which root logs in.
#[derive(Debug)]
pub struct SshKey {
    private: PathBuf,
    host: PathBuf,
}

impl SshKey {
    /// Makes a user's and a host's key.
    ///
    /// # Errors
    /// ssh-keygen is missing.
    pub fn generate(sandbox: &Sandbox) -> Result<Self> {
        let key =
            Self { private: sandbox.scratch().join("user_key"), host: sandbox.scratch().join("host_key") };
        for file in [&key.private, &key.host] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "throw-away", "-f"]).arg(file);
            let done = keygen.output().context("start ssh-keygen")?;
            if !done.status.success() {
                bail!("ssh-keygen: {}", String::from_utf8_lossy(&done.stderr).trim());
            }
        }
        Ok(key)
    }

    /// Logs in from a client's address and runs a command there: what it printed.
    ///
    /// # Errors
    /// The log-in fails: with ssh's last lines.
    pub fn log_in(
        &self,
        sandbox: &Sandbox,
        from: IpAddr,
        server: IpAddr,
        port: u16,
        command: &str,
    ) -> Result<String> {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60"])
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "IdentitiesOnly=yes", "-i"])
            .arg(&self.private)
            .args([
                "-b",
                &from.to_string(),
                "-p",
                &port.to_string(),
                "-l",
                "root",
                &server.to_string(),
                command,
            ]);
        let done = sandbox.run(Place::Client, ssh, LOG_IN).context("ssh")?;
        Ok(done.lines().into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n"))
    }
}

impl Sshd {
    /// Starts it.
    ///
    /// # Errors
    /// It is not installed or does not listen.
    pub fn start(sandbox: &Sandbox, key: &SshKey, port: u16, sockets: SshdSockets) -> Result<Self> {
        let configuration = sandbox.scratch().join(format!("sshd_config-{port}"));
        let addresses: &[&str] = match sockets {
            SshdSockets::PerFamily => &["0.0.0.0", "::"],
            SshdSockets::DualStack => &["::"],
        };
        fs::write(&configuration, configure(key, port, addresses))
            .with_context(|| format!("write {}", configuration.display()))?;
        // sshd starts itself again for each connection and insists on a full path.
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(&configuration);
        if sockets == SshdSockets::DualStack {
            // SAFETY: one prctl(2) with a static program; no allocation, no lock.
            unsafe { sshd.pre_exec(keep_dual_stack) };
        }
        let mut process = sandbox.spawn(Place::Guarded, sshd)?;
        let wanted = match sockets {
            SshdSockets::PerFamily => both_families(port).to_vec(),
            SshdSockets::DualStack => vec![Listening { v6: true, port }],
        };
        sandbox.wait_listening(&mut process, &wanted).context("sshd")?;
        Ok(Self { process, port })
    }
}

fn configure(key: &SshKey, port: u16, addresses: &[&str]) -> String {
    let public = |private: &Path| private.with_extension("pub");
    let mut text = format!(
        "Port {port}\n\
         HostKey {}\n\
         AuthorizedKeysFile {}\n\
         PidFile none\n\
         PermitRootLogin prohibit-password\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         UsePAM no\n\
         UseDNS no\n\
         StrictModes no\n",
        key.host.display(),
        public(&key.private).display(),
    );
    for address in addresses {
        text += &format!("ListenAddress {address}\n");
    }
    text
}

/// Answers `setsockopt(IPV6_V6ONLY)` with success without doing it.
///
/// sshd sets the option on every IPv6 socket and has no setting against it. With this seccomp
/// filter the real, unchanged sshd has the dual-stack socket it had when the seed was written.
/// Source: seccomp(2); OpenSSH sshd.c, `listen_on_addrs`.
fn keep_dual_stack() -> io::Result<()> {
    const SYSCALL: u32 = 0;
    const LEVEL: u32 = 16 + 8;
    const OPTION: u32 = 16 + 16;
    static FILTER: [libc::sock_filter; 8] = [
        load(SYSCALL),
        or_skip(SETSOCKOPT, 5),
        load(LEVEL),
        or_skip(libc::IPPROTO_IPV6.unsigned_abs(), 3),
        load(OPTION),
        or_skip(libc::IPV6_V6ONLY.unsigned_abs(), 1),
        answer(libc::SECCOMP_RET_ERRNO),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 8, filter: FILTER.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program; both live until the call returns.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } {
        0 => Ok(()),
        _failed => Err(io::Error::last_os_error()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "system call numbers are small")]
const SETSOCKOPT: u32 = libc::SYS_setsockopt as u32;

const fn load(offset: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, offset)
}

const fn or_skip(value: u32, instructions: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, instructions, value)
}

const fn answer(action: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, action)
}

#[expect(clippy::cast_possible_truncation, reason = "operation codes are 16 bits wide")]
const fn instruction(code: u32, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf, k }
}
