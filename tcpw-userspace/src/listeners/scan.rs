//! From /proc to listeners.
//!
//! Invariant: every holder of a socket is seen before its owner is chosen.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, btree_map::Entry},
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sys::stat::fstat;

use super::{
    Listener, MoreNames, NameSource, Namespace, Survey,
    diag::{self, DiagSocket, Listed, Namespaces},
    names,
    process::{self, Process},
    superserver::{Configuration, Named, Role, role},
    sys::{self, Listening, PidFd},
};
use crate::names::NamesSet;

/// Finds listeners.
///
/// Reading other processes' sockets takes CAP_SYS_PTRACE; what may not be read is left out.
#[derive(Clone, Debug)]
pub struct Scanner {
    proc_root: PathBuf,
    scope: PathBuf,
    /// The directory of the scope, if it is not all.
    cgroup: Option<PathBuf>,
    more_names: Arc<MoreNames>,
    /// Also what is out of scope.
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

    /// With the directory of the scope: sockets that no process shows are told apart by it.
    pub fn guarding(self, cgroup: impl Into<PathBuf>) -> Self {
        Self { cgroup: Some(cgroup.into()), ..self }
    }

    /// With the names the administrator gives.
    pub fn naming(self, more_names: MoreNames) -> Self {
        Self { more_names: Arc::new(more_names), ..self }
    }

    /// Also of processes out of scope: their listeners say that they are not guarded.
    pub fn everywhere(self) -> Self {
        Self { is_everywhere: true, ..self }
    }

    /// Every listener of every process.
    pub fn scan_all(&self) -> Vec<Listener> {
        self.survey_all().listeners
    }

