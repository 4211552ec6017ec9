//! What the core has done: its actions, carried out in memory.
//!
//! In: actions. Out: what they come to, as inputs, some time later; or not at all.
//! Invariant: as in [`daemon::outside`](crate::daemon), one thread fills and settles, one keeps, one scan runs at a
//! time, and the files are read one time after the other.

use std::{collections::HashSet, sync::Arc};

use tcpw_common::{
    event::{Event, Kind},
    held::{Held, PACKET_BYTES},
    key::FlowKey,
    tag::{BOUND_BEFORE, Tag},
};

use super::{
    clients, daemon, helper,
    history::{History, MS},
    host::HostState,
    ledger, policies, scans,
};
use crate::{
    compile,
    core::{
        Action, Input,
        action::{Fill, KernelQuestions, Scan, Store, TagOrder, Write},
        input::{Filled, Gate, MetricsFacts, ReadTexts, StatusFacts, Tagged, UserAnswer},
        policies::{Prepared, Rules},
    },
    effects::commands_of,
    evaluate::{IndexedTables, request::Banner},
    parse::{
        self,
        text::{FileText, Texts},
    },
    redirect::Family,
    resolve::{KnownAccounts, Question},
};

/// Work that takes a while.
#[derive(Debug)]
pub(super) enum Work {
    /// The files are read.
    Read,
    /// Texts are parsed.
    Parse { number: u64, texts: Box<Texts>, against: Option<(u32, Rules)>, version: u64 },
    /// A look for listeners.
    Scan { scan: Scan, began_ns: u64, stamps: scans::PortStamps },
    /// The idle slot is filled.
    Fill(Box<Fill>),
    /// The policy before is settled.
    Settle(u32),
    /// A redirect listener is made.
    OpenRedirect { netns: u64, family: Family },
    /// A challenge goes to the client, and its answer comes back.
    Challenge(FlowKey),
    /// A look-up.
    LookUp(Question),
    /// The client's host is asked.
    AskUser { number: u64, client: usize },
    /// A connection is ended.
    Destroy(Box<tcpw_common::user::Waiting>),
    /// Sockets are listed.
    ListSockets(u64),
    /// Sockets get an option.
    KeepAlive(Vec<u64>),
    /// Something is kept on the disk.
    Store(Store),
    /// Facts for a status.
    Status(u64, KernelQuestions),
}

/// What is being done for a daemon.
#[derive(Debug, Default)]
pub(super) struct OutsideWork {
    /// When the thread that fills has nothing more to do.
    worker_free_ns: u64,
    /// The same of the thread that keeps.
    keeper_free_ns: u64,
    /// The files are being read; and have to be once more.
    is_reading: bool,
    reads_again: bool,
    /// The highest number of a read that was asked for, and that of the one that goes on.
    asked_read: u64,
    begun_read: u64,
    pub(super) helper: Option<u64>,
    /// How often the files had changed when they were last read.
    last_read: u64,
    /// How the daemon leaves its loop, if it does.
    pub(super) end: Option<Result<(), String>>,
}

