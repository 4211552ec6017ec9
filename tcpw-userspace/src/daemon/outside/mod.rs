//! Carries out the core's actions.
//!
//! In: actions. Out: their results, as inputs. Invariant: an action is a few system calls, or runs on a thread
//! or task; each kind is one file in this directory.

mod addresses;
mod ask;
pub(super) mod ban_store;
mod devices;
mod files;
mod filler;
mod guard;
mod helper;
mod keeper;
mod kernel;
mod last_parsed;
mod local_names;
mod recent;
mod redirects;
mod reinjector;
mod scanning;
mod status;
mod worker;

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use tokio::sync::mpsc;

use super::{
    inbox::{Arrival, Inbox},
    load::{Loaded, load},
    privacy_key,
};
use crate::{
    bans::journal::Line as BanLine,
    config::{Config, ShownAddresses},
    control::{BanResult, Reply, Response},
    core::{
        Action, Input,
        action::{BanWrites, Challenge, Level},
        input::{Gate, Started},
    },
    events::ip,
    host::Starter,
    kernel::{HookState, Kernel, Pace, Pins, Probe},
    log::{Sinks, host_name},
    record::{Outcome, Privacy, SourceProof},
    reinject::ChallengePacket,
};
use ask::Asker;
use ban_store::BanStore;
use files::Files;
use helper::Helper;
use keeper::Keeper;
use last_parsed::LastParsed;
use recent::Recent;
use redirects::Redirects;
use reinjector::Reinjector;
use scanning::Scanning;
use worker::Worker;

/// Bytes of the kernel's records that are read ahead, of each ring.
const READ_AHEAD: usize = 16 << 20;

/// Reports that come within this time are read together: the kernel wakes the reader once for all of them.
const TOGETHER: Duration = Duration::from_millis(2);

/// The sender of results.
type Results = mpsc::UnboundedSender<TaskResult>;

/// The result of a thread or task.
pub(super) enum TaskResult {
    /// An input for the core.
    Input(Input),
    /// A scan is over.
    Scanned(Box<scanning::ScanResult>),
    /// A slot was filled.
    Filled(Box<worker::FilledSlot>),
    /// A socket for a redirect listener.
    RedirectBound(redirects::Bound),
    /// A connection at a redirect listener.
    Redirected(crate::redirect::RedirectedConnection),
    /// Every socket of the host, for a status.
    Looked(status::Looked),
    /// The devices of `early-drop`.
    Network(std::io::Result<crate::host::Network>),
}

impl TaskResult {
    /// The input, if it is one already.
    pub(super) fn input(&self) -> Option<&Input> {
        if let Self::Input(input) = self { Some(input) } else { None }
    }
}

impl From<Input> for TaskResult {
    fn from(input: Input) -> Self {
        Self::Input(input)
    }
}

/// Everything outside the core.
pub(super) struct Outside {
    config: Config,
    kernel: Kernel,
    alive: crate::kernel::Alive,
    /// `None`: the kernel refuses it.
    probe: Option<Arc<Probe>>,
    scanning: Scanning,
    worker: Worker,
    keeper: Keeper,
    files: Files,
    reinjector: Reinjector,
    asker: Asker,
    redirects: Redirects,
    helper: Helper,
    ban_store: BanStore,
    /// Why the kernel refused the last write of bans.
    bans_refused: Option<String>,
    log: Sinks,
    /// SipHash with a key of the operating system: nobody can tell the number of a challenge from those of others.
    random: RandomState,
    privacy: Privacy,
    /// Records of the actions that are being carried out.
    records: Vec<Outcome>,
    recent: Recent,
    requests: HashMap<u64, Reply>,
    last_request: u64,
    results: Results,
    /// Connections that wait for their user, as of the last second.
    waiting: usize,
    /// What actions that are done at once came to.
    done: VecDeque<Input>,
    end: Option<Result<(), String>>,
}

