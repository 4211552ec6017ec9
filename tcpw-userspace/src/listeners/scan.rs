//! From /proc to listeners.
//!
//! Invariant: every holder of a socket is seen before its owner is chosen.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Listener, MoreNames, NameSource, Namespace, Survey,
    holders::{OpenedSockets, is_limit},
    owner::Owners,
    process,
    proof::names_set,
    sys::PidFd,
};
use crate::host::{
    cgroups_below, is_root_cgroup,
    sock_diag::{DiagSocket, Incomplete, Listed, NetnsFiles},
};

/// Finds listeners.
///
/// Reading other processes' sockets needs CAP_SYS_PTRACE; processes that cannot be read are left out.
#[derive(Clone, Debug)]
pub struct Scanner {
    proc_root: PathBuf,
    scope: PathBuf,
    /// The cgroup directory of the scope, unless it is the whole host.
    cgroup: Option<PathBuf>,
    more_names: Arc<MoreNames>,
    /// Also find listeners out of scope.
    is_everywhere: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new("/proc", "/")
    }
}

impl Scanner {
    /// A scanner of the processes below `proc_root` whose cgroup is `scope` or below it.
    ///
    /// `proc_root` shows the process ids of our own pid namespace. `scope` is a path of
    /// the cgroup2 hierarchy as /proc/PID/cgroup spells it: `/` is everything.
    pub fn new(proc_root: impl Into<PathBuf>, scope: impl Into<PathBuf>) -> Self {
        Self {
            proc_root: proc_root.into(),
            scope: scope.into(),
            cgroup: None,
            more_names: Arc::default(),
            is_everywhere: false,
        }
    }

    /// With the cgroup directory of the scope: it decides whether a socket without a known process is in scope.
    pub fn guarding(self, cgroup: impl Into<PathBuf>) -> Self {
        Self { cgroup: Some(cgroup.into()), ..self }
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
        let pids = match process::all(&self.proc_root) {
            Ok(pids) => pids,
            Err(error) => {
                let reason = format!("{}: {error}", self.proc_root.display());
                let incomplete = Some(Incomplete::Blind(reason));
                return Survey { incomplete, ..Survey::default() };
            }
        };
        let (mut listeners, over_limit) = self.scan(&pids, |_| true);
        let mut namespaces = NetnsFiles::default();
        for pid in &pids {
            namespaces.add(&self.proc_root, *pid);
        }
        let (listed, failed) = namespaces.listening();
        let sockets = all_sockets(&listed);
        if self.is_everywhere {
            self.correct_scope(&mut listeners, &sockets);
        }
        let over_limit = over_limit + self.add_hidden(&mut listeners, &pids, sockets);
        let blind = (over_limit > 0).then(|| {
            Incomplete::Blind(format!(
                "{over_limit} sockets or processes were not scanned, too many files are open; raise the limit \
                 (LimitNOFILE=, ulimit -n)"
            ))
        });
        Survey { listeners, namespaces: self.namespaces(listed), incomplete: blind.or(failed) }
    }

