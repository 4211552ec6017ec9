//! The core: it decides what is to be done, and does nothing itself.
//!
//! In: an [`Input`] and the time. Out: [`Action`]s, and the earliest deadline.
//! Invariant: no I/O: no system call, no file, no clock, no wait. The same inputs give the same actions,
//! whether the daemon or the simulation runs it.
//!
//! A duty is one file in `duty`: its state, its deadline, its counters. Duties pass work to each other as
//! `Step`s; [`Core::on`] and `Core::step` say which duty gets which input and step.

pub mod action;
mod answer_facts;
mod attempt;
mod client_network;
mod duty;
mod facts;
mod footprint;
pub mod input;
mod inventory;
mod judge;
mod lookup;
mod outbox;
pub mod policies;
mod problems;
mod shared;

use std::time::{Instant, SystemTime};

use tcpw_common::metric::Metric;

pub use action::Action;
pub use input::{Input, Now};

use attempt::{VerdictPurpose, pursue};
use duty::{
    apply::Apply,
    banners::Banners,
    bans::Bans,
    certify::Certify,
    challenges::Challenges,
    commands::Commands,
    control::{Control, reply},
    counters::Counters,
    early::EarlyDrop,
    effects::HelperCommands,
    held::{HeldPackets, Others},
    keepalive::Keepalive,
    link_networks::LinkNetworks,
    listener_policy::questions,
    listeners::Listeners,
    lookups::AttemptLookups,
    metrics::{Times, metrics},
    redirect::Redirect,
    reload::Reload,
    report::AttemptRecords,
    scans::Scans,
    start::{Phase, Start},
    status::status,
    users::{Users, complete},
};
use input::KernelEvent;
use inventory::Inventory;
use outbox::{Outbox, Step};
use policies::Policies;
use problems::Problems;
use shared::SharedState;

use crate::{
    bans::BanTable,
    config::Config,
    control::{Request, Response},
    events::{Fate, challenge_answered},
    host::Incomplete,
};

/// The core.
pub struct Core {
    shared: SharedState,
    start: Start,
    scans: Scans,
    listeners: Listeners,
    link_networks: LinkNetworks,
    certify: Certify,
    early: EarlyDrop,
    redirect: Redirect,
    held: HeldPackets,
    challenges: Challenges,
    lookups: AttemptLookups,
    users: Users,
    commands: Commands,
    effects: HelperCommands,
    banners: Banners,
    bans: Bans,
    keepalive: Keepalive,
    apply: Apply,
    reload: Reload,
    report: AttemptRecords,
    control: Control,
    counters: Counters,
    enforcing_since: SystemTime,
    is_detached: bool,
}

impl Core {
    /// A core in its initial state.
    pub fn new(config: Config, now: Now) -> Self {
        Self {
            start: Start::default(),
            scans: Scans::new(now.at),
            listeners: Listeners::default(),
            link_networks: LinkNetworks::default(),
            certify: Certify::default(),
            early: EarlyDrop::default(),
            redirect: Redirect::default(),
            held: HeldPackets::default(),
            challenges: Challenges::default(),
            lookups: AttemptLookups::new(&config.resolve),
            users: Users::default(),
            commands: Commands::default(),
            effects: HelperCommands::new(config.effects.clone(), now.at),
            banners: Banners::default(),
            bans: Bans::default(),
            keepalive: Keepalive::default(),
            apply: Apply::default(),
            reload: Reload::default(),
            report: AttemptRecords::default(),
            control: Control,
            counters: Counters::default(),
            enforcing_since: now.wall,
            is_detached: false,
            shared: SharedState {
                config,
                policies: Policies::default(),
                inventory: Inventory::default(),
                problems: Problems::default(),
                bans: BanTable::default(),
            },
        }
    }

    /// Handles an input that arrived at `now`; returns the actions, in order.
    pub fn on(&mut self, input: Input, now: Now) -> Vec<Action> {
        let mut out = Outbox::new(now);
        self.apply.look_at_clock(&mut self.reload, &mut self.shared, &mut out);
        self.take(input, &mut out);
        while let Some(step) = out.steps.pop_front() {
            self.step(step, &mut out);
        }
        self.apply.look_at_reload(&self.reload, &mut out);
        if self.start.phase != Phase::Loaded {
            self.scans.begin(&mut out);
        }
        out.actions
    }

