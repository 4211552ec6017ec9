//! The host: listeners, files, names of clients, users; and the steps of the plan.
//!
//! In: steps. Out: what scans, look-ups and reads find.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tcpw_common::{
    key::Comm,
    tag::{BOUND_BEFORE, PROVISIONAL, Tag},
};

use super::{
    clients, daemon,
    history::{Happening, History, MS},
    kernel::ListenerSocket,
    ledger,
    plan::{CLIENTS, LISTENERS, Plan, StepKind},
    policies::FileLines,
    random::chance_of,
};
use crate::{
    bans::journal::Line,
    control::{ApplyOrder, LiveQuestion, Request},
    core::{Input, input::HelperSaid},
    evaluate::request::HostName,
    names::NamesSet,
    resolve::{Found, Question, Verified},
};

/// A listener that can be.
struct SimulatedService {
    netns: u64,
    port: u16,
    protocol: u16,
    is_v6: bool,
    is_root: bool,
    /// Before and after its process executes another program.
    names: [&'static str; 2],
}

impl SimulatedService {
    /// Its names while its process is called that: proven only if root runs it.
    fn names_by(&self, name: &str) -> NamesSet {
        if self.is_root { NamesSet::new([name]) } else { NamesSet::default().with_unproven([name]) }
    }
}

const TCP: u16 = 6;
const UDP: u16 = 17;

/// Every listener, by number. Of the first four and the last but one, ports are alike in both namespaces.
const SERVICES: [SimulatedService; LISTENERS] = [
    SimulatedService {
        netns: 1,
        port: 22,
        protocol: TCP,
        is_v6: false,
        is_root: true,
        names: ["sshd", "login"],
    },
    SimulatedService {
        netns: 1,
        port: 21,
        protocol: TCP,
        is_v6: true,
        is_root: true,
        names: ["vsftpd", "in.ftpd"],
    },
    SimulatedService {
        netns: 1,
        port: 8080,
        protocol: TCP,
        is_v6: true,
        is_root: false,
        names: ["custom", "sshd"],
    },
    SimulatedService {
        netns: 2,
        port: 22,
        protocol: TCP,
        is_v6: true,
        is_root: true,
        names: ["dropbear", "sshd"],
    },
    SimulatedService {
        netns: 2,
        port: 21,
        protocol: TCP,
        is_v6: true,
        is_root: true,
        names: ["vsftpd", "telnetd"],
    },
    SimulatedService {
        netns: 2,
        port: 8080,
        protocol: TCP,
        is_v6: false,
        is_root: false,
        names: ["telnetd", "custom"],
    },
    SimulatedService {
        netns: 1,
        port: 69,
        protocol: UDP,
        is_v6: true,
        is_root: true,
        names: ["in.tftpd", "login"],
    },
];

/// Everything of the host that is not the kernel's.
#[derive(Debug)]
pub(super) struct HostState {
    /// Cookies of the listeners that listen.
    pub(super) cookies: [Option<u64>; LISTENERS],
    executed: [bool; LISTENERS],
    pub(super) hidden: [bool; LISTENERS],
    pub(super) do_scans_fail: bool,
    /// The files, and how often they changed.
    pub(super) files: FileLines,
    pub(super) version: u64,
    renamed: [u64; CLIENTS.len()],
    pub(super) resolver_hangs_until_ns: u64,
    requests: u64,
    /// What is stored of bans.
    pub(super) stored_bans: Vec<Line>,
}

impl HostState {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            cookies: [None; LISTENERS],
            executed: [false; LISTENERS],
            hidden: [false; LISTENERS],
            do_scans_fail: false,
            files: plan.files[0].clone(),
            version: 1,
            renamed: [0; CLIENTS.len()],
            resolver_hangs_until_ns: 0,
            requests: 0,
            stored_bans: Vec::new(),
        }
    }

    /// The name that a listener's process has now.
    pub(super) fn name(&self, listener: usize) -> &'static str {
        SERVICES[listener].names[usize::from(self.executed[listener])]
    }

    /// The names of a listener.
    pub(super) fn names(&self, listener: usize) -> NamesSet {
        SERVICES[listener].names_by(self.name(listener))
    }

    /// What a look-up says now.
    pub(super) fn truth(&self, question: &Question) -> Found {
        match question {
            Question::Name(address) => {
                let client = CLIENTS.iter().position(|client| client == address);
                let kind = client.map_or(0, |client| 1 + client as u64 + self.renamed[client]);
                let known = |name: &str| HostName::Known(name.as_bytes().into());
                let name = match kind % 6 {
                    0 => known("server.good.example"),
                    1 => known("mail.good.example"),
                    2 => known("pc.bad.example"),
                    3 => HostName::Unknown,
                    4 => HostName::Paranoid,
                    _ => known("local"),
                };
                Found::Name(Verified { name, warning: None })
            }
            Question::Netgroup { group, host } => {
                let text: Vec<u64> = group.iter().chain(host.iter()).map(|byte| u64::from(*byte)).collect();
                Found::Member(chance_of(3, &text).percent(50))
            }
        }
    }

    /// The user of a client.
    pub(super) fn user(client: usize) -> Option<&'static str> {
        [Some("alice"), None, Some("bob")][client % 3]
    }
}

/// Namespace, port and protocol of a listener.
pub(super) fn place_of(listener: usize) -> (u64, u16, u16) {
    let SimulatedService { netns, port, protocol, .. } = SERVICES[listener];
    (netns, port, protocol)
}

/// The process of a listener.
pub(super) fn pid_of(listener: usize) -> u32 {
    100 + u32::try_from(listener).unwrap_or_default()
}