    /// As [`Self::scan_all`], with all network namespaces.
    pub fn survey_all(&self) -> Survey {
        let pids = process::all(&self.proc_root).unwrap_or_else(|error| {
            log::error!("{}: {error}: no listener is found", self.proc_root.display());
            Vec::new()
        });
        let mut listeners = self.scan(&pids, |_| true);
        let mut namespaces = Namespaces::default();
        for pid in &pids {
            namespaces.add(&self.proc_root, *pid);
        }
        let listed = namespaces.listening();
        let sockets = all_sockets(&listed);
        if self.is_everywhere {
            self.correct_scope(&mut listeners, &sockets);
        }
        self.add_hidden(&mut listeners, &pids, sockets);
        Survey { listeners, namespaces: self.namespaces(listed) }
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
            // Numbers may be given anew while we climb: never in a circle.
            if pids.contains(&parent) {
                break;
            }
            pids.push(parent);
            next = parent;
        }
        let mut listeners = self.scan(&pids, |holders| holders.contains(&pid));
        let mut namespaces = Namespaces::default();
        namespaces.add(&self.proc_root, pid);
        let listed = namespaces.listening();
        name_subflows(&mut listeners, &all_sockets(&listed));
        Survey { listeners, namespaces: self.namespaces(listed) }
    }

    fn namespaces(&self, listed: Vec<Listed>) -> Vec<Namespace> {
        let guarded = self.guarded();
        listed.into_iter().filter_map(|listed| Namespace::new(listed, |socket| guarded.has(socket))).collect()
    }

    /// Which sockets the gate sees, by the cgroup they were made in.
    fn guarded(&self) -> Guarded {
        match &self.cgroup {
            Some(cgroup) if diag::is_root_cgroup(cgroup) => Guarded::All,
            Some(cgroup) => Guarded::Below(diag::cgroups_below(cgroup)),
            None => Guarded::Unknown,
        }
    }

    /// A socket stays in the cgroup it was made in, wherever its process went: by that it is guarded.
    fn correct_scope(&self, listeners: &mut [Listener], sockets: &[DiagSocket]) {
        let Some(cgroup) = self.cgroup.as_ref().filter(|_| self.scope != Path::new("/")) else {
            return;
        };
        let guarded = diag::cgroups_below(cgroup);
        let made_in: BTreeMap<u64, u64> =
            sockets.iter().map(|socket| (socket.cookie, socket.cgroup)).collect();
        for listener in listeners {
            if let Some(cgroup) = made_in.get(&listener.cookie).filter(|cgroup| **cgroup != 0) {
                listener.is_guarded = guarded.contains(cgroup);
            }
        }
    }

    /// Gives MPTCP listeners the cookies of their subflows, and adds those that no process in scope
    /// shows: its process may have moved to another cgroup, the socket stays in that it was made in.
    fn add_hidden(&self, listeners: &mut Vec<Listener>, pids: &[u32], mut sockets: Vec<DiagSocket>) {
        name_subflows(listeners, &sockets);
        let shown: BTreeSet<u64> = listeners.iter().map(|listener| listener.cookie).collect();
        // A UDP socket of the kernel is an end of a tunnel, whose datagrams no gate sees.
        sockets.retain(|socket| socket.protocol == TCP && !shown.contains(&socket.cookie));
        if sockets.is_empty() {
            return;
        }
        let guarded = match &self.cgroup {
            Some(_) if self.scope == Path::new("/") => None,
            Some(cgroup) => Some(diag::cgroups_below(cgroup)),
            None => return,
        };
        let is_guarded =
            |socket: &DiagSocket| guarded.as_ref().is_none_or(|guarded| guarded.contains(&socket.cgroup));
        let inodes: BTreeSet<u64> = sockets
            .iter()
            .filter(|socket| socket.inode != 0 && is_guarded(socket))
            .map(|socket| socket.inode)
            .collect();
        if !inodes.is_empty() && !self.is_everywhere {
            let elsewhere = self.scan_for(pids, Some(&inodes), |_| true);
            sockets.retain(|socket| !elsewhere.iter().any(|listener| listener.cookie == socket.cookie));
            listeners.extend(elsewhere.into_iter().map(|listener| Listener { is_guarded: true, ..listener }));
        }
        for socket in sockets {
            let is_guarded = is_guarded(&socket);
            if is_guarded || self.is_everywhere {
                listeners.push(Listener { is_guarded, ..self.hidden(&socket) });
            }
        }
    }

    /// A listener that no process shows.
    fn hidden(&self, socket: &DiagSocket) -> Listener {
        let names = self.more_names.with(&NamesSet::default(), socket.local.port(), None);
        let found = if names.is_some() { NameSource::Settings } else { NameSource::Nobody };
        let names = names.unwrap_or_default();
        let first = names.iter().next().map(|name| String::from_utf8_lossy(name).into_owned());
        Listener {
            socket: None,
            cookie: socket.cookie,
            netns: socket.netns,
            pid: 0,
            holders: Vec::new(),
            family: socket.family,
            protocol: 6,
            local: socket.local,
            ident: first.unwrap_or_else(|| "kernel".into()),
            names,
            found,
            parts: Vec::new(),
            is_guarded: true,
            is_tunnel: false,
            service: None,
        }
    }

    fn scan(&self, pids: &[u32], is_wanted: impl Fn(&BTreeSet<u32>) -> bool) -> Vec<Listener> {
        self.scan_for(pids, None, is_wanted)
    }

    /// With inodes, those sockets alone, whatever the scope.
    fn scan_for(
        &self,
        pids: &[u32],
        inodes: Option<&BTreeSet<u64>>,
        is_wanted: impl Fn(&BTreeSet<u32>) -> bool,
    ) -> Vec<Listener> {
        let mut found = Found::default();
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
        if found.over_limit > 0 {
            log::error!(
                "{} sockets or processes were not looked at, too many files are open: their listeners are judged by the \
                 rules for any daemon; raise the limit (LimitNOFILE=, ulimit -n)",
                found.over_limit
            );
        }
        let mut owners = Owners {
            proc_root: &self.proc_root,
            more_names: &self.more_names,
            processes: found.processes,
            guarded: found.guarded,
            known: BTreeMap::new(),
        };
        let sockets = found.sockets.into_values().flatten();
        sockets.filter(|held| is_wanted(&held.holders)).filter_map(|held| owners.name(held)).collect()
    }
}