/// Does what the core says.
pub(super) fn carry_out(history: &mut History, action: Action) {
    if history.daemon.is_none() {
        return;
    }
    let key = history.now_ns;
    match action {
        Action::Say(..)
        | Action::Record(_)
        | Action::RecordCount(_)
        | Action::ReopenLog
        | Action::Free(_)
        | Action::CheckCommands(_)
        | Action::KeepNamespaces(_)
        | Action::WriteLinkNetworks(_)
        // It may drop nothing that the gate passes: what the core does about it has tests of its own.
        | Action::LookAtNetwork(_)
        | Action::SetEarlyAddresses(_)
        | Action::DropEarly { .. }
        | Action::EndEarlyDrop { .. }
        | Action::Reply { .. }
        | Action::ReplyRecent { .. } => {}
        Action::WriteBans(writes) => history.kernel.write_bans(&writes),
        Action::StoreBans { lines, .. } => history.host.stored_bans.extend(lines),
        Action::ReplyMatch { answer, query, .. } => {
            let asked = query.and_then(|query| history.kernel.probe_one(&query));
            ledger::answered(history, &answer.with_kernel(asked));
        }
        Action::Release { writes, packet } => {
            let is_written = writes.into_iter().all(|one| write(history, one));
            if let Some(packet) = packet.filter(|_| is_written)
                && let Some(client) = history.by_flow.get(&ledger::flow_of(&packet.held)).copied()
            {
                if history.clients[client].flow.protocol == 17 {
                    clients::datagram_arrives(history, client, "is sent again");
                } else {
                    clients::syn_arrives(history, client, "is sent again");
                }
            }
        }
        Action::Write(one) => drop(write(history, one)),
        Action::Acknowledge(acknowledge) => {
            if let Some(client) = history.by_flow.get(&acknowledge.decision.flow()).copied() {
                clients::ack_arrives(history, client, false);
            }
        }
        Action::Challenge(challenge) => {
            // Either packet may be lost.
            if !history.fails(&[66, challenge.isn.into(), key]) {
                let delay = history.delay_ns(&[67, challenge.isn.into(), key]) / 4;
                daemon::begin(history, delay, Work::Challenge(challenge.decision.flow()));
            }
        }
        Action::Scan(scan) => {
            let stamps = scans::stamps(history);
            let delay = history.delay_ns(&[50, key]);
            daemon::begin(history, delay, Work::Scan { scan, began_ns: key, stamps });
        }
        Action::Tag { names, names_before, tags } => tag(history, &names, &names_before, &tags),
        Action::KeepListeners { cookies, .. } => {
            history.kernel.listeners.retain(|cookie, _| cookies.contains(cookie))
        }
        Action::Certify { netns, places, is_there } => {
            history.kernel.certified.retain(|place, _| place.netns != netns);
            if is_there && history.fails(&[51, key]) {
                let reason = "no room".to_owned();
                daemon::result(history, 0, Input::NotCertified { netns, reason });
            } else if is_there {
                history.kernel.certified.extend(places);
            }
        }
        Action::Withdraw { netns, port } => {
            history.kernel.certified.retain(|place, _| place.netns != netns || place.port != port);
        }
        Action::WatchUdpPorts { netns, ports } => history.kernel.watch_udp_ports(netns, ports),
        Action::OpenRedirect { netns, family } => {
            let delay = history.delay_ns(&[52, netns, key]);
            daemon::begin(history, delay, Work::OpenRedirect { netns, family });
        }
        Action::CloseRedirect { netns, family } => {
            history.kernel.redirect_listeners.remove(&(netns, family));
        }
        Action::Abort(connection) | Action::Close(connection) => ledger::connection_done(history, connection),
        Action::ReadFiles(number) => {
            if let Some(daemon) = &mut history.daemon {
                daemon.outside.asked_read = daemon.outside.asked_read.max(number);
            }
            files_changed(history, 0);
        }
        Action::Parse { number, texts, against } => {
            let version = history.daemon.as_ref().map_or(0, |daemon| daemon.outside.last_read);
            let delay = history.delay_ns(&[53, number, version]);
            daemon::begin(history, delay, Work::Parse { number, texts, against, version });
        }
        Action::PrepareUsers { number } => {
            let ready = if history.plan.conditions.has_users { Ok(()) } else { Err("too old".into()) };
            history.kernel.users_on |= ready.is_ok();
            daemon::result(history, 0, Input::UsersReady { number, ready });
        }
        Action::EndUsers => history.kernel.users_on = false,
        Action::Fill(fill) => {
            let took = history.delay_ns(&[54, fill.number]) / 2;
            let at = worker(history, took);
            daemon::begin(history, at, Work::Fill(fill));
        }
        Action::Flip(flip) => {
            let number = flip.number;
            let fails = history.fails(&[55, number, key]);
            if !flip.names.is_empty() && fails {
                history.kernel.discard(number);
                let names_left_out = flip.names.iter().map(|(names, _)| *names).collect();
                let flipped = Err("names do not fit".into());
                return daemon::result(history, 0, Input::Flipped { number, flipped, names_left_out });
            }
            history.kernel.watches_accepted |= flip.watch_accepted || history.plan.config.log_allowed;
            let flipped = history.kernel.flip(&flip);
            if let Some(generation) = flipped {
                ledger::in_force(history, generation, flip.until.as_ref().map(|until| until.boot_ns));
                let took = history.delay_ns(&[56, number]) / 4;
                let at = worker(history, took);
                daemon::begin(history, at, Work::Settle(generation));
            }
            let flipped = flipped.ok_or_else(|| "the slot is not filled any more".to_owned());
            daemon::result(history, 0, Input::Flipped { number, flipped, names_left_out: Vec::new() });
        }
        Action::Confirm { comms } => {
            history.kernel.confirm(&comms);
            ledger::confirmed(history);
        }
        Action::FallBack { comms } => {
            history.kernel.fall_back();
            history.kernel.set_comms(&comms);
            ledger::fell_back(history);
        }
        Action::Store(store) => {
            let took = history.delay_ns(&[68, key]) / 4;
            let now_ns = history.now_ns;
            let Some(daemon) = &mut history.daemon else { return };
            let free = daemon.outside.keeper_free_ns.max(now_ns) + took + 1;
            daemon.outside.keeper_free_ns = free;
            daemon::begin(history, free - now_ns, Work::Store(store));
        }
        Action::Walk(walk) => {
            if let Some(disagreement) = walk.run() {
                daemon::result(history, 0, Input::Walked(disagreement));
            }
        }
        Action::Discard { number } => history.kernel.discard(number),
        Action::LookUp(question) => look_up(history, question),
        Action::AskUser { number, decision, timeout_s, .. } => {
            let client = history.by_flow.get(&decision.flow()).map(|client| history.clients[*client].address);
            let most = u64::from(timeout_s) * 1000 * MS;
            let delay = history.delay_ns(&[57, number]).min(most);
            daemon::begin(history, delay, Work::AskUser { number, client: client.unwrap_or(1) });
        }
        Action::Destroy { waiting, .. } => {
            let delay = history.delay_ns(&[58, waiting.socket]) / 8;
            daemon::begin(history, delay, Work::Destroy(waiting));
        }
        Action::ListSockets { netns, .. } => {
            daemon::begin(history, MS, Work::ListSockets(netns));
        }
        Action::KeepAlive { sockets } => {
            let sockets = sockets.into_iter().map(|(socket, ..)| socket).collect();
            daemon::begin(history, 2 * MS, Work::KeepAlive(sockets));
        }
        Action::ReadBanner { directory, daemon: name } => {
            let banner = match std::str::from_utf8(&name) {
                Ok("vsftpd") => Banner::Missing,
                _ if directory.to_str() == Some(policies::BANNERS) => Banner::Text(b"Hello %a\n".to_vec()),
                _ => Banner::NoDirectory("No such file or directory".into()),
            };
            let delay = history.delay_ns(&[59, key]);
            daemon::result(history, delay.max(1), Input::BannerRead { file: (directory, name), banner });
        }
        Action::Helper(action) => helper::acts(history, action),
        Action::GatherStatus { request, questions, .. } => {
            let delay = history.delay_ns(&[60, request]);
            daemon::begin(history, delay, Work::Status(request, questions));
        }
        Action::GatherMetrics { request } => {
            daemon::result(history, 0, Input::MetricsFacts { request, facts: MetricsFacts::default() });
        }
        Action::Detach { request } => {
            let (config, conditions) = (history.plan.config.clone(), history.plan.conditions.clone());
            history.kernel.unload(&config, &conditions);
            history.is_over = true;
            ledger::detached(history);
            daemon::result(history, 0, Input::Detached { request, removed: Ok(vec!["all".into()]) });
        }
        Action::AttachGate => {
            let is_adopted = std::mem::replace(&mut history.kernel.is_gate_on, true);
            history.kernel.watches_accepted |= history.plan.config.log_allowed;
            let gate = Gate { is_adopted, retired: Vec::new(), problem: None };
            daemon::result(history, 0, Input::GateAttached(Ok(gate)));
        }
        Action::ForgetAccepted => history.kernel.watches_accepted = false,
        Action::Exit(result) => {
            if let Some(daemon) = &mut history.daemon {
                daemon.outside.end = Some(result);
            }
        }
    }
}

