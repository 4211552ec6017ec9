//! Scans for listeners, on a thread, and tags those that were found.
//!
//! In: which to scan for, which to tag. Out: listeners in the core's form. Invariant: duplicates of sockets,
//! and files of network namespaces, are kept only until the scan's listeners are tagged and certified.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::File,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use anyhow::Result;
use tcpw_common::{
    certified::{ANY_PORT, WHOLE_NETNS, change_index},
    key::NamesId,
    tag::{BOUND_BEFORE, Tag},
};
use tokio::task::spawn_blocking;

use super::{
    Results, TaskResult,
    guard::guarded,
    status::{self, Looked},
};
use crate::{
    config::Config,
    core::{
        Input,
        action::{KernelQuestions, Scan, TagOrder, TextsInForce},
        input::{NamespaceSeen, Scanned, Seen, Tagged},
    },
    host::Incomplete,
    kernel::{Changes, Kernel, Probe, Stamps, TagReader},
    listeners::{Listener, Namespace, Scanner, Survey},
};

const TCP: u16 = 6;
const UDP: u16 = 17;

/// Makes scans, and keeps the sockets of the last one.
pub(super) struct Scanning {
    scanner: Scanner,
    changes: Option<Arc<Changes>>,
    tags: TagReader,
    /// UDP sockets that were bound before the start carry a mark.
    marks_bound: bool,
    /// Some of them can carry none, and the table for those is full.
    misses_unmarked: bool,
    /// Sockets of the last scan, by cookie.
    sockets: HashMap<u64, OwnedFd>,
    /// Files of network namespaces of the last scan, by cookie.
    namespaces: HashMap<u64, File>,
    /// The core was told that the listeners are tagged: its next actions are the last that need these files.
    is_certifying: bool,
    results: Results,
}

/// The result of a scan.
pub(in crate::daemon) struct ScanResult {
    listeners: Vec<(Seen, Option<OwnedFd>)>,
    namespaces: Vec<Namespace>,
    is_all: bool,
    incomplete: Option<Incomplete>,
    began: Instant,
    stamps: Stamps,
    /// Namespaces in which a listener came or went meanwhile: their list of sockets may be incomplete.
    unsteady: HashSet<u64>,
}

impl Scanning {
    pub(super) fn new(
        config: &Config,
        changes: Option<Arc<Changes>>,
        tags: TagReader,
        results: Results,
    ) -> Result<Self> {
        Ok(Self {
            scanner: Scanner::new(&config.proc_root)
                .guarding(&config.cgroup)
                .naming(config.more_names.clone()),
            changes,
            tags,
            marks_bound: true,
            misses_unmarked: false,
            sockets: HashMap::new(),
            namespaces: HashMap::new(),
            is_certifying: false,
            results,
        })
    }

    /// Begins a scan.
    pub(super) fn begin(&mut self, scan: Scan, kernel: &mut Kernel) {
        let is_all = scan == Scan::All;
        if is_all {
            // Two scans' duplicates at once would be twice as many open files.
            self.sockets.clear();
            self.mark_bound(kernel);
        }
        let (scanner, changes, tags) = (self.scanner.clone(), self.changes.clone(), self.tags.clone());
        let look = move || match scan {
            Scan::All => scanner.survey_all(),
            Scan::Processes(pids) => {
                let mut all = Survey::default();
                for survey in pids.into_iter().map(|pid| scanner.survey_process(pid)) {
                    all.listeners.extend(survey.listeners);
                    all.namespaces.extend(survey.namespaces);
                }
                all
            }
        };
        let results = self.results.clone();
        drop(spawn_blocking(move || {
            let scan = || ScanResult::by(look, is_all, changes.as_deref(), &tags);
            let found = guarded("a scan for listeners", scan).unwrap_or_else(|| ScanResult::failed(is_all));
            let _ = results.send(TaskResult::Scanned(Box::new(found)));
        }));
    }

    /// Marks UDP sockets that were bound before the programs were attached.
    fn mark_bound(&mut self, kernel: &mut Kernel) {
        if !self.marks_bound {
            return;
        }
        match kernel.mark_bound() {
            Ok(false) => self.misses_unmarked = false,
            Ok(true) => {
                if !std::mem::replace(&mut self.misses_unmarked, true) {
                    log::error!(
                        "UDP sockets that were bound before the start are not judged: their option memory is full, and \
                         the table of listeners without a tag, too: start their programs again"
                    );
                }
            }
            Err(error) => {
                self.marks_bound = false;
                log::debug!("{error:#}");
            }
        }
    }

