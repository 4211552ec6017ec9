//! Chooses the owner of a socket among the processes that hold it, and the socket's names.
//!
//! In: a socket and every process that holds it. Out: a listener, named after its owner.

use std::{collections::BTreeMap, path::Path};

use super::{
    Listener, MoreNames, NameSource,
    holders::SocketHolders,
    manager::{MainProcesses, Questions},
    names::{self, unit_file},
    process::ProcessInfo,
    proof::{ProcessFacts, claims, names_set},
    superserver::{Configuration, Named, Role, role},
    sys::{Listening, PidFd},
};

/// How often a process is read that changes meanwhile.
const TRIES: usize = 3;

/// IPPROTO_UDP.
const UDP: u16 = 17;

/// The processes that hold listeners, each read once.
pub(super) struct Owners<'a> {
    proc_root: &'a Path,
    more_names: &'a MoreNames,
    processes: BTreeMap<u32, PidFd>,
    known: BTreeMap<u32, Option<Owner>>,
    manager: Questions<'a>,
}

struct Owner {
    process: ProcessInfo,
    role: Role,
    configuration: Configuration,
}

impl<'a> Owners<'a> {
    /// Of these processes.
    pub(super) fn new(
        proc_root: &'a Path,
        more_names: &'a MoreNames,
        main: &'a MainProcesses,
        processes: BTreeMap<u32, PidFd>,
    ) -> Self {
        Self { proc_root, more_names, processes, known: BTreeMap::new(), manager: main.questions() }
    }

    /// The listener; `None` if no holder is left.
    pub(super) fn name(&mut self, opened: SocketHolders) -> Option<Listener> {
        for &pid in &opened.holders {
            let read = || Owner::read(self.proc_root, pid, self.processes.get(&pid)?, &mut self.manager);
            self.known.entry(pid).or_insert_with(read);
        }
        let holders: Vec<&Owner> =
            opened.holders.iter().filter_map(|pid| self.known.get(pid)?.as_ref()).collect();
        let (owner, mut named) = choose(&holders, &opened.listening, opened.maker)?;
        let facts = ProcessFacts { process: &owner.process, maker: opened.maker };
        self.more_names.add(opened.listening.local.port(), Some(facts), &mut named.claims);
        Some(Listener {
            socket: Some(opened.socket),
            cookie: opened.listening.cookie,
            netns: opened.listening.netns,
            pid: owner.process.pid,
            resident: owner.process.pid,
            holders: opened.holders.iter().copied().collect(),
            family: opened.listening.family,
            protocol: opened.listening.protocol,
            local: opened.listening.local,
            names: names_set(&named.claims),
            claims: named.claims,
            ident: named.ident,
            parts: if named.found == NameSource::Process {
                names::sources(&owner.process)
            } else {
                Vec::new()
            },
            found: named.found,
            is_guarded: true,
            is_tunnel: opened.listening.is_tunnel,
            service: named.service,
        })
    }

    /// Whether a process that was read runs tcpw.
    pub(super) fn is_tcpw(&self, pid: u32) -> bool {
        self.known.get(&pid).and_then(Option::as_ref).is_some_and(|owner| runs_tcpw(&owner.process))
    }
}

impl Owner {
    /// `None` if the process is gone: its process id may have been reused, and the data read are not reliable.
    fn read(proc_root: &Path, pid: u32, pidfd: &PidFd, manager: &mut Questions<'_>) -> Option<Self> {
        let mut process = ProcessInfo::read(proc_root, pid)?;
        for _ in 1..TRIES {
            if process.is_unchanged(proc_root) {
                break;
            }
            process = ProcessInfo::read(proc_root, pid)?;
        }
        process.is_changing = !process.is_unchanged(proc_root);
        ask_for_user(proc_root, &mut process, manager);
        let configuration = Configuration::read(proc_root, &process);
        pidfd.is_alive().then(|| Self { role: role(&process), process, configuration })
    }
}