/// When the thread that fills is done with something that takes so long: from now on.
fn worker(history: &mut History, took_ns: u64) -> u64 {
    let now_ns = history.now_ns;
    let Some(daemon) = &mut history.daemon else { return 0 };
    let free = daemon.outside.worker_free_ns.max(now_ns) + took_ns + 1;
    daemon.outside.worker_free_ns = free;
    free - now_ns
}

fn write(history: &mut History, write: Write) -> bool {
    ledger::writes(history, &write);
    if let Write::LeaveBanner { key, .. } = &write
        && history.fails(&[61, u64::from(key.isn)])
    {
        let (key, reason) = (*key, "no room".to_owned());
        daemon::result(history, 0, Input::BannerNotLeft { key, reason });
        return true;
    }
    let was_there = history.kernel.write(&write);
    if matches!(write, Write::TakeBackBanner(_)) {
        daemon::result(history, 0, Input::BannerTakenBack { was_unclaimed: was_there });
    }
    true
}

fn tag(history: &mut History, names: &[(u64, u32)], names_before: &[(u64, u32)], tags: &[TagOrder]) {
    let mut tagged = Tagged::default();
    for (names, class) in names_before {
        history.kernel.set_names_before(*names, *class);
    }
    for (names, class) in names {
        if history.fails(&[62, *names, history.now_ns]) {
            tagged.names_left_out.push(*names);
        } else {
            history.kernel.set_names(*names, *class);
        }
    }
    for order in tags.iter().filter(|order| !tagged.names_left_out.contains(&order.tag.names)) {
        ledger::tags(history, order);
        let socket = history.kernel.sockets.get_mut(&order.cookie);
        match socket.filter(|_| !order.by_cookie) {
            Some(socket) => {
                let flags = socket.tag.map_or(0, |before| before.flags & BOUND_BEFORE);
                socket.tag = Some(Tag { flags, ..order.tag });
            }
            None if order.by_cookie => {
                history.kernel.listeners.insert(order.cookie, order.tag);
            }
            // The socket that the scan found is written to, though nobody else has it any more.
            None => {}
        }
        history.kernel.add_holders(&order.holders);
    }
    daemon::result(history, 0, Input::Tagged(tagged));
}

