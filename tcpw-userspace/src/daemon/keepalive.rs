//! `keepalive` on connections that waited for their user.
//!
//! In: connections that a rule with the option let go on. Out: SO_KEEPALIVE on their sockets, through
//! the processes that hold them: when the user is known, no program of the kernel passes by any more.
//! Invariant: one look at a time, off the event loop; a socket that nobody has accepted is looked for
//! again every second, for a while.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::AsFd as _,
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::KeepAlive};
use tokio::task::spawn_blocking;

use super::{Daemon, users::News};
use crate::{
    events::Decision,
    host::{Namespace, socket_cookie},
    listeners::duplicates_of,
    reinject::inodes,
};

/// A daemon that accepts later than that has other worries.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sockets that want the option, by cookie.
#[derive(Default)]
pub(super) struct Keepalive {
    wanted: HashMap<u64, (Namespace, Instant)>,
    is_looking: bool,
    /// There are some that the look that runs does not know of.
    has_new: bool,
}

impl Daemon {
    /// The connection's socket gets the option.
    pub(super) fn keep_alive(&mut self, decision: &Decision, cookie: u64) {
        let Some(namespace) = self.namespace_of(decision) else { return };
        self.keepalive.wanted.insert(cookie, (namespace, Instant::now()));
        self.keepalive.has_new = true;
        self.look_for_keepalive();
    }

    /// Looks for the sockets; to be called every second, too.
    pub(super) fn look_for_keepalive(&mut self) {
        let Keepalive { wanted, is_looking, has_new } = &mut self.keepalive;
        wanted.retain(|_, (_, since)| since.elapsed() < PATIENCE);
        if *is_looking || wanted.is_empty() {
            return;
        }
        (*is_looking, *has_new) = (true, false);
        let all: Vec<(u64, Namespace)> =
            wanted.iter().map(|(cookie, (namespace, _))| (*cookie, namespace.clone())).collect();
        let (proc_root, sender) = (self.config.proc_root.clone(), self.users.sender());
        drop(spawn_blocking(move || {
            let mut done = HashSet::new();
            for some in all.chunk_by(|one, other| one.1.is(&other.1)) {
                let cookies = some.iter().map(|(cookie, _)| *cookie).collect();
                match set(&some[0].1, cookies, &proc_root) {
                    Ok(set) => done.extend(set),
                    Err(error) => log::debug!("keepalive: {error}"),
                }
            }
            // The daemon may have ended meanwhile.
            let _ = sender.send(News::KeptAlive(done));
        }));
    }

    /// A look is over: these are done with.
    pub(super) fn kept_alive(&mut self, done: &HashSet<u64>) {
        self.keepalive.wanted.retain(|cookie, _| !done.contains(cookie));
        self.keepalive.is_looking = false;
        if self.keepalive.has_new {
            self.look_for_keepalive();
        }
    }
}

/// Sets it on those that somebody has accepted: these, and those that are gone.
fn set(namespace: &Namespace, cookies: HashSet<u64>, proc_root: &Path) -> io::Result<HashSet<u64>> {
    let inodes = namespace.run(|| inodes(&cookies))?;
    let mut done: HashSet<u64> =
        cookies.iter().copied().filter(|cookie| !inodes.contains_key(cookie)).collect();
    // A socket has one once it was accepted.
    let accepted: HashSet<u64> = inodes.into_values().filter(|inode| *inode != 0).collect();
    if accepted.is_empty() {
        return Ok(done);
    }
    for socket in duplicates_of(proc_root, &accepted) {
        let cookie = socket_cookie(socket.as_fd())?;
        if cookies.contains(&cookie) {
            setsockopt(&socket, KeepAlive, &true)?;
            done.insert(cookie);
        }
    }
    Ok(done)
}