    /// A scan is over.
    pub(super) fn finished(&mut self, found: ScanResult, kernel: &mut Kernel) -> Input {
        let ScanResult { listeners, namespaces, is_all, incomplete, began, stamps, unsteady } = found;
        self.sockets.clear();
        self.namespaces.clear();
        let mut seen = Vec::with_capacity(listeners.len());
        for (one, socket) in listeners {
            if let Some(socket) = socket {
                self.sockets.insert(one.cookie, socket);
            }
            seen.push(one);
        }
        let namespaces = namespaces.into_iter().map(|namespace| {
            let is_unsteady = unsteady.contains(&namespace.netns);
            let (seen, file) = see(namespace, &stamps, is_unsteady, kernel);
            self.namespaces.insert(seen.netns, file);
            seen
        });
        Input::Scanned(Box::new(Scanned {
            listeners: seen,
            is_all,
            incomplete,
            began: Some(began),
            namespaces: namespaces.collect(),
            marks_bound: self.marks_bound,
        }))
    }

    /// Tags listeners of the last scan.
    pub(super) fn tag(
        &mut self,
        names: &[(NamesId, u32)],
        names_before: &[(NamesId, u32)],
        tags: &[TagOrder],
        kernel: &mut Kernel,
    ) -> Tagged {
        let mut tagged = Tagged::default();
        let mut note = |names: NamesId, added: anyhow::Result<()>| {
            if let Err(error) = added {
                log::debug!("{error:#}");
                tagged.names_left_out.push(names);
            }
        };
        for (names, class) in names {
            note(*names, kernel.slots.add_names(*names, *class));
        }
        for (names, class) in names_before {
            note(*names, kernel.slots.add_names_before(*names, *class));
        }
        let left_out: HashSet<NamesId> = tagged.names_left_out.iter().copied().collect();
        for order in tags.iter().filter(|order| !left_out.contains(&order.tag.names)) {
            let written = match self.sockets.get(&order.cookie) {
                Some(socket) if !order.by_cookie => write(kernel, socket.as_fd(), order),
                Some(_) | None => kernel.tags.name_socket(order.cookie, order.tag),
            };
            if let Err(error) = written {
                tagged.failed.push((order.cookie, format!("{error:#}")));
            }
            if let Err(error) = kernel.tags.add_holders(order.holders.iter().copied()) {
                log::error!("{error:#}");
            }
        }
        self.sockets.clear();
        tagged
    }

    /// The open file of a network namespace of the last scan.
    pub(super) fn namespace(&self, netns: u64) -> Option<&File> {
        self.namespaces.get(&netns)
    }

    /// The core is told that the listeners are tagged.
    pub(super) fn is_certifying(&mut self) {
        self.is_certifying = true;
    }

    /// Closes the files of namespaces once their certificates are written.
    pub(super) fn let_go(&mut self) {
        if std::mem::take(&mut self.is_certifying) {
            self.namespaces.clear();
        }
    }

    /// Lists every socket of the host, and asks the kernel how it decides there, for a status.
    pub(super) fn look_around(
        &mut self,
        request: u64,
        (questions, texts): (KernelQuestions, Option<TextsInForce>),
        probe: Option<Arc<Probe>>,
        kernel: &mut Kernel,
    ) {
        // The bind of a socket out of scope was not reported.
        self.mark_bound(kernel);
        let (scanner, tags, results) =
            (self.scanner.clone().everywhere(), self.tags.clone(), self.results.clone());
        let marks_bound = self.marks_bound;
        drop(spawn_blocking(move || {
            let scan = || scanner.scan_all().into_iter().map(|listener| split(listener, &tags).0).collect();
            let all: Vec<Seen> = guarded("a scan for a status", scan).unwrap_or_default();
            let answers = guarded("asking the kernel", || status::ask(probe.as_deref(), &questions, &all))
                .unwrap_or_else(|| Err("that ended early".into()));
            let hashes = texts.map(|of| (of.generation, of.texts.map(|text| status::hash(text.bytes()))));
            let _ = results.send(TaskResult::Looked(Looked { request, all, answers, hashes, marks_bound }));
        }));
    }
}

