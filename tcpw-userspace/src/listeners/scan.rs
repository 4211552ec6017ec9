//! From /proc to listeners.
//!
//! Invariant: every holder of a socket is seen before its owner is chosen.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::Arc,
};

use super::{
    Listener, MoreNames, NameSource, Namespace, Survey,
    holders::{Missed, OpenedSockets},
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
/// Reading other processes' sockets needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; while processes cannot be read, a
/// listener that was found in no process is left out, and has no tag: it is not known whether it is the kernel's.
#[derive(Clone, Debug)]
pub struct Scanner {
    proc_root: PathBuf,
    /// The cgroup directory of the scope, unless it is the whole host.
    cgroup: Option<PathBuf>,
    more_names: Arc<MoreNames>,
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
        Self { proc_root: proc_root.into(), cgroup: None, more_names: Arc::default(), is_everywhere: false }
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
        let pids = match process::all(&self.proc_root) {
            Ok(pids) => pids,
            Err(error) => {
                let reason = format!("{}: {error}", self.proc_root.display());
                let incomplete = Some(Incomplete::Blind(reason));
                return Survey { incomplete, ..Survey::default() };
            }
        };
        let (mut listeners, missed) = self.scan(&pids, |_| true);
        let mut namespaces = NetnsFiles::default();
        for pid in &pids {
            namespaces.add(&self.proc_root, *pid);
        }
        let (listed, failed) = namespaces.listening();
        let sockets = all_sockets(&listed);
        name_subflows(&mut listeners, &sockets);
        let guarded = self.guarded();
        let unseen = self.add_hidden(&mut listeners, &sockets, &guarded, missed);
        self.decide_scope(&mut listeners, &sockets, &guarded);
        let incomplete = missed.reason().map(Incomplete::Blind).or(failed).or(unseen);
        Survey { listeners, namespaces: namespaces_of(listed, &guarded), incomplete }
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
        let (mut listeners, missed) = self.scan(&pids, |holders| holders.contains(&pid));
        if let Some(reason) = missed.reason() {
            log::debug!("scan of process {pid}: {reason}");
        }
        let mut namespaces = NetnsFiles::default();
        namespaces.add(&self.proc_root, pid);
        // A scan of one process is never complete.
        let (listed, _) = namespaces.listening();
        let sockets = all_sockets(&listed);
        name_subflows(&mut listeners, &sockets);
        let guarded = self.guarded();
        self.decide_scope(&mut listeners, &sockets, &guarded);
        Survey { listeners, namespaces: namespaces_of(listed, &guarded), incomplete: None }
    }

    /// Which sockets the gate guards, by the id of the cgroup they were made in.
    fn guarded(&self) -> Guarded {
        match &self.cgroup {
            Some(cgroup) => Guarded::Below(cgroups_below(cgroup)),
            None => Guarded::All,
        }
    }

    /// Marks listeners that are out of scope, or leaves them out. A socket stays in the cgroup it was made in, even if
    /// its process moves. One that the kernel does not list is not called guarded, but gets its tag.
    fn decide_scope(&self, listeners: &mut Vec<Listener>, sockets: &[DiagSocket], guarded: &Guarded) {
        if matches!(guarded, Guarded::All) {
            return;
        }
        let is_guarded: BTreeMap<u64, bool> =
            sockets.iter().map(|socket| (socket.cookie, guarded.has(socket))).collect();
        for listener in listeners.iter_mut() {
            listener.is_guarded = is_guarded.get(&listener.cookie).copied().unwrap_or(!self.is_everywhere);
        }
        listeners.retain(|listener| listener.is_guarded || self.is_everywhere);
    }

    /// Adds listeners that were found in no process: the kernel's own. Where processes could not be read it may be
    /// one of theirs, which has a name that a rule refuses: unless the settings name it, it is left out, and why is
    /// returned.
    fn add_hidden(
        &self,
        listeners: &mut Vec<Listener>,
        sockets: &[DiagSocket],
        guarded: &Guarded,
        missed: Missed,
    ) -> Option<Incomplete> {
        let shown: BTreeSet<u64> = listeners.iter().map(|listener| listener.cookie).collect();
        // A UDP socket of the kernel is an end of a tunnel: the gate never sees its datagrams.
        let hidden = sockets.iter().filter(|it| it.protocol == TCP && !shown.contains(&it.cookie));
        let in_scope = hidden.filter(|it| self.is_everywhere || guarded.has(it));
        let mut hidden: Vec<Listener> = in_scope.map(|socket| self.hidden(socket)).collect();
        let unseen = if missed.unseen > 0 {
            Some(
                "cannot be looked into: give tcpw CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE, and no security module that denies it",
            )
        } else if sees_every_process() {
            None
        } else {
            Some("are not seen from this pid namespace: run tcpw in that of the host")
        };
        let found = hidden.len();
        if unseen.is_some() {
            hidden.retain(|listener| listener.found == NameSource::Settings);
        }
        let left_out = found - hidden.len();
        listeners.extend(hidden);
        unseen.filter(|_| left_out > 0).map(|why| {
            Incomplete::Unseen(format!(
                "{left_out} listeners belong to processes that {why}, or name them in [names.port]"
            ))
        })
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

    /// The listeners that processes hold, in scope or not, and what could not be opened.
    fn scan(&self, pids: &[u32], is_wanted: impl Fn(&BTreeSet<u32>) -> bool) -> (Vec<Listener>, Missed) {
        let mut found = OpenedSockets::default();
        for &pid in pids {
            // Opened before anything of it is read: see `Owner::read`.
            match PidFd::open(pid) {
                Ok(process) => found.add(&self.proc_root, pid, process),
                Err(error) => found.missed.note(&error),
            }
        }
        let missed = found.missed;
        let mut owners = Owners::new(&self.proc_root, &self.more_names, found.processes);
        let sockets = found.sockets.into_values().flatten();
        let wanted = sockets.filter(|opened| is_wanted(&opened.holders));
        (wanted.filter_map(|opened| owners.name(opened)).collect(), missed)
    }
}

/// Whether this process sees those of the whole host.
fn sees_every_process() -> bool {
    /// Source: linux/include/linux/proc_ns.h, `PROC_PID_INIT_INO`.
    const OF_THE_HOST: u64 = 0xEFFF_FFFC;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|found| found.ino() == OF_THE_HOST)
}

/// The sockets the gate guards.
enum Guarded {
    All,
    /// Those made in one of these cgroups.
    Below(HashSet<u64>),
}

impl Guarded {
    fn has(&self, socket: &DiagSocket) -> bool {
        match self {
            Self::All => true,
            Self::Below(cgroups) => cgroups.contains(&socket.cgroup),
        }
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

/// An MPTCP listener's packets reach its subflow, a TCP listener of its own on the same address.
fn name_subflows(listeners: &mut [Listener], sockets: &[DiagSocket]) {
    // One that a process holds shares the port (SO_REUSEPORT).
    let held: BTreeSet<u64> =
        listeners.iter().filter(|it| it.protocol == TCP).map(|listener| listener.cookie).collect();
    let subflows: BTreeMap<(u64, SocketAddr), u64> = sockets
        .iter()
        .filter(|socket| socket.protocol == TCP && !held.contains(&socket.cookie))
        .map(|socket| ((socket.netns, socket.local), socket.cookie))
        .collect();
    for listener in listeners.iter_mut().filter(|listener| listener.protocol == MPTCP) {
        let local = SocketAddr::new(listener.local.ip(), listener.local.port());
        if let Some(cookie) = subflows.get(&(listener.netns, local)) {
            listener.cookie = *cookie;
        }
    }
}