/// The sockets the gate sees.
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
const UDP: u16 = 17;

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

/// A listening or bound socket and every process that holds it.
struct Held {
    socket: OwnedFd,
    listening: Listening,
    holders: BTreeSet<u32>,
}

#[derive(Default)]
struct Found {
    /// By inode; `None` for one that does not listen.
    sockets: BTreeMap<u64, Option<Held>>,
    processes: BTreeMap<u32, PidFd>,
    /// Those in scope.
    guarded: BTreeSet<u32>,
    /// Sockets and processes that could not be opened: too many are open already.
    over_limit: usize,
}

/// Whether an error says that too many files are open.
fn is_limit(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

impl Found {
    fn add(&mut self, proc_root: &Path, pid: u32, process: PidFd, inodes: Option<&BTreeSet<u64>>) {
        let mut is_holder = false;
        for (fd, inode) in process::sockets(proc_root, pid) {
            if inodes.is_some_and(|inodes| !inodes.contains(&inode)) {
                continue;
            }
            let known = match self.sockets.entry(inode) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match process.duplicate(fd) {
                    Ok(socket) => new.insert(Held::new(socket, inode)),
                    Err(error) if is_limit(&error) => {
                        self.over_limit += 1;
                        continue;
                    }
                    // Closed meanwhile, or the process is gone: another holder may tell.
                    Err(_) => continue,
                },
            };
            if let Some(held) = known {
                held.holders.insert(pid);
                is_holder = true;
            }
        }
        if is_holder {
            self.processes.insert(pid, process);
        }
    }
}

impl Held {
    /// `None` unless the socket listens or is bound, and is the one with this inode.
    fn new(socket: OwnedFd, inode: u64) -> Option<Self> {
        let listening = sys::listening(socket.as_fd())?;
        let is_it = fstat(&socket).is_ok_and(|found| found.st_ino == inode);
        is_it.then(|| Self { socket, listening, holders: BTreeSet::new() })
    }
}

/// The processes that hold listeners, each read once.
struct Owners<'a> {
    proc_root: &'a Path,
    more_names: &'a MoreNames,
    processes: BTreeMap<u32, PidFd>,
    guarded: BTreeSet<u32>,
    known: BTreeMap<u32, Option<Owner>>,
}

struct Owner {
    process: Process,
    role: Role,
    configuration: Configuration,
}

impl Owners<'_> {
    fn name(&mut self, held: Held) -> Option<Listener> {
        for &pid in &held.holders {
            let read = || Owner::read(self.proc_root, pid, self.processes.get(&pid)?);
            self.known.entry(pid).or_insert_with(read);
        }
        let holders: Vec<&Owner> =
            held.holders.iter().filter_map(|pid| self.known.get(pid)?.as_ref()).collect();
        let (owner, mut named) = choose(&holders, &held.listening)?;
        let unit = names::unit_file(&owner.process.cgroup).map(String::from_utf8_lossy);
        let port = held.listening.local.port();
        if let Some(names) = self.more_names.with(&named.names, port, unit.as_deref()) {
            named.names = names;
        }
        Some(Listener {
            socket: Some(held.socket),
            cookie: held.listening.cookie,
            netns: held.listening.netns,
            pid: owner.process.pid,
            holders: held.holders.iter().copied().collect(),
            family: held.listening.family,
            protocol: held.listening.protocol,
            local: held.listening.local,
            names: named.names,
            ident: named.ident,
            parts: if named.found == NameSource::Process {
                names::sources(&owner.process)
            } else {
                Vec::new()
            },
            found: named.found,
            is_guarded: held.holders.iter().any(|pid| self.guarded.contains(pid)),
            is_tunnel: held.listening.is_tunnel,
            service: named.service,
        })
    }
}

impl Owner {
    /// `None` if the process is gone: its number may be another's, and what was read too.
    fn read(proc_root: &Path, pid: u32, pidfd: &PidFd) -> Option<Self> {
        let process = Process::read(proc_root, pid)?;
        let configuration = Configuration::read(proc_root, &process);
        pidfd.is_alive().then(|| Self { role: role(&process), process, configuration })
    }
}