impl ScanResult {
    /// That of a scan that ended early: it looked at nothing.
    fn failed(is_all: bool) -> Self {
        Self {
            listeners: Vec::new(),
            namespaces: Vec::new(),
            is_all,
            incomplete: Some(Incomplete::Blind("the scan ended early".into())),
            began: Instant::now(),
            stamps: Stamps::default(),
            unsteady: HashSet::new(),
        }
    }

    /// Makes a scan. The stamps of `changes` are read before it, so they are older than its results.
    fn by(look: impl FnOnce() -> Survey, is_all: bool, changes: Option<&Changes>, tags: &TagReader) -> Self {
        let began = Instant::now();
        let stamps = changes.map(Changes::stamps).unwrap_or_default();
        let Survey { listeners, namespaces, incomplete } = look();
        let is_unsteady = |netns: &u64| {
            let index = change_index(*netns, TCP, ANY_PORT);
            changes.is_some_and(|changes| changes.get(index) != stamps.get(index))
        };
        let unsteady = namespaces.iter().map(|namespace| namespace.netns).filter(is_unsteady).collect();
        let listeners = listeners.into_iter().map(|listener| split(listener, tags)).collect();
        Self { listeners, namespaces, is_all, incomplete, began, stamps, unsteady }
    }
}

/// A listener in the core's form, and its socket.
fn split(listener: Listener, tags: &TagReader) -> (Seen, Option<OwnedFd>) {
    let tag = match &listener.socket {
        Some(socket) => tags.read(socket.as_fd(), listener.cookie).map_err(drop),
        None => Ok(None),
    };
    let seen = Seen {
        cookie: listener.cookie,
        netns: listener.netns,
        pid: listener.pid,
        resident: listener.resident,
        holders: listener.holders,
        protocol: listener.protocol,
        local: listener.local,
        names: listener.names,
        claims: listener.claims,
        ident: listener.ident,
        found: listener.found,
        parts: listener.parts,
        is_guarded: listener.is_guarded,
        is_tunnel: listener.is_tunnel,
        service: listener.service,
        is_shown: listener.socket.is_some(),
        tag,
    };
    (seen, listener.socket)
}

/// A namespace in the core's form, and its file.
fn see(
    namespace: Namespace,
    stamps: &Stamps,
    is_unsteady: bool,
    kernel: &mut Kernel,
) -> (NamespaceSeen, File) {
    let Namespace { netns, file, sockets, datagrams, given_away, link_networks } = namespace;
    let stamp = |protocol: u16, port: u16| stamps.get(change_index(netns, protocol, port.into()));
    let ports = |protocol: u16, sockets: &[crate::listeners::PortSocket]| {
        sockets.iter().map(|socket| (protocol, socket.local.port())).collect::<Vec<_>>()
    };
    let mut wanted = ports(TCP, &sockets);
    wanted.extend(ports(UDP, &datagrams));
    let stamps_of: HashMap<(u16, u16), u64> = wanted
        .iter()
        .filter_map(|(protocol, port)| Some(((*protocol, *port), stamp(*protocol, *port)?)))
        .chain([TCP, UDP].into_iter().filter_map(|protocol| {
            Some(((protocol, 0), stamps.get(change_index(netns, protocol, WHOLE_NETNS))?))
        }))
        .collect();
    let was_watched = |port: &u16| {
        kernel.resets.as_ref().is_some_and(|it| it.was_udp_port_watched(netns, *port, stamps.at_ns()))
    };
    let watched: BTreeSet<u16> =
        datagrams.iter().map(|socket| socket.local.port()).filter(was_watched).collect();
    let seen = NamespaceSeen {
        netns,
        sockets,
        datagrams,
        given_away,
        link_networks,
        is_unsteady,
        stamped_ns: stamps.at_ns(),
        stamps: stamps_of,
        watched,
    };
    (seen, file)
}

fn write(kernel: &mut Kernel, socket: BorrowedFd<'_>, order: &TagOrder) -> Result<()> {
    let before = kernel.tags.read(socket, order.cookie)?;
    let tag = Tag { flags: before.map_or(0, |before| before.flags & BOUND_BEFORE), ..order.tag };
    if before == Some(tag) {
        return Ok(());
    }
    kernel.tags.write_or_name(socket, order.cookie, tag)
}
