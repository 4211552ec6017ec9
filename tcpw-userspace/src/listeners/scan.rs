//! From /proc to listeners.
//!
//! Invariant: every holder of a socket is seen before its owner is chosen.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use nix::sys::stat::fstat;

use super::{
    Listener, MoreNames, NameSource, Namespace, Survey,
    hidden::{may_be_the_kernels, unseen},
    holders::{Missed, OpenedSockets},
    manager::MainProcesses,
    owner::Owners,
    process,
    proof::names_set,
    scope::Guarded,
    sys::PidFd,
};
use crate::host::{
    cgroup_of, is_root_cgroup,
    sock_diag::{DiagSocket, Incomplete, Listed, NetnsFiles},
};

/// Finds listeners.
///
/// Reading other processes' sockets needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; while processes cannot be read, a
/// listener that was found in no process is left out, and has no tag: it is not known whether it is the kernel's.
#[derive(Clone, Debug)]
pub struct Scanner {
    proc_root: PathBuf,
    /// The cgroup directory of the scope, unless it is the whole host.
    cgroup: Option<PathBuf>,
    more_names: Arc<MoreNames>,
    main_processes: Arc<MainProcesses>,
    /// Also find listeners out of scope.
    is_everywhere: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new("/proc")
    }
}

impl Scanner {
    /// A scanner of the processes below `proc_root`, which shows the process ids of our own pid namespace.
    pub fn new(proc_root: impl Into<PathBuf>) -> Self {
        Self {
            proc_root: proc_root.into(),
            cgroup: None,
            more_names: Arc::default(),
            main_processes: Arc::default(),
            is_everywhere: false,
        }
    }

    /// Only sockets that were made in this cgroup, or below it, are in scope. Ids decide, those of the sockets and those
    /// of the directories: a path in /proc depends on the cgroup namespace of its reader.
    pub fn guarding(self, cgroup: impl Into<PathBuf>) -> Self {
        let cgroup = Some(cgroup.into()).filter(|cgroup| !is_root_cgroup(cgroup));
        Self { cgroup, ..self }
    }

    /// With the names from tcpw.toml.
    pub fn naming(self, more_names: MoreNames) -> Self {
        Self { more_names: Arc::new(more_names), ..self }
    }

    /// Also scan processes out of scope; their listeners are marked as not guarded.
    pub fn everywhere(self) -> Self {
        Self { is_everywhere: true, ..self }
    }

    /// Every listener of every process.
    pub fn scan_all(&self) -> Vec<Listener> {
        self.survey_all().listeners
    }

    /// As [`Self::scan_all`], with all network namespaces.
    pub fn survey_all(&self) -> Survey {
        let listed_before = self.listening_now();
        let pids = match process::all(&self.proc_root) {
            Ok(pids) => pids,
            Err(error) => {
                let reason = format!("{}: {error}", self.proc_root.display());
                let incomplete = Some(Incomplete::Blind(reason));
                return Survey { incomplete, ..Survey::default() };
            }
        };
        let mut look = self.look(&pids, None, |_| true);
        let mut namespaces = NetnsFiles::default();
        for pid in &pids {
            namespaces.add(&self.proc_root, *pid);
        }
        let (listed, failed) = namespaces.listening();
        let sockets = all_sockets(&listed);
        name_subflows(&mut look.listeners, &sockets);
        let guarded = Guarded::below(self.cgroup.as_deref());
        let unseen = self.add_hidden(&mut look, &sockets, &guarded, &listed_before);
        let Look { mut listeners, missed, .. } = look;
        guarded.decide(&mut listeners, &sockets, self.is_everywhere);
        let incomplete = missed.reason().map(Incomplete::Blind).or(failed).or(unseen);
        Survey { listeners, namespaces: namespaces_of(listed, &guarded), incomplete }
    }

    /// The cookies of all listening sockets.
    fn listening_now(&self) -> BTreeSet<u64> {
        let mut namespaces = NetnsFiles::default();
        for pid in process::all(&self.proc_root).unwrap_or_default() {
            namespaces.add(&self.proc_root, pid);
        }
        let (listed, _) = namespaces.listening();
        all_sockets(&listed).iter().map(|socket| socket.cookie).collect()
    }