/// The user of a unit that has no `User=` is the one that its main process became.
fn ask_for_user(proc_root: &Path, process: &mut ProcessInfo, manager: &mut Questions<'_>) {
    let Some(unit) = process.unit.as_mut().filter(|unit| unit.is_for_manager && unit.is_of_root) else {
        return;
    };
    let is_main = unit_file(&process.cgroup)
        .is_some_and(|file| manager.is_main(proc_root, file, (process.pid, process.started)));
    if is_main {
        unit.user = Some(process.uids[0]);
    }
}

/// The owner of a socket among its holders, and the names of the socket.
///
/// A super-server whose configuration has the port; else the oldest process that is
/// neither init nor a super-server (the master, not its workers); else the oldest,
/// which is systemd where a socket unit waits for its first connection.
fn choose<'a>(holders: &[&'a Owner], listening: &Listening, maker: u32) -> Option<(&'a Owner, Named)> {
    let facts = |owner: &'a Owner| ProcessFacts { process: &owner.process, maker };
    let served = holders.iter().filter(|owner| matches!(owner.role, Role::Xinetd | Role::Inetd));
    let is_udp = listening.protocol == UDP;
    let configured =
        |owner: &&'a Owner| Some((*owner, owner.configuration.name(listening.local, is_udp, facts(owner))?));
    if let Some(service) = served.into_iter().find_map(configured) {
        return Some(service);
    }
    let owner = *holders.iter().min_by_key(|owner| {
        let process = &owner.process;
        (is_tcpw(process), owner.role != Role::Ordinary, process.started, process.pid)
    })?;
    let by_process = || Named {
        claims: claims(facts(owner)),
        ident: names::ident(&owner.process),
        found: NameSource::Process,
        service: None,
    };
    let named = owner.configuration.name(listening.local, is_udp, facts(owner));
    Some((owner, named.unwrap_or_else(by_process)))
}

/// Whether a process is tcpw: this one, or another. While it scans, it holds a duplicate of every socket, and is no
/// owner of those that another process holds too.
fn is_tcpw(process: &ProcessInfo) -> bool {
    process.pid == std::process::id() || runs_tcpw(process)
}

fn runs_tcpw(process: &ProcessInfo) -> bool {
    process.executable_name() == Some(b"tcpw") && process.is_run_by_root().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{super::socket_unit::SocketUnit, *};

    fn owner(pid: u32, executable: &str, started: u64) -> Owner {
        let process = ProcessInfo {
            pid,
            executable: Some(executable.into()),
            started,
            is_privileged: true,
            ..ProcessInfo::default()
        };
        Owner { role: role(&process), process, configuration: Configuration::Nothing }
    }

    fn listening() -> Listening {
        let local = "0.0.0.0:22".parse().unwrap();
        Listening { family: 2, protocol: 6, cookie: 1, netns: 1, local, is_tunnel: false }
    }

    fn chosen(holders: &[Owner]) -> u32 {
        let holders: Vec<&Owner> = holders.iter().collect();
        choose(&holders, &listening(), 0).unwrap().0.process.pid
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
        let (_, named) = choose(&[&systemd], &listening, 0).unwrap();
        assert_eq!(
            (named.found, names_set(&named.claims).to_string()),
            (NameSource::Systemd, "ssh".to_owned())
        );
        let sshd = owner(9, "/usr/sbin/sshd", 5);
        assert_eq!(choose(&[&systemd, &sshd], &listening, 0).unwrap().0.process.pid, 9);
    }

    /// It began to scan before the daemon was started.
    #[test]
    fn another_tcpw_owns_only_what_no_other_process_holds() {
        let tcpw = || owner(5, "/usr/local/sbin/tcpw", 1);
        assert_eq!(chosen(&[tcpw(), owner(9, "/usr/sbin/sshd", 5)]), 9);
        assert_eq!(chosen(&[tcpw(), owner(1, "/usr/lib/systemd/systemd", 2)]), 1);
        assert_eq!(chosen(&[tcpw()]), 5);
        let mut of_a_user = tcpw();
        of_a_user.process.uids = [1000; 4];
        assert_eq!(chosen(&[of_a_user, owner(9, "/home/u/worker", 5)]), 5);
    }

    #[test]
    fn super_server_alone_is_the_owner() {
        assert_eq!(chosen(&[owner(5, "/usr/sbin/xinetd", 1)]), 5);
    }
}
