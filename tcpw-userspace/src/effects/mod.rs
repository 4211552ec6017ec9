//! Side effects: commands of `spawn` and `aclexec`, and those of `twist` and the banners that a client
//! gets, by a process without rights.
//!
//! In: commands and the client they are run for. Out: processes of another user, and counts.
//! Invariant: a command that was wanted is counted as run, suppressed or lost, once; whatever
//! commands and helper do, the daemon does not wait for them.

mod command;
mod files;
pub mod helper;
mod limits;
mod mailer;
mod process;
mod service;
mod settings;
mod wire;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::evaluate::request::CommandResult;
pub use command::{Command, Surroundings, commands, surroundings_of};
use files::Files;
pub use helper::LOGS;
use limits::{Limits, grouped};
pub use mailer::{Mailer, SENDMAIL};
pub use process::{Heard, SUBCOMMAND};
use process::{Process, What};
pub use service::{Service, service};
pub use settings::{FALLBACK, Settings, USER};
use wire::{Charge, Order, Report};

/// Commands that wait for others to end.
const MOST_WAITING: usize = 64;

/// Processes of one command, as far as the limit for all counts on it.
const PROCESSES_EACH: u64 = 16;

/// How long the helper may take to give up root, or to end what took too long.
const PATIENCE: Duration = Duration::from_secs(10);

/// After a helper ended early: the first pause, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Networks that a report names.
const MAX_LINES: usize = 20;

/// What became of the commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed to the helper.
    pub run: u64,
    /// Not run, because of a limit.
    pub suppressed: u64,
    /// Not run, or not known to have ended: the helper was gone.
    pub lost: u64,
    /// Of those run: killed after their time.
    pub timed_out: u64,
}

/// Runs commands.
pub struct Effects {
    settings: Settings,
    limits: Limits,
    waiting: VecDeque<Order>,
    running: HashMap<u64, Instant>,
    /// Of those that run or wait: somebody wants to know how it ends.
    asked: HashSet<u64>,
    /// Of those that run: they have a connection, whose client may keep them as long as it likes.
    serving: HashSet<u64>,
    next_id: u64,
    helper: Option<Helper>,
    helpers: u64,
    /// Not before this is a helper started again.
    start_at: Instant,
    pause: Duration,
    user: String,
    files: Files,
    /// The helper may not write to files that were made since: it gives way to another.
    gives_way: bool,
    heard: mpsc::Receiver<Heard>,
    to_hear: mpsc::Sender<Heard>,
    counts: Counts,
    report_at: Instant,
}

struct Helper {
    process: Process,
    since: Instant,
    is_ready: bool,
}