    /// The listeners that the process `pid` holds. Each is named after its owner, which may be an
    /// ancestor of `pid`: a master for its worker, xinetd for its server. Of tcpw, none is named: those it holds while it
    /// scans belong to processes that are not looked at here.
    pub fn scan_process(&self, pid: u32) -> Vec<Listener> {
        self.survey_process(pid).listeners
    }

    /// As [`Self::scan_process`], with the network namespace of the process.
    pub fn survey_process(&self, pid: u32) -> Survey {
        let mut pids = vec![pid];
        let mut next = pid;
        while let Some(parent) = process::parent_of(&self.proc_root, next) {
            // Process ids may be reused meanwhile: never follow a cycle.
            if pids.contains(&parent) {
                break;
            }
            pids.push(parent);
            next = parent;
        }
        let look = self.look(&pids, None, |holders| holders.contains(&pid));
        let Look { mut listeners, of_tcpw, missed, .. } = look;
        listeners.retain(|listener| !of_tcpw.contains(&listener.cookie));
        if let Some(reason) = missed.reason() {
            log::debug!("scan of process {pid}: {reason}");
        }
        let mut namespaces = NetnsFiles::default();
        namespaces.add(&self.proc_root, pid);
        // A scan of one process is never complete.
        let (listed, _) = namespaces.listening();
        let sockets = all_sockets(&listed);
        name_subflows(&mut listeners, &sockets);
        let guarded = Guarded::below(self.cgroup.as_deref());
        guarded.decide(&mut listeners, &sockets, self.is_everywhere);
        Survey { listeners, namespaces: namespaces_of(listed, &guarded), incomplete: None }
    }

    /// Adds listeners that were found in no process: the kernel's own. Where processes could not be read it may be
    /// one of theirs, which has a name that a rule refuses: unless the settings name it, it is left out, and why is
    /// returned.
    fn add_hidden(
        &self,
        look: &mut Look,
        sockets: &[DiagSocket],
        guarded: &Guarded,
        listed_before: &BTreeSet<u64>,
    ) -> Option<Incomplete> {
        let mut hidden = may_be_the_kernels(sockets, listed_before, &look.listeners, &look.held);
        hidden.retain(|socket| self.is_everywhere || guarded.may_have(socket));
        if hidden.is_empty() {
            return None;
        }
        look.and(self.look_again(&hidden), sockets);
        let hidden = may_be_the_kernels(&hidden, listed_before, &look.listeners, &look.held);
        let is_blind = look.missed.reason().is_some();
        let (mut left_out, mut first) = (0, None);
        for socket in hidden {
            let listener = self.hidden(&socket);
            let why = unseen(&look.missed, &socket);
            if listener.found == NameSource::Settings || why.is_none() && !is_blind {
                look.listeners.push(listener);
            } else if let Some(why) = why {
                left_out += 1;
                first.get_or_insert(why);
            }
        }
        first.map(|why| {
            Incomplete::Unseen(format!(
                "{left_out} listeners belong to processes that {why}, or name them in [names.port]"
            ))
        })
    }

    /// Looks for some sockets in all processes.
    fn look_again(&self, sockets: &[DiagSocket]) -> Look {
        let inodes: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
        match process::all(&self.proc_root) {
            Ok(pids) => self.look(&pids, Some(&inodes), |_| true),
            Err(error) => {
                let mut missed = Missed::default();
                missed.note(&error, || None);
                Look { missed, held: inodes, ..Look::default() }
            }
        }
    }

    /// A listener that no process was found to hold.
    fn hidden(&self, socket: &DiagSocket) -> Listener {
        let mut claims = Vec::new();
        self.more_names.add(socket.local.port(), None, &mut claims);
        let found = if claims.is_empty() { NameSource::NoProcess } else { NameSource::Settings };
        let names = names_set(&claims);
        let first = names.iter().next().map(|name| String::from_utf8_lossy(name).into_owned());
        Listener {
            socket: None,
            cookie: socket.cookie,
            netns: socket.netns,
            pid: 0,
            resident: socket.resident,
            holders: Vec::new(),
            family: socket.family,
            protocol: 6,
            local: socket.local,
            ident: first.unwrap_or_else(|| "kernel".into()),
            names,
            claims,
            found,
            parts: Vec::new(),
            is_guarded: true,
            is_tunnel: false,
            service: None,
        }
    }

