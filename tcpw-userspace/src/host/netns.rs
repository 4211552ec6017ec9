//! Network namespaces that are kept open, and what is made or done in them.
//!
//! Invariant: a namespace is the one its cookie names, whatever became of the process it was
//! found by.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
};

use super::socket::netns_cookie;

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<File>);

impl Namespace {
    fn open(path: &Path, cookie: u64) -> io::Result<Self> {
        let namespace = Self(Arc::new(File::open(path)?));
        let probe = namespace.tcp_socket(AddressFamily::Inet)?;
        if netns_cookie(probe.as_fd())? != cookie {
            return Err(io::Error::other("the process is in another network namespace than its socket"));
        }
        Ok(namespace)
    }

    /// Whether it is the same.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Runs `work` in the namespace, on a thread of its own: entering one is for good.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` fails.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let enter = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join())
            .map_err(|_| io::Error::other("the thread that enters the namespace ended early"))?
    }

    /// A fresh TCP socket in the namespace, which does not block.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn tcp_socket(&self, family: AddressFamily) -> io::Result<OwnedFd> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        self.run(|| Ok(socket(family, SockType::Stream, flags, SockProtocol::Tcp)?))
    }
}

/// The cookie of the calling thread's network namespace.
///
/// # Errors
/// The kernel is older than 5.14.
pub fn own_netns_cookie() -> io::Result<u64> {
    let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
    netns_cookie(socket(family, SockType::Stream, flags, SockProtocol::Tcp)?.as_fd())
}

/// The cookie of the network namespace whose file this is (/proc/PID/ns/net, /run/netns/NAME).
///
/// # Errors
/// There is no such file, it is no network namespace, or the right to enter it is missing.
pub fn netns_cookie_of(file: &Path) -> io::Result<u64> {
    Namespace(Arc::new(File::open(file)?)).run(own_netns_cookie)
}

/// Namespaces by cookie.
#[derive(Debug)]
pub struct Namespaces {
    proc_root: PathBuf,
    open: HashMap<u64, Namespace>,
}

impl Namespaces {
    /// Finds namespaces by the processes below `proc_root`.
    pub fn new(proc_root: impl Into<PathBuf>) -> Self {
        Self { proc_root: proc_root.into(), open: HashMap::new() }
    }

    /// The namespace of a cookie, which is that of one of these processes.
    ///
    /// # Errors
    /// None of them is there any more, or is in it.
    pub fn find(&mut self, cookie: u64, pids: impl IntoIterator<Item = u32>) -> io::Result<Namespace> {
        if let Some(known) = self.open.get(&cookie) {
            return Ok(known.clone());
        }
        let mut last = io::ErrorKind::NotFound.into();
        for pid in pids {
            match Namespace::open(&self.proc_root.join(pid.to_string()).join("ns/net"), cookie) {
                Ok(found) => {
                    self.open.insert(cookie, found.clone());
                    return Ok(found);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Lets go of every namespace that is not in use.
    pub fn keep_only(&mut self, is_in_use: impl Fn(u64) -> bool) {
        self.open.retain(|cookie, _| is_in_use(*cookie));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn namespace_of_another_cookie_is_not_taken() -> io::Result<()> {
        let own = netns_cookie(TcpListener::bind("127.0.0.1:0")?.as_fd())?;
        let pid = std::process::id();
        if !nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        let mut namespaces = Namespaces::new("/proc");
        assert!(namespaces.find(own + 1, [pid]).is_err());
        assert!(namespaces.find(own, [u32::MAX, pid]).is_ok());
        assert!(namespaces.find(own, []).is_ok(), "it is kept");
        namespaces.keep_only(|cookie| cookie != own);
        assert!(namespaces.find(own, []).is_err());
        Ok(())
    }
}
