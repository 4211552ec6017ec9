//! Start, reload, stop: the only room that knows them all.
//!
//! In: a configuration. Out: enforcement until told to stop.
//! Order of a start: identity programs, scan and tags, policy, and only then the
//! gate, so that no connection meets a gate that knows less than all.

mod acknowledge;
mod banners;
mod commands;
mod conclude;
mod effects;
mod facts;
mod held;
mod judge;
mod keepalive;
mod live;
mod names;
mod policy;
mod refuse;
mod registry;
mod reload;
mod report;
mod scan;
mod status;
mod steer;
mod users;

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use anyhow::{Context as _, Result};
use tcpw_common::event::Event as Record;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::preflight,
    config::{Config, Mode},
    control::{self, Lock, LockError, Request, Response},
    effects::Effects,
    events::{Event, Fate},
    held::Injector,
    kernel::{Alive, EventRing, HeldRing, HookState, Kernel, LoadOptions, Pace, Pins},
    listeners::raise_file_limit,
    log::{Log, Writer, host_name},
    resolve::{Limits, Lookups, System},
    source::{Source, Watch},
};

use held::Waiting;
use keepalive::Keepalive;
use names::Hanging;
use policy::Policies;
use registry::Registry;
use reload::Reloads;
use scan::Scans;
use status::Looks;
use steer::Steers;
use users::Users;

/// Batches of records read ahead.
const BATCHES: usize = 256;

/// Events that come within this time are read together.
const TOGETHER: std::time::Duration = std::time::Duration::from_millis(1);