    /// Looks at processes: the listeners that they hold, in scope or not. With inodes, only those sockets.
    fn look(
        &self,
        pids: &[u32],
        inodes: Option<&BTreeSet<u64>>,
        is_wanted: impl Fn(&BTreeSet<u32>) -> bool,
    ) -> Look {
        let mut found = OpenedSockets::default();
        for &pid in pids {
            // Opened before anything of it is read: see `Owner::read`.
            match PidFd::open(pid) {
                Ok(process) => found.add(&self.proc_root, pid, process, inodes),
                Err(error) => found.missed.note(&error, || cgroup_of(&self.proc_root, pid)),
            }
        }
        let OpenedSockets { sockets, processes, held, missed } = found;
        let mut owners = Owners::new(&self.proc_root, &self.more_names, &self.main_processes, processes);
        let wanted = sockets.into_values().flatten().filter(|opened| is_wanted(&opened.holders));
        let listeners: Vec<Listener> = wanted.filter_map(|opened| owners.name(opened)).collect();
        let of_tcpw = listeners.iter().filter(|listener| owners.is_tcpw(listener.pid));
        let of_tcpw = of_tcpw.map(|listener| listener.cookie).collect();
        Look { listeners, of_tcpw, held, missed }
    }
}

/// What a look at processes showed.
#[derive(Default)]
struct Look {
    listeners: Vec<Listener>,
    /// Cookies of those whose only holder is tcpw.
    of_tcpw: BTreeSet<u64>,
    /// Inodes of all sockets that they have descriptors of.
    held: BTreeSet<u64>,
    missed: Missed,
}

impl Look {
    /// Adds what another look showed.
    fn and(&mut self, other: Self, sockets: &[DiagSocket]) {
        self.listeners.extend(other.listeners);
        name_subflows(&mut self.listeners, sockets);
        self.held.extend(other.held);
        self.missed = std::mem::take(&mut self.missed).and(other.missed);
    }
}

fn namespaces_of(listed: Vec<Listed>, guarded: &Guarded) -> Vec<Namespace> {
    listed.into_iter().filter_map(|listed| Namespace::new(listed, |socket| guarded.has(socket))).collect()
}

fn all_sockets(listed: &[Listed]) -> Vec<DiagSocket> {
    listed.iter().flat_map(|listed| listed.sockets.iter().copied()).collect()
}

/// IPPROTO_MPTCP. Source: linux/include/uapi/linux/in.h.
const MPTCP: u16 = 262;
const TCP: u16 = 6;

/// An MPTCP listener's packets reach its subflow, a TCP listener of its own with the same inode.
/// Source: linux/net/mptcp/subflow.c, `mptcp_subflow_create_socket`.
fn name_subflows(listeners: &mut [Listener], sockets: &[DiagSocket]) {
    let subflows: BTreeMap<(u64, u64), u64> = sockets
        .iter()
        .filter(|socket| socket.protocol == TCP && socket.inode != 0)
        .map(|socket| ((socket.netns, socket.inode), socket.cookie))
        .collect();
    for listener in listeners.iter_mut().filter(|listener| listener.protocol == MPTCP) {
        let inode = listener.socket.as_ref().and_then(|socket| fstat(socket).ok()).map(|found| found.st_ino);
        if let Some(cookie) = inode.and_then(|inode| subflows.get(&(listener.netns, inode))) {
            listener.cookie = *cookie;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::sock_diag;

    /// A listener without a socket.
    pub(crate) fn listener(cookie: u64, found: NameSource) -> Listener {
        let socket = sock_diag::DiagSocket {
            cookie,
            interface: 0,
            is_v6_only: false,
            netns: 1,
            resident: 1,
            cgroup: 1,
            inode: 0,
            protocol: TCP,
            family: 2,
            local: ([127, 0, 0, 1], 22).into(),
            is_connected: false,
        };
        Listener { found, ..Scanner::default().hidden(&socket) }
    }
}