impl Outside {
    /// Loads the programs; nothing is judged yet.
    pub(super) fn new(
        config: Config,
        starter: Starter,
        inbox: &mut Inbox,
        results: Results,
    ) -> Result<(Self, Started)> {
        let privacy = privacy_key::privacy(&config.privacy)?;
        let log = Sinks::open(&config.log, host_name())?;
        if config.privacy.addresses != ShownAddresses::Full {
            log::warn!(
                "[privacy]: sinks do not show addresses of clients: fail2ban cannot ban from such lines"
            );
        }
        let Loaded { mut kernel, changes, started, stored_bans } = load(&config)?;
        let (held, reports) = (kernel.take_held()?, kernel.take_events()?);
        inbox.connect(
            held.read_ahead(Pace::AtOnce, READ_AHEAD),
            reports.read_ahead(Pace::Together(TOGETHER), READ_AHEAD),
        );
        let starter = Arc::new(starter);
        let parsed = LastParsed::default();
        local_names::follow(results.clone());
        addresses::follow(results.clone());
        let frames = kernel.load_frames().inspect_err(|error| {
            log::warn!("held packets of link-local clients and of sockets bound to a device cannot be re-injected, their clients have to retransmit: {error:#}");
        });
        let probe = kernel.load_probe().inspect_err(|error| {
            log::warn!("status cannot ask the kernel how it decides: {error:#}");
        });
        kernel.forget_types();
        let worker = Worker::start(kernel.take_loader()?, &config, parsed.clone(), results.clone())?;
        let outside = Self {
            probe: probe.ok().map(Arc::new),
            alive: kernel.stay_alive()?,
            scanning: Scanning::new(&config, changes, kernel.tag_reader()?, results.clone())?,
            files: Files::watch(&config, parsed, worker.ahead(), results.clone()),
            worker,
            keeper: Keeper::start(&config.state_dir, results.clone())?,
            reinjector: Reinjector::start(&config, frames.ok())?,
            asker: Asker::new(&config, Arc::clone(&starter), results.clone()),
            redirects: Redirects::new(results.clone()),
            helper: Helper::new(starter, config.effects.clone(), results.clone()),
            ban_store: BanStore::start(config.state_dir.clone(), &stored_bans)?,
            bans_refused: None,
            log,
            random: RandomState::new(),
            privacy,
            records: Vec::new(),
            recent: Recent::new(SystemTime::now()),
            requests: HashMap::new(),
            last_request: 0,
            waiting: 0,
            done: VecDeque::new(),
            end: None,
            results,
            kernel,
            config,
        };
        Ok((outside, started))
    }

    /// Makes a result into an input.
    pub(super) fn complete(&mut self, arrival: Arrival) -> Input {
        match arrival {
            Arrival::Input(input) | Arrival::TaskResult(TaskResult::Input(input)) => input,
            Arrival::Second => self.second(),
            Arrival::Reports(records) => {
                Input::Events(records.iter().map(|record| kernel::event(&self.kernel, record)).collect())
            }
            Arrival::Request(body, reply) => {
                self.last_request += 1;
                self.requests.insert(self.last_request, reply);
                Input::Request { request: self.last_request, body }
            }
            Arrival::TaskResult(TaskResult::Scanned(found)) => {
                self.scanning.finished(*found, &mut self.kernel)
            }
            Arrival::TaskResult(TaskResult::Filled(filled)) => self.worker.filled(*filled),
            Arrival::TaskResult(TaskResult::RedirectBound(bound)) => {
                self.redirects.listen(bound, &mut self.kernel)
            }
            Arrival::TaskResult(TaskResult::Redirected(arrival)) => self.redirects.arrived(arrival),
            Arrival::TaskResult(TaskResult::Looked(looked)) => {
                let (lines, turned_away) = (self.log.counts(), self.redirects.turned_away());
                status::complete(looked, &self.kernel, lines, turned_away)
            }
            Arrival::TaskResult(TaskResult::Network(network)) => devices::seen(network, &self.kernel),
        }
    }