/// The owner of a socket among its holders, and how the socket is named.
///
/// A super-server whose configuration has the port; else the oldest process that is
/// neither init nor a super-server (the master, not its workers); else the oldest,
/// which is systemd where a socket unit waits for its first connection.
fn choose<'a>(holders: &[&'a Owner], listening: &Listening) -> Option<(&'a Owner, Named)> {
    let served = holders.iter().filter(|owner| matches!(owner.role, Role::Xinetd | Role::Inetd));
    let is_udp = listening.protocol == UDP;
    let configured = |owner: &&'a Owner| Some((*owner, owner.configuration.name(listening.local, is_udp)?));
    if let Some(service) = served.into_iter().find_map(configured) {
        return Some(service);
    }
    let owner = *holders.iter().min_by_key(|owner| {
        let pid = owner.process.pid;
        // Every socket found is ours too, by duplication.
        let is_ours = pid == std::process::id();
        (is_ours, owner.role != Role::Ordinary, owner.process.started, pid)
    })?;
    let by_process = || Named {
        names: names::names(&owner.process),
        ident: names::ident(&owner.process),
        found: NameSource::Process,
        service: None,
    };
    Some((owner, owner.configuration.name(listening.local, is_udp).unwrap_or_else(by_process)))
}

#[cfg(test)]
mod tests {
    use super::{super::socket_unit::SocketUnit, *};

    fn owner(pid: u32, executable: &str, started: u64) -> Owner {
        let process = Process {
            pid,
            executable: Some(executable.into()),
            started,
            is_privileged: true,
            ..Process::default()
        };
        Owner { role: role(&process), process, configuration: Configuration::Nothing }
    }

    fn listening() -> Listening {
        let local = "0.0.0.0:22".parse().unwrap();
        Listening { family: 2, protocol: 6, cookie: 1, netns: 1, local, is_tunnel: false }
    }

    fn chosen(holders: &[Owner]) -> u32 {
        let holders: Vec<&Owner> = holders.iter().collect();
        choose(&holders, &listening()).unwrap().0.process.pid
    }

    #[test]
    fn daemon_is_preferred_to_who_opened_the_socket_for_it() {
        assert_eq!(chosen(&[owner(1, "/usr/lib/systemd/systemd", 1), owner(9, "/usr/sbin/sshd", 5)]), 9);
        assert_eq!(chosen(&[owner(5, "/usr/sbin/xinetd", 1), owner(9, "/usr/sbin/in.ftpd", 5)]), 9);
    }

    #[test]
    fn master_is_preferred_to_its_workers_whatever_their_numbers() {
        assert_eq!(chosen(&[owner(8, "/usr/sbin/nginx", 7), owner(9, "/usr/sbin/nginx", 5)]), 9);
        assert_eq!(chosen(&[owner(8, "/usr/sbin/nginx", 5), owner(9, "/usr/sbin/nginx", 5)]), 8);
    }

    #[test]
    fn socket_unit_names_a_listener_of_systemd_until_its_daemon_holds_it() {
        let unit = SocketUnit::parse("ssh", ["[Socket]\nListenStream=22\n"]);
        let mut systemd = owner(1, "/usr/lib/systemd/systemd", 1);
        systemd.configuration = Configuration::Systemd(vec![unit]);
        let listening = listening();
        let (_, named) = choose(&[&systemd], &listening).unwrap();
        assert_eq!((named.found, named.names.to_string()), (NameSource::Systemd, "ssh".to_owned()));
        let sshd = owner(9, "/usr/sbin/sshd", 5);
        assert_eq!(choose(&[&systemd, &sshd], &listening).unwrap().0.process.pid, 9);
    }

    #[test]
    fn super_server_alone_is_the_owner() {
        assert_eq!(chosen(&[owner(5, "/usr/sbin/xinetd", 1)]), 5);
    }
}