/// The files changed, or are to be read.
pub(super) fn files_changed(history: &mut History, version: u64) {
    let delay = history.delay_ns(&[63, version, history.now_ns]) / 4 + 50 * MS;
    let Some(daemon) = &mut history.daemon else { return };
    if daemon.outside.is_reading {
        daemon.outside.reads_again = true;
        return;
    }
    daemon.outside.is_reading = true;
    daemon.outside.begun_read = daemon.outside.asked_read;
    daemon::result(history, 0, Input::FilesChanged);
    daemon::begin(history, delay, Work::Read);
}

fn look_up(history: &mut History, question: Question) {
    let key = [64, history.now_ns, ledger::number_of(&question)];
    if history.fails(&key) {
        return daemon::result(history, 0, Input::LookedUp { question, found: None });
    }
    let delay = history.delay_ns(&key);
    let hangs = history.host.resolver_hangs_until_ns.saturating_sub(history.now_ns);
    daemon::begin(history, delay.max(hangs), Work::LookUp(question));
}

/// The record of an answer to a challenge.
fn answer_of(flow: &FlowKey) -> Held {
    let event = Event {
        time_ns: 0,
        netns: flow.netns,
        names: 0,
        cookie: 0,
        client: flow.client,
        server: flow.server,
        kind: Kind::ChallengeAnswered as u32,
        generation: 0,
        policy: 0,
        pid: 0,
        ifindex: 0,
        family: 0,
        client_port: flow.client_port,
        server_port: flow.server_port,
        protocol: flow.protocol,
        flags: 0,
        comm: [0; 16],
    };
    Held { event, length: 0, isn: 0, packet: [0; PACKET_BYTES] }
}