    /// A second has passed: gives the sign of life, reads the kernel's counters.
    fn second(&mut self) -> Input {
        self.alive.tick();
        if self.helper.keep_files() {
            self.result(Input::CommandFilesMade);
        }
        let second = kernel::second(&mut self.kernel, self.redirects.turned_away());
        self.waiting = second.waiting.as_ref().map_or(0, Vec::len);
        Input::Second(second)
    }

    /// Carries actions out; returns how to leave the loop, if one of them says so.
    pub(super) fn carry_out(&mut self, actions: Vec<Action>) -> Option<Result<(), String>> {
        for action in actions {
            self.act(action);
        }
        self.scanning.let_go();
        if !self.records.is_empty() {
            self.records.iter_mut().for_each(|outcome| self.privacy.hide(outcome));
            // Each sink counts and reports lines that do not fit.
            self.log.send(&self.records);
            self.recent.keep(self.records.drain(..));
        }
        self.end.take()
    }

    /// What an action that was done at once came to: the core hears of it before anything else, so that it never
    /// takes the kernel's tables for what they were before.
    pub(super) fn done(&mut self) -> Option<Input> {
        let input = self.done.pop_front()?;
        if matches!(input, Input::Tagged(_)) {
            self.scanning.is_certifying();
        }
        Some(input)
    }