/// The address that a client connects to: the same in both namespaces.
pub(super) fn server_address(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1)),
    }
}

/// Before the daemon starts.
pub(super) fn begin(history: &mut History) {
    for (listener, service) in SERVICES.iter().enumerate() {
        for name in service.names {
            history.oracle.learn_names(&NamesSet::new([name]));
            history.oracle.learn_names(&service.names_by(name));
        }
        if !history.chance(&[40, listener as u64]).percent(20) {
            listen(history, listener);
        }
    }
}

/// A listener begins, if it does not listen.
pub(super) fn listen(history: &mut History, listener: usize) {
    if history.host.cookies[listener].is_some() {
        return;
    }
    let SimulatedService { netns, port, protocol, is_v6, is_root, .. } = SERVICES[listener];
    let every = if is_v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let local = SocketAddr::new(every, port);
    let name = history.host.name(listener);
    let mut comm: Comm = [0; 16];
    comm.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte);
    let socket = ListenerSocket { netns, pid: pid_of(listener), protocol, local, tag: None };
    let cookie = history.kernel.listen(socket, comm, is_root);
    history.host.cookies[listener] = Some(cookie);
    history.note(|_| format!("{name} listens at port {port} of namespace {netns}, socket {cookie}"));
}

fn close(history: &mut History, listener: usize) {
    if let Some(cookie) = history.host.cookies[listener].take() {
        history.note(|_| format!("socket {cookie} is closed"));
        history.kernel.close(cookie);
        let at = history.now_ns + history.chance(&[41, cookie]).next() % (4000 * MS);
        history.at(at, Happening::Listen(listener));
    }
}

/// Marks UDP sockets that were bound before the programs ran.
pub(super) fn mark_bound(history: &mut History) {
    for socket in history.kernel.sockets.values_mut().filter(|socket| socket.protocol == UDP) {
        let flags = PROVISIONAL | BOUND_BEFORE;
        socket.tag.get_or_insert(Tag { names: 0, netns: socket.netns, pid: socket.pid, flags });
    }
}

/// A step of the plan.
pub(super) fn step(history: &mut History, index: usize) {
    let what = history.plan.steps[index].what.clone();
    history.note(|_| format!("STEP {what:?}"));
    match what {
        StepKind::Connect { client, listener, port, isn, sends, syns } => {
            let place = if listener + 1 == LISTENERS { 0 } else { listener };
            if let Some(client) = clients::begins(history, (client, place), (port, isn, sends, syns)) {
                clients::sends_syn(history, client, 0);
            }
        }
        StepKind::Datagrams { client, listener, port, count } => {
            let of = (port, 0, super::plan::Sends::Nothing, 1);
            if let Some(client) = clients::begins(history, (client, listener), of) {
                clients::sends_datagram(history, client, count);
            }
        }
        StepKind::Edit { files } => {
            history.host.files = history.plan.files[files].clone();
            history.host.version += 1;
            let version = history.host.version;
            super::outside::files_changed(history, version);
        }
        StepKind::Listen { listener } => listen(history, listener),
        StepKind::Close { listener } => close(history, listener),
        StepKind::Execute { listener } => {
            history.host.executed[listener] ^= true;
            history.kernel.executed(pid_of(listener));
        }
        StepKind::Hide { listener, is_hidden } => history.host.hidden[listener] = is_hidden,
        StepKind::ScansFail { is_so } => history.host.do_scans_fail = is_so,
        StepKind::Rename { client } => history.host.renamed[client] += 1,
        StepKind::ResolverHangs { ms } => {
            history.host.resolver_hangs_until_ns = history.now_ns + ms * MS;
        }
        StepKind::HelperDies => {
            let number = history.daemon.as_ref().and_then(|daemon| daemon.outside.helper);
            if let Some(number) = number {
                let said = HelperSaid::Gone(Some("killed".into()));
                daemon::result(history, 0, Input::Helper { number, said });
            }
        }
        StepKind::Stall { ms } => daemon::stalls(history, ms),
        StepKind::Kill { down_ms } => {
            daemon::ends(history, "it is killed");
            history.at(history.now_ns + down_ms * MS, Happening::Start);
        }
        StepKind::Terminate { down_ms } => {
            daemon::feed(history, Input::Terminate);
            history.at(history.now_ns + down_ms * MS, Happening::Start);
        }
        StepKind::Hangup => daemon::feed(history, Input::Hangup),
        StepKind::AskStatus => {
            ask(history, Request::Status);
            ask(history, Request::Metrics);
        }
        StepKind::AskMatch { client, listener } => {
            let question = LiveQuestion {
                daemon: history.host.name(listener).into(),
                client: CLIENTS[client],
                server: None,
                port: None,
            };
            ask(history, Request::Match(question));
        }
        StepKind::Detach => ask(history, Request::Detach),
        StepKind::Apply { confirm_s } => ask(history, Request::Apply(ApplyOrder { confirm_s })),
        StepKind::Confirm => ask(history, Request::Confirm),
        StepKind::Rollback => ask(history, Request::Rollback),
        StepKind::Reboot { down_ms } => {
            daemon::ends(history, "the machine is started again");
            daemon::unload(history);
            history.at(history.now_ns + down_ms * MS, Happening::Start);
        }
    }
}

fn ask(history: &mut History, body: Request) {
    if history.daemon.is_none() {
        return;
    }
    history.host.requests += 1;
    let request = history.host.requests;
    ledger::asked(history, request);
    daemon::feed(history, Input::Request { request, body });
}