    /// The listeners that the process `pid` holds. Each is named after its owner, which may be an
    /// ancestor of `pid`: a master for its worker, xinetd for its server.
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
        let (mut listeners, over_limit) = self.scan(&pids, |holders| holders.contains(&pid));
        if over_limit > 0 {
            log::debug!("too many files are open: {over_limit} sockets of process {pid} were not scanned");
        }
        let mut namespaces = NetnsFiles::default();
        namespaces.add(&self.proc_root, pid);
        // A scan of one process is never complete.
        let (listed, _) = namespaces.listening();
        name_subflows(&mut listeners, &all_sockets(&listed));
        Survey { listeners, namespaces: self.namespaces(listed), incomplete: None }
    }

    fn namespaces(&self, listed: Vec<Listed>) -> Vec<Namespace> {
        let guarded = self.guarded();
        listed.into_iter().filter_map(|listed| Namespace::new(listed, |socket| guarded.has(socket))).collect()
    }

    /// Which sockets the gate guards, by the cgroup they were made in.
    fn guarded(&self) -> Guarded {
        match &self.cgroup {
            Some(cgroup) if is_root_cgroup(cgroup) => Guarded::All,
            Some(cgroup) => Guarded::Below(cgroups_below(cgroup)),
            None => Guarded::Unknown,
        }
    }

    /// A socket stays in the cgroup it was made in, even if its process moves: that cgroup decides whether it is
    /// guarded.
    fn correct_scope(&self, listeners: &mut [Listener], sockets: &[DiagSocket]) {
        let Some(cgroup) = self.cgroup.as_ref().filter(|_| self.scope != Path::new("/")) else {
            return;
        };
        let guarded = cgroups_below(cgroup);
        let made_in: BTreeMap<u64, u64> =
            sockets.iter().map(|socket| (socket.cookie, socket.cgroup)).collect();
        for listener in listeners {
            if let Some(cgroup) = made_in.get(&listener.cookie).filter(|cgroup| **cgroup != 0) {
                listener.is_guarded = guarded.contains(cgroup);
            }
        }
    }

    /// Gives MPTCP listeners the cookies of their subflows, and adds listeners that were found in no process in
    /// scope: the process may have moved to another cgroup, but the socket stays in the one it was made in.
    /// Returns how many sockets and processes could not be opened.
    fn add_hidden(&self, listeners: &mut Vec<Listener>, pids: &[u32], mut sockets: Vec<DiagSocket>) -> usize {
        name_subflows(listeners, &sockets);
        let shown: BTreeSet<u64> = listeners.iter().map(|listener| listener.cookie).collect();
        // A UDP socket of the kernel is an end of a tunnel: the gate never sees its datagrams.
        sockets.retain(|socket| socket.protocol == TCP && !shown.contains(&socket.cookie));
        if sockets.is_empty() {
            return 0;
        }
        let guarded = match &self.cgroup {
            Some(_) if self.scope == Path::new("/") => None,
            Some(cgroup) => Some(cgroups_below(cgroup)),
            None => return 0,
        };
        let mut over_limit = 0;
        let is_guarded =
            |socket: &DiagSocket| guarded.as_ref().is_none_or(|guarded| guarded.contains(&socket.cgroup));
        let inodes: BTreeSet<u64> = sockets
            .iter()
            .filter(|socket| socket.inode != 0 && is_guarded(socket))
            .map(|socket| socket.inode)
            .collect();
        if !inodes.is_empty() && !self.is_everywhere {
            let elsewhere;
            (elsewhere, over_limit) = self.scan_for(pids, Some(&inodes), |_| true);
            sockets.retain(|socket| !elsewhere.iter().any(|listener| listener.cookie == socket.cookie));
            listeners.extend(elsewhere.into_iter().map(|listener| Listener { is_guarded: true, ..listener }));
        }
        for socket in sockets {
            let is_guarded = is_guarded(&socket);
            if is_guarded || self.is_everywhere {
                listeners.push(Listener { is_guarded, ..self.hidden(&socket) });
            }
        }
        over_limit
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

    /// As [`Self::scan_for`], for every socket in scope.
    fn scan(&self, pids: &[u32], is_wanted: impl Fn(&BTreeSet<u32>) -> bool) -> (Vec<Listener>, usize) {
        self.scan_for(pids, None, is_wanted)
    }

    /// The listeners that processes hold, and how many sockets and processes could not be opened. With inodes,
    /// only those sockets, in scope or not.
    fn scan_for(
        &self,
        pids: &[u32],
        inodes: Option<&BTreeSet<u64>>,
        is_wanted: impl Fn(&BTreeSet<u32>) -> bool,
    ) -> (Vec<Listener>, usize) {
        let mut found = OpenedSockets::default();
        for &pid in pids {
            // Opened before anything of it is read: see `Owner::read`.
            let process = match PidFd::open(pid) {
                Ok(process) => process,
                Err(error) => {
                    found.over_limit += usize::from(is_limit(&error));
                    continue;
                }
            };
            let cgroup = process::cgroup_of(&self.proc_root, pid);
            let is_guarded = cgroup.is_some_and(|cgroup| cgroup.starts_with(&self.scope));
            if is_guarded || self.is_everywhere || inodes.is_some() {
                found.add(&self.proc_root, pid, process, inodes);
            }
            if is_guarded {
                found.guarded.insert(pid);
            }
        }
        let over_limit = found.over_limit;
        let mut owners = Owners::new(&self.proc_root, &self.more_names, found.processes, found.guarded);
        let sockets = found.sockets.into_values().flatten();
        let wanted = sockets.filter(|opened| is_wanted(&opened.holders));
        (wanted.filter_map(|opened| owners.name(opened)).collect(), over_limit)
    }
}

/// The sockets the gate guards.
enum Guarded {
    All,
    /// Those made in one of these cgroups.
    Below(HashSet<u64>),
    Unknown,
}

impl Guarded {
    fn has(&self, socket: &DiagSocket) -> bool {
        match self {
            Self::All => true,
            Self::Below(cgroups) => cgroups.contains(&socket.cgroup),
            Self::Unknown => false,
        }
    }
}

fn all_sockets(listed: &[Listed]) -> Vec<DiagSocket> {
    listed.iter().flat_map(|listed| listed.sockets.iter().copied()).collect()
}

/// IPPROTO_MPTCP. Source: linux/include/uapi/linux/in.h.
const MPTCP: u16 = 262;
const TCP: u16 = 6;

/// An MPTCP listener's packets reach its subflow, a TCP listener of its own on the same address.
fn name_subflows(listeners: &mut [Listener], sockets: &[DiagSocket]) {
    let subflows: BTreeMap<(u64, SocketAddr), u64> = sockets
        .iter()
        .filter(|socket| socket.protocol == TCP)
        .map(|socket| ((socket.netns, socket.local), socket.cookie))
        .collect();
    for listener in listeners.iter_mut().filter(|listener| listener.protocol == MPTCP) {
        let local = SocketAddr::new(listener.local.ip(), listener.local.port());
        if let Some(cookie) = subflows.get(&(listener.netns, local)) {
            listener.cookie = *cookie;
        }
    }
}