    /// When [`Input::Deadline`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        [self.lookups.deadline(), self.scans.deadline(), self.apply.deadline()].into_iter().flatten().min()
    }

    /// Whether attempts are judged. Before that, the kernel's rings are not read.
    pub fn is_enforcing(&self) -> bool {
        self.start.is_over()
    }

    /// Passes an input to its duty.
    fn take(&mut self, input: Input, out: &mut Outbox) {
        let shared = &mut self.shared;
        match input {
            Input::Started(started) => {
                self.certify.start(started.has_refusals, started.certified, started.early_netns);
                self.early.start(started.early_netns, shared, out);
                self.bans.start(started.bans, shared, out);
                self.banners.adopt(started.banners, out.now.at);
                self.apply.start(started.kept, shared, out);
                self.reload.start(started.missing_before);
                self.report.start(started.line_namespaces, self.shared.config.lines);
                self.scans.set_listening_hook(started.has_listening_hook);
                self.start.phase = Phase::FirstScan;
                self.scans.look_at_all_now(out);
            }
            Input::Deadline => self.lookups.give_up(out),
            Input::Second(second) => self.second(second, out),
            Input::Events(events) => {
                judge::read_ahead(&events, shared);
                events.into_iter().for_each(|event| self.event(event, out));
            }
            Input::Held(packets) => {
                let Self { held, challenges, lookups, commands, banners, shared, .. } = self;
                let mut others = Others { challenges, lookups, commands, banners };
                for packet in &packets {
                    match challenge_answered(packet) {
                        Some(flow) => others.challenges.answered(&flow, out),
                        None => held.take(packet, &mut others, shared, out),
                    }
                }
            }
            Input::Scanned(scanned) if self.start.after(Phase::FirstScan, Phase::FirstPolicy) => {
                // What is said of those that cannot be seen comes with the scans that follow.
                let incomplete = scanned.incomplete.as_ref();
                if let Some(reason) = incomplete.filter(|it| !matches!(it, Incomplete::Unseen(_))) {
                    out.warn(format!("{reason}: all listeners are looked for again"));
                }
                self.listeners.learn_names(&scanned, shared);
                self.certify.watch_udp_ports(&scanned.namespaces, out);
                self.link_networks.scanned(&scanned.namespaces, incomplete.is_none(), out);
                self.scans.done(out);
                out.act(Action::ReadFiles(0));
            }
            Input::Scanned(scanned) => {
                self.bans.seen(&scanned, shared, out);
                let duties = (&mut self.certify, &self.redirect, &mut self.scans, &self.users);
                self.listeners.scanned(*scanned, duties, shared, out);
            }
            Input::Tagged(tagged) => {
                let duties =
                    (&mut self.certify, &mut self.redirect, &mut self.scans, &mut self.link_networks);
                self.listeners.tagged(&tagged, duties, shared, out);
                self.start.after(Phase::SecondScan, Phase::RedirectListeners);
                self.attach_gate(out);
            }
            Input::NotCertified { netns, reason } => self.certify.not_certified(netns, &reason, out),
            Input::AddressesChanged => self.scans.look_at_all(),
            Input::LinkNetworksNotWritten(reason) => self.link_networks.not_written(reason, out),
            Input::RedirectListener { netns, family, made } => {
                self.redirect.opened((netns, family), made, out);
                self.attach_gate(out);
            }
            Input::Arrived(arrived) => {
                let duties = (&mut self.lookups, &mut self.report);
                self.redirect.arrived(arrived, duties, shared, out);
            }
            Input::GateAttached(gate) => {
                self.start.gate_attached(gate, shared, out);
                self.early.look(out);
                self.scans.start();
            }
            Input::Network(seen) => self.early.seen(seen, out),
            Input::DropsEarly { name, how } => self.early.attached(name, how, out),
            Input::Walked(disagreement) => self.report.walked(disagreement, out),
            Input::LookedUp { question, found } => self.lookups.looked_up(&question, found, out),
            Input::LocalNames(addresses) => self.lookups.local_names(addresses),
            Input::UserTold { number, answer } => self.users.told(number, answer, out),
            Input::Destroyed { waiting, result } => self.users.destroyed(&waiting, result, out),
            Input::Sockets { netns, cookies } => self.users.sockets(netns, cookies, out),
            Input::KeptAlive(done) => self.keepalive.kept_alive(&done, out),
            Input::BannerRead { file, banner } => self.banners.read(&file, &banner, out),
            Input::BannerNotLeft { key, reason } => self.banners.not_left(&key, reason),
            Input::BannerTakenBack { was_unclaimed } => self.banners.taken_back(was_unclaimed),
            Input::Helper { number, said } => {
                let ended = self.effects.said(number, said, out);
                self.commands.ended(ended, shared, out);
            }
            Input::CommandFilesMade => self.effects.files_made(out),
            Input::FilesChanged
            | Input::FilesNotFollowed(_)
            | Input::Texts(_)
            | Input::Stored { .. }
            | Input::LookingUpAccounts { .. }
            | Input::Parsed { .. }
            | Input::UsersReady { .. }
            | Input::Filled { .. }
            | Input::Flipped { .. }
            | Input::Settled { .. } => self.preparation(input, out),
            Input::Request { .. }
            | Input::StatusFacts { .. }
            | Input::MetricsFacts { .. }
            | Input::Detached { .. }
            | Input::Hangup
            | Input::Terminate => self.operator(input, out),
        }
    }

    /// The gate follows when no redirect listener is being made any more.
    fn attach_gate(&mut self, out: &mut Outbox) {
        if self.redirect.are_open() && self.start.after(Phase::RedirectListeners, Phase::Gate) {
            out.act(Action::AttachGate);
        }
    }

    /// Inputs about files, and policies made from them.
    #[expect(clippy::wildcard_enum_match_arm, reason = "it gets the inputs of this group alone")]
    fn preparation(&mut self, input: Input, out: &mut Outbox) {
        let Self { start, apply, reload, listeners, shared, .. } = self;
        match input {
            Input::FilesChanged => reload.files_changed(shared, out),
            Input::FilesNotFollowed(reason) => {
                apply.not_read(&reason, out);
                reload.not_followed(&reason, shared, out);
            }
            // The start reads them once the listeners are known.
            Input::Texts(_) if start.is_before_first_policy() => {}
            Input::Texts(texts) => apply.read(texts, reload, shared, out),
            Input::Stored { what, result } => apply.stored(what, result, shared, out),
            Input::LookingUpAccounts { number } => reload.looks_up_accounts(number),
            Input::Parsed { number, prepared } => reload.parsed(number, prepared, listeners, shared, out),
            Input::UsersReady { number, ready } => reload.users_ready(number, ready, shared, out),
            Input::Filled { number, filled } => reload.filled(number, filled, listeners, shared, out),
            Input::Flipped { number, flipped, names_left_out } => {
                reload.flipped(number, flipped, &names_left_out, listeners, shared, out);
            }
            Input::Settled { generation, tables, problem } => {
                let is_it = reload.settled(generation, tables, problem, out);
                apply.settled(generation, out);
                if is_it && start.after(Phase::FirstPolicy, Phase::SecondScan) {
                    self.scans.look_at_all_now(out);
                }
            }
            _other_duties => {}
        }
    }

    /// Inputs of the operator.
    #[expect(clippy::wildcard_enum_match_arm, reason = "it gets the inputs of this group alone")]
    fn operator(&mut self, input: Input, out: &mut Outbox) {
        match input {
            Input::Request { request, body } => match body {
                Request::Status => {
                    let questions = questions(&self.shared);
                    let texts = self.shared.policies.current.as_ref().map(|current| current.texts());
                    out.act(Action::GatherStatus { request, questions, texts });
                }
                Request::Ban(order) => self.bans.ban(request, order, &mut self.shared, out),
                Request::Unban(of) => self.bans.unban(request, of, &mut self.shared, out),
                Request::Bans { after } => self.bans.list(request, after.as_ref(), &self.shared, out),
                Request::Recent(question) => out.act(Action::ReplyRecent { request, question }),
                Request::Metrics => out.act(Action::GatherMetrics { request }),
                Request::Match(question) => self.control.judge(request, &question, &self.shared, out),
                Request::Apply(order) => self.apply.ask(Some(request), &order, &self.shared, out),
                Request::Confirm => {
                    let duties = (&mut self.listeners, &mut self.reload);
                    self.apply.confirm(request, duties, &mut self.shared, out);
                }
                Request::Rollback => {
                    self.apply.roll_back(request, &mut self.reload, &mut self.shared, out);
                }
                Request::Detach => {
                    self.reload.ending(true);
                    out.act(Action::Detach { request });
                }
                Request::Stop => {
                    reply(request, Response::Done(vec!["stopped".into()]), out);
                    self.stop(out);
                }
            },
            Input::StatusFacts { request, facts } => {
                let own = self.counters();
                let duties = (&self.redirect, &self.early, &self.report, &self.apply);
                let status = status(&facts, own, self.enforcing_since, duties, &self.shared);
                reply(request, Response::Status(Box::new(status)), out);
            }
            Input::MetricsFacts { request, facts } => {
                let times = Times {
                    held: &self.held.times,
                    user_waits: &self.users.times,
                    lookups: self.lookups.times(),
                };
                let counted = (&self.report, &times);
                let metrics = metrics(facts, self.counters(), self.enforcing_since, counted, &self.shared);
                reply(request, Response::Metrics(Box::new(metrics)), out);
            }
            Input::Detached { request, removed: Ok(removed) } => {
                self.is_detached = true;
                out.warn("detached: nothing is enforced any more");
                reply(request, Response::Done(removed), out);
                self.stop(out);
            }
            Input::Detached { request, removed: Err(error) } => {
                self.reload.ending(false);
                reply(request, Response::Failed(error), out);
            }
            Input::Hangup => {
                out.act(Action::ReopenLog);
                self.apply.hang_up(&self.shared, out);
            }
            Input::Terminate => self.stop(out),
            _other_duties => {}
        }
    }

    /// A report of the kernel.
    fn event(&mut self, event: KernelEvent, out: &mut Outbox) {
        let shared = &self.shared;
        match event {
            KernelEvent::Decided(decision) if decision.fate == Fate::Redirected => {
                let duties = (&mut self.lookups, &mut self.report);
                self.redirect.announced(&decision, duties, shared, out);
            }
            KernelEvent::Decided(decision) => {
                let held_for = self.held.held_for(&decision);
                let duties = (&self.lookups, &self.commands);
                self.report.reported(&decision, duties, held_for, shared, out);
            }
            KernelEvent::Listening { pid, is_udp: true } => self.scans.look_at_udp(pid, out.now.at),
            KernelEvent::Listening { pid, is_udp: false } | KernelEvent::Executed { pid } => {
                self.scans.look_at(pid, out.now.at);
            }
            KernelEvent::WaitsForUser(waiting) => self.users.waits(&waiting, &mut self.commands, shared, out),
            KernelEvent::NoRoomForUser(decision) => {
                self.users.has_no_room(&decision, &mut self.commands, shared, out);
            }
            KernelEvent::CannotWait(decision) => self.users.cannot_wait(&decision, shared, out),
            KernelEvent::HandshakeHasData(decision, pending) => complete(&decision, &pending, shared, out),
            KernelEvent::BannerDone(socket) => out.write(action::Write::DismissBannerSocket(socket)),
            KernelEvent::Outdated => {}
            KernelEvent::Unknown { kind } => {
                out.error(format!("an event of kind {kind} is not known to this version"));
            }
        }
    }

    /// A second has passed.
    fn second(&mut self, second: input::Second, out: &mut Outbox) {
        let shared = &mut self.shared;
        self.counters.second(&second.counters, out);
        self.held.second(out);
        self.challenges.second(out);
        self.reload.second(shared, out);
        self.lookups.second(shared, out);
        let void = (second.is_any_certificate_void, second.namespaces_without_resets);
        self.certify.second(void, shared, out);
        let may_ask = shared.policies.before.as_ref().is_some_and(policies::InForce::asks_for_users);
        let waiting = (second.waiting, self.reload.asks_for_users() || may_ask);
        self.users.second(waiting, &mut self.commands, shared, out);
        self.keepalive.look(out);
        let duties = (&mut self.lookups, &mut self.report, &self.certify);
        self.redirect.second(second.turned_away, duties, shared, out);
        self.report.lines.add_at_devices(self.early.unreported(&second.counters), out.now.at);
        self.report.lines.second(out);
        if self.start.is_over() {
            self.early.look(out);
        }
        self.banners.second(out);
        self.bans.second(shared, out);
        let ended = self.effects.second(out);
        self.commands.ended(ended, shared, out);
    }

    /// Passes a step to its duty.
    fn step(&mut self, step: Step, out: &mut Outbox) {
        let shared = &mut self.shared;
        match step {
            Step::Judge(attempt) => pursue(attempt, shared, out),
            Step::Challenge(attempt) => self.challenges.want(attempt, shared, out),
            Step::LookUp(attempt, question) => self.lookups.want(attempt, question, shared, out),
            Step::RunCommand(attempt, command, judgement) => {
                self.commands.want(attempt, command, &judgement, &mut self.effects, shared, out);
            }
            Step::ReadBanner(attempt, file) => self.banners.want(attempt, file, out),
            Step::AskUser(attempt, judgement, user) => {
                self.users.want(attempt, judgement, user, shared, out);
            }
            Step::Decided(attempt, judgement, user) => match attempt.purpose {
                VerdictPurpose::Live(_) => self.control.decided(&attempt, &judgement, shared, out),
                VerdictPurpose::Connection(_) => {
                    let duties = (&mut self.banners, &mut self.keepalive);
                    self.users.decided(*attempt, &judgement, duties, shared, out);
                }
                VerdictPurpose::Redirected(_) => {
                    let duties = (&mut self.report, &mut self.effects, &self.lookups);
                    self.redirect.decided(*attempt, &judgement, duties, shared, out);
                }
                VerdictPurpose::Held(_) => {
                    let Self { held, challenges, lookups, commands, banners, .. } = self;
                    let mut others = Others { challenges, lookups, commands, banners };
                    held.decided(*attempt, &judgement, user, &mut others, shared, out);
                }
            },
            Step::Abandoned(attempt) => {
                self.held.abandoned(&attempt);
                self.users.abandoned(&attempt);
                self.control.abandoned(&attempt, out);
                self.redirect.abandoned(&attempt, out);
            }
            Step::Finish(finished) => self.report.finish(*finished, &mut self.effects, shared, out),
            Step::PolicyInForce => {
                self.effects.policy_in_force(shared, out);
                self.redirect.policy_in_force(shared, out);
            }
            Step::TextsInForce(new) => self.apply.in_force(new, shared, out),
            Step::TextsAreInForce { number, texts } => self.apply.are_in_force(number, texts, shared, out),
            Step::TextsNotTaken { number, reason } => self.apply.not_taken(number, &reason, out),
            Step::KeepRolledBack => self.apply.keep_rolled_back(shared, out),
            Step::ListenersTagged { is_all, began } => {
                let Self { held, challenges, lookups, commands, banners, listeners, scans, .. } = self;
                let mut others = Others { challenges, lookups, commands, banners };
                let has_unseen = scans.has_unseen();
                held.listeners_tagged((is_all, began, listeners, has_unseen), &mut others, shared, out);
            }
            Step::LookAtAll => self.scans.look_at_all(),
            Step::LookAt(pid) => self.scans.look_at(pid, out.now.at),
            Step::PrepareAgain => self.reload.prepare_again(&self.listeners, shared, out),
        }
    }

    /// Leaves the loop.
    fn stop(&mut self, out: &mut Outbox) {
        self.redirect.end((&self.lookups, &mut self.report), &self.shared, out);
        self.report.lines.write_counts(out);
        self.effects.stop(out);
        if self.shared.config.pin && !self.is_detached {
            out.info("stopped; the pinned policy stays in force until `tcpw detach`");
        } else if !self.is_detached {
            out.info("stopped; nothing is enforced any more");
        }
        out.act(Action::Exit(Ok(())));
    }

    /// How many records there were, and how many attempts were counted for metrics.
    pub fn counted_attempts(&self) -> (u64, u64) {
        let counted = self.report.tally.attempts().iter().map(|it| it.attempts).sum();
        (self.report.records(), counted)
    }

    /// The counters of every duty.
    pub fn counters(&self) -> Vec<(Metric, u64)> {
        let mut all = self.report.counters();
        all.extend(self.lookups.counters());
        all.extend(self.users.counters());
        all.extend(self.redirect.counters());
        all.extend(self.banners.counters());
        all.extend(self.bans.counters(&self.shared));
        all.extend(self.held.counters());
        all.extend(self.challenges.counters());
        all.extend(self.commands.counters());
        all.extend(self.effects.counters());
        all
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// One moment, the same in all tests.
    pub(crate) fn now() -> Now {
        static AT: LazyLock<Instant> = LazyLock::new(Instant::now);
        Now { at: *AT, boot_ns: 1_000_000_000_000, wall: SystemTime::UNIX_EPOCH }
    }
}