    /// Passes an action to the part that carries it out.
    fn act(&mut self, action: Action) {
        match action {
            Action::Say(level, text) => say(level, &text),
            // A flood of them would drive all others out of those that are remembered.
            Action::Record(record) if !record.has_line && record.source == SourceProof::Missing => {}
            Action::Record(record) => self.records.push(Outcome::Attempt(record)),
            Action::RecordCount(count) => {
                self.records.push(Outcome::Count { count, hidden: None });
            }
            Action::ReopenLog => self.log.reopen(),
            Action::Release { writes, packet } => {
                let is_written = writes.into_iter().all(|write| self.write(write));
                if let Some(packet) = packet.filter(|_| is_written) {
                    self.reinjector.send(packet);
                }
            }
            Action::Write(write) => drop(self.write(write)),
            Action::Acknowledge(acknowledge) => self.reinjector.acknowledge(*acknowledge),
            Action::Challenge(challenge) => self.challenge(&challenge),
            Action::Scan(scan) => self.scanning.begin(scan, &mut self.kernel),
            Action::Tag { names, names_before, tags } => {
                let tagged = self.scanning.tag(&names, &names_before, &tags, &mut self.kernel);
                self.done.push_back(Input::Tagged(tagged));
            }
            Action::KeepListeners { cookies, listed } => {
                report(self.kernel.tags.keep_sockets(&cookies, &listed));
            }
            Action::KeepNamespaces(namespaces) => {
                self.asker.keep_namespaces(&namespaces);
                self.reinjector.keep_namespaces(namespaces);
            }
            Action::Certify { netns, places, is_there } => {
                let file = self.scanning.namespace(netns).filter(|_| is_there);
                let certified =
                    self.kernel.resets.as_mut().map_or(Ok(()), |it| it.certify(netns, file, &places));
                if let Err(error) = certified {
                    self.result(Input::NotCertified { netns, reason: format!("{error:#}") });
                }
                report(self.kernel.follow_certified(netns));
            }
            Action::Withdraw { netns, port } => {
                report(self.kernel.resets.as_mut().map_or(Ok(()), |resets| resets.withdraw(netns, port)));
                report(self.kernel.follow_certified(netns));
            }
            Action::WatchUdpPorts { netns, ports } => {
                let watched =
                    self.kernel.resets.as_mut().map_or(Ok(()), |it| it.watch_udp_ports(netns, &ports));
                if let Err(error) = watched {
                    log::error!("refused datagrams of some services get no answer: {error:#}");
                }
            }
            Action::WriteLinkNetworks(networks) => {
                if let Err(error) = self.kernel.on_link.set(&networks) {
                    self.result(Input::LinkNetworksNotWritten(format!("{error:#}")));
                }
            }
            Action::LookAtNetwork(names) => devices::look(names, self.results.clone()),
            Action::SetEarlyAddresses(addresses) => report(self.kernel.set_early_addresses(&addresses)),
            Action::DropEarly { name, index, device, shows_tags } => {
                let how = self.kernel.drop_early(index, device, shows_tags);
                let how = how.map(|mode| mode.to_string()).map_err(|error| format!("{error:#}"));
                self.done.push_back(Input::DropsEarly { name, how });
            }
            Action::EndEarlyDrop { index } => report(self.kernel.end_early_drop(index)),
            Action::OpenRedirect { netns, family } => {
                self.redirects.open(netns, family, self.scanning.namespace(netns));
            }
            Action::CloseRedirect { netns, family } => self.redirects.close(netns, family),
            Action::Abort(connection) => self.redirects.abort(connection),
            Action::Close(connection) => drop(self.redirects.take(connection)),
            Action::ReadFiles(number) => self.files.read(number),
            Action::Parse { number, texts, against } => self.worker.parse(number, texts, against),
            Action::PrepareUsers { number } => {
                let ready = self.kernel.begin_users(&self.config.cgroup);
                let ready = ready.map_err(|error| format!("{error:#}"));
                self.done.push_back(Input::UsersReady { number, ready });
            }
            Action::EndUsers => report(self.kernel.end_users()),
            Action::Fill(fill) => self.worker.fill(fill),
            Action::Flip(flip) => {
                let (input, settle) = self.worker.flip(&flip, &mut self.kernel, &self.config.cgroup);
                self.done.push_back(input);
                // The core hears of the flip before it hears that it has settled.
                if let Some(settle) = settle {
                    self.worker.settle(settle);
                }
            }
            Action::Confirm { comms } => {
                report(self.kernel.confirm(&comms));
                self.worker.settle_again();
            }
            Action::FallBack { comms } => {
                report(self.kernel.fall_back(&comms));
                self.worker.settle_again();
            }
            Action::Store(store) => self.keeper.store(store),
            Action::Walk(walk) => self.worker.walk(walk),
            Action::Free(freed) => self.worker.free(freed),
            Action::Discard { number } => self.worker.discard(number),
            Action::LookUp(question) => self.asker.look_up(question),
            Action::AskUser { number, decision, pids, timeout_s } => {
                self.asker.ask_user(number, *decision, pids, timeout_s);
            }
            Action::Destroy { waiting, pids } => self.asker.destroy(waiting, pids),
            Action::ListSockets { netns, pid } => self.asker.list_sockets(netns, pid),
            Action::KeepAlive { sockets } => self.asker.keep_alive(sockets),
            Action::ReadBanner { directory, daemon } => self.asker.read_banner(directory, daemon),
            Action::Helper(action) => self.helper.act(action, &mut self.redirects),
            Action::CheckCommands(rules) => self.asker.check_commands(rules),
            Action::GatherStatus { request, questions, texts } => {
                let probe = self.probe.clone();
                self.scanning.look_around(request, (questions, texts), probe, &mut self.kernel);
            }
            Action::GatherMetrics { request } => {
                let facts = status::metrics(&self.kernel, self.waiting, self.log.counts());
                self.done.push_back(Input::MetricsFacts { request, facts });
            }
            Action::Reply { request, response } => self.reply(request, *response),
            Action::WriteBans(writes) => self.write_bans(&writes),
            Action::StoreBans { lines, reply } => self.store_bans(lines, reply),
            Action::ReplyRecent { request, question } => {
                self.reply(request, Response::Recent(self.recent.answer(&question)));
            }
            Action::ReplyMatch { request, answer, query } => {
                let asked = query.and_then(|query| status::ask_one(self.probe.as_deref(), &query));
                self.reply(request, Response::Match(Box::new(answer.with_kernel(asked))));
            }
            Action::Detach { request } => {
                let removed = Pins::new(&self.config.pin_dir).remove_all();
                let removed = removed.map_err(|error| format!("{error:#}"));
                self.done.push_back(Input::Detached { request, removed });
            }
            Action::AttachGate => {
                let attached = self.attach_gate().map_err(|error| format!("{error:#}"));
                self.done.push_back(Input::GateAttached(attached));
            }
            Action::ForgetAccepted => {
                if let Err(error) = self.kernel.forget_accepted() {
                    log::warn!("accepted connections are still watched: {error:#}");
                }
            }
            Action::Exit(result) => self.end = Some(result),
        }
    }

