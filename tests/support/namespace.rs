//! Network and mount namespaces without a name: they go with their last user.

use std::{
    fs::{self, File},
    net::IpAddr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::symlink,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    file: File,
}

/// A socket that listens in a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Whether it is an IPv6 socket.
    pub v6: bool,
    /// Its port.
    pub port: u16,
}

impl Netns {
    /// A new one, with its loopback up.
    ///
    /// # Errors
    /// Not root.
    pub fn new() -> Result<Self> {
        let file = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
            File::open("/proc/thread-self/ns/net").context("open the network namespace")
        })?;
        let netns = Self { file };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// That of a process.
    ///
    /// # Errors
    /// The process is gone.
    pub fn of_process(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        Ok(Self { file: File::open(&path).with_context(|| format!("open {path}"))? })
    }

    /// Runs `work` in this namespace, in a thread of its own; sockets it makes stay here.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` fails.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
            work()
        })
    }

    /// Runs `ip ARGUMENTS` in this namespace.
    ///
    /// # Errors
    /// ip(8) is missing or refuses.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let words: Vec<_> = arguments.split(' ').collect();
        let done = self.run(|| Command::new("ip").args(&words).output().context("start ip(8)"))?;
        if !done.status.success() {
            bail!("ip {arguments}: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(())
    }

    /// Puts nftables rules in force in this namespace.
    ///
    /// # Errors
    /// nft(8) is missing or refuses.
    pub fn nft(&self, rules: &str) -> Result<()> {
        let done = self.run(|| Command::new("nft").arg(rules).output().context("start nft(8)"))?;
        if !done.status.success() {
            bail!("nft {rules}: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(())
    }

    /// A cable between an interface of that name here and one there.
    ///
    /// # Errors
    /// The name is taken.
    pub fn connect(&self, other: &Self, interface: &str) -> Result<()> {
        let there = other.path();
        self.ip(&format!("link add {interface} type veth peer name {interface} netns {}", there.display()))?;
        for netns in [self, other] {
            netns.ip(&format!("link set {interface} up"))?;
        }
        Ok(())
    }

    /// Gives an interface an address, usable at once.
    ///
    /// # Errors
    /// No such interface.
    pub fn address(&self, interface: &str, address: IpAddr, prefix_bits: u8) -> Result<()> {
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        self.ip(&format!("address add {address}/{prefix_bits} dev {interface}{nodad}"))
    }

    /// A counter of its /proc/net/netstat, a count since the network began; nothing if it has none of that name.
    ///
    /// # Errors
    /// The file cannot be read, or a value is no number.
    pub fn netstat(&self, name: &str) -> Result<Option<u64>> {
        self.count("netstat", "", name)
    }

    /// A counter of a protocol in its /proc/net/snmp, likewise.
    ///
    /// # Errors
    /// The file cannot be read, or a value is no number.
    pub fn snmp(&self, protocol: &str, name: &str) -> Result<Option<u64>> {
        self.count("snmp", &format!("{protocol}: "), name)
    }

    fn count(&self, file: &str, begin: &str, name: &str) -> Result<Option<u64>> {
        let text = self.run(|| Ok(fs::read_to_string(format!("/proc/thread-self/net/{file}"))?))?;
        let mut lines = text.lines().filter(|line| line.starts_with(begin));
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            if let Some(at) = names.split_whitespace().position(|one| one == name) {
                return values.split_whitespace().nth(at).map(|value| Ok(value.parse()?)).transpose();
            }
        }
        Ok(None)
    }

    /// The sockets that listen here (TCP), asked of the kernel without connecting.
    ///
    /// # Errors
    /// /proc is not readable.
    pub fn listening(&self) -> Result<Vec<Listening>> {
        self.run(|| {
            let mut found = Vec::new();
            for (file, v6) in [("/proc/thread-self/net/tcp", false), ("/proc/thread-self/net/tcp6", true)] {
                let table = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
                found.extend(table.lines().filter_map(listening_port).map(|port| Listening { v6, port }));
            }
            Ok(found)
        })
    }

    /// A path under which other processes of root reach it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A mount namespace with its own /etc, /run, /var/log, /dev and /sys/fs/bpf.
#[derive(Debug)]
pub struct MountNamespace {
    file: File,
}

impl MountNamespace {
    /// A new one, with directories of `scratch` in the place of the host's.
    ///
    /// /etc is a copy and no overlay: a watch on an overlay does not see what is
    /// written to the layer below it.
    ///
    /// # Errors
    /// Not root.
    pub fn new(scratch: &Path) -> Result<Self> {
        let file = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .context("make the mounts private")?;
            for (directory, place) in [("etc", "/etc"), ("run", "/run"), ("log", "/var/log")] {
                bind(&scratch.join(directory), Path::new(place))?;
            }
            private_dev(&scratch.join("dev"))?;
            mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), None::<&str>)
                .context("mount a bpffs on /sys/fs/bpf")?;
            File::open("/proc/thread-self/ns/mnt").context("open the mount namespace")
        })?;
        Ok(Self { file })
    }

    /// Runs `work` in a thread that sees this namespace's files.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` fails.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            unshare(CloneFlags::CLONE_FS).context("leave the process's directories")?;
            setns(&self.file, CloneFlags::CLONE_NEWNS).context("enter the mount namespace")?;
            work()
        })
    }
}

impl AsFd for MountNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A /dev with the usual devices, whose `log` is the sandbox's own.
fn private_dev(dev: &Path) -> Result<()> {
    mount(Some("tmpfs"), dev, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755"))
        .with_context(|| format!("mount {}", dev.display()))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty", "ptmx"] {
        let place = dev.join(name);
        File::create(&place).with_context(|| format!("make {}", place.display()))?;
        bind(&Path::new("/dev").join(name), &place)?;
    }
    for name in ["pts", "shm"] {
        let place = dev.join(name);
        fs::create_dir(&place).with_context(|| format!("make {}", place.display()))?;
        let original = Path::new("/dev").join(name);
        if original.exists() {
            bind(&original, &place)?;
        }
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("log", "/run/dev-log"),
    ] {
        symlink(target, dev.join(name)).with_context(|| format!("link /dev/{name}"))?;
    }
    mount(Some(dev), "/dev", None::<&str>, MsFlags::MS_MOVE, None::<&str>).context("move /dev into place")
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("bind {} to {}", from.display(), to.display()))
}

/// A namespace is a thread's: the thread that enters one is not used for anything else.
fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .map_err(|panic| anyhow!("panicked: {}", panic.downcast_ref::<&str>().unwrap_or(&"(no message)")))?
}

/// The local port of a line of /proc/net/tcp whose socket listens.
fn listening_port(line: &str) -> Option<u16> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (_address, port) = fields.next()?.rsplit_once(':')?;
    (fields.nth(1)? == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::listening_port;

    #[test]
    fn only_listening_sockets_are_found() {
        let listening = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1";
        let established = "   1: 0100007F:0016 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 0 0 1";
        assert_eq!(listening_port(listening), Some(22));
        assert_eq!(listening_port(established), None);
    }
}