/// Work is done: its result is sent.
pub(super) fn finish(history: &mut History, work: Work) {
    match work {
        Work::Challenge(flow) => {
            daemon::result(history, 0, Input::Held(vec![answer_of(&flow)]));
        }
        Work::Read => {
            if history.fails(&[65, history.now_ns]) {
                let reason = "the task that reads them panicked".to_owned();
                daemon::result(history, 0, Input::FilesNotFollowed(reason));
                return daemon::begin(history, 5000 * MS, Work::Read);
            }
            let (texts, version) = (history.host.files.texts(), history.host.version);
            let Some(daemon) = &mut history.daemon else { return };
            daemon.outside.is_reading = false;
            daemon.outside.last_read = version;
            let again = std::mem::take(&mut daemon.outside.reads_again);
            let (hash, number) = (texts.hash(), daemon.outside.begun_read);
            let read = ReadTexts { texts, hash, number, is_copy: false };
            daemon::result(history, 0, Input::Texts(Box::new(read)));
            if again {
                files_changed(history, version);
            }
        }
        Work::Parse { number, texts, against, version } => {
            daemon::result(history, 0, Input::LookingUpAccounts { number });
            let prepared = prepare(&texts, against);
            ledger::parsed(history, &prepared.rules, version, texts.hash());
            daemon::result(history, 0, Input::Parsed { number, prepared: Ok(Box::new(prepared)) });
        }
        Work::Scan { scan, began_ns, stamps: before } => {
            let scanned = scans::scanned(history, &scan, began_ns, &before);
            daemon::result(history, 0, Input::Scanned(Box::new(scanned)));
        }
        Work::Fill(fill) => {
            let number = fill.number;
            let filled = if history.fails(&[65, number]) {
                ledger::failed_to_fill(history);
                Err("no memory".to_owned())
            } else {
                fill_slot(history, &fill)
            };
            daemon::result(history, 0, Input::Filled { number, filled });
        }
        Work::Store(store) => {
            let what = history.disk.store(store);
            daemon::result(history, 0, Input::Stored { what, result: Ok(()) });
        }
        Work::Settle(generation) => {
            let tables = std::time::Duration::from_millis(1);
            daemon::result(history, 0, Input::Settled { generation, tables, problem: None });
        }
        Work::OpenRedirect { netns, family } => {
            let made = if history.fails(&[66, netns, history.now_ns]) {
                Err("no such namespace".to_owned())
            } else {
                let cookie = history.kernel.cookie();
                history.kernel.redirect_listeners.insert((netns, family), cookie);
                Ok(cookie)
            };
            daemon::result(history, 0, Input::RedirectListener { netns, family, made });
        }
        Work::LookUp(question) => {
            let found = Some(history.host.truth(&question));
            daemon::result(history, 0, Input::LookedUp { question, found });
        }
        Work::AskUser { number, client } => {
            let answer = match HostState::user(client) {
                Some(user) => UserAnswer::Known(user.as_bytes().into()),
                None => UserAnswer::Unknown(None),
            };
            daemon::result(history, 0, Input::UserTold { number, answer });
        }
        Work::Destroy(waiting) => {
            let result = if history.fails(&[67, waiting.socket]) {
                Err("not possible".to_owned())
            } else {
                Ok(history.kernel.connections.remove(&waiting.socket).is_some())
            };
            daemon::result(history, 0, Input::Destroyed { waiting, result });
        }
        Work::ListSockets(netns) => {
            let of_it =
                history.kernel.connections.iter().filter(|(_, connection)| connection.flow.netns == netns);
            let cookies: HashSet<u64> = of_it.map(|(cookie, _)| *cookie).collect();
            daemon::result(history, 0, Input::Sockets { netns, cookies: Ok(cookies) });
        }
        Work::KeepAlive(sockets) => {
            daemon::result(history, 0, Input::KeptAlive(sockets.into_iter().collect()))
        }
        Work::Status(request, questions) => {
            let all = scans::seen(history, |_| true);
            let facts = StatusFacts {
                answers: history
                    .kernel
                    .probe(&questions, &all)
                    .ok_or_else(|| "the policy changed meanwhile".into()),
                all,
                hashes: None,
                marks_bound: true,
                counters: Vec::new(),
                reset_namespaces: (0, 0),
                reset_places: HashSet::new(),
                waiting: 0,
                banner_sockets: 0,
                lines: Vec::new(),
                turned_away: 0,
            };
            daemon::result(history, 0, Input::StatusFacts { request, facts: Box::new(facts) });
        }
    }
}

fn prepare(texts: &Texts, against: Option<(u32, Rules)>) -> Prepared {
    let parsed = parse::parse(texts);
    let accounts = KnownAccounts::default();
    let same_as = against.filter(|(_, rules)| rules.equals(&parsed.tables, &accounts));
    let rules = match &same_as {
        Some((_, rules)) => rules.clone(),
        None => {
            let tables = Arc::new(parsed.tables);
            Rules {
                commands: commands_of(&tables).map(|(_, text)| text.into()).collect(),
                asks_for_users: compile::ask_for_users(&tables),
                indexed: Arc::new(IndexedTables::new(tables)),
                accounts: Arc::new(accounts),
            }
        }
    };
    Prepared {
        rules,
        diagnostics: parsed.diagnostics,
        missing: [&texts.allow, &texts.deny].map(|(_, text)| *text == FileText::Missing),
        deny: Arc::clone(&texts.deny.0),
        same_as: same_as.map(|(generation, _)| generation),
    }
}

fn fill_slot(history: &mut History, fill: &Fill) -> Result<Box<Filled>, String> {
    let config = &history.plan.config;
    let policy = compile::compile(&compile::PolicySource {
        tables: fill.rules.tables(),
        listeners: &fill.names,
        exempt_networks: &config.exempt.addresses,
        exempt_ports: &config.exempt.ports,
        lookup: &*fill.rules.accounts,
        names: fill.looked_up,
        unnamed_ports: &config.resolve.name_server_ports,
        client_tables: config.table,
    })
    .map_err(|error| error.to_string())?;
    if fill.unconfirmed.is_some() {
        history.disk.rolled_back = fill.unconfirmed;
    }
    let generation = history.kernel.fill(fill.number, &policy, fill.flags);
    history.oracle.learn_policy(generation, &fill.rules, fill.looked_up);
    policy.names_sets.iter().for_each(|(names, _)| history.oracle.learn_names(names));
    Ok(Box::new(Filled { policy, generation, compared: 0 }))
}