    /// Makes one write. Returns whether the writes after it may be made.
    fn write(&mut self, write: crate::core::action::Write) -> bool {
        kernel::write(&mut self.kernel, write, &self.results)
    }

    /// The gate knows the answer before the challenge is sent.
    fn challenge(&mut self, challenge: &Challenge) {
        let Challenge { pid, decision, isn } = challenge;
        let client = SocketAddr::new(ip(&decision.client), decision.client_port);
        let server = SocketAddr::new(ip(&decision.server), decision.server_port);
        // Repeated, it is the same: the answer to the first may still be on its way.
        let random = self.random.hash_one((decision.flow(), isn));
        let Some(packet) = ChallengePacket::new(client, server, *isn, random) else { return };
        match self.kernel.answers.expect_reset(decision.flow(), packet.answer) {
            Ok(()) => self.reinjector.challenge(*decision, *pid, packet),
            Err(error) => log::error!("{error:#}"),
        }
    }

    fn write_bans(&mut self, writes: &BanWrites) {
        self.bans_refused =
            kernel::write_bans(&mut self.kernel, writes).err().map(|error| format!("{error:#}"));
        if let Some(reason) = &self.bans_refused {
            log::error!("{reason}");
        }
    }

    /// An order whose bans the kernel refused is not stored.
    fn store_bans(&mut self, lines: Vec<BanLine>, order: Option<(u64, BanResult)>) {
        match (order, self.bans_refused.take()) {
            (Some((request, _)), Some(reason)) => self.reply(request, Response::Failed(reason)),
            (Some((request, result)), None) => {
                let reply = self.requests.remove(&request).map(|reply| (result, reply));
                self.ban_store.store(lines, reply);
            }
            (None, _) => self.ban_store.store(lines, None),
        }
    }

    fn attach_gate(&mut self) -> Result<Gate> {
        self.kernel.load_gate()?;
        // A sign of life comes before the first connection is judged, however long the start took.
        self.alive.sign();
        let state = self.kernel.attach_gate(&self.config.cgroup)?;
        let (retired, problem) = match self.kernel.retire_predecessors() {
            Ok(retired) => (retired, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        Ok(Gate { is_adopted: state == HookState::Adopted, retired, problem })
    }

    fn reply(&mut self, request: u64, response: Response) {
        if let Some(reply) = self.requests.remove(&request) {
            reply.send(response);
        }
    }

    fn result(&self, input: Input) {
        // The receiver lives as long as the loop.
        let _ = self.results.send(input.into());
    }

    /// Writes waiting lines.
    pub(super) async fn close(self) {
        let Self { log, ban_store, .. } = self;
        // These wait for the writers' threads, so they must not run on the thread that handles signals.
        let close = move || {
            ban_store.close();
            log.close(LAST_LINES);
        };
        let _ = tokio::task::spawn_blocking(close).await;
    }
}

/// How long writing the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

fn say(level: Level, text: &str) {
    match level {
        Level::Error => log::error!("{text}"),
        Level::Warn => log::warn!("{text}"),
        Level::Info => log::info!("{text}"),
        Level::Debug => log::debug!("{text}"),
    }
}

/// Logs an error.
fn report(result: Result<()>) {
    if let Err(error) = result {
        log::error!("{error:#}");
    }
}