impl Effects {
    /// Runs nothing yet.
    pub fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let (to_hear, heard) = mpsc::channel(64);
        let user = settings.user.clone().unwrap_or_else(default_user);
        Self {
            limits: Limits::new(settings.per_minute, settings.per_minute_and_source, now),
            waiting: VecDeque::new(),
            running: HashMap::new(),
            asked: HashSet::new(),
            serving: HashSet::new(),
            next_id: 0,
            helper: None,
            helpers: 0,
            start_at: now,
            pause: PAUSES[0],
            files: Files::new(&user),
            user,
            gives_way: false,
            heard,
            to_hear,
            counts: Counts::default(),
            report_at: now + settings.report_every,
            settings,
        }
    }

    /// Gets ready for the commands of a policy; `texts` are those of its rules, unexpanded.
    ///
    /// The helper is started before the first of them is wanted; where there are none, it is not.
    pub fn prepare<'a>(&mut self, texts: impl IntoIterator<Item = &'a [u8]>) {
        let mut has_commands = false;
        let mut files = Vec::new();
        for text in texts {
            has_commands = true;
            let named = self.settings.files.iter().filter(|file| {
                let file = file.as_os_str().as_encoded_bytes();
                text.windows(file.len()).any(|window| window == file)
            });
            files.extend(named.cloned());
        }
        self.gives_way |= self.files.want(files);
        self.keep_files();
        if has_commands && self.helper.is_none() {
            self.start();
        }
    }

    /// Sees to the files of the commands; a helper that may not write to them gives way, once it has
    /// nothing to do.
    fn keep_files(&mut self) {
        self.gives_way |= self.files.keep();
        if self.gives_way && self.running.is_empty() {
            self.gives_way = false;
            if let Some(helper) = self.helper.take() {
                helper.process.end();
                self.start();
            }
        }
    }

    /// Runs a command because of `source`, if the limits let it.
    pub fn run(&mut self, source: IpAddr, command: &Command) {
        if self.queue(source, command).is_some() {
            self.go_on();
        }
    }

    /// As [`run`](Self::run), but how it ends comes from [`handle`](Self::handle), under this number.
    pub fn ask(&mut self, source: IpAddr, command: &Command) -> Option<u64> {
        let id = self.queue(source, command)?;
        self.asked.insert(id);
        self.go_on();
        Some(id)
    }

    fn queue(&mut self, source: IpAddr, command: &Command) -> Option<u64> {
        if self.waiting.len() >= MOST_WAITING || !self.limits.take(source, Instant::now()) {
            self.counts.suppressed += 1;
            self.limits.suppress(source);
            return None;
        }
        self.next_id += 1;
        self.waiting.push_back(command.surroundings.order(self.next_id, command.text.to_vec()));
        Some(self.next_id)
    }

    /// Hands a connection to what its rule has for it, if the limits let it; else it is closed. Those
    /// that run do not count for other commands, nor do others for them: their clients may keep them.
    pub fn serve(&mut self, source: IpAddr, service: &Service, connection: OwnedFd) -> bool {
        let now = Instant::now();
        let is_full = self.serving.len() >= self.settings.at_once as usize;
        if is_full || !self.limits.take(source, now) {
            self.counts.suppressed += 1;
            self.limits.suppress(source);
            return false;
        }
        if self.helper.is_none() && now >= self.start_at {
            self.start();
        }
        let id = self.next_id + 1;
        let ordered = match &self.helper {
            Some(helper) => helper.process.serve(&service.order(id), connection),
            None => Err(anyhow::anyhow!("the helper is gone")),
        };
        if let Err(error) = ordered {
            self.counts.lost += 1;
            log::warn!("a client gets no banner and no twist: {error:#}");
            return false;
        }
        self.next_id = id;
        self.running.insert(id, now);
        self.serving.insert(id);
        self.counts.run += 1;
        true
    }

    /// Waits until there is something to [`handle`](Self::handle). Cancel safe.
    pub async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            // We keep a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// Takes what was heard: for commands that were asked for, how they ended; `None` if that will
    /// never be known.
    pub fn handle(&mut self, heard: Heard) -> Vec<(u64, Option<CommandResult>)> {
        let mut ended = Vec::new();
        if self.helper.as_ref().is_none_or(|helper| helper.process.number != heard.helper) {
            return ended;
        }
        match heard.what {
            What::Said(Report::Ready { notes }) => {
                for note in notes {
                    log::info!("commands: {note}");
                }
                if let Some(helper) = &mut self.helper {
                    helper.is_ready = true;
                }
            }
            What::Said(Report::Failed(why)) => self.gone(&why),
            What::Said(Report::Exited { id, status, pid, signal }) => {
                if self.asked.remove(&id) {
                    let result = status.map_or(CommandResult::Killed { pid, signal }, CommandResult::Exited);
                    ended.push((id, Some(result)));
                }
            }
            What::Said(Report::Ended { id, timed_out }) => {
                self.running.remove(&id);
                self.serving.remove(&id);
                if timed_out {
                    self.counts.timed_out += 1;
                    log::warn!(
                        "a command took longer than {} s and was killed",
                        self.settings.time_limit.as_secs()
                    );
                }
            }
            What::Said(Report::NotStarted { id, reason }) => {
                self.serving.remove(&id);
                if self.running.remove(&id).is_some() {
                    self.counts.run -= 1;
                    self.counts.lost += 1;
                }
                log::warn!("a command did not start: {reason}");
            }
            What::Gone(why) => self.gone(why.as_deref().unwrap_or("it ended")),
        }
        self.go_on();
        ended.extend(self.forget_unanswered());
        ended
    }

    /// Commands that were asked for, and neither run nor wait any more.
    fn forget_unanswered(&mut self) -> Vec<(u64, Option<CommandResult>)> {
        let Self { asked, running, waiting, .. } = self;
        let is_gone = |id: &u64| !running.contains_key(id) && waiting.iter().all(|order| order.id != *id);
        asked.extract_if(|id| is_gone(id)).map(|id| (id, None)).collect()
    }

    /// To be called every second.
    pub fn tick(&mut self) -> Vec<(u64, Option<CommandResult>)> {
        let now = Instant::now();
        let too_long = self.settings.time_limit + PATIENCE;
        let is_stuck = self.running.values().any(|since| now.duration_since(*since) > too_long)
            || self
                .helper
                .as_ref()
                .is_some_and(|helper| !helper.is_ready && helper.since.elapsed() > PATIENCE);
        if is_stuck {
            self.gone("it does not answer");
        }
        self.keep_files();
        self.go_on();
        if now >= self.report_at {
            self.report_suppressed();
        }
        self.forget_unanswered()
    }

    /// Says what was not run since the last time.
    pub fn report_suppressed(&mut self) {
        self.report_at = Instant::now() + self.settings.report_every;
        let suppressed = self.limits.report();
        let mut sources: Vec<_> = suppressed.by_source.into_iter().collect();
        sources.sort_by_key(|(network, count)| (std::cmp::Reverse(*count), *network));
        for (network, count) in sources.iter().take(MAX_LINES) {
            log::warn!(
                "commands not run because of [effects] limits: {} more from {network}",
                grouped(*count)
            );
        }
        let rest = sources.iter().skip(MAX_LINES);
        let more = rest.len();
        let others = rest.map(|(_, count)| count).sum::<u64>() + suppressed.others;
        if others > 0 {
            let networks = if suppressed.others > 0 { "more than " } else { "" };
            log::warn!(
                "commands not run because of [effects] limits: {} more from {networks}{} other networks",
                grouped(others),
                grouped(more as u64)
            );
        }
    }

    /// What became of the commands so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Ends the helper and what it runs.
    pub fn stop(&mut self) {
        self.report_suppressed();
        self.counts.lost += self.waiting.drain(..).count() as u64;
        if let Some(helper) = self.helper.take() {
            helper.process.end();
        }
    }

    /// Hands over what waits, as far as there is room.
    fn go_on(&mut self) {
        if self.helper.is_none() && !self.waiting.is_empty() && Instant::now() >= self.start_at {
            self.start();
        }
        while self.running.len() - self.serving.len() < self.settings.at_once as usize
            && let Some(helper) = &self.helper
            && let Some(order) = self.waiting.pop_front()
        {
            match helper.process.order(&order) {
                Ok(()) => {
                    self.running.insert(order.id, Instant::now());
                    self.counts.run += 1;
                }
                Err(error) => {
                    self.counts.lost += 1;
                    log::warn!("a command cannot be run: {error:#}");
                }
            }
        }
    }

    fn start(&mut self) {
        self.helpers += 1;
        let charge = Charge {
            user: self.user.clone(),
            allow_set_uid: self.settings.allow_set_uid,
            writable: self.settings.writable.clone(),
            mailer_group: self.settings.mailer_group,
            files: self.files.wanted().to_vec(),
            // As many again have a connection.
            processes: u64::from(self.settings.at_once) * 2 * PROCESSES_EACH,
            time_limit_s: self.settings.time_limit.as_secs(),
        };
        match Process::start(self.helpers, &charge, self.to_hear.clone()) {
            Ok(process) => self.helper = Some(Helper { process, since: Instant::now(), is_ready: false }),
            Err(error) => self.pause(&format!("{error:#}")),
        }
    }

    /// The helper is of no use any more.
    fn gone(&mut self, why: &str) {
        if let Some(helper) = self.helper.take() {
            if helper.is_ready && helper.since.elapsed() > PAUSES[1] {
                self.pause = PAUSES[0];
            }
            helper.process.end();
        }
        self.pause(why);
    }

    fn pause(&mut self, why: &str) {
        let lost = self.running.drain().count() as u64;
        self.serving.clear();
        // They began; whether they did their work, nobody knows.
        self.counts.run -= lost;
        self.counts.lost += lost;
        self.start_at = Instant::now() + self.pause;
        log::error!(
            "the helper that runs commands is gone ({why}): {lost} commands with it; it is started again in {} s, enforcement goes on",
            self.pause.as_secs()
        );
        self.pause = (self.pause * 2).min(PAUSES[1]);
    }
}

/// [`USER`] if there is such a user.
pub fn default_user() -> String {
    let is_there = matches!(nix::unistd::User::from_name(USER), Ok(Some(_)));
    if is_there { USER } else { FALLBACK }.to_owned()
}