/// How long the last lines may take.
const LAST_LINES: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs until SIGTERM, SIGINT or a command ends it.
///
/// # Errors
/// What is needed to start is missing; once enforcement is on, errors are logged and it goes on.
pub async fn run(config: Config) -> Result<()> {
    raise_file_limit();
    let _lock = preflight::lock(&config.run_dir)?;
    let _pins = lock_pins(&config)?;
    let mut control = control::Server::bind(&config.run_dir)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (mut daemon, events, held) = start(config)?;
    let mut events = events.read_ahead(Pace::Together(TOGETHER), BATCHES);
    let mut held = held.read_ahead(Pace::AtOnce, BATCHES);
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            records = events.recv() => {
                for record in records.context("the reader of the event ring ended")? {
                    daemon.handle(&record);
                }
            }
            packets = held.recv() => {
                for packet in packets.context("the reader of the ring of held packets ended")? {
                    daemon.held(&packet);
                }
            }
            (question, found) = daemon.lookups.next() => daemon.looked_up(&question, &found),
            () = daemon.hanging.overdue() => daemon.give_up(),
            done = daemon.users.next() => daemon.user_news(done),
            arrival = daemon.steers.next() => daemon.arrived(arrival),
            () = daemon.watch.changed() => daemon.reload(),
            ready = daemon.reloads.next() => daemon.reloaded(ready),
            found = daemon.scans.next() => daemon.found(found),
            heard = daemon.effects.next() => {
                let ended = daemon.effects.handle(heard);
                daemon.commands_ended(ended);
            }
            Some(found) = daemon.looks.join_next() => daemon.tell_status(found),
            (request, reply) = control.next() => match request {
                Request::Status => daemon.look_around(reply),
                Request::Match(question) => daemon.ask_live(&question, reply),
                Request::Stop => {
                    reply.send(Response::Done(vec!["stopped".into()]));
                    break;
                }
                Request::Detach => {
                    let removed = daemon.detach();
                    let ended = removed.is_ok();
                    reply.send(match removed {
                        Ok(removed) => Response::Done(removed),
                        Err(error) => Response::Failed(format!("{error:#}")),
                    });
                    if ended {
                        break;
                    }
                }
            },
            _ = hangup.recv() => {
                daemon.reopen_log();
                daemon.reload();
            }
            _ = tick.tick() => {
                daemon.alive.tick();
                daemon.watch_counters();
                daemon.watch_held();
                daemon.watch_reloads();
                let ended = daemon.effects.tick();
                daemon.commands_ended(ended);
                daemon.watch_hanging();
                daemon.watch_resets();
                daemon.watch_users();
                daemon.look_for_keepalive();
                daemon.watch_steered();
                daemon.watch_banners();
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    daemon.stop();
    control.close().await;
    Ok(())
}

/// Keeps other daemons from the pins, and this one from guarding beside them.
fn lock_pins(config: &Config) -> Result<Option<Lock>> {
    if config.pin {
        return Ok(Some(Lock::take_pins(&config.pin_dir)?));
    }
    if Pins::new(&config.pin_dir).gates()?.is_empty() {
        return Ok(None);
    }
    Lock::refuse_held_pins(&config.pin_dir)?;
    Err(LockError::Orphan { path: config.pin_dir.clone() }.into())
}

/// Starts, or leaves things as they were.
fn start(config: Config) -> Result<(Daemon, EventRing, HeldRing)> {
    let pins = config.pin.then(|| Pins::new(&config.pin_dir));
    let is_adoption = pins.as_ref().is_some_and(Pins::hold_a_gate);
    Daemon::start(config).inspect_err(|_| {
        let Some(pins) = pins.filter(|_| !is_adoption) else { return };
        if let Err(error) = pins.remove() {
            log::error!("{error:#}");
        }
        for old in pins.gates().unwrap_or_default() {
            log::warn!("the policy that version {} pinned stays in force; nobody follows it", old.version());
        }
    })
}

/// Everything the running daemon holds.
struct Daemon {
    config: Config,
    kernel: Kernel,
    source: Source,
    watch: Watch,
    reloads: Reloads,
    policies: Policies,
    registry: Registry,
    scans: Scans,
    lines: Writer,
    host: String,
    disagreements: u64,
    /// Attempts whose rules are gone with an earlier daemon.
    unjudged: u64,
    counted: HashMap<&'static str, u64>,
    alive: Alive,
    waiting: Waiting,
    hanging: Hanging,
    lookups: Lookups,
    users: Users,
    keepalive: Keepalive,
    steers: Steers,
    banners: banners::Banners,
    injector: Injector,
    effects: Effects,
    commands: commands::Commands,
    enforcing_since: SystemTime,
    detached: bool,
    /// The kernel tells which UDP sockets of before the start were bound by their owner.
    marks_bound: bool,
    /// Requests for the status, on their way.
    looks: Looks,
    /// Namespaces whose refused clients are not reset, as far as was said.
    namespaces_without_resets: usize,
}

impl Daemon {
    fn start(config: Config) -> Result<(Self, EventRing, HeldRing)> {
        let pins = config.pin.then(|| Pins::new(&config.pin_dir));
        let lines = Writer::start(Log::open(config.log.clone())?).context("start the thread of the log")?;
        let mut kernel = Kernel::load(&LoadOptions {
            pins: pins.as_ref(),
            log_allowed: config.log_allowed,
            resets: refuse::wants_resets(&config),
        })?;
        let events = kernel.take_events()?;
        let held = kernel.take_held()?;
        tokio::spawn(kernel.take_diagnostics()?.forward());
        let mut has_listening_hook = true;
        for (hook, state) in kernel.attach_identity(&config.cgroup) {
            if let HookState::Refused(reason) = state {
                has_listening_hook &= hook != crate::kernel::Hook::Listening;
                log::warn!("this kernel refuses {}: {reason}", hook.program());
            }
        }
        let frames = kernel.load_frames().inspect_err(|error| {
            log::warn!("held clients of one device or link wait for their own retransmit: {error:#}");
        });
        let changes = Self::start_resets(&mut kernel, &config);
        let mut daemon = Self {
            source: Source::new(config.hosts_allow.clone(), config.hosts_deny.clone()),
            watch: Watch::new(),
            reloads: Reloads::default(),
            policies: Policies::new(),
            registry: Registry::default(),
            scans: Scans::new(&config, has_listening_hook, changes)?,
            lines,
            host: host_name(),
            disagreements: 0,
            unjudged: 0,
            counted: HashMap::new(),
            alive: kernel.stay_alive()?,
            waiting: Waiting::default(),
            hanging: Hanging::new(&config.resolve),
            lookups: Lookups::new(Arc::new(System), limits(&config)),
            users: Users::new(&config),
            keepalive: Keepalive::default(),
            steers: Steers::new(),
            banners: banners::Banners::default(),
            injector: Injector::new(&config.proc_root, frames.ok()),
            effects: Effects::new(config.effects.clone()),
            commands: commands::Commands::default(),
            enforcing_since: SystemTime::now(),
            detached: false,
            marks_bound: true,
            looks: Looks::new(),
            namespaces_without_resets: 0,
            kernel,
            config,
        };
        // Looked at twice: a listener's socket is held only as long as it takes to tag it.
        daemon.mark_bound();
        let first = daemon.scans.scan_now();
        daemon.watch_udp_ports(&first.looked);
        for listener in first.listeners {
            if daemon.is_service(&listener) {
                daemon.registry.learn(&listener.names);
            }
        }
        if daemon.kernel.has_pinned_users() {
            // What an earlier process let in waits still.
            daemon.kernel.begin_users(&daemon.config.cgroup)?;
        }
        daemon.first_policy()?;
        daemon.adopt_banners();
        let found = daemon.scans.scan_now();
        daemon.take_in(found.listeners, found.is_all);
        // What was counted before is not news.
        daemon.watch_counters();
        // Before the first connection is judged, however long all this took.
        daemon.alive.tick();
        let state = daemon.kernel.attach_gate(&daemon.config.cgroup)?;
        daemon.alive.tick();
        daemon.forget_accepted();
        daemon.retire_predecessors();
        daemon.certify(&found.looked, found.is_all);
        daemon.say_ready(&state);
        Ok((daemon, events, held))
    }

    /// What the daemon before wanted to know of accepted connections may interest nobody.
    fn forget_accepted(&mut self) {
        let acts = self.policies.current.as_ref().is_some_and(|current| current.policy.acts_on_accepted);
        let is_wanted = self.config.log_allowed || acts && self.config.mode != Mode::Audit;
        if !is_wanted && let Err(error) = self.kernel.forget_accepted() {
            log::warn!("accepted connections are still watched: {error:#}");
        }
    }

    /// From here on this version's gate is the only one.
    fn retire_predecessors(&mut self) {
        match self.kernel.retire_predecessors() {
            Ok(ended) => {
                for version in ended {
                    log::info!("took over from the gate that version {version} pinned");
                }
            }
            Err(error) => log::error!("an older gate judges beside this one: {error:#}"),
        }
    }

    fn say_ready(&self, state: &HookState) {
        let how = match state {
            HookState::Adopted => "adopted the pinned gate of",
            HookState::Attached | HookState::Refused(_) => "guarding",
        };
        if self.config.mode == Mode::Audit {
            log::warn!(
                "AUDIT MODE: nothing is refused; what the policy refuses is logged as \"would refuse\""
            );
        }
        log::info!(
            "ready: {how} cgroup {}, {} listeners",
            self.config.cgroup.display(),
            self.registry.all().len()
        );
    }

    fn handle(&mut self, record: &Record) {
        match Event::from_record(record) {
            Some(Event::Decision(decision)) if decision.fate == Fate::Steered => self.steered(&decision),
            Some(Event::Decision(decision)) => self.report(&decision),
            Some(Event::Listening { pid, is_udp: true, .. }) => self.scans.look_at_udp(pid),
            Some(Event::Listening { pid, .. } | Event::Executed { pid }) => self.scans.look_at(pid),
            Some(Event::Waits { cookie }) => self.waits(cookie),
            Some(Event::Slips(decision)) => self.slips(&decision),
            Some(Event::Deferred(decision)) => self.complete(&decision),
            Some(Event::Spoken { cookie }) => self.spoken(cookie),
            None => log::error!("an event of kind {} is not known to this version", record.kind),
        }
    }

    fn reopen_log(&mut self) {
        self.lines.reopen();
    }

    /// Says what the kernel could only count.
    fn watch_counters(&mut self) {
        let Ok(counters) = self.kernel.counters() else {
            return;
        };
        for (name, text) in [
            ("ring_full", "events found the ring full: those attempts were judged, but not logged"),
            ("hold_limited", "attempts were not held, their source has too many: their clients try again"),
            ("hold_ring_full", "attempts were not held, the ring was full: their clients try again"),
            ("strays", "ACKs without a handshake were dropped: their clients are refused"),
            ("reset_limited", "refused attempts were dropped without an answer: too many in a second"),
            (
                "reset_unsure",
                "refused attempts were dropped, not reset: many were allowed just before the tables changed",
            ),
            ("user_no_room", "connections found too many waiting for a user: theirs is unknown"),
            (
                "user_expired",
                "connections were judged while nobody was here to ask for their user: it is unknown",
            ),
            ("banners_missed", "allowed clients were let in without the banner of their rule"),
            ("broken", "attempts were refused because a table look-up failed: please report this"),
        ] {
            let now = counters.iter().find(|(counter, _)| *counter == name).map_or(0, |(_, value)| *value);
            let before = self.counted.insert(name, now).unwrap_or(now);
            if now > before {
                log::warn!("{} {text}", now - before);
            }
        }
    }

    /// Ends enforcement, pinned or not.
    fn detach(&mut self) -> Result<Vec<String>> {
        let removed = Pins::new(&self.config.pin_dir).remove_all()?;
        self.detached = true;
        log::warn!("detached: nothing is enforced any more");
        Ok(removed)
    }

    fn stop(mut self) {
        self.lines.close(LAST_LINES);
        self.effects.stop();
        if self.config.pin && !self.detached {
            log::info!("stopped; the pinned policy stays in force until `tcpw detach`");
        } else if !self.detached {
            log::info!("stopped; nothing is enforced any more");
        }
    }
}

fn limits(config: &Config) -> Limits {
    let settings = &config.resolve;
    Limits {
        at_once: settings.at_once,
        kept: settings.kept,
        found_for: settings.found_for,
        not_found_for: settings.not_found_for,
    }
}
